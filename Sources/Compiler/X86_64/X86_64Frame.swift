// The frame on x86-64: prologue, epilogue, and what stands behind a function's code.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension FunctionCompiler where Machine == X86_64Assembler {
  mutating func prologue() -> FramePatch {
    asm.push(.rbp)
    asm.mov(.b64, dst: .rbp, src: .rsp)
    // Upper bound of the frame, outgoing area apart.
    let bound = Int(-stackSlots) + ops.maximumStackHeight * 8 + 16
    let needsFrame = analysis.needsFrame
    var patch = FramePatch(offset: -1)
    // A leaf's frame of at most 128 bytes fits in the red zone: signals run on another stack, or below it.
    if needsFrame || bound > 120 {
      asm.code.ensure(16)
      asm.code.put8(0x48)
      asm.code.put8(0x81)
      asm.code.put8(0xEC)
      patch.offset = asm.code.count
      asm.code.put32(0)
    }
    if needsFrame || bound > 4096 {
      let overflow = trapLabel(.stackOverflow)
      asm.load(.b64, dst: .rax, from: Address(base: Self.ctx, displacement: Int32(ContextLayout.store)))
      asm.alu(
        .cmp, .b64, dst: .rsp, from: Address(base: .rax, displacement: Int32(StoreContextLayout.stackLimit)))
      asm.jcc(.below, overflow)
    }
    if analysis.leavesInstance {
      asm.store(.b64, to: Address(base: .rbp, displacement: -8), src: Self.ctx)
    }
    enterLocals()
    return patch
  }

  /// Stores zeros to the slots of the `count` locals, parameters apart, that live in slots only.
  mutating func zeroLocals(count: Int) {
    let parameters = ops.parameterCount
    asm.alu(.xor, .b32, dst: .rax, src: .rax)
    if count > 48 {
      // All slots of these locals are adjacent; those of locals in registers are among them, to no harm.
      var low: Int32 = 0
      var high: Int32 = -0x7FFF_FFFF
      for i in 0..<locals.count where locals[i].slot != 0 && ops.localIndex(UInt32(i)) >= parameters {
        low = min(low, locals[i].slot)
        high = max(high, locals[i].slot + (locals[i].type == .v128 ? 8 : 0))
      }
      let loop = asm.makeLabel()
      asm.mov(.b64, dst: .rcx, immediate: UInt64(bitPattern: Int64(low - high - 8)))
      asm.bind(loop)
      asm.store(
        .b64, to: Address(base: .rbp, index: .rcx, scale: 1, displacement: high + 8), src: .rax)
      asm.alu(.add, .b64, dst: .rcx, immediate: 8)
      asm.jcc(.notEqual, loop)
      return
    }
    for i in 0..<locals.count
    where locals[i].bit == noBit && locals[i].slot != 0 && ops.localIndex(UInt32(i)) >= parameters {
      asm.store(.b64, to: Address(base: .rbp, displacement: locals[i].slot), src: .rax)
      if locals[i].type == .v128 {
        asm.store(.b64, to: Address(base: .rbp, displacement: locals[i].slot + 8), src: .rax)
      }
    }
  }

  /// Fills in the size of the frame, now that it is known.
  mutating func patchFrame(_ patch: FramePatch) {
    guard patch.offset >= 0 else { return }
    let used = Int(-stackSlots) + highestSlot * 8 + Int(outgoing)
    asm.code.patch32(at: patch.offset, UInt32((used + 15) & ~15))
  }

  mutating func epilogue() {
    asm.leave()
    returns.append(asm.offset)
    asm.ret()
  }

  /// The stub takes table and index on the stack, and preserves all registers but rax.
  mutating func resolveElement(_ item: OutOfLine) {
    asm.push(Register(number: item.register))
    asm.mov(.b32, dst: .rax, immediate: UInt64(item.first))
    asm.push(.rax)
    asm.callRelocated(environment.resolveSymbol)
    asm.lea(.b64, .rsp, Address(base: .rsp, displacement: 16))
    asm.jmp(item.resume)
  }

  /// Jump tables, last, so that nothing that is executed follows data.
  mutating func emitTables() {
    for k in 0..<outOfLine.count where outOfLine[k].kind == .jumpTable {
      let item = outOfLine[k]
      while asm.code.count & 3 != 0 { asm.int3() }
      asm.bind(item.label)
      for j in 0..<item.count { asm.emitTableEntry32(tableLabels[Int(item.first + j)], relativeTo: item.label) }
    }
  }
}
