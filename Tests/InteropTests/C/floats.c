// Constants too long for an instruction: floating point, vectors, and what is made of them.
#include "corpus.h"

double polynomial(double x) {
  double inner = (((0.0013888888 * x - 0.0416666666) * x + 0.3141592653) * x - 2.718281828) * x + 1.41421356;
  return inner * x - 1e100 / 1e98;
}

u64 single(double x) {
  float f = (float)x * 1.1f + 3.25f;
  return (u64)(i64)(f * 1000.0f);
}

u64 convert(double x) { return (u64)(x < 0 ? -x : x) ^ (u64)(i64)x ^ (u64)(i32)x; }

double mean(u64 count) {
  static const double samples[] = {1.5, -2.25, 1e10, 3.0, 0.1, 77.7, -0.3, 12.0};
  double sum = 0;
  for (u64 i = 0; i < count; i++) sum += samples[i & 7] * (double)(i + 1);
  return count ? sum / (double)count : -1.0;
}

typedef u32 vector __attribute__((vector_size(16)));

u64 vectors(u64 seed) {
  vector a = {1, 20, 300, 4000}, b = {(u32)seed, 7, (u32)(seed >> 32), 9};
  vector c = a * b + (vector){11, 22, 33, 44};
  c ^= c >> 3;
  return (u64)c[0] + ((u64)c[1] << 8) + ((u64)c[2] << 16) + ((u64)c[3] << 24);
}

double recurse(double x, u64 depth) { return depth == 0 ? x : recurse(x / 2 + 1.0, depth - 1) + (double)depth * 0.125; }
