// The other object.
#include "bound.h"

u32 even(u32 n);
u64 ackermann(u64 m, u64 n);

u32 odd(u32 n) { return n == 0 ? 0 : even(n - 1); }
u64 ackermann_inner(u64 m, u64 n) { return n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann_inner(m, n - 1)); }

i64 shared = 40;
const i32 primes[16] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53};

const char *word(u32 number) {
  switch (number % 3) {
  case 0: return "precast";
  case 1: return "wasm";
  default: return "elf";
  }
}
