// The frame on AArch64: prologue, epilogue, and the way to the stub that resolves table elements.
//
//     bti c                        where landing pads are asked for
//     stp x29, x30, [sp, #-16]!
//     mov x29, sp
//     sub sp, sp, #size            filled in when the size is known
//     ...
//     mov sp, x29
//     ldp x29, x30, [sp], #16
//     ret
//
// There is no red zone here, so a leaf lowers sp as well. One instruction can: its immediate has 12 bits, perhaps times 4096,
// so a frame of 4 KiB or more is rounded up to whole 4 KiB, and may have nearly 16 MiB. Fewer than 9 MiB are possible: a body has at
// most a million values on its operand stack and fifty thousand locals, and a call a thousand arguments and as many results.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine == AArch64Assembler {
  mutating func prologue() -> FramePatch {
    asm.reserve(16)
    if hasLandingPads { asm.bti(.call) }
    asm.storePair(.b64, .x29, .x30, to: Address(base: .sp, displacement: -16, update: .before))
    asm.mov(.b64, dst: .x29, src: .sp)
    let patch = FramePatch(offset: Int(asm.offset))
    asm.arithmetic(.sub, .b64, .sp, .sp, immediate: 0)
    // Upper bound of the frame, outgoing area apart. A leaf's frame of a page is covered by what is below the limit.
    let bound = Int(-stackSlots) + ops.maximumStackHeight * 8 + 16
    if analysis.needsFrame || bound > 4096 {
      let overflow = trapLabel(.stackOverflow)
      asm.load(.b64, dst: .x16, from: Address(base: Self.ctx, displacement: Int32(ContextLayout.store)))
      asm.load(.b64, dst: .x16, from: Address(base: .x16, displacement: Int32(StoreContextLayout.stackLimit)))
      asm.arithmetic(.subs, .b64, .zr, .sp, .x16, extend: .uxtx)
      asm.b(.lo, overflow)
    }
    if analysis.leavesInstance {
      asm.store(.b64, to: Address(base: .x29, displacement: -8), src: Self.ctx)
    }
    enterLocals()
    return patch
  }

  /// Stores zeros to the slots of the `count` locals, parameters apart, that live in slots only.
  mutating func zeroLocals(count: Int) {
    let parameters = ops.parameterCount
    if count > 16 {
      // All slots of these locals are adjacent; those of locals in registers are among them, to no harm.
      var low: Int32 = 0
      var high: Int32 = -0x7FFF_FFFF
      for i in 0..<locals.count where locals[i].slot != 0 && ops.localIndex(UInt32(i)) >= parameters {
        low = min(low, locals[i].slot)
        high = max(high, locals[i].slot + (locals[i].type == .v128 ? 16 : 8))
      }
      let loop = asm.makeLabel()
      addToFramePointer(.x17, high)
      addToFramePointer(.x16, low)
      asm.bind(loop)
      asm.store(.b64, to: Address(base: .x16, displacement: 8, update: .after), src: .zr)
      asm.cmp(.b64, .x16, .x17)
      asm.b(.ne, loop)
      return
    }
    for i in 0..<locals.count
    where locals[i].bit == noBit && locals[i].slot != 0 && ops.localIndex(UInt32(i)) >= parameters {
      asm.store(.b64, to: Address(base: .x29, displacement: locals[i].slot), src: .zr)
      if locals[i].type == .v128 {
        asm.store(.b64, to: Address(base: .x29, displacement: locals[i].slot + 8), src: .zr)
      }
    }
  }

  /// dst = x29 + offset, which is negative or 0.
  private mutating func addToFramePointer(_ dst: Register, _ offset: Int32) {
    let distance = UInt64(-Int64(offset))
    if AArch64Assembler.isArithmeticImmediate(distance) {
      asm.arithmetic(.sub, .b64, dst, .x29, immediate: distance)
    } else {
      asm.mov(.b64, dst: dst, immediate: distance)
      asm.arithmetic(.sub, .b64, dst, .x29, dst)
    }
  }

  /// Fills in the size of the frame, now that it is known.
  mutating func patchFrame(_ patch: FramePatch) {
    guard patch.offset >= 0 else { return }
    let used = Int(-stackSlots) + highestSlot * 8 + Int(outgoing)
    let size = UInt32((used + 15) & ~15)
    precondition(size <= 0xFFF000, "a frame larger than the limits of a body allow")
    if size < 4096 {
      // sub sp, sp, #size
      asm.code.patch32(at: patch.offset, 0xD100_03FF | size << 10)
    } else {
      // sub sp, sp, #pages, lsl #12
      asm.code.patch32(at: patch.offset, 0xD140_03FF | ((size + 4095) & ~4095) >> 2)
    }
  }

  mutating func epilogue() {
    asm.reserve(12)
    asm.mov(.b64, dst: .sp, src: .x29)
    asm.loadPair(.b64, .x29, .x30, from: Address(base: .sp, displacement: 16, update: .after))
    returns.append(asm.offset)
    asm.ret()
  }

  /// The stub takes the table's index and the element's on the stack, since no register is left alone by all veneers that a
  /// call may go through and has no value in it. The element comes back in x16; x0 to x15 and v0 to v15 are as they were.
  mutating func resolveElement(_ item: OutOfLine) {
    asm.mov(.b32, dst: .x16, immediate: UInt64(item.first))
    asm.storePair(
      .b64, .x16, Register(number: item.register), to: Address(base: .sp, displacement: -16, update: .before))
    asm.callRelocated(environment.resolveSymbol)
    asm.mov(.b64, dst: Self.element, src: .x16)
    asm.arithmetic(.add, .b64, .sp, .sp, immediate: 16)
    asm.b(item.resume)
  }

  /// Nothing: jump tables are branches, and stand where they are used.
  mutating func emitTables() {}
}
