// Where host functions get the code by which wasm can call them.
//
// Without a compiler, a host function of some type can be called only through an exit trampoline that came with an
// artifact. An import uses the importing module's own. But a host function may also be put into a table, or passed as
// a `funcref`, before any module that has its type is there. So the store knows the trampolines of the modules
// instantiated in it, and the host functions that still wait for one: a `call_indirect` can reach a function only with
// the function's own type, so whoever could call it brings the trampoline along, and is instantiated before it runs.

import PrecastLoader

/// The exit trampolines of a store's modules, by canonical signature number.
@safe
struct TrampolineRegistry {
  private var addresses: [UInt32: UInt] = [:]
  private var scanned: Set<ObjectIdentifier> = []
  // Keeps the text that the addresses point into.
  private var modules: [Module] = []
  // Blocks of the store's arena.
  private var waiting: [UInt32: [UnsafeMutablePointer<FunctionReferenceBlock>]] = unsafe [:]

  /// Gives a host function its code, now or as soon as a module has it.
  mutating func provide(_ reference: UnsafeMutablePointer<FunctionReferenceBlock>) {
    let signature = unsafe reference.pointee.signature
    if let address = addresses[signature] {
      unsafe reference.pointee.code = address
    } else {
      unsafe waiting[signature, default: []].append(reference)
    }
  }

  /// Learns a module's trampolines. `signatures` are the canonical numbers of its types.
  mutating func add(_ module: Module, signatures: some Collection<UInt32>) {
    guard scanned.insert(ObjectIdentifier(module)).inserted else { return }
    modules.append(module)
    for (typeIndex, signature) in signatures.enumerated() where addresses[signature] == nil {
      guard let address = module.artifact.exitTrampoline(typeIndex: typeIndex) else { continue }
      addresses[signature] = address
      guard let references = unsafe waiting.removeValue(forKey: signature) else { continue }
      for index in unsafe references.indices { unsafe references[index].pointee.code = address }
    }
  }
}
