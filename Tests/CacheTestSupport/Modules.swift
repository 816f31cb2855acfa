// Small modules whose answers are known, for the tests of the cache and for the processes that they start.

public import Precast

/// A module that exports one function, `f`, without parameters, which returns `answer`. `padding` makes the code larger.
public func module(answer: Int32, padding: Int = 0) -> [UInt8] {
  func leb(_ value: Int) -> [UInt8] {
    var value = value
    var bytes: [UInt8] = []
    repeat {
      let byte = UInt8(value & 0x7F)
      value >>= 7
      bytes.append(value == 0 ? byte : byte | 0x80)
    } while value != 0
    return bytes
  }
  func signed(_ value: Int32) -> [UInt8] {
    var value = value
    var bytes: [UInt8] = []
    while true {
      let byte = UInt8(truncatingIfNeeded: value & 0x7F)
      value >>= 7
      if value == 0 && byte & 0x40 == 0 || value == -1 && byte & 0x40 != 0 { return bytes + [byte] }
      bytes.append(byte | 0x80)
    }
  }
  func section(_ id: UInt8, _ contents: [UInt8]) -> [UInt8] { [id] + leb(contents.count) + contents }
  let body: [UInt8] = [0, 0x41] + signed(answer) + [0x0B]
  // Functions nobody calls: i32.const n; i32.const n; i32.add; ... ; end.
  let filler: [UInt8] = [0, 0x41] + signed(answer) + [0x41, 1, 0x6A, 0x0B]
  let functions = [body] + [[UInt8]](repeating: filler, count: padding)
  let bodies = functions.flatMap { leb($0.count) + $0 }
  return [0, 0x61, 0x73, 0x6D, 1, 0, 0, 0]
    + section(1, [1, 0x60, 0, 1, 0x7F])
    + section(3, leb(functions.count) + [UInt8](repeating: 0, count: functions.count))
    + section(7, [1, 1, UInt8(ascii: "f"), 0, 0])
    + section(10, leb(functions.count) + bodies)
}

/// What the module's `f` returns.
public func answer(of module: Module) throws -> Int32 {
  let store = Store(engine: module.engine)
  let instance = try module.instantiate(store: store)
  guard let function = instance.exports[function: "f"] else { throw Unexpected("no f") }
  guard case .i32(let bits)? = try function.invoke([]).first else { throw Unexpected("no result") }
  return Int32(bitPattern: bits)
}

/// What a module should not have done.
public struct Unexpected: Error {
  /// In words.
  public var what: String

  /// Says what.
  public init(_ what: String) { self.what = what }
}
