#include "bound.h"

// Numbers of each kind, with all that an extension can get wrong.
i32 subtract(i32 a, i32 b) { return (i32)((u32)a - (u32)b); }
u32 shift(u32 a, u32 b) { return a >> (b & 31); }
i64 signed_sum(i32 a, u32 b) { return (i64)a + (i64)b; }
u32 low_half(u64 a) { return (u32)a; }
i64 product(i64 a, i64 b) { return (i64)((u64)a * (u64)b); }
float half(float x) { return x / 2; }
double third(double x) { return x / 3; }
double mixed(i32 a, float b, i64 c, double d) { return (double)a + (double)b + (double)c + d; }

// More than there are registers, of wasm and of C, of both kinds.
i64 many(
    i32 a, double b, i64 c, float d, u32 e, double f, i64 g, float h, i32 i, double j, i64 k, float l, u32 m, double n,
    i64 o, float p, i32 q, double r, i64 s, float t, u32 u, double v) {
  i64 integers = a + c * 3 + (i64)e * 5 + g * 7 + (i64)i * 11 + k * 13 + (i64)m * 17 + o * 19 + (i64)q * 23 + s * 29 + u;
  double floats = b + (double)d * 2 + f * 3 + (double)h * 4 + j * 5 + (double)l * 6 + n * 7 + (double)p * 8 + r * 9
      + (double)t * 10 + v * 11;
  return integers * 1000 + (i64)floats;
}
float last_float(
    float a, float b, float c, float d, float e, float f, float g, float h, float i, float j, float k) {
  return a + b + c + d + e + f + g + h + i + j - k;
}

// No result, no argument, and variables that stay: initialised, zero, of another object.
static i64 kept;
void keep(i64 value) { kept = value; }
i64 kept_value(void) { return kept; }
i64 tick(void) {
  static i64 start = 100;
  static i64 count;
  count++;
  start += count;
  shared += 2;
  return start * 1000 + shared;
}
static i64 zeros[9000] __attribute__((aligned(64)));
i64 in_zeros(u32 at, i64 value) {
  i64 before = zeros[at % 9000];
  zeros[at % 9000] += value;
  return before;
}

// Through another object and back.
u32 even(u32 n) { return n == 0 ? 1 : odd(n - 1); }
u64 ackermann(u64 m, u64 n) { return m == 0 ? n + 1 : ackermann_inner(m, n); }

// Constants: a jump table, floats, text, an array of another object.
i64 choose(u32 which, i64 x) {
  switch (which) {
  case 0: return x + 7;
  case 1: return x * 3;
  case 2: return -x;
  case 3: return x ^ 0x5555;
  case 4: return x >> 3;
  case 5: return (i64)((double)x * 1.5);
  case 6: return x & 0xFF00;
  case 7: return kept - x;
  default: return 4711;
  }
}
u32 prime(u32 n) { return (u32)primes[n & 15]; }
u32 length(u32 number) {
  u32 n = 0;
  for (const char *c = word(number); *c; c++) n = n * 31 + (u32)*c;
  return n;
}

// What the caller of the linker gives.
u64 mix(u64 a, u64 b) { return host_mix(a, b) + 1; }
