// Half of the functions that recurse through another object; the other half is in even.c.
#include "corpus.h"

i32 is_odd(u32 n) { return n == 0 ? 0 : is_even(n - 1); }

u64 ackermann_inner(u64 m, u64 n) { return n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann_inner(m, n - 1)); }

// More arguments than registers, of all sizes; the result is too large for registers.
struct many make_many(u64 a, double d, u8 b, short c, i32 e, i64 f, float g, u64 h, double i, u64 j, u32 k, u8 l) {
  struct many result = {a + b * 2 + (u64)c * 3, (u64)e + (u64)f, h ^ j ^ k ^ l, d + g + i};
  return result;
}
