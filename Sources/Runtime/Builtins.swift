// The host functions that generated code calls for what it does not do inline.
//
// Each is a C function over integers, in the order of `Builtin`; the table of their addresses is one for the process.
// They never throw or trap: they report failure, and the generated code traps at a trap site of its own, so that the
// backtrace begins in wasm. Bounds are checked before anything is written, as the specification says since bulk memory
// operations are part of it.

import Glibc
import PrecastArtifact

/// The addresses of the built-ins, by `Builtin.rawValue`.
@safe
struct BuiltinTable: @unchecked Sendable {
  static let shared = BuiltinTable()
  // Filled once, never freed.
  let pointers: UnsafeMutablePointer<UInt>

  private init() {
    unsafe pointers = UnsafeMutablePointer<UInt>.allocate(capacity: Builtin.allCases.count)
    for builtin in Builtin.allCases { unsafe pointers[builtin.rawValue] = Self.address(builtin) }
  }

  private static func address(_ builtin: Builtin) -> UInt {
    // C function pointers, as the numbers that generated code calls.
    switch builtin {
    case .memoryGrow: unsafe unsafeBitCast(memoryGrow, to: UInt.self)
    case .memoryFill: unsafe unsafeBitCast(memoryFill, to: UInt.self)
    case .memoryCopy: unsafe unsafeBitCast(memoryCopy, to: UInt.self)
    case .memoryInit: unsafe unsafeBitCast(memoryInit, to: UInt.self)
    case .dataDrop: unsafe unsafeBitCast(dataDrop, to: UInt.self)
    case .tableGrow: unsafe unsafeBitCast(tableGrow, to: UInt.self)
    case .tableFill: unsafe unsafeBitCast(tableFill, to: UInt.self)
    case .tableCopy: unsafe unsafeBitCast(tableCopy, to: UInt.self)
    case .tableInit: unsafe unsafeBitCast(tableInit, to: UInt.self)
    case .elementDrop: unsafe unsafeBitCast(elementDrop, to: UInt.self)
    case .functionReference: unsafe unsafeBitCast(functionReference, to: UInt.self)
    case .tableResolve: unsafe unsafeBitCast(tableResolve, to: UInt.self)
    }
  }
}

/// The address of an instance context, as generated code passes it.
private typealias Context = UnsafeMutableRawPointer

private let success: UInt64 = 0
private let failure: UInt64 = 1

/// Runs `body` with the instance of a context. Generated code passes its own context, so it is one of an instance.
@inline(__always)
private func with<R>(_ context: Context, _ body: (InstanceEntity) -> R) -> R {
  unsafe Unmanaged<InstanceEntity>.fromOpaque(
    context.load(fromByteOffset: ContextLayout.opaque0, as: UnsafeRawPointer.self)
  )._withUnsafeGuaranteedRef(body)
}

// Indices of memories, tables and segments were validated; arrays check them again.

private let memoryGrow: @convention(c) (Context, UInt64, UInt64) -> Int64 = { context, memory, pages in
  unsafe with(context) { instance in
    let old = unsafe instance.store.grow(instance.memories[Int(memory)], by: pages)
    return old.map { Int64($0) } ?? -1
  }
}

private let memoryFill: @convention(c) (Context, UInt64, UInt64, UInt64, UInt64) -> UInt64 = {
  context, memory, destination, value, length in
  unsafe with(context) { instance in
    let memory = instance.memories[Int(memory)]
    guard memory.contains(destination, length) else { return failure }
    if length == 0 { return success }
    guard let base = unsafe memory.bytes.baseAddress else { return failure }
    unsafe memset(base + Int(destination), Int32(value & 0xFF), Int(length))
    return success
  }
}

private let memoryCopy: @convention(c) (Context, UInt64, UInt64, UInt64, UInt64, UInt64) -> UInt64 = {
  context, destinationMemory, sourceMemory, destination, source, length in
  unsafe with(context) { instance in
    let to = instance.memories[Int(destinationMemory)]
    let from = instance.memories[Int(sourceMemory)]
    guard to.contains(destination, length), from.contains(source, length) else { return failure }
    if length == 0 { return success }
    guard let toBase = unsafe to.bytes.baseAddress, let fromBase = unsafe from.bytes.baseAddress else {
      return failure
    }
    unsafe memmove(toBase + Int(destination), fromBase + Int(source), Int(length))
    return success
  }
}

private let memoryInit: @convention(c) (Context, UInt64, UInt64, UInt64, UInt64, UInt64) -> UInt64 = {
  context, memory, segment, destination, source, length in
  unsafe with(context) { instance in
    do {
      try instance.copyData(
        try instance.passiveData(Int(segment)), to: instance.memories[Int(memory)], at: destination, from: source,
        count: length)
      return success
    } catch {
      return failure
    }
  }
}

private let dataDrop: @convention(c) (Context, UInt64) -> Void = { context, segment in
  unsafe with(context) { $0.dropData(Int(segment)) }
}

private let tableGrow: @convention(c) (Context, UInt64, UInt64, UInt64) -> Int64 = { context, table, value, delta in
  unsafe with(context) { instance in
    let old = unsafe instance.store.grow(instance.tables[Int(table)], by: delta, bits: value)
    return old.map { Int64($0) } ?? -1
  }
}

private let tableFill: @convention(c) (Context, UInt64, UInt64, UInt64, UInt64) -> UInt64 = {
  context, table, start, value, length in
  unsafe with(context) { instance in
    let table = instance.tables[Int(table)]
    guard table.contains(start, length) else { return failure }
    table.fill(Int(start), Int(length), bits: value)
    return success
  }
}

private let tableCopy: @convention(c) (Context, UInt64, UInt64, UInt64, UInt64, UInt64) -> UInt64 = {
  context, destinationTable, sourceTable, destination, source, length in
  unsafe with(context) { instance in
    let to = instance.tables[Int(destinationTable)]
    let from = instance.tables[Int(sourceTable)]
    guard to.contains(destination, length), from.contains(source, length) else { return failure }
    return to.copy(from, destination: Int(destination), source: Int(source), count: Int(length)) ? success : failure
  }
}

private let tableInit: @convention(c) (Context, UInt64, UInt64, UInt64, UInt64, UInt64) -> UInt64 = {
  context, table, segment, destination, source, length in
  unsafe with(context) { instance in
    do {
      try instance.copyElements(
        try instance.passiveElement(Int(segment)), to: instance.tables[Int(table)], at: destination, from: source,
        count: length)
      return success
    } catch {
      return failure
    }
  }
}

private let elementDrop: @convention(c) (Context, UInt64) -> Void = { context, segment in
  unsafe with(context) { $0.dropElement(Int(segment)) }
}

private let functionReference: @convention(c) (Context, UInt64) -> UInt64 = { context, function in
  unsafe with(context) { (try? $0.functionBits(Int(function))) ?? 0 }
}

private let tableResolve: @convention(c) (Context, UInt64, UInt64) -> UInt64 = { context, table, index in
  unsafe with(context) { instance in
    let table = instance.tables[Int(table)]
    // The index was checked by the caller; a second look keeps a wrong one from reading past the end.
    return index < UInt64(table.count) ? table.resolve(Int(index)) ?? 1 : 1
  }
}
