// What a module is given, by two names each.
//
// There are two kinds of imports. Some belong to a store, because they are something in it: an export of another instance,
// a memory of the host. Others are only descriptions, of which each instance gets its own: host functions that are a
// closure and a type, and stand-ins for whatever is missing. Imports made of descriptions alone serve any number of
// stores on any thread, and a module need look them up only once (`Resolution.swift`): so they are made once, when a
// program starts, and an instance made with them costs nothing for finding them.

import PrecastArtifact
public import PrecastWasm
import Synchronization

/// Something that an instance exports or imports.
///
/// Spec: Core 4.2.11, "External Values".
public enum ExternalValue: Equatable {
  /// A function.
  case function(Function)
  /// A table.
  case table(Table)
  /// A linear memory.
  case memory(Memory)
  /// A global.
  case global(Global)

  /// The type; of memories and tables with the current size as minimum.
  public var type: ExternalType {
    switch self {
    case .function(let function): .function(function.type)
    case .table(let table): .table(table.type)
    case .memory(let memory): .memory(memory.type)
    case .global(let global): .global(global.type)
    }
  }

  /// The function, if it is one.
  public var function: Function? { if case .function(let function) = self { function } else { nil } }
  /// The table, if it is one.
  public var table: Table? { if case .table(let table) = self { table } else { nil } }
  /// The memory, if it is one.
  public var memory: Memory? { if case .memory(let memory) = self { memory } else { nil } }
  /// The global, if it is one.
  public var global: Global? { if case .global(let global) = self { global } else { nil } }

  var store: Store {
    switch self {
    case .function(let function): function.store
    case .table(let table): table.store
    case .memory(let memory): memory.store
    case .global(let global): global.store
    }
  }
}

/// What a module is given when it is instantiated. A later definition of the same names replaces the earlier one.
///
/// A value: copies are cheap, and independent of each other. Imports that hold no values of a store may be used with
/// any store, also on several threads at once; values of a store are of use only with that store.
public struct Imports: @unchecked Sendable {
  // Sendable without the compiler's help, because values of a store cannot be got out of it but by somebody who has the
  // store (`lookup` and `instantiate` take it, and compare), and dropping the last reference to a store is allowed on
  // any thread.

  /// Names are compared as the bytes that they are in a binary; strings compare equal where only a canonical form is.
  private struct Key: Hashable {
    var module: String
    var name: String

    static func == (left: Key, right: Key) -> Bool {
      left.module.utf8.elementsEqual(right.module.utf8) && left.name.utf8.elementsEqual(right.name.utf8)
    }

    // Equal bytes have equal hashes; that canonically equal strings have too does no harm.
    func hash(into hasher: inout Hasher) {
      hasher.combine(module)
      hasher.combine(name)
    }
  }

  /// What stands for a pair of names.
  enum Definition {
    /// Something of a store.
    case value(ExternalValue)
    /// A host function that each instance gets for itself.
    case host(HostFunctionEntity)
    /// A memory, table or global that each instance gets for itself: of that type, zero or null. (Never a function.)
    case new(ExternalType)
  }

  private var definitions: [Key: Definition] = [:]
  /// A number that no other contents have: equal stamps, equal contents. 0: nothing was ever defined.
  private(set) var stamp: UInt64 = 0
  /// Whether a value of a store was ever defined. Such imports keep their store alive.
  private(set) var hasStoreValues = false
  private static let lastStamp = Atomic<UInt64>(0)

  /// Makes an empty set of imports.
  public init() {}

  private mutating func set(_ module: String, _ name: String, _ definition: Definition) {
    definitions[Key(module: module, name: name)] = definition
    if case .value = definition { hasStoreValues = true }
    stamp = Self.lastStamp.wrappingAdd(1, ordering: .relaxed).newValue
  }

  func definition(module: String, name: String) -> Definition? { definitions[Key(module: module, name: name)] }

  /// Whether there is a definition for a pair of names.
  public func isDefined(module: String, name: String) -> Bool { definition(module: module, name: name) != nil }

  /// What is defined for a pair of names, in a store: nil when there is nothing, or something of another store. Of a host
  /// function without a store, each call makes a new function.
  public func lookup(module: String, name: String, in store: Store) -> ExternalValue? {
    switch definition(module: module, name: name) {
    case .value(let value): return value.store === store ? value : nil
    case .host(let entity): return .function(store.makeHostFunction(entity))
    case .new(let type): return try? store.makeNew(type, guardSize: store.engine.configuration.memoryGuardSize)
    case nil: return nil
    }
  }

  // MARK: Values of a store

  /// Defines an import.
  public mutating func define(module: String, name: String, _ value: ExternalValue) {
    set(module, name, .value(value))
  }

  /// Defines an imported function.
  public mutating func define(module: String, name: String, _ function: Function) {
    define(module: module, name: name, .function(function))
  }

  /// Defines an imported table.
  public mutating func define(module: String, name: String, _ table: Table) {
    define(module: module, name: name, .table(table))
  }

  /// Defines an imported memory.
  public mutating func define(module: String, name: String, _ memory: Memory) {
    define(module: module, name: name, .memory(memory))
  }

  /// Defines an imported global.
  public mutating func define(module: String, name: String, _ global: Global) {
    define(module: module, name: name, .global(global))
  }

  /// Defines everything that an instance exports, under a module name.
  public mutating func define(module: String, _ instance: Instance) { define(module: module, instance.exports) }

  /// Defines everything that an instance exports, under a module name.
  public mutating func define(module: String, _ exports: Exports) {
    for (name, value) in exports { define(module: module, name: name, value) }
  }

  // MARK: Host functions that belong to no store

  /// Defines a host function that reads its parameters from, and writes its results to, slots directly; see
  /// ``Function/init(store:type:raw:)``.
  ///
  /// Every instance gets the function for itself: two instances' functions are not equal, though the closure is the same.
  public mutating func define(
    module: String, name: String, type: FunctionType,
    raw body: @escaping @Sendable (borrowing Caller, borrowing ValueSlots) throws -> Void
  ) {
    set(module, name, .host(HostFunctionEntity(type: type, body: body)))
  }

  /// Defines a host function of any type that gets its arguments and returns its results as values; see
  /// ``Function/init(store:type:_:)``.
  public mutating func define(
    module: String, name: String, type: FunctionType,
    _ body: @escaping @Sendable (borrowing Caller, [Value]) throws -> [Value]
  ) {
    set(module, name, .host(HostFunctionEntity(type: type, body: HostFunctionEntity.body(type, body))))
  }

  /// Defines a host function of a Swift closure; its WebAssembly type follows from the closure's.
  ///
  /// ```swift
  /// imports.define(module: "env", name: "add") { (a: Int32, b: Int32) -> Int32 in a &+ b }
  /// ```
  @inlinable
  public mutating func define<each Parameter: WasmValue, each Result: WasmValue>(
    module: String, name: String, _ body: @escaping @Sendable (repeat each Parameter) throws -> (repeat each Result)
  ) {
    define(module: module, name: name) { (_: borrowing Caller, parameters: repeat each Parameter) in
      try body(repeat each parameters)
    }
  }

  /// Defines a host function of a Swift closure whose first parameter is the caller.
  @inlinable
  public mutating func define<each Parameter: WasmValue, each Result: WasmValue>(
    module: String, name: String,
    _ body: @escaping @Sendable (borrowing Caller, repeat each Parameter) throws -> (repeat each Result)
  ) {
    var parameters: [ValueType] = []
    repeat parameters.append((each Parameter).valueType)
    var results: [ValueType] = []
    repeat results.append((each Result).valueType)
    define(
      module: module, name: name, type: FunctionType(parameters: parameters, results: results),
      raw: { caller, slots in
        var index = -1
        // Pack expansions are evaluated in order, so the counter walks over the parameters, then over the results.
        let result: (repeat each Result) = try body(
          caller, repeat (each Parameter).read(from: slots, at: nextIndex(&index)))
        index = -1
        repeat try (each result).write(to: slots, at: nextIndex(&index))
      })
  }

  // MARK: Stand-ins

  /// Imports that let a module be instantiated whatever it imports; see ``fillMissing(for:)``.
  public static func trapping(for module: Module) -> Imports {
    var imports = Imports()
    imports.fillMissing(for: module)
    return imports
  }

  /// Defines a stand-in for everything that a module imports and that is not defined: a function that ends the call
  /// with a `RuntimeError` of kind `unknownImport` that names it; a new memory or table of the least size, or a new
  /// global, all zero or null, of its own for each instance.
  public mutating func fillMissing(for module: Module) {
    for needed in module.imports where !isDefined(module: needed.module, name: needed.name) {
      guard case .function(let type) = needed.type else {
        set(needed.module, needed.name, .new(needed.type))
        continue
      }
      let message =
        "unknown import: \(needed.module.printable).\(needed.name.printable) (\(needed.type)) was called, "
        + "but is not defined"
      define(
        module: needed.module, name: needed.name, type: type,
        raw: { _, _ in
          throw RuntimeError(.unknownImport, message)
        })
    }
  }
}

extension Store {
  /// A memory, table or global of a type, zero or null.
  func makeNew(_ type: ExternalType, guardSize: Int) throws(RuntimeError) -> ExternalValue {
    switch type {
    case .memory(let type):
      .memory(
        Memory(
          store: self, entity: unsafe try makeMemory(type: type, guardSize: guardSize, pair: arena.allocate(16))))
    case .table(let type): .table(try Table(store: self, type: type))
    case .global(let type):
      .global(try Global(store: self, type: type, value: Value(defaultOf: type.value)))
    case .function: throw RuntimeError(.unknownImport, "a function cannot be made of its type")
    }
  }
}
