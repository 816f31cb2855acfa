// CPU features: on x86-64 by CPUID. Those that widen registers also need the operating system to save these
// registers (XCR0), or their instructions fault. On AArch64 a program may not ask the processor; the kernel
// says in the auxiliary vector what it lets programs use.
#include "precast_cpu.h"

#if defined(__x86_64__)
#include <cpuid.h>
#include <stdatomic.h>

static uint64_t enabled_state(void) {
  uint32_t low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t)high << 32 | low;
}

static uint32_t detect(void) {
  uint32_t a, b, c, d, features = 0;
#define HAS(register, bit, feature) \
  if ((register) >> (bit) & 1) features |= (feature)
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  HAS(c, 0, PRECAST_CPU_SSE3);
  HAS(c, 9, PRECAST_CPU_SSSE3);
  HAS(c, 13, PRECAST_CPU_CMPXCHG16B);
  HAS(c, 19, PRECAST_CPU_SSE4_1);
  HAS(c, 20, PRECAST_CPU_SSE4_2);
  HAS(c, 22, PRECAST_CPU_MOVBE);
  HAS(c, 23, PRECAST_CPU_POPCNT);
  uint64_t state = c >> 27 & 1 ? enabled_state() : 0;
  int avx_state = (state & 0x06) == 0x06;     // xmm, ymm
  int avx512_state = (state & 0xE6) == 0xE6;  // and the mask and zmm registers
  if (avx_state) {
    HAS(c, 12, PRECAST_CPU_FMA);
    HAS(c, 28, PRECAST_CPU_AVX);
    HAS(c, 29, PRECAST_CPU_F16C);
  }
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
    HAS(b, 3, PRECAST_CPU_BMI1);
    HAS(b, 8, PRECAST_CPU_BMI2);
    if (avx_state) HAS(b, 5, PRECAST_CPU_AVX2);
    if (avx512_state) {
      HAS(b, 16, PRECAST_CPU_AVX512F);
      HAS(b, 17, PRECAST_CPU_AVX512DQ);
      HAS(b, 30, PRECAST_CPU_AVX512BW);
      HAS(b, 31, PRECAST_CPU_AVX512VL);
    }
  }
  if (__get_cpuid(0x80000001, &a, &b, &c, &d)) {
    HAS(c, 0, PRECAST_CPU_LAHF);
    HAS(c, 5, PRECAST_CPU_LZCNT);
  }
  return features;
}

uint32_t precast_cpu_features(void) {
  // CPUID traps to the hypervisor in a virtual machine, tens of microseconds for all of it.
  static atomic_uint known;
  uint32_t features = atomic_load_explicit(&known, memory_order_relaxed);
  if (features == 0) {
    features = detect();
    atomic_store_explicit(&known, features, memory_order_relaxed);
  }
  return features;
}

#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>

// asm/hwcap.h, which not every system has in full.
#define CAPABILITY_ATOMICS (1ul << 8)
#define CAPABILITY_FPHP (1ul << 9)
#define CAPABILITY_ASIMDHP (1ul << 10)
#define CAPABILITY2_BTI (1ul << 17)

uint32_t precast_cpu_features(void) {
  unsigned long first = getauxval(AT_HWCAP), second = getauxval(AT_HWCAP2);
  uint32_t features = 0;
  if (first & CAPABILITY_ATOMICS) features |= PRECAST_CPU_LSE;
  // Scalar and vector half-precision arithmetic come together (FEAT_FP16); both are asked for.
  if ((first & CAPABILITY_FPHP) && (first & CAPABILITY_ASIMDHP)) features |= PRECAST_CPU_FP16;
  if (second & CAPABILITY2_BTI) features |= PRECAST_CPU_BTI;
  return features;
}

#else

uint32_t precast_cpu_features(void) { return 0; }

#endif
