// Artifacts whose code is written by hand, so that the runtime's side of the calling convention is tested against the
// convention itself, and not against what a compiler makes of it.

import Foundation
import Precast
import PrecastArtifact
import PrecastArtifactWriter
import PrecastMachineCode
import PrecastWasm

/// Machine code for a module from text, of any machine.
struct HandMadeText {
  var code: [UInt8] = []
  /// The module's functions, in order, with their trap sites.
  var functions: [(range: Range<Int>, sites: [(offset: Int, code: TrapCode)])] = []
  /// The trampolines of each type.
  var trampolines: [(entry: Range<Int>, exit: Range<Int>)] = []

  /// The bytes of an artifact for `settings`, of what `assemble` makes for the module.
  static func artifact(
    _ text: String, _ settings: CompilerSettings,
    assemble: (WasmModule, ContextLayout, inout HandMadeText) -> Void
  ) throws -> [UInt8] {
    let binary = WasmBinary(try WAT.binary(text))
    let module = try WasmModule(decoding: binary)
    let layout = ContextLayout(
      importedFunctions: module.importedFunctionCount, importedTables: module.importedTableCount,
      importedMemories: module.importedMemoryCount, importedGlobals: module.importedGlobalCount,
      definedTables: module.tables.count - module.importedTableCount,
      definedMemories: module.memories.count - module.importedMemoryCount,
      definedGlobals: module.globals.count - module.importedGlobalCount)
    var text = HandMadeText()
    assemble(module, layout, &text)
    var input = ArtifactInput(
      record: CompatibilityRecord(compilerName: "by hand", compilerVersion: "1", settings: settings),
      module: module, binary: binary)
    func place(_ range: Range<Int>) -> CodeRange {
      CodeRange(textOffset: UInt32(range.lowerBound), size: UInt32(range.count))
    }
    var map = AddressMapEncoder()
    var traps = TrapTableEncoder()
    var lengths: [(map: Int, traps: Int)] = []
    for (index, function) in text.functions.enumerated() {
      input.functions.append(place(function.range))
      map.begin()
      map.add(codeOffset: 0, wasmOffset: UInt32(module.bodies[index].body.lowerBound))
      traps.begin()
      for site in function.sites {
        traps.add(codeOffset: UInt32(site.offset - function.range.lowerBound), code: site.code)
      }
      lengths.append((map.finish(), traps.finish()))
    }
    input.trampolines = text.trampolines.map { TypeTrampolines(entry: place($0.entry), exit: place($0.exit)) }
    input.textSize = UInt64(text.code.count)
    return try text.code.withUnsafeBytes { codeBytes in
      input.text = [TextPiece(textOffset: 0, base: codeBytes.baseAddress!, count: codeBytes.count)]
      return try map.bytes.withUnsafeBytes { mapBytes in
        try traps.bytes.withUnsafeBytes { trapBytes in
          var (mapOffset, trapOffset) = (0, 0)
          for (function, length) in zip(input.functions, lengths) {
            input.addressMap.append(
              CodeRun(
                textOffset: function.textOffset, base: mapBytes.baseAddress! + mapOffset, count: length.map))
            if length.traps > 0 {
              input.traps.append(
                CodeRun(
                  textOffset: function.textOffset, base: trapBytes.baseAddress! + trapOffset, count: length.traps))
            }
            mapOffset += length.map
            trapOffset += length.traps
          }
          return try ArtifactWriter.bytes(input)
        }
      }
    }
  }
}

/// A module from text, the bodies of its functions replaced by machine code.
struct HandMadeModule {
  /// Assembles one function: the frame is there already, and is left afterwards.
  typealias Body = (inout X86_64Assembler, inout [(offset: Int, code: TrapCode)], ContextLayout) -> Void

  /// The bytes of the artifact. `bodies` are those of the defined functions, in order.
  static func artifact(_ text: String, _ bodies: [Body]) throws -> [UInt8] {
    try HandMadeText.artifact(text, CompilerSettings()) { module, layout, result in
      var assembler = X86_64Assembler()
      for body in bodies {
        assembler.alignFunction()
        let start = assembler.code.count
        var sites: [(offset: Int, code: TrapCode)] = []
        assembler.push(.rbp)
        assembler.mov(.b64, dst: .rbp, src: .rsp)
        body(&assembler, &sites, layout)
        assembler.leave()
        assembler.ret()
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
      _ = assembler.finishFunction()
      result.code = (0..<assembler.code.count).map { assembler.code[$0] }
    }
  }

  private static let integers: [Register] = [.rdi, .rsi, .r8, .r9, .r10, .r11]
  private static let floats: [XMMRegister] = [.xmm6, .xmm7, .xmm8, .xmm9, .xmm10, .xmm11]

  /// Where each parameter goes: a register, or an eightbyte of the stack (no vectors here).
  private enum Place { case integer(Register), float(XMMRegister), stack(Int) }

  private static func places(_ type: FunctionType) -> (places: [Place], stackWords: Int) {
    var (integer, float, stack) = (0, 0, 0)
    let places = type.parameters.map { parameter -> Place in
      if parameter.isFloatOrVector, float < floats.count {
        float += 1
        return .float(floats[float - 1])
      } else if !parameter.isFloatOrVector, integer < integers.count {
        integer += 1
        return .integer(integers[integer - 1])
      }
      stack += 1
      return .stack(stack - 1)
    }
    return (places, stack)
  }

  private static func entryTrampoline(_ assembler: inout X86_64Assembler, _ type: FunctionType) {
    let (places, stackWords) = places(type)
    let words = (stackWords + max(0, type.results.count - 1) + 1) & ~1
    let saved: [Register] = [.rbx, .r12, .r13, .r14, .r15, .rdx]
    assembler.push(.rbp)
    assembler.mov(.b64, dst: .rbp, src: .rsp)
    for register in saved { assembler.push(register) }
    if words > 0 { assembler.alu(.sub, .b64, dst: .rsp, immediate: Int32(words * 8)) }
    let resume = assembler.makeLabel()
    assembler.leaLabel(.rax, resume)
    assembler.store(.b64, to: Address(base: .rcx, displacement: 0), src: .rsp)
    assembler.store(.b64, to: Address(base: .rcx, displacement: 8), src: .rax)
    assembler.store(.b64, to: Address(base: .rcx, displacement: 16), src: .rbp)
    assembler.mov(.b64, dst: .r14, src: .rdi)
    assembler.load(.b64, dst: .rbx, from: Address(base: .r14, displacement: 0))
    assembler.mov(.b64, dst: .rax, src: .rsi)
    assembler.mov(.b64, dst: .r12, src: .rdx)
    for (index, place) in places.enumerated() {
      let slot = Address(base: .r12, displacement: Int32(index * 16))
      switch place {
      case .integer(let register): assembler.load(.b64, dst: register, from: slot)
      case .float(let register): assembler.load(.f64, dst: register, from: slot)
      case .stack(let word):
        assembler.load(.b64, dst: .r13, from: slot)
        assembler.store(.b64, to: Address(base: .rsp, displacement: Int32(word * 8)), src: .r13)
      }
    }
    assembler.mov(.b64, dst: .r13, immediate: 0)
    assembler.call(.rax)
    assembler.load(.b64, dst: .rdx, from: Address(base: .rbp, displacement: -48))
    for (index, result) in type.results.enumerated() {
      let slot = Address(base: .rdx, displacement: Int32(index * 16))
      if index == 0, result.isFloatOrVector {
        assembler.store(.f64, to: slot, src: .xmm0)
      } else if index == 0 {
        assembler.store(.b64, to: slot, src: .rax)
      } else {
        assembler.load(.b64, dst: .rcx, from: Address(base: .rsp, displacement: Int32((stackWords + index - 1) * 8)))
        assembler.store(.b64, to: slot, src: .rcx)
      }
    }
    assembler.mov(.b32, dst: .rax, immediate: 0)
    let done = assembler.makeLabel()
    assembler.jmp(done)
    assembler.bind(resume)
    assembler.mov(.b32, dst: .rax, immediate: 1)
    assembler.bind(done)
    if words > 0 { assembler.alu(.add, .b64, dst: .rsp, immediate: Int32(words * 8)) }
    for register in saved.reversed() { assembler.pop(register) }
    assembler.pop(.rbp)
    assembler.ret()
    _ = assembler.finishFunction()
    assembler.resetLabels()
  }

  private static func exitTrampoline(_ assembler: inout X86_64Assembler, _ type: FunctionType) {
    let (places, stackWords) = places(type)
    let slots = max(1, type.parameters.count, type.results.count)
    assembler.push(.rbp)
    assembler.mov(.b64, dst: .rbp, src: .rsp)
    assembler.alu(.sub, .b64, dst: .rsp, immediate: Int32(slots * 16))
    for (index, place) in places.enumerated() {
      let slot = Address(base: .rsp, displacement: Int32(index * 16))
      switch place {
      case .integer(let register): assembler.store(.b64, to: slot, src: register)
      case .float(let register): assembler.store(.f64, to: slot, src: register)
      case .stack(let word):
        assembler.load(.b64, dst: .rax, from: Address(base: .rbp, displacement: Int32(16 + word * 8)))
        assembler.store(.b64, to: slot, src: .rax)
      }
    }
    assembler.load(.b64, dst: .rax, from: Address(base: .r14, displacement: 8))
    assembler.load(.b64, dst: .rax, from: Address(base: .rax, displacement: 8))
    assembler.store(.b64, to: Address(base: .rax, displacement: 24), src: .rbp)
    assembler.mov(.b64, dst: .rdi, src: .r14)
    assembler.mov(.b64, dst: .rsi, src: .r13)
    assembler.mov(.b64, dst: .rdx, src: .rsp)
    assembler.call(Address(base: .r14, displacement: 40))
    let failed = assembler.makeLabel()
    assembler.test(.b32, .rax, .rax)
    assembler.jcc(.notEqual, failed)
    for (index, result) in type.results.enumerated() {
      let slot = Address(base: .rsp, displacement: Int32(index * 16))
      if index == 0, result.isFloatOrVector {
        assembler.load(.f64, dst: .xmm0, from: slot)
      } else if index == 0 {
        assembler.load(.b64, dst: .rax, from: slot)
      } else {
        assembler.load(.b64, dst: .rcx, from: slot)
        assembler.store(
          .b64, to: Address(base: .rbp, displacement: Int32(16 + (stackWords + index - 1) * 8)), src: .rcx)
      }
    }
    assembler.leave()
    assembler.ret()
    assembler.bind(failed)
    assembler.load(.b64, dst: .rax, from: Address(base: .r14, displacement: 8))
    assembler.load(.b64, dst: .rax, from: Address(base: .rax, displacement: 8))
    assembler.load(.b64, dst: .rsp, from: Address(base: .rax, displacement: 0))
    assembler.jmp(Address(base: .rax, displacement: 8))
    _ = assembler.finishFunction()
    assembler.resetLabels()
  }
}

extension X86_64Assembler {
  /// Calls imported function `index` with the arguments where they are.
  mutating func callImport(_ index: Int, _ layout: ContextLayout) {
    push(.r14)
    push(.r14)
    mov(.b64, dst: .r13, src: .r14)
    load(.b64, dst: .rax, from: Address(base: .r14, displacement: Int32(layout.importedFunction(index))))
    load(.b64, dst: .r14, from: Address(base: .r14, displacement: Int32(layout.importedFunction(index) + 8)))
    load(.b64, dst: .rbx, from: Address(base: .r14, displacement: 0))
    call(.rax)
    pop(.r14)
    pop(.r14)
    load(.b64, dst: .rbx, from: Address(base: .r14, displacement: 0))
  }

  /// Calls a built-in whose arguments after the first are in place.
  mutating func callBuiltin(_ builtin: Builtin) {
    mov(.b64, dst: .rdi, src: .r14)
    load(.b64, dst: .rax, from: Address(base: .r14, displacement: Int32(ContextLayout.builtinTable)))
    call(Address(base: .rax, displacement: Int32(builtin.rawValue * 8)))
  }
}
