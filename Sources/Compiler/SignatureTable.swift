// Where arguments and results of each function type stand, worked out once a module.
//
// The convention is ours, so it is chosen for a single-pass compiler: arguments arrive in registers
// that may stay the home of the parameter for the whole function, the first result is in the
// register that a block's result would be in, and everything else is in the caller's outgoing area:
// stack arguments first, then the results after the first.

import PrecastMachineCode
import PrecastWasm

/// Where a value stands at a call.
struct ValueLocation: BitwiseCopyable {
  enum Kind: UInt8 {
    case general
    case vector
    /// In the caller's outgoing area, `offset` bytes from its start.
    case stack
  }
  var kind: Kind
  var type: ValueType
  /// Number of the register.
  var register: UInt8
  var offset: UInt32
}

/// A function type as the calling convention sees it.
struct Signature: BitwiseCopyable {
  /// First parameter in the pool of locations; the results follow the parameters.
  var first: UInt32
  var parameterCount: UInt32
  var resultCount: UInt32
  /// Bytes of stack arguments.
  var argumentBytes: UInt32
  /// Bytes of the outgoing area: stack arguments and further results.
  var outgoingBytes: UInt32
}

/// The signatures of a module's types. Shared by all compiler threads, never changed.
struct SignatureTable: Sendable {
  /// Registers of integer and reference arguments. x86-64: rdi, rsi, r8, r9, r10, r11. AArch64: x0 to x7.
  static func generalArguments(_ architecture: Architecture) -> [UInt8] {
    architecture == .x86_64 ? [7, 6, 8, 9, 10, 11] : [0, 1, 2, 3, 4, 5, 6, 7]
  }
  /// Registers of float and vector arguments. x86-64: xmm6 to xmm11. AArch64: v0 to v7.
  static func vectorArguments(_ architecture: Architecture) -> [UInt8] {
    architecture == .x86_64 ? [6, 7, 8, 9, 10, 11] : [0, 1, 2, 3, 4, 5, 6, 7]
  }

  let signatures: FixedBuffer<Signature>
  let locations: FixedBuffer<ValueLocation>

  init(_ types: FunctionTypes, _ architecture: Architecture) {
    let generalArguments = Self.generalArguments(architecture)
    let vectorArguments = Self.vectorArguments(architecture)
    var signatures: [Signature] = []
    var locations: [ValueLocation] = []
    signatures.reserveCapacity(types.count)
    for index in 0..<types.count {
      let type = types.signature(UInt32(index))
      let first = UInt32(locations.count)
      var general = 0
      var vector = 0
      var offset: UInt32 = 0
      for i in 0..<type.parameterCount {
        let value = types.pool[Int(type.parameterStart + i)]
        if value.isFloatOrVector, vector < vectorArguments.count {
          locations.append(.init(kind: .vector, type: value, register: vectorArguments[vector], offset: 0))
          vector += 1
        } else if !value.isFloatOrVector, general < generalArguments.count {
          locations.append(.init(kind: .general, type: value, register: generalArguments[general], offset: 0))
          general += 1
        } else {
          locations.append(.init(kind: .stack, type: value, register: 0, offset: offset))
          offset += value == .v128 ? 16 : 8
        }
      }
      let argumentBytes = offset
      for i in 0..<type.resultCount {
        let value = types.pool[Int(type.resultStart + i)]
        if i == 0 {
          locations.append(
            .init(kind: value.isFloatOrVector ? .vector : .general, type: value, register: 0, offset: 0))
        } else {
          locations.append(.init(kind: .stack, type: value, register: 0, offset: offset))
          offset += value == .v128 ? 16 : 8
        }
      }
      signatures.append(
        Signature(
          first: first, parameterCount: type.parameterCount, resultCount: type.resultCount,
          argumentBytes: argumentBytes, outgoingBytes: offset))
    }
    self.signatures = FixedBuffer(signatures)
    self.locations = FixedBuffer(locations)
  }

  @inline(__always) func parameter(_ signature: Signature, _ index: Int) -> ValueLocation {
    locations[Int(signature.first) + index]
  }

  @inline(__always) func result(_ signature: Signature, _ index: Int) -> ValueLocation {
    locations[Int(signature.first + signature.parameterCount) + index]
  }
}
