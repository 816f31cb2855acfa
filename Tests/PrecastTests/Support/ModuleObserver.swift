// What a module does, in lines of text: results, traps, memories, globals and tables.
//
// `Tests/Tools/observe-wasmtime.py` makes the same observations in another runtime, and says what the lines are.

import Precast
import PrecastArtifact
import PrecastRuntime
import Testing

/// Makes the observations of one module.
struct ModuleObserver {
  private static let integers: [Int64] = [0, 1, -1, 7, 255, 65536, -2_147_483_648, 2_147_483_647]
  private static let floats: [Double] = [0.0, 1.5, -1.0, 1e10, -0.0, .infinity, 3e-40, .nan]

  let module: Module

  /// Instantiates the module and calls its functions.
  ///
  /// - Throws: what calls throw that is not a trap.
  func observe() throws -> [String] {
    let exports = module.exports.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
    let functions = exports.indices.filter { exports[$0].type.kind == .function }
    var lines: [String] = []
    for (round, calls) in ([functions] + functions.map { [$0] }).enumerated() {
      lines.append("round \(round)")
      let store = Store(engine: module.engine)
      let instance: Instance
      do {
        instance = try module.instantiate(store: store, imports: Imports())
      } catch let trap as Trap {
        lines.append("instantiate: trap \(trap.code)")
        continue
      }
      for number in calls {
        let function = try #require(instance.exports[function: exports[number].name])
        lines.append("call \(number): \(try call(function, round: round))")
      }
      for (number, export) in exports.enumerated() {
        switch export.type {
        case .global:
          let global = try #require(instance.exports[global: export.name])
          lines.append("global \(number): \(show(global.value))")
        case .memory:
          let memory = try #require(instance.exports[memory: export.name])
          lines.append("memory \(number): \(digest(memory))")
        case .table:
          let table = try #require(instance.exports[table: export.name])
          lines.append("table \(number): \(table.count)")
        case .function: break
        }
      }
    }
    return lines
  }

  private func call(_ function: Function, round: Int) throws -> String {
    let arguments = function.type.parameters.enumerated().map { position, type -> Value in
      let index = (round * 3 + position) % 8
      return switch type {
      case .i32: .i32(UInt32(truncatingIfNeeded: Self.integers[index]))
      case .i64: .i64(UInt64(bitPattern: Self.integers[index]))
      case .f32: .f32(Float(Self.floats[index]).bitPattern)
      case .f64: .f64(Self.floats[index].bitPattern)
      default: Value(defaultOf: type)
      }
    }
    do {
      return try function.invoke(arguments).map(show).joined(separator: " ")
    } catch let trap as Trap {
      // Wasmtime has one code for both.
      return "trap \(trap.code == .undefinedElement ? .tableOutOfBounds : trap.code)"
    }
  }

  private func show(_ value: Value) -> String {
    func hex(_ bits: some FixedWidthInteger & UnsignedInteger, _ digits: Int) -> String {
      let text = String(bits, radix: 16)
      return String(repeating: "0", count: digits - text.count) + text
    }
    return switch value {
    case .i32(let bits): "i32:\(Int32(bitPattern: bits))"
    case .i64(let bits): "i64:\(Int64(bitPattern: bits))"
    case .f32(let bits): Float(bitPattern: bits).isNaN ? "f32:nan" : "f32:" + hex(bits, 8)
    case .f64(let bits): Double(bitPattern: bits).isNaN ? "f64:nan" : "f64:" + hex(bits, 16)
    case .v128: "v128"
    case .funcref(let function): function == nil ? "funcref:null" : "funcref:some"
    case .externref(let reference): reference == nil ? "externref:null" : "externref:some"
    }
  }

  private func digest(_ memory: Memory) -> String {
    memory.withUnsafeMutableBytes { bytes in
      var hash: UInt64 = 0xcbf2_9ce4_8422_2325
      for offset in stride(from: 0, to: bytes.count, by: 8) {
        hash = (hash ^ bytes.loadUnaligned(fromByteOffset: offset, as: UInt64.self)) &* 0x100_0000_01b3
      }
      let text = String(hash, radix: 16)
      return "\(bytes.count) " + String(repeating: "0", count: 16 - text.count) + text
    }
  }
}
