// Calls: Fibonacci, Ackermann, Takeuchi and the queens on a board, all by recursion.
//
// What is measured is what a call costs: frame, stack check, arguments and results, values that live across it. The
// functions are kept from being inlined into each other, since the calls are the work.

#include "kernel.h"

#define KEPT __attribute__((noinline))

static KEPT uint32_t fibonacci(uint32_t n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }

static KEPT uint32_t ackermann(uint32_t m, uint32_t n) {
  if (m == 0) return n + 1;
  if (n == 0) return ackermann(m - 1, 1);
  return ackermann(m - 1, ackermann(m, n - 1));
}

static KEPT int32_t takeuchi(int32_t x, int32_t y, int32_t z) {
  if (y >= x) return z;
  return takeuchi(takeuchi(x - 1, y, z), takeuchi(y - 1, z, x), takeuchi(z - 1, x, y));
}

static KEPT double takeuchi_double(double x, double y, double z) {
  if (y >= x) return z;
  return takeuchi_double(
    takeuchi_double(x - 1, y, z), takeuchi_double(y - 1, z, x), takeuchi_double(z - 1, x, y));
}

// Solutions with queens on the rows so far; the masks are the columns and diagonals that they cover in this row.
static KEPT uint32_t queens(uint32_t all, uint32_t columns, uint32_t falling, uint32_t rising) {
  if (columns == all) return 1;
  uint32_t solutions = 0;
  for (uint32_t free = all & ~(columns | falling | rising); free != 0; free &= free - 1) {
    uint32_t place = free & -free;
    solutions += queens(all, columns | place, (falling | place) << 1, (rising | place) >> 1);
  }
  return solutions;
}

// Whether a number is even, by two functions that call each other; each needs the other's result.
static KEPT uint32_t odd(uint32_t n);
static KEPT uint32_t even(uint32_t n) { return n == 0 ? 1 : odd(n - 1) ^ (n & 2); }
static KEPT uint32_t odd(uint32_t n) { return n == 0 ? 0 : even(n - 1) + (n & 1); }

int main(int argc, char **argv) {
  // The size is Fibonacci's argument; the others grow with it.
  uint64_t size = kernel_size(argc, argv, 38, 18);
  uint32_t n = (uint32_t)size;
  uint64_t checksum = mix(0, fibonacci(n));
  checksum = mix(checksum, ackermann(2, n * 30));
  checksum = mix(checksum, ackermann(3, n / 4));
  checksum = mix(checksum, (uint64_t)takeuchi((int32_t)n * 3 / 4, (int32_t)n / 2, (int32_t)n / 4));
  checksum = mix_double(checksum, takeuchi_double(n * 2 / 3, n * 4 / 9, n * 2 / 9));
  uint32_t side = (n + 1) / 3;
  checksum = mix(checksum, queens((1u << side) - 1, 0, 0, 0));
  for (uint32_t round = 0; round < n * 4; round++) checksum = mix(checksum, even(n * 100 + round));
  return kernel_report("recursion", size, checksum);
}
