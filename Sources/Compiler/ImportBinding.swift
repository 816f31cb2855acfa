// Imports that are bound to symbols of the platform.
//
// `MODULE.NAME=SYMBOL`: wherever the module calls the import, it calls the symbol, which a linker finds in some other object.
// Both names of an import may contain dots and anything else, so a path is not taken apart; it is compared with the
// two names of each import joined by a dot, and a path that two different imports have is refused.

import PrecastArtifact
import PrecastArtifactWriter
import PrecastWasm

/// An import, and the symbol that takes its place.
public struct ImportBinding: Sendable, Hashable {
  /// The names of the import, joined by a dot.
  public var path: String
  /// The symbol: a function with the platform's C calling convention.
  public var symbol: String

  /// Binds the import `MODULE.NAME`.
  public init(path: String, symbol: String) {
    self.path = path
    self.symbol = symbol
  }

  /// Reads `MODULE.NAME=SYMBOL`; nil without an equals sign, of which the last counts.
  public init?(_ text: String) {
    guard let equals = text.lastIndex(of: "=") else { return nil }
    self.init(path: String(text[..<equals]), symbol: String(text[text.index(after: equals)...]))
  }
}

/// Which imported functions are bound, and to what.
struct BoundImports: Sendable {
  /// By index of the imported function: position of its symbol in `symbols`, or `UInt32.max`. Empty without any.
  let positions: FixedBuffer<UInt32>
  /// The symbols, each once, in ascending order of their bytes.
  let symbols: [String]
  /// Indices of the bound functions, ascending.
  let functions: [Int]

  private init(_ positions: [UInt32], symbols: [String], functions: [Int]) {
    self.positions = FixedBuffer(positions)
    self.symbols = symbols
    self.functions = functions
  }

  /// None.
  init() { self.init([], symbols: [], functions: []) }

  /// Finds the imports that `bindings` name.
  ///
  /// - Throws: `CompilerError.binding` for a path that is no import's or more than one's, an import that is no function
  ///   or has a type that C has not, and a name that is no symbol's.
  init(_ bindings: [ImportBinding], of module: WasmModule) throws(CompilerError) {
    if bindings.isEmpty {
      self = BoundImports()
      return
    }
    // Imports by path; most modules have few, and a hostile one costs its own size.
    var imports: [ExactName: [Int]] = [:]
    for (index, entry) in module.imports.enumerated() {
      imports[ExactName("\(entry.module).\(entry.name)"), default: []].append(index)
    }
    var functionIndices: [Int] = []
    functionIndices.reserveCapacity(module.imports.count)
    var next = 0
    for entry in module.imports {
      functionIndices.append(next)
      if case .function = entry.descriptor { next += 1 }
    }
    var names: [Int: String] = [:]
    var seen: Set<ExactName> = []
    for binding in bindings {
      guard seen.insert(ExactName(binding.path)).inserted else {
        throw .binding("the import \(binding.path) is bound twice")
      }
      guard Self.isSymbol(binding.symbol) else {
        throw .binding("'\(binding.symbol)' is no name for a symbol (to bind \(binding.path) to)")
      }
      guard let found = imports[ExactName(binding.path)], let first = found.first else {
        throw .binding("there is no import \(binding.path) to bind; \(Self.functionImports(of: module))")
      }
      for index in found {
        let entry = module.imports[index]
        let other = module.imports[first]
        guard ExactName(entry.module) == ExactName(other.module), ExactName(entry.name) == ExactName(other.name) else {
          throw .binding(
            "the import \(binding.path) to bind is ambiguous: there are '\(other.module)' '\(other.name)' and "
              + "'\(entry.module)' '\(entry.name)'")
        }
        guard case .function(let type) = entry.descriptor else {
          throw .binding("the import \(binding.path) cannot be bound: it is no function")
        }
        try Self.check(module.types[Int(type)], binding)
        names[functionIndices[index]] = binding.symbol
      }
    }
    // By bytes, as in the symbol table.
    let sorted = Set(names.values.map(ExactName.init)).sorted()
    let places = Dictionary(uniqueKeysWithValues: sorted.enumerated().map { ($0.element, UInt32($0.offset)) })
    let positions = (0..<module.importedFunctionCount).map { index in
      names[index].flatMap { places[ExactName($0)] } ?? .max
    }
    self = BoundImports(positions, symbols: sorted.map(\.string), functions: names.keys.sorted())
  }

  /// Whether an imported function is bound.
  @inline(__always)
  func isBound(_ index: UInt32) -> Bool { index < positions.count && positions[Int(index)] != .max }

  // What C has no type for, or returns in a way of its own.
  private static func check(_ type: FunctionType, _ binding: ImportBinding) throws(CompilerError) {
    for value in type.parameters + type.results where ![.i32, .i64, .f32, .f64].contains(value) {
      throw .binding("the import \(binding.path) cannot be bound: C has no \(value) (its type is \(type))")
    }
    guard type.results.count <= 1 else {
      throw .binding("the import \(binding.path) cannot be bound: it has \(type.results.count) results")
    }
  }

  private static func isSymbol(_ name: String) -> Bool {
    !name.isEmpty && name.utf8.allSatisfy { $0 > 0x20 && $0 != 0x7F }
  }

  // What could be bound, for whoever mistyped it.
  private static func functionImports(of module: WasmModule) -> String {
    let most = 20
    var list: [String] = []
    var count = 0
    for entry in module.imports {
      guard case .function = entry.descriptor else { continue }
      count += 1
      if list.count < most { list.append("\(entry.module).\(entry.name)") }
    }
    if count == 0 { return "the module imports no function" }
    return "the module imports " + list.joined(separator: ", ") + (count > most ? ", and \(count - most) more" : "")
  }
}
