// What the tests' host functions do, for the native library that says what is right.
#include "corpus.h"

u64 host_mix(u64 a, u64 b) { return (a ^ b << 7) * 0x9E3779B97F4A7C15 + b; }
double host_scale(double value, i32 exponent) { return value * exponent; }
u64 host_call_back(u64 (*function)(u64), u64 argument) { return function(argument + 1) + 1; }
u64 host_table[4] = {0x1111, 0x2222, 0x3333, 0x4444};
