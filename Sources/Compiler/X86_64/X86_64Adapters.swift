// Adapters on x86-64: from our convention to the platform's (System V psABI, x86-64, 3.2.3).
//
// Arguments are in order in both, only the registers differ, and what stands on the stack in C also stands there in wasm: rdx
// and rcx, which wasm leaves out, make C's integer registers the first six as ours are, and C has two float registers more. So
// an argument moves from register to register, or from stack to register, or from stack to stack, and going through the
// registers in order no move overwrites what is still to be read. C keeps rbx, rbp and r12 to r15, so memory base and context
// survive.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension X86_64StubAssembler {
  // rdi, rsi, rdx, rcx, r8, r9.
  private static let platformArguments: [UInt8] = [7, 6, 2, 1, 8, 9]
  // xmm0 to xmm7.
  private static let platformVectorArguments = 8

  /// The module's own context is in r14.
  mutating func adapter(
    _ signature: Signature, _ table: SignatureTable, symbol: UInt32, traps: inout TrapTableEncoder
  ) -> StubRecord {
    begin()
    var general = 0
    var vector = 0
    var stackArguments: Int32 = 0
    let parameters = (0..<Int(signature.parameterCount)).map { table.parameter(signature, $0) }
    // Where C wants each: its register, or nil for the stack.
    let places: [UInt8?] = parameters.map { place in
      if place.type.isFloatOrVector {
        defer { vector += 1 }
        return vector < Self.platformVectorArguments ? UInt8(vector) : nil
      }
      defer { general += 1 }
      return general < Self.platformArguments.count ? Self.platformArguments[general] : nil
    }
    stackArguments = places.reduce(0) { $1 == nil ? $0 + 1 : $0 }
    let area = (stackArguments * 8 + 15) & ~15
    if area > 0 { asm.alu(.sub, .b64, dst: .rsp, immediate: area) }

    let overflow = asm.makeLabel()
    asm.load(.b64, dst: .rax, from: Address(base: .r14, displacement: Int32(ContextLayout.store)))
    asm.alu(.cmp, .b64, dst: .rsp, from: Address(base: .rax, displacement: Int32(StoreContextLayout.stackLimit)))
    asm.jcc(.below, overflow)
    asm.load(.b64, dst: .rax, from: Address(base: .rax, displacement: Int32(StoreContextLayout.activation)))
    asm.store(.b64, to: Address(base: .rax, displacement: Int32(ActivationLayout.exitFramePointer)), src: .rbp)

    var outgoing: Int32 = 0
    for (place, target) in zip(parameters, places) where target == nil {
      // C has at least as many registers of each kind: what it has on the stack, wasm has there too.
      precondition(place.kind == .stack)
      asm.load(.b64, dst: .rax, from: Address(base: .rbp, displacement: 16 + Int32(place.offset)))
      asm.store(.b64, to: Address(base: .rsp, displacement: outgoing), src: .rax)
      outgoing += 8
    }
    for (place, target) in zip(parameters, places) {
      guard let target else { continue }
      let source = Address(base: .rbp, displacement: 16 + Int32(place.offset))
      if place.type.isFloatOrVector {
        if place.kind == .stack {
          loadVector(XMMRegister(number: target), place.type, source)
        } else {
          asm.movaps(XMMRegister(number: target), XMMRegister(number: place.register))
        }
      } else if place.kind == .stack {
        loadGeneral(Register(number: target), place.type, source)
      } else if place.register != target {
        asm.mov(.b64, dst: Register(number: target), src: Register(number: place.register))
      }
    }
    // A function without a prototype, or with variable arguments, is told how many vector registers are used.
    asm.mov(.b32, dst: .rax, immediate: UInt64(min(vector, Self.platformVectorArguments)))
    asm.callRelocated(symbol)
    if signature.resultCount == 1, table.result(signature, 0).type == .i32 { asm.mov(.b32, dst: .rax, src: .rax) }
    leaveAndReturn()
    asm.bind(overflow)
    traps.add(codeOffset: asm.offset - start, code: .stackOverflow)
    asm.ud2()
    return finish()
  }
}
