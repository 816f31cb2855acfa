// The same for AArch64: code written by hand against the calling convention, which the emulated processor runs. Functions
// have integer parameters in registers and at most one result, which is all that its tests need.

import Precast
import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

/// A module from text, the bodies of its functions replaced by AArch64 code.
enum HandMadeAArch64Module {
  /// Assembles one function: the frame record is there already, and the frame is left afterwards.
  typealias Body = (inout AArch64Assembler, inout [(offset: Int, code: TrapCode)], ContextLayout) -> Void

  /// The bytes of the artifact. `bodies` are those of the defined functions, in order.
  static func artifact(_ text: String, _ bodies: [Body]) throws -> [UInt8] {
    var settings = CompilerSettings()
    settings.architecture = .aarch64
    return try HandMadeText.artifact(text, settings) { module, layout, result in
      var assembler = AArch64Assembler()
      for body in bodies {
        assembler.alignFunction()
        let start = assembler.code.count
        var sites: [(offset: Int, code: TrapCode)] = []
        assembler.pushFrame()
        body(&assembler, &sites, layout)
        assembler.popFrameAndReturn()
        result.functions.append((start..<assembler.code.count, sites))
      }
      for type in module.types {
        assembler.alignFunction()
        let entry = assembler.code.count
        entryTrampoline(&assembler, type)
        let exit = assembler.code.count
        exitTrampoline(&assembler, type)
        result.trampolines.append((entry..<exit, exit..<assembler.code.count))
      }
      result.code = (0..<assembler.code.count).map { assembler.code[$0] }
    }
  }

  private static func entryTrampoline(_ assembler: inout AArch64Assembler, _ type: FunctionType) {
    assembler.pushFrame()
    assembler.storePair(.b64, .x27, .x28, to: .init(base: .sp, displacement: -16, update: .before))
    assembler.storePair(.b64, .x2, .x26, to: .init(base: .sp, displacement: -16, update: .before))
    for first in stride(from: UInt8(8), to: 16, by: 2) {
      assembler.storePair(
        AArch64VectorRegister(number: first), AArch64VectorRegister(number: first + 1),
        to: .init(base: .sp, displacement: -16, update: .before))
    }
    let resume = assembler.makeLabel()
    let exit = assembler.makeLabel()
    assembler.mov(.b64, dst: .x16, src: .sp)
    assembler.store(.b64, to: .init(base: .x3, displacement: Int32(ActivationLayout.resumeStackPointer)), src: .x16)
    assembler.adr(.x16, resume)
    assembler.store(.b64, to: .init(base: .x3, displacement: Int32(ActivationLayout.resumeProgramCounter)), src: .x16)
    assembler.store(.b64, to: .init(base: .x3, displacement: Int32(ActivationLayout.entryFramePointer)), src: .x29)
    assembler.mov(.b64, dst: .x28, src: .x0)
    assembler.mov(.b64, dst: .x16, src: .x1)
    assembler.mov(.b64, dst: .x17, src: .x2)
    assembler.mov(.b64, dst: .x27, src: .zr)
    for index in type.parameters.indices {
      assembler.load(
        .b64, dst: AArch64Register(number: UInt8(index)), from: .init(base: .x17, displacement: Int32(index * 16)))
    }
    assembler.load(.b64, dst: .x26, from: .init(base: .x28, displacement: Int32(ContextLayout.memory0Base)))
    assembler.blr(.x16)
    assembler.load(.b64, dst: .x2, from: .init(base: .x29, displacement: -32))
    if !type.results.isEmpty { assembler.store(.b64, to: .init(base: .x2), src: .x0) }
    assembler.mov(.b64, dst: .x0, immediate: 0)
    assembler.bind(exit)
    assembler.loadPair(.b64, .x27, .x28, from: .init(base: .x29, displacement: -16))
    assembler.load(.b64, dst: .x26, from: .init(base: .x29, displacement: -24))
    for first in stride(from: UInt8(8), to: 16, by: 2) {
      assembler.loadPair(
        AArch64VectorRegister(number: first), AArch64VectorRegister(number: first + 1),
        from: .init(base: .x29, displacement: -48 - Int32(first - 8) * 8))
    }
    assembler.popFrameAndReturn()
    assembler.bind(resume)
    assembler.arithmetic(.add, .b64, .x29, .sp, immediate: 96)
    assembler.mov(.b64, dst: .x0, immediate: 1)
    assembler.b(exit)
    assembler.finishFunction()
    assembler.resetLabels()
  }

  private static func exitTrampoline(_ assembler: inout AArch64Assembler, _ type: FunctionType) {
    let slots = max(1, type.parameters.count, type.results.count)
    assembler.pushFrame()
    assembler.arithmetic(.sub, .b64, .sp, .sp, immediate: UInt64(slots * 16))
    for index in type.parameters.indices {
      assembler.store(
        .b64, to: .init(base: .sp, displacement: Int32(index * 16)), src: AArch64Register(number: UInt8(index)))
    }
    let failed = assembler.makeLabel()
    func loadActivation() {
      assembler.load(.b64, dst: .x16, from: .init(base: .x28, displacement: Int32(ContextLayout.store)))
      assembler.load(.b64, dst: .x16, from: .init(base: .x16, displacement: Int32(StoreContextLayout.activation)))
    }
    loadActivation()
    assembler.store(.b64, to: .init(base: .x16, displacement: Int32(ActivationLayout.exitFramePointer)), src: .x29)
    assembler.mov(.b64, dst: .x0, src: .x28)
    assembler.mov(.b64, dst: .x1, src: .x27)
    assembler.mov(.b64, dst: .x2, src: .sp)
    assembler.load(.b64, dst: .x16, from: .init(base: .x28, displacement: Int32(ContextLayout.hostCallback)))
    assembler.blr(.x16)
    assembler.cbnz(.b32, .x0, failed)
    if !type.results.isEmpty { assembler.load(.b64, dst: .x0, from: .init(base: .sp)) }
    assembler.popFrameAndReturn()
    assembler.bind(failed)
    loadActivation()
    assembler.load(.b64, dst: .x17, from: .init(base: .x16, displacement: Int32(ActivationLayout.resumeStackPointer)))
    assembler.mov(.b64, dst: .sp, src: .x17)
    assembler.load(.b64, dst: .x16, from: .init(base: .x16, displacement: Int32(ActivationLayout.resumeProgramCounter)))
    assembler.br(.x16)
    assembler.finishFunction()
    assembler.resetLabels()
  }
}

extension AArch64Assembler {
  mutating func pushFrame() {
    storePair(.b64, .x29, .x30, to: .init(base: .sp, displacement: -16, update: .before))
    mov(.b64, dst: .x29, src: .sp)
  }

  mutating func popFrameAndReturn() {
    mov(.b64, dst: .sp, src: .x29)
    loadPair(.b64, .x29, .x30, from: .init(base: .sp, displacement: 16, update: .after))
    ret()
  }

  /// Calls imported function `index` with the arguments where they are.
  mutating func callImport(_ index: Int, _ layout: ContextLayout) {
    store(.b64, to: .init(base: .sp, displacement: -16, update: .before), src: .x28)
    mov(.b64, dst: .x27, src: .x28)
    let place = Int32(layout.importedFunction(index))
    load(.b64, dst: .x16, from: .init(base: .x28, displacement: place))
    load(.b64, dst: .x28, from: .init(base: .x28, displacement: place + 8))
    load(.b64, dst: .x26, from: .init(base: .x28))
    blr(.x16)
    load(.b64, dst: .x28, from: .init(base: .sp, displacement: 16, update: .after))
    load(.b64, dst: .x26, from: .init(base: .x28))
  }

  /// Calls a built-in whose arguments after the first are in place.
  mutating func callBuiltin(_ builtin: Builtin) {
    mov(.b64, dst: .x0, src: .x28)
    load(.b64, dst: .x16, from: .init(base: .x28, displacement: Int32(ContextLayout.builtinTable)))
    load(.b64, dst: .x16, from: .init(base: .x16, displacement: Int32(builtin.rawValue * 8)))
    blr(.x16)
  }
}
