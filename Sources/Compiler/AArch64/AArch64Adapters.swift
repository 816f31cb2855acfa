// Adapters on AArch64: from our convention to the platform's (AAPCS64, 6.8.2).
//
// Numbers are passed in the same places by both: eight registers of each kind, x0 to x7 and v0 to v7, and the stack, 8 bytes
// each, in order. So arguments in registers are there already, and those on the stack are copied below the adapter's frame.
// C keeps x19 to x28, so memory base and context survive.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension AArch64StubAssembler {
  /// The module's own context is in x28.
  mutating func adapter(
    _ signature: Signature, _ table: SignatureTable, symbol: UInt32, traps: inout TrapTableEncoder
  ) -> StubRecord {
    begin()
    lowerStack(Int(signature.argumentBytes))

    let overflow = asm.makeLabel()
    asm.load(.b64, dst: .x16, from: Address(base: .x28, displacement: Int32(ContextLayout.store)))
    asm.load(.b64, dst: .x17, from: Address(base: .x16, displacement: Int32(StoreContextLayout.stackLimit)))
    // cmp sp, x17
    asm.arithmetic(.subs, .b64, .zr, .sp, .x17, extend: .uxtx)
    asm.b(.lo, overflow)
    asm.load(.b64, dst: .x16, from: Address(base: .x16, displacement: Int32(StoreContextLayout.activation)))
    asm.store(.b64, to: Address(base: .x16, displacement: Int32(ActivationLayout.exitFramePointer)), src: .x29)

    for i in 0..<Int(signature.parameterCount) {
      let place = table.parameter(signature, i)
      guard place.kind == .stack else { continue }
      asm.load(.b64, dst: .x17, from: Self.frame(16 + Int(place.offset)))
      asm.store(.b64, to: Address(base: .sp, displacement: Int32(place.offset)), src: .x17)
    }
    asm.callRelocated(symbol)
    if signature.resultCount == 1, table.result(signature, 0).type == .i32 { asm.mov(.b32, dst: .x0, src: .x0) }
    leaveAndReturn()
    asm.bind(overflow)
    asm.reserve(4)
    traps.add(codeOffset: asm.offset - start, code: .stackOverflow)
    asm.udf(UInt16(TrapCode.stackOverflow.rawValue))
    return finish()
  }
}
