// What the processor, and the kernel on it, lets generated code use.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// One bit a feature.
enum precast_cpu_feature {
  PRECAST_CPU_SSE3 = 1u << 0,
  PRECAST_CPU_SSSE3 = 1u << 1,
  PRECAST_CPU_SSE4_1 = 1u << 2,
  PRECAST_CPU_SSE4_2 = 1u << 3,
  PRECAST_CPU_POPCNT = 1u << 4,
  PRECAST_CPU_CMPXCHG16B = 1u << 5,
  PRECAST_CPU_LAHF = 1u << 6,
  PRECAST_CPU_AVX = 1u << 7,
  PRECAST_CPU_AVX2 = 1u << 8,
  PRECAST_CPU_BMI1 = 1u << 9,
  PRECAST_CPU_BMI2 = 1u << 10,
  PRECAST_CPU_LZCNT = 1u << 11,
  PRECAST_CPU_FMA = 1u << 12,
  PRECAST_CPU_MOVBE = 1u << 13,
  PRECAST_CPU_F16C = 1u << 14,
  PRECAST_CPU_AVX512F = 1u << 15,
  PRECAST_CPU_AVX512BW = 1u << 16,
  PRECAST_CPU_AVX512DQ = 1u << 17,
  PRECAST_CPU_AVX512VL = 1u << 18,

  // AArch64.

  /// Atomic instructions (FEAT_LSE).
  PRECAST_CPU_LSE = 1u << 24,
  /// Half-precision arithmetic (FEAT_FP16).
  PRECAST_CPU_FP16 = 1u << 25,
  /// Indirect branches into guarded pages must meet a landing pad (FEAT_BTI). Elsewhere landing pads do nothing.
  PRECAST_CPU_BTI = 1u << 26,
};

/// The features of this machine. On other architectures than x86-64 and AArch64: 0.
uint32_t precast_cpu_features(void);

#ifdef __cplusplus
}
#endif
