// Floating point in registers: the Mandelbrot set, and the spectral norm of an infinite matrix.
//
// The first is one small loop of additions, multiplications and a comparison, with everything in variables. The second, as
// in the Benchmarks Game, computes its matrix as it goes: conversions from integers, a division for each element.

#include "kernel.h"

#define LIMIT 100

// Steps until the sequence of each point of a grid leaves the circle of radius 2, LIMIT at most.
static uint64_t mandelbrot(uint32_t side) {
  uint64_t checksum = 0;
  for (uint32_t row = 0; row < side; row++) {
    double ci = 2.0 * row / side - 1.0;
    uint64_t total = 0;
    for (uint32_t column = 0; column < side; column++) {
      double cr = 2.0 * column / side - 1.5;
      double r = 0, i = 0, rr = 0, ii = 0;
      uint32_t steps = 0;
      while (rr + ii <= 4.0 && steps < LIMIT) {
        i = 2.0 * r * i + ci;
        r = rr - ii + cr;
        rr = r * r;
        ii = i * i;
        steps++;
      }
      total += steps;
    }
    checksum = mix(checksum, total);
  }
  return checksum;
}

// The element of the matrix whose norm is asked for.
static double element(uint32_t row, uint32_t column) {
  uint32_t sum = row + column;
  return 1.0 / (sum * (sum + 1) / 2 + row + 1);
}

// result = matrix * vector; of `transposed` the matrix is taken with rows and columns exchanged.
static void multiply(double *result, const double *vector, uint32_t count, int transposed) {
  for (uint32_t i = 0; i < count; i++) {
    double sum = 0;
    if (transposed) {
      for (uint32_t j = 0; j < count; j++) sum += element(j, i) * vector[j];
    } else {
      for (uint32_t j = 0; j < count; j++) sum += element(i, j) * vector[j];
    }
    result[i] = sum;
  }
}

static double spectral_norm(uint32_t count) {
  double *u = malloc(count * sizeof *u), *v = malloc(count * sizeof *v), *between = malloc(count * sizeof *between);
  if (u == NULL || v == NULL || between == NULL) exit(1);
  for (uint32_t i = 0; i < count; i++) u[i] = 1;
  for (int step = 0; step < 10; step++) {
    multiply(between, u, count, 0);
    multiply(v, between, count, 1);
    multiply(between, v, count, 0);
    multiply(u, between, count, 1);
  }
  double uv = 0, vv = 0;
  for (uint32_t i = 0; i < count; i++) {
    uv += u[i] * v[i];
    vv += v[i] * v[i];
  }
  free(u);
  free(v);
  free(between);
  return __builtin_sqrt(uv / vv);
}

int main(int argc, char **argv) {
  uint64_t size = kernel_size(argc, argv, 1700, 40);
  uint64_t checksum = mandelbrot((uint32_t)size);
  checksum = mix_double(checksum, spectral_norm((uint32_t)size / 2));
  return kernel_report("mandelbrot", size, checksum);
}
