// The relocations of a section, in order of place.
//
// Assemblers write them so, and everything here walks sections and their relocations side by side; but the gABI
// promises no order. So whoever brings them out of order pays for a sorted copy, and nobody else does.

import PrecastArtifact
import PrecastMachineCode

/// Relocations in ascending order of offset.
struct RelocationList {
  let table: ElfTable<ElfRelocation>
  // Keeps a sorted copy, if there is one.
  private let copy: SortedCopy?

  private final class SortedCopy {
    let rows: FlatBuffer<ElfRelocation>
    init(_ rows: consuming FlatBuffer<ElfRelocation>) { self.rows = rows }
  }

  /// The relocations of `table`.
  init(_ table: ElfTable<ElfRelocation>) {
    var last: UInt64 = 0
    var isSorted = true
    for index in 0..<table.count {
      let offset = table[index].offset
      if offset < last { isSorted = false }
      last = offset
    }
    if isSorted {
      self.table = table
      copy = nil
      return
    }
    let order = (0..<table.count).sorted { (table[$0].offset, $0) < (table[$1].offset, $1) }
    var rows = FlatBuffer<ElfRelocation>(capacity: table.count)
    for index in order { rows.append(table[index]) }
    let sorted = SortedCopy(rows)
    // The rows are not changed any more, and live as long as the list.
    self.table = unsafe ElfTable(base: UnsafeRawPointer(sorted.rows.startAddress), count: order.count)
    copy = sorted
  }

  var count: Int { table.count }

  @inline(__always)
  subscript(index: Int) -> ElfRelocation { table[index] }
}

extension LinkState {
  /// The relocations of a section.
  func relocations(of section: InputSection) throws(LinkError) -> RelocationList {
    guard section.relocationCount > 0 else { return RelocationList(.empty) }
    let object = objects[Int(section.object)]
    return RelocationList(try object.table(Int(section.relocationSection), ElfRelocation.self))
  }
}
