// Settings come back as they were, and a mismatch names every field.

import Testing

@testable import PrecastArtifact

@Suite struct SettingsTests {
  static func record(_ settings: CompilerSettings) -> CompatibilityRecord {
    CompatibilityRecord(compilerName: "precast-test", compilerVersion: "0.1", settings: settings)
  }

  @Test func everySettingComesBack() throws {
    for setting in Setting.allCases {
      var settings = CompilerSettings()
      settings[setting] = 0x0123_4567_89AB_CDEF
      let section = EngineSection(record: Self.record(settings))
      #expect(section.encoded().count == section.encodedSize)
      try withRegion(section.encoded(), .engine) { (region: ByteRegion) throws in
        let decoded = try EngineSection(decoding: region)
        #expect(decoded.record == section.record)
        #expect(decoded.directory == section.directory)
      }
    }
  }

  @Test func numbersOfSettingsFollowTheirPositions() {
    #expect(Setting.allCases.map(\.position) == Array(0..<Setting.count))
    #expect(Set(Setting.allCases.map(\.descriptor.name)).count == Setting.count)
  }

  @Test func architecturesHaveFeaturesOfTheirOwn() {
    let x86 = CPUFeatures.names(of: .x86_64)
    let arm = CPUFeatures.names(of: .aarch64)
    #expect(x86 + arm == CPUFeatures.named.map(\.name) && arm == ["lse", "fp16", "bti"])
    #expect(CPUFeatures.bti.rawValue == 1 << 34)
    #expect(CPUFeatures.all(of: .x86_64).isDisjoint(with: .all(of: .aarch64)))
    var settings = CompilerSettings()
    settings.cpuFeatures = .bti
    settings.architecture = .aarch64
    #expect(settings.hasLandingPads)
    settings.architecture = .x86_64
    #expect(!settings.hasLandingPads)
  }

  @Test func anArtifactForAnotherArchitectureSaysWhatItIsFor() {
    var artifact = CompilerSettings()
    artifact.architecture = .aarch64
    var host = CompilerSettings()
    host.architecture = .x86_64
    let error = #expect(throws: ArtifactError.self) { try Self.record(artifact).check(host: host) }
    #expect(
      error?.description.contains(
        "architecture is aarch64 in the artifact, x86_64 here (compile for this machine with --target)") == true,
      "\(String(describing: error))")
  }

  @Test func aMismatchNamesEachField() {
    var artifact = CompilerSettings()
    artifact.cpuFeatures = [.lzcnt, .avx2]
    artifact.memoryGuardSize = 4 << 30
    artifact.framePointers = false
    artifact.addressMap = false
    var host = CompilerSettings()
    host.cpuFeatures = [.lzcnt, .bmi1]
    let mismatches = artifact.mismatches(host: host)
    #expect(mismatches.map(\.field) == ["cpu_features", "memory_guard_size", "frame_pointers"])
    #expect(mismatches[0].artifact == "lzcnt,avx2" && mismatches[0].host == "lzcnt,bmi1")
    #expect(mismatches[1].artifact == "4 GiB" && mismatches[1].host == "2 GiB")
    #expect(mismatches.allSatisfy { !$0.advice.isEmpty })
    let error = #expect(throws: ArtifactError.self) { try Self.record(artifact).check(host: host) }
    #expect(error?.kind == .incompatible(mismatches))
    #expect(error?.description.contains("frame_pointers is no in the artifact, yes here") == true)
  }

  @Test func whatTheHostOffersBeyondNeedIsFine() throws {
    var host = CompilerSettings()
    host.cpuFeatures = [.avx, .bmi2]
    host.memoryGuardSize = 8 << 30
    host.addressMap = false
    try Self.record(CompilerSettings()).check(host: host)
  }

  @Test func unknownSettingsAreIncompatibleNotDamaged() throws {
    var bytes = EngineSection(record: Self.record(CompilerSettings())).encoded()
    bytes[EngineSection.headerSize] = 200
    try withRegion(bytes, .engine) { (region: ByteRegion) throws in
      let error = #expect(throws: ArtifactError.self) { try EngineSection(decoding: region) }
      guard case .incompatible(let mismatches) = error?.kind else {
        Issue.record("taken for \(String(describing: error))")
        return
      }
      #expect(mismatches.map(\.field) == ["setting 200"])
    }
  }

  @Test func cpuFeaturesHaveNames() {
    for (name, feature) in CPUFeatures.named {
      #expect(CPUFeatures(name: name) == feature)
      #expect(feature.names == name)
    }
    #expect(CPUFeatures(name: "mmx") == nil)
    #expect(CPUFeatures([]).names == "baseline")
    #expect(CPUFeatures(rawValue: 1 << 60 | 1).names == "lzcnt,bit 60")
  }

  @Test func jsonIsEscaped() {
    var json = JSONWriter()
    json.object { json in
      json.value("a\"b", "c\\d\n\u{1}é")
      json.array("list") { json in json.value(nil, 1) }
      json.object("empty") { _ in }
    }
    #expect(json.text == "{\n  \"a\\\"b\": \"c\\\\d\\n\\u0001é\",\n  \"list\": [\n    1\n  ],\n  \"empty\": {}\n}")
  }
}
