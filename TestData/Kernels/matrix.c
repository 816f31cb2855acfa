// Matrix product: doubles and 32-bit integers in blocks, and an LU decomposition.
//
// Three loops inside each other, addresses that are sums of products, and an innermost loop of two loads, a multiplication
// and an addition: the loop over which every compiler is judged.

#include "kernel.h"

#define BLOCK 32

// c += a * b, square, row by row; the innermost loop runs along the rows of b and c.
static __attribute__((noinline)) void product_double(double *c, const double *a, const double *b, uint32_t side) {
  for (uint32_t kk = 0; kk < side; kk += BLOCK) {
    uint32_t k_end = kk + BLOCK < side ? kk + BLOCK : side;
    for (uint32_t i = 0; i < side; i++) {
      for (uint32_t k = kk; k < k_end; k++) {
        double factor = a[i * side + k];
        for (uint32_t j = 0; j < side; j++) c[i * side + j] += factor * b[k * side + j];
      }
    }
  }
}

// c = a * b, where b is transposed: each element is a sum of products along two rows.
static __attribute__((noinline)) void product_int(uint32_t *c, const uint32_t *a, const uint32_t *b, uint32_t side) {
  for (uint32_t ii = 0; ii < side; ii += BLOCK) {
    uint32_t i_end = ii + BLOCK < side ? ii + BLOCK : side;
    for (uint32_t j = 0; j < side; j++) {
      for (uint32_t i = ii; i < i_end; i++) {
        uint32_t sum = 0;
        for (uint32_t k = 0; k < side; k++) sum += a[i * side + k] * b[j * side + k];
        c[i * side + j] = sum;
      }
    }
  }
}

// a = L * U in place, without exchanging rows: the diagonal is made large enough.
static __attribute__((noinline)) void decompose(double *a, uint32_t side) {
  for (uint32_t k = 0; k < side; k++) {
    for (uint32_t i = k + 1; i < side; i++) {
      double factor = a[i * side + k] /= a[k * side + k];
      for (uint32_t j = k + 1; j < side; j++) a[i * side + j] -= factor * a[k * side + j];
    }
  }
}

int main(int argc, char **argv) {
  uint64_t size = kernel_size(argc, argv, 480, 37);
  uint32_t side = (uint32_t)size, count = side * side;
  double *a = malloc(count * sizeof *a), *b = malloc(count * sizeof *b), *c = calloc(count, sizeof *c);
  uint32_t *p = malloc(count * sizeof *p), *q = malloc(count * sizeof *q), *r = malloc(count * sizeof *r);
  if (a == NULL || b == NULL || c == NULL || p == NULL || q == NULL || r == NULL) return 1;
  uint64_t state = 2718281828, checksum = 0;
  for (uint32_t i = 0; i < count; i++) {
    uint64_t random = next_random(&state);
    a[i] = (double)(random >> 11) / 9007199254740992.0;
    b[i] = (double)(random & 0xFFFF) / 65536.0 - 0.5;
    p[i] = (uint32_t)random;
    q[i] = (uint32_t)(random >> 32);
  }
  for (int round = 0; round < 4; round++) {
    product_double(c, a, b, side);
    product_int(r, p, q, side);
    for (uint32_t i = 0; i < count; i += 7) checksum = mix(mix_double(checksum, c[i]), r[i]);
    for (uint32_t i = 0; i < side; i++) c[i * side + i] += 1000.0;
    decompose(c, side);
    for (uint32_t i = 0; i < count; i += 11) checksum = mix_double(checksum, c[i]);
    for (uint32_t i = 0; i < count; i++) {
      b[i] = (double)(r[i] >> 8) / 16777216.0;
      q[i] = r[i];
      c[i] = 0;
    }
  }
  return kernel_report("matrix", size, checksum);
}
