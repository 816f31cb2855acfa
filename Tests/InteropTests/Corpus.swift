// The C functions in the folder `C`, what they are called with, and what is right.
//
// What is right is what the same functions do in a shared library that gcc makes for this machine and the system's
// linkers link and load. The functions change their data as they are called, so everybody makes the same calls in the
// same order, from fresh data.

import Foundation
import Glibc
import PrecastEmulator
import Synchronization
import TestSupport
import Testing

/// A call of a function, with the result as bits.
struct CorpusCall: Sendable, CustomStringConvertible {
  enum Result: Sendable { case integer64, integer32, double }
  var function: String
  var arguments: [Argument]
  var result: Result
  var description: String { "\(function)(\(arguments.map { "\($0)" }.joined(separator: ", ")))" }
}

enum Corpus {
  static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("C").path
  static let sources = [
    "support.c", "switches.c", "strings.c", "data.c", "odd.c", "even.c", "external.c", "floats.c",
  ]

  private static func call(
    _ function: String, _ arguments: Argument..., result: CorpusCall.Result = .integer64
  ) -> CorpusCall {
    CorpusCall(function: function, arguments: arguments, result: result)
  }

  /// The calls, in order.
  static let calls: [CorpusCall] = {
    var calls: [CorpusCall] = []
    for turn in 0..<3 as Range<UInt64> {
      let x = 0x1234_5678_9ABC &* (turn + 1)
      for kind in 0..<15 as Range<UInt64> { calls.append(call("classify", .integer64(kind), .integer64(x))) }
      calls.append(call("interpret", .integer64(0o1_2341_2341), .integer64(x & 0xFFFF)))
      calls.append(call("state_machine", .integer64(x), .integer64(200)))
      for number in 0..<9 as Range<UInt32> { calls.append(call("hash_of_name", .integer32(number))) }
      calls.append(call("reversed_hash", .integer64(x)))
      calls.append(call("bump", .integer64(x)))
      calls.append(call("walk_nodes", .integer64(x)))
      for index in [0, 7, 34_999, 35_000, 69_999] as [UInt64] {
        calls.append(call("data_reads", .integer64(index)))
        calls.append(call("zero_data", .integer64(index)))
      }
      calls.append(call("is_even", .integer32(1000 + UInt32(turn)), result: .integer32))
      calls.append(call("ackermann", .integer64(2), .integer64(10 + turn)))
      calls.append(call("call_with_many", .integer64(x), .double(2.5 + Double(turn))))
      for which in 0..<3 as Range<UInt64> { calls.append(call("through_pointer", .integer64(which), .integer64(x))) }
      calls.append(call("call_narrow", .integer64(~x), .integer64(x)))
      calls.append(call("narrow", .integer32(0xFFFF_FF00), .integer32(0x8000_0000), result: .integer32))
      calls.append(call("widen", .integer32(0xFFFF_FF00), .integer32(0x8000_0000)))
      calls.append(call("bytes", .integer64(x)))
      calls.append(call("call_host", .integer64(x), .integer64(turn)))
      calls.append(call("tail_call_host", .integer64(x), .integer64(turn)))
      calls.append(call("scale_by_host", .double(1.25), .integer64(turn + 3), result: .double))
      calls.append(call("let_host_call_back", .integer64(x)))
      calls.append(call("read_host_table", .integer64(turn)))
      calls.append(call("has_absent", .integer64(x)))
      calls.append(call("through_host_pointer", .integer64(x)))
      calls.append(call("polynomial", .double(Double(turn) - 0.7), result: .double))
      calls.append(call("single", .double(12.34 + Double(turn))))
      calls.append(call("convert", .double(-123_456.78)))
      calls.append(call("mean", .integer64(turn * 5), result: .double))
      calls.append(call("vectors", .integer64(x)))
      calls.append(call("recurse", .double(0.1), .integer64(50), result: .double))
    }
    return calls
  }()

  private static let compiled = Mutex<[Variant: [(name: String, bytes: [UInt8])]]>([:])

  /// The corpus compiled; once for each variant.
  static func objects(_ variant: Variant) throws -> [(name: String, bytes: [UInt8])] {
    try compiled.withLock { compiled in
      if let objects = compiled[variant] { return objects }
      let objects = try CompiledObjects(sources, in: folder, variant).objects
      compiled[variant] = objects
      return objects
    }
  }

  /// The results, as bits, that the calls should have.
  static let expected: [UInt64]? = try? NativeLibrary(sources + ["host.c"], in: folder).results(of: calls)

  /// What a host function does; the C functions in `host.c` do the same.
  static func mix(_ a: UInt64, _ b: UInt64) -> UInt64 { (a ^ b << 7) &* 0x9E37_79B9_7F4A_7C15 &+ b }
  static let table: [UInt64] = [0x1111, 0x2222, 0x3333, 0x4444]

  /// Compares what a program does with what is right.
  static func check(
    _ calls: [CorpusCall] = calls, _ expected: [UInt64]? = expected, sourceLocation: SourceLocation = #_sourceLocation,
    perform: (CorpusCall) throws -> UInt64
  ) throws {
    let expected = try #require(expected, sourceLocation: sourceLocation)
    for (call, right) in zip(calls, expected) {
      let result = try perform(call)
      #expect(result == right, "\(call)", sourceLocation: sourceLocation)
    }
  }
}

/// Functions of this process, called through C types that take all registers of arguments at once.
@safe
enum NativeCall {
  typealias Integer =
    @convention(c) (
      UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, Double, Double, Double, Double, Double, Double, Double, Double
    ) -> UInt64
  typealias Floating =
    @convention(c) (
      UInt64, UInt64, UInt64, UInt64, UInt64, UInt64, Double, Double, Double, Double, Double, Double, Double, Double
    ) -> Double

  /// Calls the function at an address of this process; the result's bits.
  static func perform(_ call: CorpusCall, at address: UInt64) -> UInt64 {
    var i: [UInt64] = []
    var d: [Double] = []
    for argument in call.arguments {
      switch argument {
      case .integer64(let value): i.append(value)
      // The psABI leaves the upper half unspecified.
      case .integer32(let value): i.append(UInt64(value) | 0xA5A5_A5A5 << 32)
      case .double(let value): d.append(value)
      case .float, .vector: preconditionFailure("no entry point takes one")
      }
    }
    i += Array(repeating: 0xA5A5_5A5A_A5A5_5A5A, count: 6 - i.count)
    d += Array(repeating: .nan, count: 8 - d.count)
    if call.result == .double {
      let function = unsafe unsafeBitCast(UInt(address), to: Floating.self)
      return function(i[0], i[1], i[2], i[3], i[4], i[5], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7]).bitPattern
    }
    let function = unsafe unsafeBitCast(UInt(address), to: Integer.self)
    let result = function(i[0], i[1], i[2], i[3], i[4], i[5], d[0], d[1], d[2], d[3], d[4], d[5], d[6], d[7])
    return call.result == .integer32 ? result & 0xFFFF_FFFF : result
  }
}

/// Sources as a shared library of this machine: gcc, the system's linker and its loader say what is right.
@safe
final class NativeLibrary {
  private let handle: UnsafeMutableRawPointer
  private let folder: TemporaryDirectory

  init(_ sources: [String], in sourceFolder: String) throws {
    folder = try TemporaryDirectory()
    try run(
      "gcc",
      ["-shared", "-fPIC", "-O1", "-ffp-contract=off", "-fno-builtin", "-Wl,-Bsymbolic", "-o", folder.file("right.so")]
        + sources.map { "\(sourceFolder)/\($0)" })
    guard let handle = unsafe dlopen(folder.file("right.so"), RTLD_NOW | RTLD_LOCAL) else {
      throw ToolFailure(description: unsafe dlerror().map { String(cString: $0) } ?? "dlopen failed")
    }
    unsafe self.handle = handle
  }

  deinit { unsafe _ = dlclose(handle) }

  func results(of calls: [CorpusCall]) throws -> [UInt64] {
    try calls.map { call in
      guard let symbol = unsafe dlsym(handle, call.function) else {
        throw ToolFailure(description: "no function \(call.function)")
      }
      return NativeCall.perform(call, at: UInt64(UInt(bitPattern: symbol)))
    }
  }
}
