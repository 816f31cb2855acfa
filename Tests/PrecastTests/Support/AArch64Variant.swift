// The ways in which code for AArch64 is made that must not show in what it computes, numbered: tests of many modules take
// one way for each, in turn, and so meet every combination.

import Precast
import PrecastArtifact
import PrecastCompiler
import PrecastEmulatedRuntime
import PrecastLoader
import PrecastMachineCode
import PrecastRuntime
import PrecastWasm

/// A way to make code for AArch64.
struct AArch64Variant: Sendable, CustomStringConvertible {
  /// How accesses are kept in bounds.
  enum Memory: Int, CaseIterable {
    /// By the usual guard, which covers every offset up to 2 GiB.
    case guarded
    /// By a guard of 64 KiB; larger offsets are compared.
    case smallGuard
    /// Every access is compared.
    case checked
  }

  /// How the text is laid out.
  enum Layout: Int, CaseIterable {
    case usual
    /// Every call goes through a veneer.
    case veneers
    /// Functions are so far apart that calls do not reach, and conditional branches reach a few instructions.
    case apart
    /// All of that.
    case apartWithVeneers
  }

  /// How many there are.
  static let count = Memory.allCases.count * Layout.allCases.count * 8

  let number: Int
  let memory: Memory
  let layout: Layout
  let hasLandingPads: Bool
  let hasAddressMap: Bool
  /// An unlinked object, linked into memory, instead of an artifact on disk.
  let isObject: Bool

  /// A variant by a number; each has one in any `count` numbers that follow one another.
  init(_ number: Int) {
    self.number = number % Self.count
    var rest = self.number
    func digit(_ base: Int) -> Int {
      defer { rest /= base }
      return rest % base
    }
    memory = Memory.allCases[digit(Memory.allCases.count)]
    layout = Layout.allCases[digit(Layout.allCases.count)]
    hasLandingPads = digit(2) == 1
    hasAddressMap = digit(2) == 0
    isObject = digit(2) == 1
  }

  var description: String {
    "\(memory) memory, \(layout) layout" + (hasLandingPads ? ", landing pads" : "")
      + (hasAddressMap ? "" : ", no address map") + (isObject ? ", object" : "")
  }

  private var settings: CompilerSettings {
    var settings = CompilerSettings()
    settings.architecture = .aarch64
    settings.cpuFeatures = hasLandingPads ? .bti : []
    settings.addressMap = hasAddressMap
    switch memory {
    case .guarded: break
    case .smallGuard: settings.memoryGuardSize = 1 << 16
    case .checked: settings.memoryStrategy = .checked
    }
    return settings
  }

  private var testingLayout: TextLayoutTesting {
    var testing = TextLayoutTesting()
    if layout == .apart || layout == .apartWithVeneers {
      testing.padding = 40_000
      testing.reach = 1 << 16
      testing.conditionalReach = 256
      testing.testBitReach = 64
    }
    testing.forceVeneers = layout == .veneers || layout == .apartWithVeneers
    return testing
  }

  /// An engine with an emulated processor that takes the code.
  func engine(_ configuration: EngineConfiguration) -> Engine {
    let strategy: MemoryStrategy = memory == .checked ? .checked : .reserved
    return Engine(
      configuration: configuration,
      processor: EmulatedAArch64(memoryStrategy: strategy, instructionLimit: 200_000_000))
  }

  /// Compiles a module and loads it.
  ///
  /// - Parameter path: where the artifact comes to be.
  func module(_ engine: Engine, wasm: WasmBinary, artifact path: String) throws -> Module {
    var compiler = Compiler(settings: settings, threads: 1)
    compiler.testingLayout = testingLayout
    guard isObject else {
      try compiler.compile(wasm, toFile: path)
      return try Module(engine: engine, deserializeFile: path)
    }
    var options = ObjectOptions()
    // With sections of their own the linker places the functions; in one it can only put veneers around them.
    options.hasFunctionSections = layout != .usual
    let object = try compiler.compileObject(wasm, options: options)
    var text = TextSectionOptions()
    text.testing = testingLayout
    return try Module(
      engine: engine, linking: [LinkableObject(object, name: "module.o")], layout: LinkLayout(text: text))
  }
}
