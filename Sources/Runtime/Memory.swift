// Linear memories.
//
// A memory is a reservation of address space that covers everything a 32-bit index and a guard can reach, of which the
// first `length` bytes are accessible (a reservation of its own, or the part of a slot: `InstanceSlot.swift`); so
// generated code checks nothing, and the base never moves, however the memory grows. Generated code finds base and
// length through a pair of words that stands in the defining instance's context (or in the store's arena for a memory
// of the host). Whoever reads a memory from Swift goes through checked functions or gets the bytes for the time of a
// closure: there is no pointer to keep.

import PrecastLoader
public import PrecastWasm

/// A memory, owned by its store.
@safe
final class MemoryEntity {
  static let pageSize = 65_536
  let type: MemoryType
  /// Address space of its own, or a slot's.
  let reservation: AddressSpaceReservation
  /// The slot, when the memory stands in one.
  private let slot: InstanceSlot?
  let guardSize: Int
  /// Address of the first byte.
  let base: UInt
  // The pair (base, length in bytes), in an instance's context or in the store's arena: both live as long as the store.
  let pair: UnsafeMutablePointer<(base: UInt, length: UInt)>

  /// A memory in a reservation of its own, `size` bytes of zeros.
  init(type: MemoryType, guardSize: Int, size: Int, pair: UnsafeMutableRawPointer) throws(RuntimeError) {
    self.type = type
    self.guardSize = guardSize
    do throws(LoadError) {
      // The whole range of a 32-bit index, whatever the maximum: code relies on it.
      reservation = try AddressSpaceReservation(size: (4 << 30) + guardSize)
      try reservation.commit(offset: 0, length: size)
    } catch {
      throw RuntimeError(.limit, "no memory of \(size) bytes: \(error)")
    }
    slot = nil
    base = reservation.base
    unsafe self.pair = pair.bindMemory(to: (base: UInt, length: UInt).self, capacity: 1)
    unsafe self.pair.initialize(to: (base: base, length: UInt(size)))
  }

  /// The memory of a slot, of which `size` bytes are accessible.
  init(type: MemoryType, slot: InstanceSlot, size: Int, pair: UnsafeMutableRawPointer) {
    self.type = type
    guardSize = slot.guardSize
    reservation = slot.reservation
    self.slot = slot
    base = slot.reservation.base + UInt(InstanceSlot.memoryOffset)
    unsafe self.pair = pair.bindMemory(to: (base: UInt, length: UInt).self, capacity: 1)
    unsafe self.pair.initialize(to: (base: base, length: UInt(size)))
  }

  /// Makes more of it accessible.
  func commit(from old: Int, to size: Int) throws(LoadError) {
    if let slot { return try slot.grow(from: old, to: size) }
    try reservation.commit(offset: old, length: size - old)
  }

  /// Refuses what no memory can be.
  static func checkSupport(_ type: MemoryType) throws(RuntimeError) {
    guard type.limits.minimum <= MemoryType.maximumPages32, !type.isMemory64, !type.isShared else {
      throw RuntimeError(.limit, "memory type \(ExternalType.memory(type)) is not supported")
    }
  }

  var byteCount: Int { Int(unsafe pair.pointee.length) }
  var pageCount: UInt64 { UInt64(byteCount / Self.pageSize) }
  var maximumPages: UInt64 { min(type.limits.maximum ?? MemoryType.maximumPages32, MemoryType.maximumPages32) }

  /// The bytes; the caller must not keep the pointer beyond the store's life.
  var bytes: UnsafeMutableRawBufferPointer {
    unsafe UnsafeMutableRawBufferPointer(
      start: UnsafeMutableRawPointer(bitPattern: pair.pointee.base), count: byteCount)
  }

  func contains(_ offset: UInt64, _ count: UInt64) -> Bool {
    let size = UInt64(byteCount)
    return offset <= size && count <= size - offset
  }
}

extension Store {
  /// Makes a memory of its initial size, all zero, that belongs to no instance.
  func makeMemory(
    type: MemoryType, guardSize: Int, pair: UnsafeMutableRawPointer
  ) throws(RuntimeError) -> MemoryEntity {
    try MemoryEntity.checkSupport(type)
    let size = Int(type.limits.minimum) * MemoryEntity.pageSize
    try checkMemories(count: 1)
    try checkMemory(size: size, inUse: usage.memoryBytes)
    let memory = unsafe try MemoryEntity(type: type, guardSize: guardSize, size: size, pair: pair)
    usage.memoryBytes += size
    usage.memories += 1
    return memory
  }

  /// Whether the limits allow so many more memories.
  private func checkMemories(count: Int) throws(RuntimeError) {
    guard usage.memories + count <= limits.memories else {
      throw RuntimeError(.limit, "the store's limit of \(limits.memories) memories is reached")
    }
  }

  private func checkMemory(size: Int, inUse: Int) throws(RuntimeError) {
    guard size <= limits.memoryBytes, size <= limits.totalMemoryBytes - inUse else {
      throw RuntimeError(.limit, "a memory of \(size) bytes exceeds the store's limits")
    }
  }

  /// Checks that the limits allow the memories and tables of an instance.
  func checkRoom(for plan: InstancePlan) throws(RuntimeError) {
    if !plan.memories.isEmpty {
      try checkMemories(count: plan.memories.count)
      var inUse = usage.memoryBytes
      for memory in plan.memories {
        try checkMemory(size: memory.size, inUse: inUse)
        inUse += memory.size
      }
    }
    if !plan.tables.isEmpty {
      try checkTables(count: plan.tables.count)
      var inUse = usage.tableElements
      for table in plan.tables {
        try checkTable(table.type, inUse: inUse)
        inUse += Int(table.type.limits.minimum)
      }
    }
  }

  /// Counts the memories and tables of an instance that is being made.
  func account(for plan: InstancePlan) {
    usage.memories += plan.memories.count
    usage.tables += plan.tables.count
    for memory in plan.memories { usage.memoryBytes += memory.size }
    for table in plan.tables { usage.tableElements += Int(table.type.limits.minimum) }
  }

  private func allowsMemory(from old: Int, to new: Int) -> Bool {
    new <= limits.memoryBytes && new - old <= limits.totalMemoryBytes - usage.memoryBytes
  }

  /// Grows a memory; returns its previous size in pages, or nil.
  func grow(_ memory: MemoryEntity, by pages: UInt64) -> UInt64? {
    let old = memory.pageCount
    guard pages <= memory.maximumPages, old <= memory.maximumPages - pages else { return nil }
    if pages == 0 { return old }
    let oldSize = memory.byteCount
    let newSize = oldSize + Int(pages) * MemoryEntity.pageSize
    guard allowsMemory(from: oldSize, to: newSize) else { return nil }
    guard (try? memory.commit(from: oldSize, to: newSize)) != nil else { return nil }
    unsafe memory.pair.pointee.length = UInt(newSize)
    usage.memoryBytes += newSize - oldSize
    return old
  }
}

/// A linear memory. A handle; it keeps the store alive.
///
/// Offsets and counts are in bytes. Everything is little-endian, as WebAssembly is.
///
/// Spec: Core 4.2.8, "Memory Instances".
@safe
public struct Memory: Equatable {
  /// The store that the memory belongs to.
  public let store: Store
  let entity: MemoryEntity

  init(store: Store, entity: MemoryEntity) {
    self.store = store
    self.entity = entity
  }

  /// Makes a memory of the type's minimum size, all zero.
  ///
  /// - Throws: `RuntimeError.limit`.
  public init(store: Store, type: MemoryType) throws(RuntimeError) {
    self.store = store
    entity = unsafe try store.makeMemory(
      type: type, guardSize: store.engine.configuration.memoryGuardSize, pair: store.arena.allocate(16))
  }

  /// Whether both are the same memory.
  public static func == (left: Memory, right: Memory) -> Bool { left.entity === right.entity }

  /// The type, with the current size as its minimum.
  public var type: MemoryType {
    MemoryType(
      limits: Limits(minimum: entity.pageCount, maximum: entity.type.limits.maximum),
      isMemory64: entity.type.isMemory64, isShared: entity.type.isShared)
  }

  /// The current size in bytes.
  public var byteCount: Int { entity.byteCount }

  /// The current size in pages of 64 KiB.
  public var pageCount: Int { Int(entity.pageCount) }

  /// Grows the memory by pages of 64 KiB.
  ///
  /// - Returns: the previous size in pages.
  /// - Throws: `RuntimeError.limit` when the maximum, the store's limits or the system do not allow it.
  @discardableResult
  public func grow(by pages: Int) throws(RuntimeError) -> Int {
    guard pages >= 0, let old = store.grow(entity, by: UInt64(pages)) else {
      throw RuntimeError(.limit, "a memory of \(pageCount) pages cannot grow by \(pages)")
    }
    return Int(old)
  }

  /// Lends all bytes for the time of the call. The pointer must not escape; growing does not move it.
  public func withUnsafeMutableBytes<R, E: Error>(
    _ body: (UnsafeMutableRawBufferPointer) throws(E) -> R
  ) throws(E) -> R {
    try unsafe body(entity.bytes)
  }

  /// Lends a range of bytes for the time of the call, or returns nil when it is not all inside the memory.
  public func withUnsafeMutableBytes<R, E: Error>(
    at offset: Int, count: Int, _ body: (UnsafeMutableRawBufferPointer) throws(E) -> R
  ) throws(E) -> R? {
    guard offset >= 0, count >= 0, entity.contains(UInt64(offset), UInt64(count)) else { return nil }
    // Inside the accessible part of the reservation, which the store keeps.
    let range = unsafe UnsafeMutableRawBufferPointer(rebasing: entity.bytes[offset..<offset + count])
    return try unsafe body(range)
  }

  /// Reads an integer.
  ///
  /// - Throws: `RuntimeError.outOfBounds`.
  @inlinable
  public func load<T: FixedWidthInteger & BitwiseCopyable>(
    _ type: T.Type = T.self, at offset: Int
  ) throws(RuntimeError) -> T {
    let size = MemoryLayout<T>.size
    guard let value = unsafe withUnsafeMutableBytes(at: offset, count: size, { unsafe $0.loadUnaligned(as: T.self) })
    else { throw outOfBounds(offset, size) }
    return T(littleEndian: value)
  }

  /// Writes an integer.
  ///
  /// - Throws: `RuntimeError.outOfBounds`.
  @inlinable
  public func store<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) throws(RuntimeError) {
    let size = MemoryLayout<T>.size
    let stored: Void? = unsafe withUnsafeMutableBytes(at: offset, count: size) {
      unsafe $0.storeBytes(of: value.littleEndian, as: T.self)
    }
    guard stored != nil else { throw outOfBounds(offset, size) }
  }

  /// A copy of some bytes.
  ///
  /// - Throws: `RuntimeError.outOfBounds`.
  public func read(at offset: Int, count: Int) throws(RuntimeError) -> [UInt8] {
    guard let bytes = unsafe withUnsafeMutableBytes(at: offset, count: count, { unsafe [UInt8]($0) }) else {
      throw outOfBounds(offset, count)
    }
    return bytes
  }

  /// Writes bytes.
  ///
  /// - Throws: `RuntimeError.outOfBounds`, and then nothing has been written.
  public func write(_ bytes: some Collection<UInt8>, at offset: Int) throws(RuntimeError) {
    let count = bytes.count
    let written: Void? = unsafe withUnsafeMutableBytes(at: offset, count: count) { unsafe $0.copyBytes(from: bytes) }
    guard written != nil else { throw outOfBounds(offset, count) }
  }

  /// Bytes as UTF-8; invalid sequences are replaced.
  ///
  /// - Throws: `RuntimeError.outOfBounds`.
  public func readString(at offset: Int, count: Int) throws(RuntimeError) -> String {
    let string = unsafe withUnsafeMutableBytes(at: offset, count: count) { unsafe String(decoding: $0, as: UTF8.self) }
    guard let string else { throw outOfBounds(offset, count) }
    return string
  }

  @usableFromInline @inline(never)
  func outOfBounds(_ offset: Int, _ count: Int) -> RuntimeError {
    RuntimeError(.outOfBounds, "\(count) bytes at \(offset) are not all inside a memory of \(byteCount) bytes")
  }
}
