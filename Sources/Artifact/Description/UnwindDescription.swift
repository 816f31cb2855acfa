// `.eh_frame` in readable form: CIEs, FDEs, and what their instructions say about the caller's registers.
//
// The decoder takes what the LSB ("Exception Frames") and DWARF 5, 6.4.2 allow in general, as far as it needs no
// expressions; these are shown as so many bytes. Rules are worded from the reader's side: at this code offset, the
// caller's rsp (the CFA) is found so, and its registers so.

import PrecastMachineCode

/// What a CIE says, as far as its FDEs need it.
private struct CommonEntry {
  var codeAlignment: UInt64
  var dataAlignment: Int64
  var encoding: UInt8
  var hasAugmentationData: Bool
  /// Register and offset of the CFA, after the instructions so far.
  var register: UInt64 = 0
  var offset: UInt64 = 0
}

/// A place in the section, moving forward.
private struct UnwindCursor {
  let bytes: ByteRegion
  var offset: Int

  mutating func byte() throws(ArtifactError) -> UInt8 {
    offset += 1
    return try bytes.u8(offset - 1)
  }

  mutating func unsigned(size: Int) throws(ArtifactError) -> UInt64 {
    offset += size
    switch size {
    case 1: return UInt64(try bytes.u8(offset - 1))
    case 2: return UInt64(try bytes.u16(offset - 2))
    case 4: return UInt64(try bytes.u32(offset - 4))
    default: return try bytes.u64(offset - 8)
    }
  }

  /// ULEB128; bits beyond the 64th are dropped.
  mutating func unsignedLEB() throws(ArtifactError) -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      let byte = try byte()
      if shift < 64 { value |= UInt64(byte & 0x7F) << shift }
      shift += 7
      if byte < 0x80 { return value }
      guard shift < 140 else { throw bytes.damaged(offset, "LEB128 number too long") }
    }
  }

  mutating func signedLEB() throws(ArtifactError) -> Int64 {
    var value: Int64 = 0
    var shift: Int64 = 0
    while true {
      let byte = try byte()
      if shift < 64 { value |= Int64(byte & 0x7F) << shift }
      shift += 7
      if byte < 0x80 { return shift < 64 && byte & 0x40 != 0 ? value | Int64(-1) << shift : value }
      guard shift < 140 else { throw bytes.damaged(offset, "LEB128 number too long") }
    }
  }
}

extension Artifact {
  func describeUnwindTables(_ bytes: ByteRegion, _ report: Report) {
    let names = RegisterNames(header.record.settings.architecture)
    let pieces = try? CodePieces(self)
    let address = header.extent(of: .ehFrame).offset
    var common: [Int: CommonEntry] = [:]
    var offset = 0
    report.withJSON { if report.format == .json { $0.begin("[", "entries") } }
    defer { report.withJSON { if report.format == .json { $0.end("]") } } }
    while offset < bytes.count && !report.isDone {
      do throws(ArtifactError) {
        var cursor = UnwindCursor(bytes: bytes, offset: offset)
        let length = Int(try cursor.unsigned(size: 4))
        if length == 0 {
          report.line("\(hexadecimal(UInt64(offset))): terminator")
          offset += 4
          if offset < bytes.count { throw bytes.damaged(offset, "bytes behind the terminator") }
          break
        }
        guard length != 0xFFFF_FFFF else { throw bytes.damaged(offset, "an entry in the 64-bit format") }
        guard length >= 4 else { throw bytes.damaged(offset, "an entry of \(length) bytes") }
        let entry = try bytes.slice(0, offset + 4 + length)
        cursor = UnwindCursor(bytes: entry, offset: offset + 4)
        let distance = Int(try cursor.unsigned(size: 4))
        if distance == 0 {
          common[offset] = try describeCommonEntry(&cursor, at: offset, names, report)
        } else {
          let parent = offset + 4 - distance
          guard let common = common[parent] else { throw bytes.damaged(offset + 4, "no CIE at \(parent)") }
          try describeFrameEntry(&cursor, common, at: offset, address, pieces, names, report)
        }
        offset += 4 + length
      } catch {
        report.damaged(error)
        break
      }
    }
  }

  private func describeCommonEntry(
    _ cursor: inout UnwindCursor, at start: Int, _ names: RegisterNames, _ report: Report
  ) throws(ArtifactError) -> CommonEntry {
    let version = try cursor.byte()
    guard version == 1 || version == 3 else { throw cursor.bytes.damaged(cursor.offset, "CIE version \(version)") }
    let augmentation = try cursor.bytes.zeroTerminated(at: cursor.offset)
    cursor.offset += cursor.bytes.length(at: cursor.offset) + 1
    var common = CommonEntry(
      codeAlignment: try cursor.unsignedLEB(), dataAlignment: try cursor.signedLEB(), encoding: 0,
      hasAugmentationData: augmentation.hasPrefix("z"))
    let returnAddress = version == 1 ? UInt64(try cursor.byte()) : try cursor.unsignedLEB()
    if common.hasAugmentationData {
      let size = try cursor.unsignedLEB()
      let end = try cursor.bytes.slice(cursor.offset, Int(clamping: size)).count + cursor.offset
      for letter in augmentation.dropFirst() {
        // Behind a letter that is not known nothing can be told.
        if letter == "S" { continue }
        guard letter == "R" else { break }
        common.encoding = try cursor.byte()
      }
      cursor.offset = end
    }
    let rules = try rules(&cursor, &common, names)
    switch report.format {
    case .text:
      report.line(
        """
        \(hexadecimal(UInt64(start))): CIE, version \(version), "\(Report.shown(augmentation))", \
        code alignment \(common.codeAlignment), data alignment \(common.dataAlignment), return address in \
        \(names[returnAddress]), pointers \(Self.encodingName(common.encoding))
        """)
      write(rules, report)
    case .json:
      report.withJSON {
        $0.begin("{", inline: true)
        $0.value("kind", "CIE")
        $0.value("offset", start)
        $0.value("version", version)
        $0.value("augmentation", augmentation)
        $0.value("code_alignment", common.codeAlignment)
        $0.value("data_alignment", common.dataAlignment)
        $0.value("return_address", names[returnAddress])
        $0.value("encoding", Self.encodingName(common.encoding))
      }
      write(rules, report)
      report.withJSON { $0.end("}") }
    }
    return common
  }

  private func describeFrameEntry(
    _ cursor: inout UnwindCursor, _ common: CommonEntry, at start: Int, _ address: UInt64, _ pieces: CodePieces?,
    _ names: RegisterNames, _ report: Report
  ) throws(ArtifactError) {
    // DW_EH_PE_*: the low half is the format, the next three bits say relative to what.
    let size = [0: 8, 2: 2, 3: 4, 4: 8, 0xA: 2, 0xB: 4, 0xC: 8][Int(common.encoding & 0x0F)]
    guard let size, common.encoding & 0x70 == 0x10 || common.encoding & 0x70 == 0 else {
      throw cursor.bytes.damaged(start, "pointers of encoding \(hexadecimal(UInt64(common.encoding)))")
    }
    let place = address &+ UInt64(cursor.offset)
    var first = try cursor.unsigned(size: size)
    if common.encoding & 0x08 != 0 {
      let unused = UInt64(64 - size * 8)
      first = UInt64(bitPattern: Int64(bitPattern: first << unused) >> Int64(unused))
    }
    if common.encoding & 0x70 == 0x10 { first = first &+ place }
    let count = try cursor.unsigned(size: size)
    if common.hasAugmentationData {
      let length = try cursor.unsignedLEB()
      cursor.offset += try cursor.bytes.slice(cursor.offset, Int(clamping: length)).count
    }
    let textOffset = first &- header.text.offset
    let piece = UInt32(exactly: textOffset).flatMap { pieces?.piece(at: $0) }
    var state = common
    let rules = try rules(&cursor, &state, names)
    switch report.format {
    case .text:
      report.line(
        "\(hexadecimal(UInt64(start))): FDE, text offset \(hexadecimal(textOffset)), \(count) bytes: "
          + (piece?.label ?? "other code") + (piece?.name.map { ", " + Report.shown($0) } ?? ""))
      write(rules, report)
    case .json:
      report.withJSON {
        $0.begin("{", inline: true)
        $0.value("kind", "FDE")
        $0.value("offset", start)
        $0.value("text_offset", textOffset)
        $0.value("size", count)
        $0.value("function", piece?.label)
        $0.value("name", piece?.name)
      }
      write(rules, report)
      report.withJSON { $0.end("}") }
    }
  }

  private typealias Rules = [(location: UInt64, rules: [String])]

  private func write(_ rules: Rules, _ report: Report) {
    switch report.format {
    case .text:
      for (location, rules) in rules where !rules.isEmpty {
        report.line("  " + "+\(hexadecimal(location))".padded(10) + rules.joined(separator: "; "))
      }
    case .json:
      report.withJSON {
        $0.begin("[", "rules")
        for (location, rules) in rules where !rules.isEmpty {
          $0.begin("{")
          $0.value("code_offset", location)
          $0.begin("[", "rules")
          for rule in rules { $0.value(nil, rule) }
          $0.end("]")
          $0.end("}")
        }
        $0.end("]")
      }
    }
  }

  /// The call frame instructions up to the end of the entry (DWARF 5, 6.4.2), in words, by code offset.
  private func rules(
    _ cursor: inout UnwindCursor, _ state: inout CommonEntry, _ names: RegisterNames
  ) throws(ArtifactError) -> Rules {
    let common = state
    var all: Rules = [(0, [])]
    var register = state.register
    var offset = state.offset
    defer {
      state.register = register
      state.offset = offset
    }
    func say(_ rule: String) { all[all.count - 1].rules.append(rule) }
    func advance(_ delta: UInt64) {
      all.append((all[all.count - 1].location &+ delta &* common.codeAlignment, []))
    }
    func frame(_ factored: Int64) -> String {
      let distance = factored &* common.dataAlignment
      return distance < 0 ? "CFA\(distance)" : "CFA+\(distance)"
    }
    var remembered: [(register: UInt64, offset: UInt64)] = []
    func sayFrame() { say("CFA = \(names[register])+\(Int64(bitPattern: offset))") }
    while cursor.offset < cursor.bytes.count {
      let code = try cursor.byte()
      let low = UInt64(code & 0x3F)
      switch code {
      case 0x40...0x7F: advance(low)
      case 0x80...0xBF: say("\(names[low]) at \(frame(Int64(bitPattern: try cursor.unsignedLEB())))")
      case 0xC0...0xFF: say("\(names[low]) as in the CIE")
      case 0x00: break
      case 0x01: say("location \(hexadecimal(try cursor.unsigned(size: 8)))")
      case 0x02: advance(try cursor.unsigned(size: 1))
      case 0x03: advance(try cursor.unsigned(size: 2))
      case 0x04: advance(try cursor.unsigned(size: 4))
      case 0x05:
        let name = names[try cursor.unsignedLEB()]
        say("\(name) at \(frame(Int64(bitPattern: try cursor.unsignedLEB())))")
      case 0x06: say("\(names[try cursor.unsignedLEB()]) as in the CIE")
      case 0x07: say("\(names[try cursor.unsignedLEB()]) lost")
      case 0x08: say("\(names[try cursor.unsignedLEB()]) unchanged")
      case 0x09:
        let name = names[try cursor.unsignedLEB()]
        say("\(name) in \(names[try cursor.unsignedLEB()])")
      case 0x0A:
        remembered.append((register, offset))
        say("remember")
      case 0x0B:
        if let last = remembered.popLast() { (register, offset) = last }
        say("as remembered")
      case 0x0C, 0x12:
        register = try cursor.unsignedLEB()
        offset =
          code == 0x0C
          ? try cursor.unsignedLEB() : UInt64(bitPattern: try cursor.signedLEB() &* common.dataAlignment)
        sayFrame()
      case 0x0D:
        register = try cursor.unsignedLEB()
        sayFrame()
      case 0x0E:
        offset = try cursor.unsignedLEB()
        sayFrame()
      case 0x13:
        offset = UInt64(bitPattern: try cursor.signedLEB() &* common.dataAlignment)
        sayFrame()
      case 0x0F, 0x10, 0x16:
        let subject = code == 0x0F ? "CFA" : names[try cursor.unsignedLEB()]
        let size = Int(clamping: try cursor.unsignedLEB())
        cursor.offset += try cursor.bytes.slice(cursor.offset, size).count
        say("\(subject) by an expression of \(size) bytes")
      case 0x11:
        let name = names[try cursor.unsignedLEB()]
        say("\(name) at \(frame(try cursor.signedLEB()))")
      case 0x2D: say("return address signed or not")
      case 0x2E: say("arguments of \(try cursor.unsignedLEB()) bytes")
      default: throw cursor.bytes.damaged(cursor.offset - 1, "call frame instruction \(hexadecimal(UInt64(code)))")
      }
    }
    return all
  }

  private static func encodingName(_ encoding: UInt8) -> String {
    let formats = [0: "absptr", 2: "udata2", 3: "udata4", 4: "udata8", 0xA: "sdata2", 0xB: "sdata4", 0xC: "sdata8"]
    let format = formats[Int(encoding & 0x0F)] ?? hexadecimal(UInt64(encoding & 0x0F))
    return (encoding & 0x70 == 0x10 ? "pcrel " : encoding & 0x70 == 0 ? "" : "relative ") + format
  }
}

/// The names of DWARF's register numbers (System V psABI, x86-64, figure 3.36; DWARF for the Arm 64-bit architecture).
private struct RegisterNames {
  let architecture: Architecture

  init(_ architecture: Architecture) { self.architecture = architecture }

  subscript(number: UInt64) -> String {
    switch (architecture, number) {
    case (.x86_64, 0..<8): ["rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp"][Int(number)]
    case (.x86_64, 8..<16): "r\(number)"
    case (.x86_64, 16): "ra"
    case (.x86_64, 17..<33): "xmm\(number - 17)"
    case (.aarch64, 0..<31): "x\(number)"
    case (.aarch64, 31): "sp"
    case (.aarch64, 64..<96): "v\(number - 64)"
    default: "register \(number)"
    }
  }
}
