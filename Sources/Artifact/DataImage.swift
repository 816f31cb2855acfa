// `.rodata.wasm`: what memories hold when an instance starts, ready to be mapped.
//
// Copying data segments at instantiation costs time in proportion to the program's data, for pages
// that most runs never touch. So active segments are laid out here as the memory will look, in
// whole pages, and the runtime maps these pages copy-on-write. But only what is sure to have the
// same effect: the specification applies element segments, then data segments, each in order, and
// stops at the first that does not fit; and an instance that failed half-way can still be reached
// through tables it has written to. Hence a segment becomes part of an image only when no segment
// before it can trap, which is known of those whose offset is constant and which fit into the least
// size their memory or table can have. From the first one on that may trap, segments are copied by
// the runtime, in order. Segments of imported memories are copied too, but cannot trap if they fit.
//
// Memories with far-apart segments get several extents, so that a hole costs nothing; where the
// pages would be out of proportion to the data (a thousand tiny segments strewn about), there is no
// image of that memory and its segments are copied.
//
// Behind the images stand the bytes of the other segments.

public import PrecastMachineCode
public import PrecastWasm

/// Where each data segment and each image goes in `.rodata.wasm`.
public struct DataImagePlan: Sendable {
  /// A run of bytes of the wasm binary that goes to an offset of the section.
  struct Copy: Sendable {
    var source: Range<Int>
    var destination: UInt64
  }

  /// Mode of each data segment, and where its bytes are in the section.
  public private(set) var segments: [(mode: SegmentMode, bytes: Range<UInt64>)] = []
  /// Extents of each memory, ascending.
  public private(set) var extents: [[ImageExtent]]
  /// Mode of each element segment (`inImage` where a table's image holds it).
  public private(set) var elements: [SegmentMode] = []
  /// Size of the section in bytes: whole pages.
  public private(set) var size: UInt64 = 0
  private var copies: [Copy] = []

  /// Holes of at least so many bytes divide an image.
  static let smallestHole: UInt64 = 64 * 1024
  /// Most extents of a memory.
  static let maximumExtents = 64

  /// Plans the image of a module for a target with pages of `pageSize` bytes.
  public init(module: WasmModule, pageSize: UInt64) {
    extents = Array(repeating: [], count: module.memories.count)
    var sure = true
    var tableRanges: [Int: [Range<UInt64>]] = [:]
    var tableIsDisjoint = Array(repeating: true, count: module.tables.count)
    for segment in module.elements {
      switch segment.mode {
      case .passive: elements.append(.passive)
      case .declarative: elements.append(.declarative)
      case .active(let table, let offset):
        let tableIndex = Int(table)
        let start = Self.constantOffset(offset, module)
        let fits =
          start.map { Self.fits($0, UInt64(segment.items.count), module.tables[tableIndex].limits.minimum) } ?? false
        sure = sure && fits
        var mode = SegmentMode.active
        if sure, let start, tableIndex >= module.importedTableCount, case .functions = segment.items {
          let range = start..<start + UInt64(segment.items.count)
          tableRanges[tableIndex, default: []].append(range)
          mode = .inImage
        } else if tableIndex >= module.importedTableCount {
          // Something else writes to this table before what an image would hold.
          if sure { tableIsDisjoint[tableIndex] = false }
        }
        elements.append(mode)
      }
    }
    for (table, ranges) in tableRanges {
      let sorted = ranges.sorted { $0.lowerBound < $1.lowerBound }
      for (left, right) in zip(sorted, sorted.dropFirst()) where right.lowerBound < left.upperBound {
        tableIsDisjoint[table] = false
      }
    }
    for (index, segment) in module.elements.enumerated() {
      if case .active(let table, _) = segment.mode, elements[index] == .inImage, !tableIsDisjoint[Int(table)] {
        elements[index] = .active
      }
    }

    // Which data segments may be in an image, and where.
    var candidates: [[(segment: Int, start: UInt64)]] = Array(repeating: [], count: module.memories.count)
    var starts: [UInt64?] = Array(repeating: nil, count: module.data.count)
    for (index, segment) in module.data.enumerated() {
      guard case .active(let memory, let offset) = segment.mode else { continue }
      let start = Self.constantOffset(offset, module)
      let type = module.memories[Int(memory)]
      let (length, overflow) = type.limits.minimum.multipliedReportingOverflow(by: 65536)
      let fits = start.map { Self.fits($0, UInt64(segment.bytes.count), overflow ? .max : length) } ?? false
      sure = sure && fits
      if sure, let start, Int(memory) >= module.importedMemoryCount {
        starts[index] = start
        candidates[Int(memory)].append((index, start))
      }
    }
    for memory in candidates.indices {
      let pages = Self.pageExtents(
        candidates[memory].map { $0.start..<$0.start + UInt64(module.data[$0.segment].bytes.count) }, pageSize: pageSize
      )
      guard let pages else {
        for candidate in candidates[memory] { starts[candidate.segment] = nil }
        continue
      }
      for range in pages {
        let length = range.upperBound - range.lowerBound
        extents[memory].append(ImageExtent(memoryOffset: range.lowerBound, imageOffset: size, size: length))
        size += length
      }
    }
    for (index, segment) in module.data.enumerated() {
      let length = UInt64(segment.bytes.count)
      if let start = starts[index], case .active(let memory, _) = segment.mode {
        var at: UInt64 = 0
        if length > 0, let extent = Self.extent(containing: start, in: extents[Int(memory)]) {
          at = extent.imageOffset + (start - extent.memoryOffset)
          copies.append(Copy(source: segment.bytes, destination: at))
        }
        segments.append((.inImage, at..<at + length))
      } else {
        var mode = SegmentMode.passive
        if case .active = segment.mode { mode = .active }
        copies.append(Copy(source: segment.bytes, destination: size))
        segments.append((mode, size..<size + length))
        size += length
      }
    }
    size = (size + pageSize - 1) / pageSize * pageSize
  }

  static func fits(_ start: UInt64, _ length: UInt64, _ limit: UInt64) -> Bool {
    start <= limit && length <= limit - start
  }

  /// The value of an offset expression without `global.get`, as an unsigned number of 32 or 64 bits.
  static func constantOffset(_ expression: ConstantExpression, _ module: WasmModule) -> UInt64? {
    var stack: [UInt64] = []
    func narrow(_ value: UInt64) -> UInt64 { value & 0xFFFF_FFFF }
    for instruction in module.instructions(of: expression) {
      switch instruction {
      case .i32Const(let value): stack.append(UInt64(UInt32(bitPattern: value)))
      case .i64Const(let value): stack.append(UInt64(bitPattern: value))
      case .i32Add, .i32Sub, .i32Mul, .i64Add, .i64Sub, .i64Mul:
        guard let right = stack.popLast(), let left = stack.popLast() else { return nil }
        switch instruction {
        case .i32Add: stack.append(narrow(left &+ right))
        case .i32Sub: stack.append(narrow(left &- right))
        case .i32Mul: stack.append(narrow(left &* right))
        case .i64Add: stack.append(left &+ right)
        case .i64Sub: stack.append(left &- right)
        default: stack.append(left &* right)
        }
      default: return nil
      }
    }
    return stack.count == 1 ? stack[0] : nil
  }

  /// The pages that `ranges` touch, joined where the hole is small; nil where an image would be out
  /// of proportion.
  static func pageExtents(_ ranges: [Range<UInt64>], pageSize: UInt64) -> [Range<UInt64>]? {
    var extents: [Range<UInt64>] = []
    var bytes: UInt64 = 0
    for range in ranges.sorted(by: { $0.lowerBound < $1.lowerBound }) where !range.isEmpty {
      bytes += range.upperBound - range.lowerBound
      let start = range.lowerBound / pageSize * pageSize
      let (padded, overflow) = range.upperBound.addingReportingOverflow(pageSize - 1)
      if overflow { return nil }
      let end = padded / pageSize * pageSize
      if let last = extents.last, start < last.upperBound || start - last.upperBound < smallestHole {
        extents[extents.count - 1] = last.lowerBound..<max(last.upperBound, end)
      } else {
        extents.append(start..<end)
      }
    }
    let total = extents.reduce(0) { $0 + ($1.upperBound - $1.lowerBound) }
    if extents.count > maximumExtents || total > bytes * 8 + 1024 * 1024 { return nil }
    return extents
  }

  private static func extent(containing offset: UInt64, in extents: [ImageExtent]) -> ImageExtent? {
    var low = 0
    var high = extents.count
    while low < high {
      let middle = (low + high) / 2
      if extents[middle].memoryOffset <= offset { low = middle + 1 } else { high = middle }
    }
    return low == 0 ? nil : extents[low - 1]
  }

  /// The section's bytes; later segments overwrite earlier ones.
  public func encoded(binary: WasmBinary) -> CodeBuffer {
    var buffer = CodeBuffer(capacity: Int(size))
    buffer.put(repeating: 0, count: Int(size))
    // Destinations lie in the section by construction of the plan, sources in the binary by
    // validation of the module; both are checked again, since this is one comparison a segment.
    unsafe binary.withUnsafeBytes { source in
      for copy in copies where !copy.source.isEmpty {
        guard copy.source.upperBound <= source.count, Int(copy.destination) + copy.source.count <= buffer.count,
          let base = source.baseAddress
        else { continue }
        unsafe (buffer.startAddress + Int(copy.destination)).copyMemory(
          from: base + copy.source.lowerBound, byteCount: copy.source.count)
      }
    }
    return buffer
  }
}
