// What this host offers to code that asks for something: the other side of the comparison with an
// artifact's compatibility record.

import CPrecastHost
public import PrecastArtifact
import PrecastMachineCode

/// The settings of the machine and the process that code is loaded into.
public enum HostSettings {
  /// What an artifact is compared with, unless the caller has a narrower idea: this machine's
  /// architecture and processor features, this version's conventions, and as much address space for
  /// a memory's guard as an artifact may ask for (the runtime reserves what the artifact says).
  public static let current: CompilerSettings = {
    var settings = CompilerSettings()
    #if arch(arm64)
      settings.architecture = .aarch64
    #else
      settings.architecture = .x86_64
    #endif
    settings.cpuFeatures = cpuFeatures
    #if arch(arm64)
      // Landing pads are hints, which do nothing where the processor does not look for them.
      settings.cpuFeatures.insert(.bti)
    #endif
    settings.memoryGuardSize = 1 << 40
    return settings
  }()

  /// The processor features that the machine has, beyond the baseline.
  public static let cpuFeatures: CPUFeatures = {
    let found = precast_cpu_features()
    func has(_ features: precast_cpu_feature...) -> Bool { features.allSatisfy { found & $0.rawValue != 0 } }
    var features: CPUFeatures = []
    if has(PRECAST_CPU_LZCNT) { features.insert(.lzcnt) }
    if has(PRECAST_CPU_BMI1) { features.insert(.bmi1) }
    if has(PRECAST_CPU_BMI2) { features.insert(.bmi2) }
    if has(PRECAST_CPU_AVX) { features.insert(.avx) }
    if has(PRECAST_CPU_AVX2) { features.insert(.avx2) }
    if has(PRECAST_CPU_FMA) { features.insert(.fma) }
    if has(PRECAST_CPU_AVX512F, PRECAST_CPU_AVX512BW, PRECAST_CPU_AVX512DQ, PRECAST_CPU_AVX512VL) {
      features.insert(.avx512)
    }
    if has(PRECAST_CPU_LSE) { features.insert(.lse) }
    if has(PRECAST_CPU_FP16) { features.insert(.fp16) }
    if has(PRECAST_CPU_BTI) { features.insert(.bti) }
    return features
  }()

  /// Whether the machine has what every artifact for its architecture takes for granted: x86-64-v2.
  static let hasBaseline: Bool = {
    #if arch(x86_64)
      let baseline = [
        PRECAST_CPU_SSE3, PRECAST_CPU_SSSE3, PRECAST_CPU_SSE4_1, PRECAST_CPU_SSE4_2, PRECAST_CPU_POPCNT,
        PRECAST_CPU_CMPXCHG16B, PRECAST_CPU_LAHF,
      ]
      let found = precast_cpu_features()
      return baseline.allSatisfy { found & $0.rawValue != 0 }
    #else
      return true
    #endif
  }()
}
