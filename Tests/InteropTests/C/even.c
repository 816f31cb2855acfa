// The other half, and callers.
#include "corpus.h"

i32 is_even(u32 n) { return n == 0 ? 1 : is_odd(n - 1); }

u64 ackermann(u64 m, u64 n) { return m == 0 ? n + 1 : ackermann_inner(m, n); }

u64 call_with_many(u64 x, double y) {
  struct many many = make_many(
      x, y, (u8)(x + 1), (short)(x * 3), (i32)(x - 5), -(i64)x, (float)y / 2, x * 7, y * 4, x ^ 1234567, (u32)x * 9,
      (u8)(x >> 3));
  return many.a * 3 + many.b * 5 + many.c * 7 + (u64)(i64)(many.d * 16);
}

static u64 square(u64 x) { return x * x; }
static u64 negate(u64 x) { return -x; }

// Calls through pointers that are chosen at run time, and a call in tail position.
u64 through_pointer(u64 which, u64 x) {
  u64 (*const functions[])(u64) = {square, negate, bump};
  return functions[which % 3](x);
}

// 32-bit arguments and results whose upper halves mean nothing.
i32 narrow(i32 a, u32 b) { return a / 3 + (i32)(b >> 1); }
u64 widen(i32 a, u32 b) { return (u64)(i64)a * 3 + b; }
u64 call_narrow(u64 a, u64 b) { return widen(narrow((i32)a, (u32)b), (u32)(b * 5)); }
u64 bytes(u64 a) {
  signed char s = (signed char)a;
  u8 u = (u8)a;
  short h = (short)a;
  return (u64)((i64)s * 1000000 + u * 1000 + h);
}
