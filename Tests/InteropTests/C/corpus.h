// C functions that need of a linker what C functions need, each file something else. Compiled by several compilers
// for both machines, linked by Precast, called, and compared with the same functions in a shared library made
// natively by gcc and the system's linker.
//
// Entry points take integers of up to 64 bits and doubles, at most six and eight, so that any of them can be called
// through one C type: there are no floats among their parameters and nothing on the stack. What they call among each
// other has any type.
#pragma once

typedef unsigned char u8;
typedef unsigned int u32;
typedef int i32;
typedef unsigned long u64;
typedef long i64;

// Of the host: undefined in all objects.
extern u64 host_mix(u64 a, u64 b);
extern double host_scale(double value, i32 exponent);
extern u64 host_call_back(u64 (*function)(u64), u64 argument);
extern u64 host_table[4];
extern u64 host_absent(u64) __attribute__((weak));

// support.c: what compilers call without being asked.
void *memcpy(void *to, const void *from, u64 count);
void *memset(void *to, int value, u64 count);

// data.c
extern u64 counter;
extern const i32 primes[16];
extern u8 buffer[70000];
extern u64 *const counter_address;
struct node {
  const char *name;
  struct node *next;
  u64 (*function)(u64);
};
extern struct node nodes[4];
u64 bump(u64 by);

// strings.c
const char *name_of(u32 number);
u64 hash_of(const char *text);

// odd.c and even.c
i32 is_odd(u32 n);
i32 is_even(u32 n);
u64 ackermann(u64 m, u64 n);
u64 ackermann_inner(u64 m, u64 n);
struct many {
  u64 a, b, c;
  double d;
};
struct many make_many(u64 a, double d, u8 b, short c, i32 e, i64 f, float g, u64 h, double i, u64 j, u32 k, u8 l);
