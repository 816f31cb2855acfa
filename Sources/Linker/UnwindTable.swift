// One table of unwind entries from those of all objects.
//
// `.eh_frame` is a list of records (LSB, "Exception Frames"): CIEs, which say what many functions have in common,
// and FDEs, one for each function, which refer back to their CIE by a distance. An object's table has relocations
// for the starts of its functions. Concatenating the tables would nearly do, but
//
//   - a zero length ends the table, so it may stand at the very end only; padding between the tables would be one;
//   - entries of functions that were discarded with their group must go, and distances to CIEs then change;
//   - entries hold the distance to their function in 32 bits (`DW_EH_PE_pcrel | sdata4`). Where text and table together
//     come near 2 GiB they get 64: the CIE says `sdata8`, and each of its FDEs grows by eight bytes.
//
// So records are taken apart, each with the relocations in it, and put together again.
//
//      CIE   length 4, 0 (4), version 1, augmentation string, code align, data align, return column,
//            size of the augmentation data, the data ('R': encoding of addresses), instructions
//      FDE   length 4, distance to the CIE 4, start of the function, its size, augmentation data, instructions

import PrecastArtifact
import PrecastMachineCode

/// A CIE or FDE.
struct UnwindRecord: BitwiseCopyable {
  /// Number of its section, and where it is in that, in bytes.
  var section: UInt32
  var offset: Int
  /// In its object, length field included.
  var size: Int
  /// Where it is in the table.
  var place = 0
  /// Number of the record that is its CIE; its own for a CIE.
  var cie: UInt32
  /// CIE: where the encoding of addresses stands, in bytes from its start; 0 if it stays as it is.
  var encodingOffset: UInt32 = 0
  /// The first of its relocations, and how many.
  var firstRelocation = 0
  var relocationCount: UInt32 = 0
  /// Whether addresses in it get 64 bits.
  var isWidened = false
}

/// The table of an image.
struct UnwindTable: ~Copyable {
  var records = FlatBuffer<UnwindRecord>(capacity: 1)
  /// Without the zeros at its end.
  var size = 0
  var hasWidened = false
  /// What follows the records: entries for islands, with the end of the table; empty where there are none.
  var islands: [UInt8] = []
}

extension LinkState {
  /// Takes all objects' tables apart, and decides what stays.
  func readUnwindTables() throws(LinkError) {
    for number in 0..<sections.count where sections[number].role == .unwind { try readUnwindTable(number) }
    var size = 0
    for index in 0..<unwind.records.count { size += unwind.records[index].size }
    let isWide = options.usesWideUnwindTables ?? (sizes.text + size > 0x7000_0000)
    var place = 0
    for index in 0..<unwind.records.count {
      var record = unwind.records[index]
      let cie = unwind.records[Int(record.cie)]
      if isWide && cie.encodingOffset != 0 {
        record.isWidened = true
        unwind.hasWidened = true
      }
      record.place = place
      place += aligned(record.size, 4) + (record.isWidened && record.cie != index ? 8 : 0)
      unwind.records[index] = record
    }
    try checkSize(place)
    unwind.size = place
    guard unwind.records.count > 0 else { return }
    // Islands of veneers, which no object knows of: entries with a CIE of their own, and their own end.
    if !text.islands.isEmpty {
      var builder = UnwindBuilder(architecture: architecture, textSize: sizes.text + place, isWide: isWide)
      for island in text.islands { builder.addFrameless(textOffset: island.lowerBound, size: UInt32(island.count)) }
      unwind.islands = builder.finish().array
    }
    // The zeros that end it, if the islands' entries do not.
    sizes.ehFrame = place + max(4, unwind.islands.count)
    try checkSize(sizes.ehFrame)
  }

  private func readUnwindTable(_ number: Int) throws(LinkError) {
    let section = sections[number]
    let object = objects[Int(section.object)]
    let base = symbolBase[Int(section.object)]
    func damaged(_ offset: Int, _ why: String) -> LinkError {
      LinkError(.damaged, "\(name(of: section))+\(hexadecimal(offset)): \(why)")
    }
    let list = try relocations(of: section)
    let bytes = unsafe object.address(section.fileOffset..<section.fileOffset + section.size)
    func word(_ offset: Int) -> UInt32 { unsafe bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self) }
    let firstRecord = unwind.records.count
    var lastCIE = firstRecord
    var relocation = 0
    var offset = 0
    while offset <= section.size - 4 {
      let length = Int(word(offset))
      if length == 0 {
        offset += 4
        continue
      }
      if length == 0xFFFF_FFFF { throw damaged(offset, "64-bit unwind entries are not supported") }
      guard length >= 4, length <= section.size - offset - 4 else {
        throw damaged(offset, "an unwind entry of \(length) bytes passes the end of the section")
      }
      let end = offset + 4 + length
      var record = UnwindRecord(section: UInt32(number), offset: offset, size: 4 + length, cie: 0)
      while relocation < list.count, list[relocation].offset < UInt64(offset) { relocation += 1 }
      record.firstRelocation = relocation
      while relocation < list.count, list[relocation].offset < UInt64(end) {
        guard Int(list[relocation].symbol) < object.symbols.count else {
          throw damagedRelocation(section, list[relocation])
        }
        relocation += 1
      }
      record.relocationCount = UInt32(relocation - record.firstRelocation)
      let id = Int(word(offset + 4))
      offset = end
      if id == 0 {
        record.cie = UInt32(unwind.records.count)
        lastCIE = unwind.records.count
        record.encodingOffset = unsafe UInt32(
          narrowEncoding(UnsafeRawBufferPointer(rebasing: bytes[record.offset..<end])))
      } else {
        let place = record.offset + 4 - id
        guard let cie = findCIE(place, firstRecord, lastCIE) else {
          throw damaged(record.offset, "an unwind entry refers to offset \(place), where no common entry is")
        }
        record.cie = UInt32(cie)
        guard record.relocationCount > 0, list[record.firstRelocation].offset == UInt64(record.offset + 8) else {
          throw damaged(record.offset, "an unwind entry has no relocation for its function")
        }
        // `ld -r` leaves such where it has discarded a function.
        if case .none = use(list[record.firstRelocation].type, nil) { continue }
        let symbol = Int(list[record.firstRelocation].symbol)
        switch symbols[base + symbol].kind {
        case .discarded, .nowhere: continue
        default: break
        }
        // A global name means the function of the group that was kept, which has an entry of its own.
        if let home = object.section(of: object.symbols[symbol], symbol),
          let row = sections.number(home, ofObject: Int(section.object)), sections[row].role == .discarded
        {
          continue
        }
      }
      for index in record.firstRelocation..<record.firstRelocation + Int(record.relocationCount) {
        let row = list[index]
        let use = use(row.type, nil)
        if case .none = use { continue }
        try scan(row, use, base + Int(row.symbol), section, number)
      }
      unwind.records.append(record)
    }
  }

  // The CIE that starts at `place` in the section whose records start with number `first`.
  private func findCIE(_ place: Int, _ first: Int, _ last: Int) -> Int? {
    // Nearly always the last one.
    if last < unwind.records.count, unwind.records[last].offset == place { return last }
    var low = first
    var high = unwind.records.count
    while low < high {
      let middle = (low + high) / 2
      if unwind.records[middle].offset < place { low = middle + 1 } else { high = middle }
    }
    guard low < unwind.records.count, unwind.records[low].offset == place, unwind.records[low].cie == low else {
      return nil
    }
    return low
  }

  // Where a CIE says that addresses are pc-relative and have 32 bits; 0 if it says anything else.
  private func narrowEncoding(_ cie: UnsafeRawBufferPointer) -> Int {
    var offset = 8
    func byte() -> UInt8? {
      guard offset < cie.count else { return nil }
      defer { offset += 1 }
      return unsafe cie[offset]
    }
    func skipLEB128() -> Bool {
      while let next = byte() { if next < 0x80 { return true } }
      return false
    }
    guard let version = byte(), version == 1 || version == 3, let first = byte(), first == UInt8(ascii: "z") else {
      return 0
    }
    var letters: [UInt8] = []
    while let letter = byte(), letter != 0 { letters.append(letter) }
    guard skipLEB128(), skipLEB128() else { return 0 }  // code and data alignment
    if version == 1 { _ = byte() } else if !skipLEB128() { return 0 }  // return address column
    guard skipLEB128() else { return 0 }  // size of the augmentation data
    for letter in letters {
      switch letter {
      case UInt8(ascii: "R"):
        let place = offset
        return byte() == 0x1B ? place : 0
      case UInt8(ascii: "L"): _ = byte()
      case UInt8(ascii: "P"):
        guard let encoding = byte() else { return 0 }
        switch encoding & 15 {
        case 0x02, 0x0A: offset += 2
        case 0x03, 0x0B: offset += 4
        case 0x00, 0x04, 0x0C: offset += 8
        default: return 0
        }
      case UInt8(ascii: "S"), UInt8(ascii: "B"): break
      default: return 0
      }
    }
    return 0
  }
}
