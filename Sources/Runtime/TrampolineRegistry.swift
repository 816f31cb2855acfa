// Where host functions get the code by which wasm can call them.
//
// Without a compiler, a host function of some type can be called only through an exit trampoline that came with an
// artifact. An import uses the importing module's own. But a host function may also be put into a table, or passed as
// a `funcref`, before any module that has its type is there. So the store knows the trampolines of the modules
// instantiated in it, and the host functions that still wait for one: a `call_indirect` can reach a function only with
// the function's own type, so whoever could call it brings the trampoline along, and is instantiated before it runs.

import PrecastLoader

/// The exit trampolines of a store's modules, by canonical signature number.
///
/// A module's types are looked at only when some host function needs it, so that instantiation does not depend on how
/// many there are.
@safe
struct TrampolineRegistry {
  private var addresses: [UInt32: UInt] = [:]
  private var known: Set<ObjectIdentifier> = []
  private var newest: Module?
  private static let mostUnread = 64
  // The modules are also kept by their instances, so that the text that addresses point into stays.
  private var unread: [(module: Module, signatures: SignatureTable)] = []
  // Blocks of the store's arena.
  private var waiting: [UInt32: [Function.Reference]] = [:]

  /// Gives a host function its code, now or as soon as a module has it.
  mutating func provide(_ reference: UnsafeMutablePointer<FunctionReferenceBlock>) {
    let signature = unsafe reference.pointee.signature
    unsafe waiting[signature, default: []].append(Function.Reference(reference))
    if addresses[signature] == nil { readModules() }
    resolve(signature)
  }

  /// Takes note of a module that is instantiated.
  mutating func add(_ module: Module, signatures: SignatureTable) {
    // The usual case, many instances of one module or one of each, costs one comparison.
    if module === newest { return }
    newest = module
    unread.append((module, signatures))
    if waiting.isEmpty && unread.count < Self.mostUnread { return }
    readModules()
    for signature in Array(waiting.keys) { resolve(signature) }
  }

  private mutating func readModules() {
    for (module, signatures) in unread where known.insert(ObjectIdentifier(module)).inserted {
      for typeIndex in 0..<signatures.count where addresses[signatures[typeIndex]] == nil {
        addresses[signatures[typeIndex]] = module.artifact.exitTrampoline(typeIndex: typeIndex)
      }
    }
    unread = []
  }

  private mutating func resolve(_ signature: UInt32) {
    guard let address = addresses[signature], let references = waiting.removeValue(forKey: signature) else { return }
    for reference in references { unsafe reference.block.pointee.code = address }
  }
}
