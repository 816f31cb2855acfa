/// Random texts for the layout tests, and decoders for what comes out, independent of the encoders.
import PrecastMachineCode
import TestSupport

/// A call in the input: where it stands in its function, and whom it calls.
struct PlannedCall {
  var offset: Int
  var target: Int
}

struct PlannedFunction {
  var size: Int
  var calls: [PlannedCall]
}

/// A text that is to be: functions that call one another.
struct TextPlan {
  var architecture: Architecture
  var functions: [PlannedFunction]

  init(architecture: Architecture, functions: [PlannedFunction]) {
    self.architecture = architecture
    self.functions = functions
  }

  /// `count` functions of at most `size` bytes with a call every `spacing` bytes or so, mostly to
  /// functions at most `distance` away.
  init(
    architecture: Architecture, count: Int, size: Int, spacing: Int, distance: Int, using random: inout Random
  ) {
    self.architecture = architecture
    functions = []
    for i in 0..<count {
      var calls: [PlannedCall] = []
      var length = 0
      let goal = Int.random(in: 1...size, using: &random)
      while length + 8 <= goal {
        length += Int.random(in: 0...2 * spacing, using: &random) & ~3
        if length + 8 > goal { break }
        let isNear = Int.random(in: 0..<4, using: &random) != 0
        let low = isNear ? max(0, i - distance) : 0
        let high = isNear ? min(count - 1, i + distance) : count - 1
        calls.append(PlannedCall(offset: length, target: Int.random(in: low...high, using: &random)))
        length += 8
      }
      functions.append(PlannedFunction(size: max(length, 4), calls: calls))
    }
  }

  var relocationKind: RelocationKind { architecture == .x86_64 ? .x86_64PLT32 : .aarch64Call26 }

  /// The functions' code, in chunks of `perChunk` functions, and a builder that has been given all of it.
  /// Symbols are numbered backwards, so that they are no function numbers by accident.
  func makeBuilder(
    options: TextSectionOptions, perChunk: Int, convention: CallingConvention = .wasm
  ) -> TextSectionBuilder {
    var builder = TextSectionBuilder(architecture: architecture, symbolCount: functions.count, options: options)
    var first = 0
    while first < functions.count {
      let members = first..<min(first + perChunk, functions.count)
      var code = CodeBuffer()
      var relocations = FlatBuffer<Relocation>()
      var spans: [(offset: Int, relocations: Range<Int>)] = []
      for i in members {
        code.put(repeating: 0xEE, count: -code.count & 15)
        let start = code.count
        let firstRelocation = relocations.count
        code.put(repeating: 0x90, count: functions[i].size)
        for call in functions[i].calls {
          switch architecture {
          case .x86_64:
            code.patch8(at: start + call.offset, 0xE8)
            relocations.append(
              Relocation(
                offset: UInt32(start + call.offset + 1), kind: relocationKind, symbol: symbol(call.target), addend: -4))
          case .aarch64:
            code.patch32(at: start + call.offset, 0x9400_0000)
            relocations.append(
              Relocation(
                offset: UInt32(start + call.offset), kind: relocationKind, symbol: symbol(call.target), addend: 0))
          }
        }
        spans.append((start, firstRelocation..<relocations.count))
      }
      let chunk = CodeChunk(code: code, relocations: relocations)
      for (i, span) in zip(members, spans) {
        builder.add(
          symbol: symbol(i), chunk: chunk, offset: span.offset, size: functions[i].size,
          relocations: span.relocations, convention: convention)
      }
      first = members.upperBound
    }
    return builder
  }

  func symbol(_ function: Int) -> UInt32 { UInt32(functions.count - 1 - function) }
}

/// The bytes of a finished text, put together from its pieces; throws if they leave a gap or overlap.
func assemble(_ builder: borrowing TextSectionBuilder) throws -> [UInt8] {
  var text: [UInt8] = []
  for i in 0..<builder.pieceCount {
    let piece = builder.piece(i)
    guard piece.textOffset == text.count else { throw ToolFailure(description: "a piece is misplaced") }
    text.append(contentsOf: unsafe piece.bytes)
  }
  guard text.count == builder.size else { throw ToolFailure(description: "pieces are missing") }
  return text
}

func word(_ text: [UInt8], _ offset: Int) -> UInt32 {
  (0..<4).reduce(0) { $0 | UInt32(text[offset + $1]) << UInt32(8 * $1) }
}

/// Where the call at `offset` goes; nil if there is none.
func callTarget(_ text: [UInt8], _ offset: Int, _ architecture: Architecture) -> Int? {
  switch architecture {
  case .x86_64:
    guard text[offset] == 0xE8 else { return nil }
    return offset + 5 + Int(Int32(bitPattern: word(text, offset + 1)))
  case .aarch64:
    let instruction = word(text, offset)
    guard instruction >> 26 == 0b100101 else { return nil }
    return offset + Int(Int32(bitPattern: instruction << 6) >> 4)
  }
}

/// Where the veneer at `offset` goes; nil if there is none.
func veneerTarget(_ text: [UInt8], _ offset: Int, _ architecture: Architecture) -> Int? {
  switch architecture {
  case .x86_64:
    // lea rax, [rip + n]; add rax, [rax]; jmp rax
    guard offset + 24 <= text.count, Array(text[offset..<offset + 3]) == [0x48, 0x8D, 0x05],
      Array(text[offset + 7..<offset + 12]) == [0x48, 0x03, 0x00, 0xFF, 0xE0]
    else { return nil }
    let cell = offset + 7 + Int(Int32(bitPattern: word(text, offset + 3)))
    guard cell % 8 == 0 else { return nil }
    let distance = UInt64(word(text, cell)) | UInt64(word(text, cell + 4)) << 32
    return cell + Int(Int64(bitPattern: distance))
  case .aarch64:
    guard offset + 12 <= text.count else { return nil }
    let (adrp, add, br) = (word(text, offset), word(text, offset + 4), word(text, offset + 8))
    guard adrp & 0x9F00_001F == 0x9000_0010, add & 0xFFC0_03FF == 0x9100_0210, br == 0xD61F_0200 else { return nil }
    let immediate = (adrp >> 5 & 0x7_FFFF) << 2 | adrp >> 29 & 3
    let pages = Int(Int32(bitPattern: immediate << 11) >> 11)
    return (offset & ~4095) + pages * 4096 + Int(add >> 10 & 0xFFF)
  }
}

/// The address that the veneer at `offset` goes to; nil if there is none with an address.
func absoluteVeneerTarget(_ text: [UInt8], _ offset: Int, _ architecture: Architecture) -> UInt64? {
  switch architecture {
  case .x86_64:
    // jmp [rip + 2]
    guard offset % 8 == 0, offset + 16 <= text.count, Array(text[offset..<offset + 6]) == [0xFF, 0x25, 2, 0, 0, 0]
    else { return nil }
    return UInt64(word(text, offset + 8)) | UInt64(word(text, offset + 12)) << 32
  case .aarch64:
    guard offset + 20 <= text.count, word(text, offset + 16) == 0xD61F_0200 else { return nil }
    var address: UInt64 = 0
    for half in 0..<4 {
      let instruction = word(text, offset + 4 * half)
      guard instruction & 0xFFE0_001F == (half == 0 ? 0xD280_0010 : 0xF280_0010) | UInt32(half) << 21 else {
        return nil
      }
      address |= UInt64(instruction >> 5 & 0xFFFF) << UInt64(16 * half)
    }
    return address
  }
}
