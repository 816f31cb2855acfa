// `--cpu-features`: what the processor that will run the code has beyond the baseline.

import ArgumentParser
import PrecastArtifact
import PrecastMachineCode

enum CPUFeatureOption {
  private static func list(_ architecture: Architecture) -> String {
    CPUFeatures.names(of: architecture).joined(separator: ", ")
  }

  /// For a command that compiles for other machines too.
  static let help: String = """
    What the processor has beyond x86-64-v2 or Armv8.0-A: names separated by commas (x86_64: \(list(.x86_64)); aarch64: \
    \(list(.aarch64))), 'native' for all that this machine has, 'baseline' for none.
    """

  /// The features that an option's value names; none for no value.
  static func parse(_ text: String?, for architecture: Architecture = .host) throws -> CPUFeatures {
    guard let text else { return [] }
    var features: CPUFeatures = []
    for name in text.split(separator: ",", omittingEmptySubsequences: false) {
      if name == "baseline" { continue }
      if name == "native" {
        guard architecture == .host else {
          throw ValidationError(
            "the CPU features of this machine, 'native', are none of \(architecture.name), which --target asks for")
        }
        features.formUnion(.native)
        continue
      }
      guard let feature = CPUFeatures(name: String(name)), CPUFeatures.all(of: architecture).contains(feature) else {
        throw ValidationError(
          "unknown CPU feature '\(name)' of \(architecture.name); known: native, baseline, \(list(architecture))")
      }
      features.insert(feature)
    }
    return features
  }
}
