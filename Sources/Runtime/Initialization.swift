// The values that an instance starts with.
//
// Globals, then element segments, then data segments, each in order, stopping at the first that does not fit; what was
// written before stays, also in imported memories and tables. Segments that are part of an image have taken effect
// already, which the writer allows only where no difference can be seen.

import Glibc
import PrecastArtifact
import PrecastWasm

extension InstanceEntity {
  /// Sets globals, then applies active segments.
  ///
  /// Spec: Core 4.5.4, "Instantiation", steps 7 to 16.
  func initialize() throws {
    for index in info.importedGlobalCount..<max(info.importedGlobalCount, info.globalCount) {
      let global = try reading { () throws(ArtifactError) in try info.global(index) }
      guard let cell = unsafe globalCell(index) else { continue }
      unsafe cell.storeBytes(of: try evaluate(global.initializer), as: UInt64.self)
      if global.type.value == .externref { unsafe store.externs.globals.append(cell) }
    }
    for index in 0..<info.elementSegmentCount {
      let segment = try reading { () throws(ArtifactError) in try info.elementSegment(index) }
      guard segment.mode == .active else { continue }
      let start = UInt64(UInt32(truncatingIfNeeded: try evaluate(segment.offset)))
      guard Int(segment.table) < tables.count else { throw RuntimeError(.damagedArtifact, "a table is missing") }
      try copyElements(
        segment, to: tables[Int(segment.table)], at: start, from: 0, count: UInt64(segment.items.count))
    }
    for index in 0..<info.dataSegmentCount {
      let segment = try reading { () throws(ArtifactError) in try info.dataSegment(index) }
      guard segment.mode == .active else { continue }
      let start = UInt64(UInt32(truncatingIfNeeded: try evaluate(segment.offset)))
      guard Int(segment.memory) < memories.count else { throw RuntimeError(.damagedArtifact, "a memory is missing") }
      try copyData(
        segment, to: memories[Int(segment.memory)], at: start, from: 0,
        count: segment.bytes.upperBound - segment.bytes.lowerBound)
    }
  }

  /// Copies items of an element segment into a table.
  ///
  /// - Throws: `Trap` (out of bounds table access), and then nothing has been written.
  func copyElements(
    _ segment: ElementSegmentInfo?, to table: TableEntity, at destination: UInt64, from source: UInt64, count: UInt64
  ) throws {
    let size = UInt64(segment?.items.count ?? 0)
    guard table.contains(destination, count), source <= size, count <= size - source else {
      throw Trap(.tableOutOfBounds)
    }
    guard let segment, count > 0 else { return }
    for offset in 0..<Int(count) {
      let bits: UInt64
      switch segment.items {
      case .functions(let range):
        let position = range.lowerBound + Int(source) + offset
        bits = try functionBits(
          Int(try reading { () throws(ArtifactError) in try info.elementFunction(position) }))
      case .expressions(let range):
        let position = range.lowerBound + Int(source) + offset
        bits = try evaluate(try reading { () throws(ArtifactError) in try info.elementExpression(position) })
      }
      table[word: Int(destination) + offset] = table.word(of: bits)
    }
  }

  /// Copies bytes of a data segment into a memory.
  ///
  /// - Throws: `Trap` (out of bounds memory access), and then nothing has been written.
  func copyData(
    _ segment: DataSegmentInfo?, to memory: MemoryEntity, at destination: UInt64, from source: UInt64, count: UInt64
  ) throws {
    let size = segment.map { $0.bytes.upperBound - $0.bytes.lowerBound } ?? 0
    guard memory.contains(destination, count), source <= size, count <= size - source else {
      throw Trap(.memoryOutOfBounds)
    }
    guard let segment, count > 0 else { return }
    let region = try reading { () throws(ArtifactError) in try module.artifact.artifact.bytes(of: segment) }
    try reading { () throws(ArtifactError) in
      try unsafe region.withUnsafeBytes { bytes in
        // Both ranges were checked; the segment's is as long as the region.
        guard UInt64(bytes.count) == size, let to = unsafe memory.bytes.baseAddress, let from = bytes.baseAddress
        else { return }
        unsafe (to + Int(destination)).copyMemory(from: from + Int(source), byteCount: Int(count))
      }
    }
  }

  /// The value of a constant expression: the bits of a number or reference.
  ///
  /// Spec: Core 3.3.10, "Constant Expressions". The expression was validated when the module was compiled; one that
  /// does not work out now is a damaged artifact.
  func evaluate(_ expression: Range<Int>) throws(RuntimeError) -> UInt64 {
    var stack: [UInt64] = []
    func damaged() -> RuntimeError { RuntimeError(.damagedArtifact, "a constant expression cannot be evaluated") }
    func pair() throws(RuntimeError) -> (UInt64, UInt64) {
      guard let right = stack.popLast(), let left = stack.popLast() else { throw damaged() }
      return (left, right)
    }
    func word(_ value: UInt64) -> UInt64 { value & 0xFFFF_FFFF }
    for index in expression {
      switch try reading({ () throws(ArtifactError) in try info.constant(index) }) {
      case .i32Const(let value): stack.append(UInt64(UInt32(bitPattern: value)))
      case .i64Const(let value): stack.append(UInt64(bitPattern: value))
      case .f32Const(let bits): stack.append(UInt64(bits))
      case .f64Const(let bits): stack.append(bits)
      case .refNull: stack.append(0)
      case .refFunction(let function): stack.append(try functionBits(Int(function)))
      case .globalGet(let global):
        guard let cell = unsafe globalCell(Int(global)) else { throw damaged() }
        stack.append(unsafe cell.load(as: UInt64.self))
      case .i32Add:
        let (left, right) = try pair()
        stack.append(word(left &+ right))
      case .i32Sub:
        let (left, right) = try pair()
        stack.append(word(left &- right))
      case .i32Mul:
        let (left, right) = try pair()
        stack.append(word(left &* right))
      case .i64Add:
        let (left, right) = try pair()
        stack.append(left &+ right)
      case .i64Sub:
        let (left, right) = try pair()
        stack.append(left &- right)
      case .i64Mul:
        let (left, right) = try pair()
        stack.append(left &* right)
      }
    }
    guard stack.count == 1 else { throw damaged() }
    return stack[0]
  }
}
