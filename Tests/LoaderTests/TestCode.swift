// The machine code of `CLoaderTestCode`, and entering it.

import CLoaderTestCode
import CPrecastHost
import PrecastArtifact

/// A function or a place in the test code.
enum TestCode {
  static func address(_ symbol: UnsafeRawPointer) -> UInt64 { UInt64(UInt(bitPattern: symbol)) }

  /// The bytes of the trap table for the code's trap sites. Never freed: handlers read it.
  nonisolated(unsafe) static let trapTable: UnsafeBufferPointer<UInt8> = {
    var sites: UnsafePointer<lt_site>?
    let count = lt_sites(&sites)
    let bytes = encodeTrapTable((0..<count).map { (sites![$0].offset, UInt8(sites![$0].code)) })
    let copy = UnsafeMutableBufferPointer<UInt8>.allocate(capacity: bytes.count)
    _ = copy.initialize(from: bytes)
    return UnsafeBufferPointer(copy)
  }()

  static let isRegistered: Bool = lt_register(trapTable.baseAddress, trapTable.count)

  /// A `.wasmtime.traps` section with these sites, as one function at the start of the text.
  static func encodeTrapTable(_ sites: [(offset: UInt32, code: UInt8)]) -> [UInt8] {
    var encoder = TrapTableEncoder()
    encoder.begin()
    for site in sites.sorted(by: { $0.offset < $1.offset }) {
      encoder.add(codeOffset: site.offset, code: TrapCode(rawValue: site.code)!)
    }
    let count = encoder.finish()
    return encoder.bytes.withUnsafeBytes { bytes in
      let section = TrapTable.encoded([CodeRun(textOffset: 0, base: bytes.baseAddress!, count: count)])!
      return section.withUnsafeBytes { [UInt8]($0) }
    }
  }

  /// The wait status of a scenario in a process of its own.
  static func scenario(_ name: String) -> ProcessEnd {
    ProcessEnd(waitStatus: lt_run_scenario_with_traps(name, trapTable.baseAddress, trapTable.count))
  }
}

/// How a process ended.
enum ProcessEnd: Equatable {
  case exit(Int32)
  case signal(Int32)

  init(waitStatus: Int32) {
    let signal = waitStatus & 0x7F
    self = signal == 0 ? .exit(waitStatus >> 8 & 0xFF) : .signal(signal)
  }
}

/// How an entry ended.
enum Ended: Equatable {
  case returned(UInt64)
  case trapped(code: UInt32, signal: Int32)
  case hostError
}

typealias HostFunction = (_ store: TestStore, _ slots: UnsafeMutablePointer<lt_slot>) -> Bool

/// A store with an instance and one host function.
final class TestStore {
  let raw: UnsafeMutablePointer<lt_store>
  var hostFunction: HostFunction?

  init(maxWasmStack: UInt64 = 0) {
    raw = .allocate(capacity: 1)
    precondition(TestCode.isRegistered)
    lt_store_init(raw)
    raw.pointee.store.max_wasm_stack = maxWasmStack
    raw.pointee.store.opaque = Unmanaged.passUnretained(self).toOpaque()
    raw.pointee.host_function.host_callback = { host, _, slots in
      let context = host!.assumingMemoryBound(to: lt_context.self)
      let store = Unmanaged<TestStore>.fromOpaque(context.pointee.store.pointee.opaque).takeUnretainedValue()
      return store.hostFunction!(store, slots!.assumingMemoryBound(to: lt_slot.self)) ? 0 : 1
    }
  }

  deinit { raw.deallocate() }

  /// Enters `code`; `inspect` sees the activation after it ended.
  @discardableResult
  func enter(
    _ code: UnsafeRawPointer, _ a: UInt64 = 0, _ b: UInt64 = 0,
    inspect: (UnsafeMutablePointer<precast_activation>) -> Void = { _ in }
  ) -> Ended {
    // Uninitialised on purpose: precast_enter promises to fill it in.
    withUnsafeTemporaryAllocation(of: precast_activation.self, capacity: 1) { buffer in
      let activation = buffer.baseAddress!
      UnsafeMutableRawPointer(activation).initializeMemory(
        as: UInt8.self, repeating: 0xAA, count: MemoryLayout<precast_activation>.size)
      var result: UInt64 = 0
      let ended = lt_enter(raw, code, a, b, activation, &result)
      inspect(activation)
      if ended == 0 { return .returned(result) }
      if activation.pointee.trap_code == 0 { return .hostError }
      return .trapped(code: activation.pointee.trap_code, signal: activation.pointee.trap_signal)
    }
  }
}

/// The frames of a walk.
func walk(_ activation: UnsafePointer<precast_activation>?, capacity: Int = 4096) -> (
  frames: [precast_frame], truncated: Bool
) {
  var truncated = false
  let frames = [precast_frame](unsafeUninitializedCapacity: capacity) { buffer, count in
    count = precast_stack_walk(activation, buffer.baseAddress!, capacity, &truncated)
  }
  return (frames, truncated)
}
