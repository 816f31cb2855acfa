// The values that an instance starts with.
//
// Globals, then element segments, then data segments, each in order, stopping at the first that does not fit; what was
// written before stays, also in imported memories and tables. Segments that are part of an image have taken effect
// already, which the writer allows only where no difference can be seen.

import Glibc
import PrecastArtifact
import PrecastWasm

extension InstanceEntity {
  /// Sets globals that the plan could not, then applies active segments that are not part of an image.
  ///
  /// Spec: Core 4.5.4, "Instantiation", steps 7 to 16.
  func initialize() throws {
    for global in plan.computedGlobals {
      // The offset of a cell in the context.
      unsafe context.storeBytes(of: try evaluate(global.initializer), toByteOffset: global.offset, as: UInt64.self)
    }
    for position in 0..<plan.info.activeElementCount {
      let segment = try reading { () throws(ArtifactError) in try plan.info.activeElement(position) }
      let start = UInt64(UInt32(truncatingIfNeeded: try evaluate(segment.offset)))
      guard Int(segment.table) < tables.count else { throw RuntimeError(.damagedArtifact, "a table is missing") }
      try copyElements(
        segment, to: tables[Int(segment.table)], at: start, from: 0, count: UInt64(segment.items.count))
    }
    for position in 0..<plan.info.activeDataCount {
      let segment = try reading { () throws(ArtifactError) in try plan.info.activeData(position) }
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
  func evaluate(_ expression: Range<Int>) throws(RuntimeError) -> UInt64 {
    try ConstantEvaluator.evaluate(expression, plan.info) { (instruction) throws(RuntimeError) in
      switch instruction {
      case .refFunction(let function): return try functionBits(Int(function))
      case .globalGet(let global):
        guard let cell = unsafe globalCell(Int(global)) else { return nil }
        return unsafe cell.load(as: UInt64.self)
      default: return nil
      }
    }
  }
}
