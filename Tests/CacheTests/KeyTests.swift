// A key depends on everything that the code depends on.

import CacheTestSupport
import Precast
import PrecastArtifact
import PrecastCompiler
import PrecastLoader
import PrecastMachineCode
import PrecastWasm
import Testing

@testable import PrecastCache

private func bytes(_ value: some Encodable) throws -> [UInt8] {
  let encoder = KeyEncoder()
  try encoder.encode(value)
  return encoder.bytes
}

private func labels(_ value: Any) -> Set<String> { Set(Mirror(reflecting: value).children.compactMap(\.label)) }

@Suite struct KeyTests {
  private let wasm = module(answer: 1)

  private func state(_ settings: CompilerSettings = CompilerSettings()) -> CompiledModule {
    CompiledModule(wasm: WasmSource(wasm), settings: settings)
  }

  @Test func changingAnySettingAloneChangesTheKey() throws {
    // The settings are stored by case, and nothing else is stored: what is walked here is all there is.
    #expect(labels(CompilerSettings()) == ["values"])
    var keys: Set<CacheKey> = [try CacheKey(of: state())]
    for setting in Setting.allCases {
      for bit in UInt64(0)..<64 {
        var settings = CompilerSettings()
        settings[setting] ^= 1 << bit
        let (isNew, _) = keys.insert(try CacheKey(of: state(settings)))
        #expect(isNew, "\(setting), bit \(bit)")
      }
    }
    #expect(keys.count == Setting.allCases.count * 64 + 1)
  }

  @Test func changingAnyPartOfTheStateAloneChangesTheKey() throws {
    var other = state()
    let variations: [String: CompiledModule] = [
      "wasm": CompiledModule(wasm: WasmSource(module(answer: 2)), settings: CompilerSettings()),
      "settings": {
        other.settings.addressMap.toggle()
        return other
      }(),
    ]
    // What is left out is left out by its type; whoever adds a field has to add a variation here.
    let fields = Mirror(reflecting: state()).children
    let material = fields.filter { !(String(describing: type(of: $0.value)).hasPrefix("Immaterial<")) }
    #expect(Set(material.compactMap(\.label)) == Set(variations.keys))
    let key = try CacheKey(of: state())
    for (field, variation) in variations { #expect(try CacheKey(of: variation) != key, "\(field)") }
    #expect(Set(try variations.values.map { try CacheKey(of: $0) }).count == variations.count)
  }

  @Test func theNumberOfThreadsDoesNot() throws {
    let one = CompiledModule(wasm: WasmSource(wasm), settings: CompilerSettings(), threads: 1)
    #expect(try CacheKey(of: one) == CacheKey(of: state()))
  }

  @Test func changingAnythingAboutTheCompilerChangesTheKey() throws {
    func identity(_ name: String, _ version: String, _ format: UInt32, _ release: Bool) throws -> [UInt8] {
      try bytes(CompilerIdentity(name: name, version: version, formatVersion: format, isRelease: release))
    }
    #expect(
      labels(CompiledModule.compiler) == ["name", "version", "formatVersion", "build", "directoryName"])
    let all = [
      try identity("a", "1", 1, true), try identity("b", "1", 1, true), try identity("a", "2", 1, true),
      try identity("a", "1", 2, true), try identity("a", "1", 1, false),
    ]
    #expect(Set(all).count == all.count)
  }

  @Test func everyFieldThatATypeHasIsInItsEncoding() throws {
    // Derived, or written over a list of all cases: either way, every stored field's name must come up.
    for value in [CompiledModule.compiler] as [any Encodable] {
      let text = String(decoding: try bytes(value), as: UTF8.self)
      for label in labels(value) { #expect(text.contains(label), "\(label)") }
    }
    let text = String(decoding: try bytes(CompilerSettings()), as: UTF8.self)
    for setting in Setting.allCases { #expect(text.contains(setting.descriptor.name)) }
  }

  @Test func theSameStateGivesTheSameKeyEveryTime() throws {
    #expect(try CacheKey(of: state()) == CacheKey(of: state()))
    let key = try CacheKey(of: state())
    #expect(CacheKey(key.description) == key)
    #expect(key.description.count == 64)
    #expect(key.description.allSatisfy { $0.isHexDigit && !$0.isUppercase })
  }

  @Test func anUnreleasedCompilerIsKnownByItsFile() {
    let identity = CompilerIdentity(name: "c", version: "1", formatVersion: 2, isRelease: false)
    #expect(!identity.build.isEmpty)
    #expect(identity.build != "0-0-0-0")
    #expect(CompilerIdentity(name: "c", version: "1", formatVersion: 2, isRelease: true).build.isEmpty)
  }

  @Test func directoriesHaveNamesThatNeedNoQuoting() {
    let identity = CompilerIdentity(name: "../we ird/ü", version: "1.0+x", formatVersion: 2)
    #expect(identity.directoryName.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || "-._".contains($0)) })
    #expect(identity.directoryName.hasPrefix("code-"))
  }
}

@Suite struct EncodingTests {
  struct One: Encodable { var a = 1 }
  struct Other: Encodable { var a = 1 }
  struct Renamed: Encodable { var b = 1 }
  struct More: Encodable {
    var a = 1
    var b = 0
  }
  struct Swapped: Encodable {
    var b = 0
    var a = 1
  }
  struct Narrow: Encodable { var a: Int32 = 1 }
  struct Unsigned: Encodable { var a: UInt = 1 }
  struct Maybe: Encodable { var a: Int? }
  struct Texts: Encodable { var a: [String] }
  struct Nested: Encodable {
    var one: One
    var list: [One]
    var map: [String: Int]
    var choice: Choice
    var flag: Bool
    var number: Double
  }
  enum Choice: String, Encodable { case left, right }

  @Test func typesAndFieldsAreAsMuchAPartAsValues() throws {
    let all: [[UInt8]] = [
      try bytes(One()), try bytes(Other()), try bytes(Renamed()), try bytes(More()), try bytes(Swapped()),
      try bytes(Narrow()), try bytes(Unsigned()), try bytes(Maybe(a: 1)), try bytes(Maybe(a: nil)),
    ]
    #expect(Set(all).count == all.count)
  }

  @Test func stringsCannotRunIntoEachOther() throws {
    let all = [["ab", "c"], ["a", "bc"], ["abc"], ["abc", ""], ["", "abc"], []]
    #expect(Set(try all.map { try bytes(Texts(a: $0)) }).count == all.count)
  }

  @Test func everythingDeepInsideCounts() throws {
    func nested(_ change: (inout Nested) -> Void) throws -> [UInt8] {
      var value = Nested(
        one: One(), list: [One(), One()], map: ["k": 1], choice: .left, flag: false, number: 0)
      change(&value)
      return try bytes(value)
    }
    let all = [
      try nested { _ in }, try nested { $0.one.a = 2 }, try nested { $0.list[1].a = 2 },
      try nested { $0.list.removeLast() },
      try nested { $0.map["k"] = 2 }, try nested { $0.choice = .right }, try nested { $0.flag = true },
      try nested { $0.number = -0.0 },
    ]
    #expect(Set(all).count == all.count)
  }

  @Test func digestsSurviveTheirText() {
    let digest = Digest(of: Array("abc".utf8))
    #expect(digest.description == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    #expect(Digest(hexadecimal: digest.description) == digest)
    #expect(Digest(hexadecimal: digest.description.dropLast()) == nil)
    #expect(Digest(hexadecimal: digest.description + "0") == nil)
    #expect(Digest(hexadecimal: digest.description.uppercased()) == nil)
  }
}
