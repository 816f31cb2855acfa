// What the system's unwinder makes of loaded code, under each way of registering.

import CLoaderTestCode
import CPrecastHost
import Foundation
import Testing

@testable import PrecastLoader

@Suite struct UnwindTests {
  /// A loaded artifact, and stores that enter it through its own trampolines.
  struct World {
    let loaded: LoadedArtifact
    private let tables: LoadedArtifact
    let stores: [TestStore]

    /// `sound`: the same artifact, where the tables of the one to load cannot be read.
    init(
      _ path: String, _ unwinding: UnwindRegistration, stores count: Int = 2, sound: LoadedArtifact? = nil
    ) throws {
      loaded = try LoadedArtifact(path: path, unwinding: unwinding)
      tables = sound ?? loaded
      let offset = try #require(tables.entryTrampoline(typeIndex: 0)) - tables.textBase
      let entry = unsafeBitCast(loaded.textBase + offset, to: precast_entry.self)
      stores = (0..<count).map { _ in
        let store = TestStore()
        store.raw.pointee.entry = entry
        return store
      }
    }

    func code(_ name: String) throws -> UnsafeRawPointer {
      let address = try #require(tables.functionAddress(TestArtifact.index(name)))
      return UnsafeRawPointer(bitPattern: address - tables.textBase + loaded.textBase)!
    }
  }

  /// What the loaded frames of a backtrace are, innermost first: labels of the test code.
  private func wasmFrames(_ pcs: ArraySlice<UInt64>, _ world: World) -> [String] {
    pcs.compactMap { pc in
      let (offset, isBelow) = UInt(pc).subtractingReportingOverflow(world.loaded.textBase)
      guard !isBelow, offset < UInt(Label.textEnd - Label.textStart) else { return nil }
      func within(_ start: UnsafeRawPointer, _ end: UnsafeRawPointer) -> Bool {
        (UInt(start - Label.textStart)..<UInt(end - Label.textStart)).contains(offset)
      }
      if offset == UInt(Label.callHostReturn - Label.textStart) { return "call_host" }
      if within(Label.entry, Label.exit) { return "entry" }
      if within(Label.exit, Label.add) { return "exit" }
      return "elsewhere"
    }
  }

  private func backtrace() -> [UInt64] {
    var pcs = [UInt64](repeating: 0, count: 1000)
    let count = pcs.withUnsafeMutableBufferPointer { lt_unwind($0.baseAddress!, $0.count) }
    return Array(pcs.prefix(count))
  }

  /// Wasm above a host above wasm above a host: every frame is there, and the walk goes on to where it began.
  @Test(arguments: [UnwindRegistration.perModule, .shared])
  func backtracesReportEveryFrame(_ unwinding: UnwindRegistration) throws {
    try TestArtifact.withFile { path in
      let world = try World(path, unwinding)
      let code = try world.code("call_host")
      let outside = backtrace()
      var inside: [UInt64] = []
      world.stores[1].hostFunction = { _, _ in
        inside = backtrace()
        return true
      }
      world.stores[0].hostFunction = { _, _ in world.stores[1].enter(code) == .returned(0) }
      #expect(world.stores[0].enter(code) == .returned(0))
      let frames = wasmFrames(inside[...], world)
      #expect(frames == ["exit", "call_host", "entry", "exit", "call_host", "entry"])
      // Entered twice, by the same function.
      #expect(inside.filter(lt_is_in_precast_enter).count == 2)
      // On to where this thread began.
      #expect(outside.count > 3 && inside.suffix(3) == outside.suffix(3))
    }
  }

  /// The trampolines' callers find their registers again.
  @Test(arguments: [UnwindRegistration.perModule, .shared])
  func registersOfTheHostAreRestored(_ unwinding: UnwindRegistration) throws {
    try TestArtifact.withFile { path in
      let world = try World(path, unwinding)
      let code = try world.code("call_host")
      var registers = [UInt64](repeating: 0, count: 5)
      var isFound = false
      // From a nested activation: through two entry trampolines.
      world.stores[1].hostFunction = { _, _ in
        isFound = lt_unwind_to_marked(&registers)
        return true
      }
      world.stores[0].hostFunction = { _, _ in world.stores[1].enter(code) == .returned(0) }
      #expect(lt_enter_marked(world.stores[0].raw, code) == 0)
      #expect(isFound)
      #expect(registers == [0x3333, 0xCCCC, 0xDDDD, 0xEEEE, 0xFFFF])
    }
  }

  @Test func withoutRegistrationABacktraceEndsAtWasm() throws {
    try TestArtifact.withFile { path in
      let world = try World(path, .none, stores: 1)
      var inside: [UInt64] = []
      world.stores[0].hostFunction = { _, _ in
        inside = backtrace()
        return true
      }
      #expect(world.stores[0].enter(try world.code("call_host")) == .returned(0))
      #expect(wasmFrames(inside[...], world) == ["exit"])
      #expect(wasmFrames(inside.suffix(1), world) == ["exit"])
    }
  }

  /// Damage in a module's own tables reaches nobody in the shared mode.
  @Test func sharedRegistrationDoesNotReadTheModulesTables() throws {
    var bytes = try TestArtifact.make()
    let sound = try LoadedArtifact(bytes: bytes.span.bytes, unwinding: .none)
    let extent = sound.header.extent(of: .ehFrame)
    for k in Int(extent.offset)..<Int(extent.offset + extent.size) { bytes[k] = 0xFF }
    let path = NSTemporaryDirectory() + "/precast-unwind-\(UUID().uuidString).cwasm"
    defer { unlink(path) }
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    let world = try World(path, .shared, stores: 1, sound: sound)
    var inside: [UInt64] = []
    world.stores[0].hostFunction = { _, _ in
      inside = backtrace()
      return true
    }
    #expect(world.stores[0].enter(try world.code("call_host")) == .returned(0))
    #expect(wasmFrames(inside[...], world) == ["exit", "call_host", "entry"])
  }

  @Test func theUnwinderOfThisProcessIsLibgccs() {
    #expect(precast_find_unwinder() == PRECAST_UNWINDER_LIBGCC)
  }
}
