// `--cpu-features`: what the processor that will run the code has beyond the baseline.

import ArgumentParser
import PrecastArtifact

enum CPUFeatureOption {
  static let help: String = """
    What the processor has beyond x86-64-v2: names separated by commas \
    (\(CPUFeatures.x86Names.joined(separator: ", "))), 'native' for all that this machine has, 'baseline' for none.
    """

  /// The features that an option's value names; none for no value.
  static func parse(_ text: String?) throws -> CPUFeatures {
    guard let text else { return [] }
    var features: CPUFeatures = []
    for name in text.split(separator: ",", omittingEmptySubsequences: false) {
      if name == "baseline" { continue }
      if name == "native" {
        features.formUnion(.native)
        continue
      }
      guard let feature = CPUFeatures(name: String(name)), CPUFeatures.x86Names.contains(String(name)) else {
        throw ValidationError(
          "unknown CPU feature '\(name)'; known: native, baseline, \(CPUFeatures.x86Names.joined(separator: ", "))")
      }
      features.insert(feature)
    }
    return features
  }
}
