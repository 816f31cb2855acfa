// C functions that imports of a wasm module are bound to. Their types are those that wasm has: 32 and 64 bits, float
// and double, at most one result. Everything is hidden: objects for a finished artifact may hold no address, so nothing
// may stand in for what they define.
#pragma once

typedef int i32;
typedef unsigned int u32;
typedef long i64;
typedef unsigned long u64;

// Defined by the caller of the linker, or by bound_host.c.
extern u64 host_mix(u64 a, u64 b);

// bound_other.c
u32 odd(u32 n);
u64 ackermann_inner(u64 m, u64 n);
extern i64 shared;
extern const i32 primes[16];
const char *word(u32 number);
