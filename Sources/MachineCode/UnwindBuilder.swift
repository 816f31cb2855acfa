/// Unwind tables: `.eh_frame`, for whoever walks a stack without knowing our frames.
///
/// Our own stack walk follows frame pointers. Everybody else (the system's unwinder under C++
/// exceptions, gdb, perf, backtraces of a crash) reads call frame information, and an unwinder that
/// stops in the middle of a prologue must still find the caller, so the tables hold at every
/// instruction: before, in and after the prologue, and after each `leave`.
///
/// The section is one CIE and one FDE a function, each 4-byte aligned, and a terminator (LSB,
/// "Exception Frames"; instructions are DWARF 5's, 6.4.2):
///
///     CIE   length, 0, version 1, "zR", code align, data align -8, return address column,
///           1 byte of augmentation data: the pointer encoding
///           where a function finds the CFA and the return address when it is called
///     FDE   length, distance back to the CIE, function (pc-relative), size, 0,
///           instructions
///     0     four zero bytes
///
/// Pointers are pc-relative, so nothing is left to relocate as long as the section keeps its
/// distance from the text: it starts exactly where the text ends. They have 32 bits where text and
/// table together stay below 2 GiB, else 64.
///
/// A function's epilogue may stand in the middle of it. There the state is remembered before `ret`
/// and restored after it; the last `ret` of a function needs neither.
///
/// Both architectures have the same frame, a record of the caller's frame pointer and the return address with the frame
/// pointer at it. They differ in registers, in who stores the return address, and in the lengths of instructions:
/// `UnwindConvention`, given in X86_64/X86_64Unwind.swift and AArch64/AArch64Unwind.swift.

/// A register of the caller, saved by a trampoline in its frame.
public struct SavedRegister: Sendable, Equatable, BitwiseCopyable {
  /// Code offset from which on it is saved: just after the push or store.
  public var codeOffset: UInt32
  /// Its DWARF number; see `Register.dwarfNumber`.
  public var dwarfRegister: UInt8
  /// Where it is saved, in bytes from the CFA: negative, a multiple of 8. The saved frame pointer is at -16.
  public var cfaOffset: Int32

  /// A register saved at `cfaOffset` bytes from the CFA from `codeOffset` on.
  public init(codeOffset: UInt32, dwarfRegister: UInt8, cfaOffset: Int32) {
    self.codeOffset = codeOffset
    self.dwarfRegister = dwarfRegister
    self.cfaOffset = cfaOffset
  }
}

/// A stretch of a function in which the frame pointer is not to be trusted, because control comes there with only
/// the stack pointer restored: CFA = stack pointer + `cfaOffset`.
public struct StackPointerRange: Sendable, Equatable, BitwiseCopyable {
  /// Code offset of the first instruction.
  public var start: UInt32
  /// Code offset of the first instruction at which the frame pointer holds again.
  public var end: UInt32
  /// Distance from the stack pointer to the CFA in bytes.
  public var cfaOffset: UInt32

  /// Between `start` and `end`, CFA = stack pointer + `cfaOffset`.
  public init(start: UInt32, end: UInt32, cfaOffset: UInt32) {
    self.start = start
    self.end = end
    self.cfaOffset = cfaOffset
  }
}

/// What unwind tables have to know of an architecture and its frames. Registers are DWARF's numbers.
struct UnwindConvention: BitwiseCopyable {
  /// Length of the shortest instruction: the unit of advances.
  var codeAlignment: UInt8
  var stackPointer: UInt8
  var framePointer: UInt8
  /// The column of the return address, which may be a register.
  var returnAddress: UInt8
  /// At a function's first instruction, CFA = stack pointer + this.
  var entryOffset: UInt8
  /// Whether the call has stored the return address at CFA - 8; otherwise the function does, with its frame pointer.
  var callStoresReturnAddress: Bool
  /// Code offset at which the frame record is on the stack: CFA = stack pointer + 16.
  var recordOffset: UInt32
  /// Code offset at which the frame pointer points to it: CFA = frame pointer + 16.
  var framePointerOffset: UInt32
  /// How many bytes before a return the rest of the frame is given up, if not in the same instruction as the frame record.
  var releaseLength: UInt32
  /// Length of a landing pad, 0 where there are none.
  var landingPadLength: UInt32

  /// Length of a return instruction, which is the shortest on both.
  var returnLength: UInt32 { UInt32(codeAlignment) }
}

/// Builds the contents of `.eh_frame` for text that starts a section's length before it.
public struct UnwindBuilder: ~Copyable {
  /// What has been written.
  private var section = CodeBuffer(capacity: 1 << 16)
  private let convention: UnwindConvention
  private let textSize: Int
  private let isWide: Bool
  private var isFinished = false

  // Where the FDE being written starts.
  private var entry = 0
  // Code offset that the instructions written so far have advanced to.
  private var location: UInt32 = 0

  /// Tables for a text of `textSize` bytes, after which the section follows immediately. `isWide`
  /// asks for 64-bit pointers; by default they are used where 32 bits could be too few. `hasLandingPads` says that functions
  /// begin with a landing pad (`bti c`, AArch64 only).
  public init(
    architecture: Architecture = .x86_64, textSize: Int, isWide: Bool? = nil, hasLandingPads: Bool = false
  ) {
    convention = architecture == .aarch64 ? .aarch64(hasLandingPads: hasLandingPads) : .x86
    self.textSize = textSize
    // Tables take less than text; 1.5 GiB of text leaves room for as much as 512 MiB of them.
    self.isWide = isWide ?? (textSize > 0x6000_0000)
    section.put32(0)  // length, below
    section.put32(0)  // this is a CIE
    section.put8(1)  // version
    section.put8(UInt8(ascii: "z"))
    section.put8(UInt8(ascii: "R"))
    section.put8(0)
    section.put8(convention.codeAlignment)
    section.put8(0x78)  // data alignment: -8
    section.put8(convention.returnAddress)
    section.put8(1)  // size of the augmentation data
    section.put8(self.isWide ? 0x1C : 0x1B)  // DW_EH_PE_pcrel | sdata8 or sdata4
    emitDefineCFA(register: convention.stackPointer, offset: UInt64(convention.entryOffset))
    if convention.callStoresReturnAddress { emitOffset(register: convention.returnAddress, cfaOffset: -8) }
    closeEntry(at: 0)
  }

  // MARK: Functions

  /// Describes a function with the standard frame: `push rbp` and `mov rbp, rsp` first, and a `leave` before each `ret`; on
  /// AArch64 `stp x29, x30, [sp, #-16]!` and `mov x29, sp`, and `ldp x29, x30, [sp], #16` before each `ret`.
  ///
  /// `returns` holds the code offsets of the `ret`s in ascending order, counted from `base` bytes
  /// before the function, as `savedRegisters` and `stackPointerRange` are.
  public mutating func add(
    textOffset: Int, size: UInt32, returns: Span<UInt32>, base: UInt32 = 0
  ) {
    beginEntry(textOffset: textOffset, size: size)
    emitPrologue()
    for i in 0..<returns.count { emitReturn(at: returns[i] &- base, size: size) }
    closeEntry(at: entry)
  }

  /// Describes a function with the standard frame and one `ret` at its end.
  public mutating func add(textOffset: Int, size: UInt32) {
    beginEntry(textOffset: textOffset, size: size)
    emitPrologue()
    let length = convention.returnLength
    if size >= length { emitReturn(at: size - length, size: size) }
    closeEntry(at: entry)
  }

  /// Describes a trampoline: the standard frame, and registers of the caller saved in it, in order of
  /// code offset. Those saved so far count as restored when the frame is given up for each `ret`. `stackPointerRanges`: where
  /// the frame pointer is not to be trusted, in order, apart from each other and from the `ret`s. `hasOwnLandingPad`: it begins
  /// with a landing pad though functions do not.
  public mutating func addTrampoline(
    textOffset: Int, size: UInt32, returns: [UInt32], savedRegisters: [SavedRegister],
    stackPointerRanges: [StackPointerRange] = [], hasOwnLandingPad: Bool = false
  ) {
    beginEntry(textOffset: textOffset, size: size)
    emitPrologue(behind: hasOwnLandingPad ? convention.landingPadLength : 0)
    var saved = savedRegisters[...]
    var ranges = stackPointerRanges[...]
    var returns = returns[...]
    // Three sorted lists, merged.
    while true {
      let nextSaved = saved.first?.codeOffset ?? .max
      let nextRange = ranges.first?.start ?? .max
      let nextReturn = returns.first ?? .max
      if nextSaved != .max, nextSaved <= nextRange, nextSaved <= nextReturn, let register = saved.popFirst() {
        advance(to: register.codeOffset)
        emitOffset(register: register.dwarfRegister, cfaOffset: register.cfaOffset)
      } else if nextRange != .max, nextRange <= nextReturn, let range = ranges.popFirst() {
        advance(to: range.start)
        section.put8(0x0A)  // DW_CFA_remember_state
        emitDefineCFA(register: convention.stackPointer, offset: UInt64(range.cfaOffset))
        advance(to: range.end)
        section.put8(0x0B)  // DW_CFA_restore_state
      } else if let offset = returns.popFirst() {
        emitReturn(at: offset, size: size, restoring: savedRegisters.dropLast(saved.count))
      } else {
        break
      }
    }
    closeEntry(at: entry)
  }

  /// Describes code that never touches the stack, such as an island of veneers: all is as it was at the
  /// call.
  public mutating func addFrameless(textOffset: Int, size: UInt32) {
    beginEntry(textOffset: textOffset, size: size)
    closeEntry(at: entry)
  }

  /// Ends the section with its terminator and gives it away.
  public consuming func finish() -> CodeBuffer {
    section.put32(0)
    return section.extract()
  }

  // MARK: Instructions

  private mutating func beginEntry(textOffset: Int, size: UInt32) {
    entry = section.count
    location = 0
    section.put32(0)  // length, below
    section.put32(UInt32(truncatingIfNeeded: section.count))  // the CIE stands at 0
    let distance = textOffset - (textSize + section.count)
    if isWide {
      section.put64(UInt64(bitPattern: Int64(distance)))
      section.put64(UInt64(size))
    } else {
      section.put32(UInt32(bitPattern: Int32(truncatingIfNeeded: distance)))
      section.put32(size)
    }
    section.put8(0)  // no augmentation data
  }

  // Fills up with DW_CFA_nop and sets the length.
  private mutating func closeEntry(at start: Int) {
    section.put(repeating: 0, count: -section.count & 3)
    section.patch32(at: start, UInt32(section.count - start - 4))
  }

  private mutating func emitPrologue(behind start: UInt32 = 0) {
    section.ensure(16)
    advance(to: start + convention.recordOffset)
    section.put16(0x100E)  // DW_CFA_def_cfa_offset 16
    emitOffset(register: convention.framePointer, cfaOffset: -16)
    if !convention.callStoresReturnAddress { emitOffset(register: convention.returnAddress, cfaOffset: -8) }
    advance(to: start + convention.framePointerOffset)
    section.put16(0x0D | UInt16(convention.framePointer) << 8)  // DW_CFA_def_cfa_register
  }

  private mutating func emitReturn(at offset: UInt32, size: UInt32, restoring saved: ArraySlice<SavedRegister> = []) {
    // What is below the stack pointer is nobody's, so saved registers count as restored from when it has passed them.
    advance(to: saved.isEmpty ? offset : offset &- convention.releaseLength)
    let isLast = offset &+ convention.returnLength >= size
    if !isLast { section.put8(0x0A) }  // DW_CFA_remember_state
    for register in saved { emitRestore(register.dwarfRegister) }
    advance(to: offset)
    emitRestore(convention.framePointer)
    if !convention.callStoresReturnAddress { emitRestore(convention.returnAddress) }
    emitDefineCFA(register: convention.stackPointer, offset: UInt64(convention.entryOffset))
    if !isLast {
      advance(to: offset &+ convention.returnLength)
      section.put8(0x0B)  // DW_CFA_restore_state
    }
  }

  private mutating func advance(to offset: UInt32) {
    let delta = (offset &- location) / UInt32(convention.codeAlignment)
    location = offset
    switch delta {
    case 0: break
    case 1..<0x40: section.put8(0x40 | UInt8(delta))  // DW_CFA_advance_loc
    case 0x40..<0x100: section.put16(0x02 | UInt16(delta) << 8)  // DW_CFA_advance_loc1
    case 0x100..<0x1_0000:  // DW_CFA_advance_loc2
      section.put8(0x03)
      section.put16(UInt16(delta))
    default:  // DW_CFA_advance_loc4
      section.put8(0x04)
      section.put32(delta)
    }
  }

  private mutating func emitDefineCFA(register: UInt8, offset: UInt64) {
    section.put16(0x0C | UInt16(register) << 8)  // DW_CFA_def_cfa
    section.putULEB128(offset)
  }

  private mutating func emitOffset(register: UInt8, cfaOffset: Int32) {
    if register < 64 {
      section.put8(0x80 | register)  // DW_CFA_offset
    } else {
      section.put8(0x05)  // DW_CFA_offset_extended
      section.putULEB128(UInt64(register))
    }
    // In units of the data alignment.
    section.putULEB128(UInt64(max(0, -Int64(cfaOffset) / 8)))
  }

  private mutating func emitRestore(_ register: UInt8) {
    if register < 64 {
      section.put8(0xC0 | register)  // DW_CFA_restore
    } else {
      section.put8(0x06)  // DW_CFA_restore_extended
      section.putULEB128(UInt64(register))
    }
  }
}
