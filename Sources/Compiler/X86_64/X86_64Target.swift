// x86-64 as a machine that functions are compiled for.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension Register: MachineRegister {}
extension XMMRegister: MachineRegister {}

extension X86_64Assembler: TargetMachine {
  typealias VectorRegister = XMMRegister

  // MARK: Registers

  /// rsi, rdi, r8 to r13.
  static var generalLocals: UInt32 { 0b0011_1111_1100_0000 }
  /// xmm6 to xmm15.
  static var vectorLocals: UInt32 { 0b1111_1111_1100_0000 }
  /// rax, rcx, rdx, r15.
  static var generalTemporaries: UInt32 { 0b1000_0000_0000_0111 }
  /// xmm0 to xmm5.
  static var vectorTemporaries: UInt32 { 0b0011_1111 }
  /// r15: calls pin rax to rdx.
  static var constantScratch: UInt32 { 1 << 15 }
  /// xmm0.
  static var vectorScratch: UInt8 { 0 }
  /// rdi, rsi, rdx, rcx, r8, r9: the integer arguments of the System V psABI (3.2.3).
  static let platformArguments: [UInt8] = [7, 6, 2, 1, 8, 9]

  // MARK: Addresses

  @inline(__always) static func frame(_ offset: Int32) -> Address { Address(base: .rbp, displacement: offset) }
  @inline(__always) static func outgoing(_ offset: UInt32) -> Address {
    Address(base: .rsp, displacement: Int32(offset))
  }
  @inline(__always) static func context(_ offset: Int32) -> Address { Address(base: .r14, displacement: offset) }
  @inline(__always) static func field(_ base: Register, _ offset: Int32) -> Address {
    Address(base: base, displacement: offset)
  }

  // MARK: Instructions

  /// Thirty times what the largest body gives that does not mean to be large.
  static var maximumChunkSize: Int { 1 << 28 }
  static func makeAssembler(_: TextLayoutTesting) -> X86_64Assembler { X86_64Assembler(capacity: 1 << 18) }
  @inline(__always) var relocationCount: Int { relocations.count }
  @inline(__always) var finishedOutOfReach: Bool { false }
  @inline(__always) mutating func reserve(_ n: Int) {}
  @inline(__always) mutating func jump(_ label: Label) { jmp(label) }
  @inline(__always) mutating func trap(_ code: TrapCode) { ud2() }
  @inline(__always) mutating func exchange(_ a: Register, _ b: Register) { xchg(.b64, a, b) }
  @inline(__always) mutating func moveVector(_ dst: XMMRegister, _ src: XMMRegister) { movaps(dst, src) }
  @inline(__always) mutating func loadVector(_ dst: XMMRegister, from address: Address) { movups(dst, from: address) }
  @inline(__always) mutating func storeVector(to address: Address, _ src: XMMRegister) { movups(to: address, src) }

  // MARK: Functions, values, calls, operators: see the files of these names

  @inline(__always) static func zero(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ register: Register) {
    compiler.asm.alu(.xor, .b32, dst: register, src: register)
  }
  @inline(__always) static func zero(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ register: XMMRegister) {
    compiler.asm.xorps(register, register)
  }
  @inline(__always) static func moveBits(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: FloatSize, _ dst: XMMRegister, _ src: Register
  ) {
    if size == .f32 { compiler.asm.movd(dst, src) } else { compiler.asm.movq(dst, src) }
  }
  @inline(__always) static func moveBits(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: FloatSize, _ dst: Register, _ src: XMMRegister
  ) {
    if size == .f32 { compiler.asm.movd(dst, src) } else { compiler.asm.movq(dst, src) }
  }
  @inline(__always) static func endOutgoing(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ bytes: UInt32) {}
  @inline(__always) static func prologue(_ compiler: inout FunctionCompiler<X86_64Assembler>) -> FramePatch {
    compiler.prologue()
  }
  @inline(__always) static func patchFrame(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ patch: FramePatch) {
    compiler.patchFrame(patch)
  }
  @inline(__always) static func epilogue(_ compiler: inout FunctionCompiler<X86_64Assembler>) { compiler.epilogue() }
  @inline(__always) static func resolveElement(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ item: OutOfLine) {
    compiler.resolveElement(item)
  }
  @inline(__always) static func emitTables(_ compiler: inout FunctionCompiler<X86_64Assembler>) {
    compiler.emitTables()
  }
  @inline(__always) static func zeroLocals(_ compiler: inout FunctionCompiler<X86_64Assembler>, count: Int) {
    compiler.zeroLocals(count: count)
  }
  @inline(__always) static func storeConstant(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ bits: UInt64, _ type: ValueType, _ address: Address
  ) { compiler.storeConstant(bits, type, address) }
  @inline(__always) static func copyMemory(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, from source: Address, to destination: Address,
    _ type: ValueType
  ) { compiler.copyMemory(from: source, to: destination, type) }
  @inline(__always) static func moveConstant(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ value: StackValue, to register: VectorRegister
  ) { compiler.moveConstant(value, to: register) }
  @inline(__always) static func branch(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ condition: UInt8, _ label: Label
  ) { compiler.branch(condition, label) }
  @inline(__always) static func popCondition(_ compiler: inout FunctionCompiler<X86_64Assembler>) -> UInt8 {
    compiler.popCondition()
  }
  @inline(__always) static func dispatch(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ index: Register, first: Int, entries: Int
  ) { compiler.dispatch(index, first: first, entries: entries) }
  @inline(__always) static func beginOutgoing(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ bytes: UInt32) {
    compiler.beginOutgoing(bytes)
  }
  @inline(__always) static func callImport(_ compiler: inout FunctionCompiler<X86_64Assembler>, offset: Int32) {
    compiler.callImport(offset: offset)
  }
  @inline(__always) static func callBuiltin(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ builtin: Builtin, constants: (UInt32?, UInt32?)
  ) { compiler.callBuiltin(builtin, constants: constants) }
  @inline(__always) static func callIndirect(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ op: Operator) {
    compiler.callIndirect(op)
  }
  @inline(__always) static func checkStatus(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ code: TrapCode) {
    compiler.checkStatus(code)
  }
  @inline(__always) static func tableGet(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ op: Operator) {
    compiler.tableGet(op)
  }
  @inline(__always) static func tableSet(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ op: Operator) {
    compiler.tableSet(op)
  }
  @inline(__always) static func load(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ op: Operator, _ type: ValueType, from size: OperandSize,
    signed: Bool
  ) { compiler.load(op, type, from: size, signed: signed) }
  @inline(__always) static func loadFloat(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ op: Operator, _ type: ValueType
  ) { compiler.loadFloat(op, type) }
  @inline(__always) static func store(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ op: Operator, _ size: OperandSize
  ) { compiler.store(op, size) }
  @inline(__always) static func storeFloat(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ op: Operator, _ type: ValueType
  ) { compiler.storeFloat(op, type) }
  @inline(__always) static func memorySize(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ op: Operator) {
    compiler.memorySize(op)
  }
  @inline(__always) static func select(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ op: Operator) {
    compiler.select(op)
  }
  @inline(__always) static func equalsZero(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: OperandSize) {
    compiler.equalsZero(size)
  }
  @inline(__always) static func compare(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: OperandSize, _ comparison: Comparison
  ) { compiler.compare(size, comparison) }
  @inline(__always) static func compare(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: FloatSize, _ opcode: Opcode
  ) { compiler.compare(size, opcode) }
  @inline(__always) static func add(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: OperandSize) {
    compiler.add(size)
  }
  @inline(__always) static func subtract(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: OperandSize) {
    compiler.subtract(size)
  }
  @inline(__always) static func logic(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ op: LogicOp, _ size: OperandSize
  ) { compiler.logic(op, size) }
  @inline(__always) static func multiply(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: OperandSize) {
    compiler.multiply(size)
  }
  @inline(__always) static func divide(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: OperandSize, signed: Bool, remainder: Bool
  ) { compiler.divide(size, signed: signed, remainder: remainder) }
  @inline(__always) static func shift(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ op: Shift, _ size: OperandSize
  ) { compiler.shift(op, size) }
  @inline(__always) static func countLeadingZeros(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: OperandSize
  ) { compiler.countLeadingZeros(size) }
  @inline(__always) static func countTrailingZeros(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: OperandSize
  ) { compiler.countTrailingZeros(size) }
  @inline(__always) static func populationCount(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: OperandSize
  ) { compiler.populationCount(size) }
  @inline(__always) static func signExtend(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ from: OperandSize, to size: OperandSize
  ) { compiler.signExtend(from, to: size) }
  @inline(__always) static func arithmetic(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ op: FloatOp, _ size: FloatSize
  ) { compiler.arithmetic(op, size) }
  @inline(__always) static func squareRoot(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: FloatSize) {
    compiler.squareRoot(size)
  }
  @inline(__always) static func round(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: FloatSize, _ mode: Rounding
  ) { compiler.round(size, mode) }
  @inline(__always) static func extremum(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ op: FloatOp, _ size: FloatSize
  ) { compiler.extremum(op, size) }
  @inline(__always) static func absolute(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: FloatSize) {
    compiler.absolute(size)
  }
  @inline(__always) static func negate(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: FloatSize) {
    compiler.negate(size)
  }
  @inline(__always) static func copySign(_ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: FloatSize) {
    compiler.copySign(size)
  }
  @inline(__always) static func promote(_ compiler: inout FunctionCompiler<X86_64Assembler>) { compiler.promote() }
  @inline(__always) static func demote(_ compiler: inout FunctionCompiler<X86_64Assembler>) { compiler.demote() }
  @inline(__always) static func convert(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, _ size: FloatSize, from integer: OperandSize, signed: Bool
  ) { compiler.convert(size, from: integer, signed: signed) }
  @inline(__always) static func truncate(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, to integer: OperandSize, signed: Bool, from size: FloatSize
  ) { compiler.truncate(to: integer, signed: signed, from: size) }
  @inline(__always) static func truncateSaturating(
    _ compiler: inout FunctionCompiler<X86_64Assembler>, to integer: OperandSize, signed: Bool, from size: FloatSize
  ) { compiler.truncateSaturating(to: integer, signed: signed, from: size) }
}
