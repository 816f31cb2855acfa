// What a module is given, by two names each.

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
public struct Imports {
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
  private var values: [Key: ExternalValue] = [:]

  /// Makes an empty set of imports.
  public init() {}

  /// Defines an import.
  public mutating func define(module: String, name: String, _ value: ExternalValue) {
    values[Key(module: module, name: name)] = value
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

  /// What is defined for a pair of names.
  public func lookup(module: String, name: String) -> ExternalValue? { values[Key(module: module, name: name)] }
}
