// AArch64 as a machine that functions are compiled for.
//
// Registers: x28 the instance's context, x27 the caller's context at a call out of the instance, x26 the base of memory 0;
// x0 to x7 and v0 to v7 arguments, x0 and v0 the first result. Locals live in x1 to x10 and v1 to v10; x0, x11 to x15, v0 and
// v11 to v15 are temporaries. x16, x17, x30 and v31 are scratch within an operator, and hold nothing between two; the
// assembler takes x16 itself where an address or an immediate does not fit an instruction. x18 is the platform's, x19 to x25
// and v16 to v30 are not used. A call preserves x26, x28 and the stack, nothing else.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

extension AArch64Register: MachineRegister {}
extension AArch64VectorRegister: MachineRegister {}

extension AArch64Assembler: TargetMachine {
  typealias Register = AArch64Register
  typealias VectorRegister = AArch64VectorRegister
  typealias Address = AArch64Address

  // MARK: Registers

  /// x1 to x10.
  static var generalLocals: UInt32 { 0b0000_0111_1111_1110 }
  /// v1 to v10.
  static var vectorLocals: UInt32 { 0b0000_0111_1111_1110 }
  /// x0, x11 to x15.
  static var generalTemporaries: UInt32 { 0b1111_1000_0000_0001 }
  /// v0, v11 to v15.
  static var vectorTemporaries: UInt32 { 0b1111_1000_0000_0001 }
  /// x15: no argument of ours or of a built-in.
  static var constantScratch: UInt32 { 1 << 15 }
  /// v31.
  static var vectorScratch: UInt8 { 31 }
  /// x0 to x7: the integer arguments of AAPCS64 (6.8.2).
  static let platformArguments: [UInt8] = [0, 1, 2, 3, 4, 5, 6, 7]

  // MARK: Addresses

  @inline(__always) static func frame(_ offset: Int32) -> Address { Address(base: .x29, displacement: offset) }
  @inline(__always) static func outgoing(_ offset: UInt32) -> Address {
    Address(base: .sp, displacement: Int32(offset))
  }
  @inline(__always) static func context(_ offset: Int32) -> Address { Address(base: .x28, displacement: offset) }
  @inline(__always) static func field(_ base: Register, _ offset: Int32) -> Address {
    Address(base: base, displacement: offset)
  }

  // MARK: Instructions

  /// Less than a branch's reach of 128 MiB, so that calls from anywhere in a function reach an island beside it; a dozen times
  /// what the largest body gives that does not mean to be large.
  static var maximumChunkSize: Int { 120 << 20 }
  static func makeAssembler(_ testing: TextLayoutTesting) -> AArch64Assembler {
    AArch64Assembler(
      capacity: 1 << 18, reach19: testing.conditionalReach ?? .max, reach14: testing.testBitReach ?? .max)
  }
  @inline(__always) var relocationCount: Int { relocations.count }
  @inline(__always) mutating func jump(_ label: Label) { b(label) }
  /// The code is in the instruction, for whoever looks at it; the handler goes by the table of trap sites.
  @inline(__always) mutating func trap(_ code: TrapCode) { udf(UInt16(code.rawValue)) }
  @inline(__always) mutating func exchange(_ a: Register, _ b: Register) {
    mov(.b64, dst: .x16, src: a)
    mov(.b64, dst: a, src: b)
    mov(.b64, dst: b, src: .x16)
  }
  @inline(__always) mutating func moveVector(_ dst: VectorRegister, _ src: VectorRegister) { mov(dst, src) }
  @inline(__always) mutating func loadVector(_ dst: VectorRegister, from address: Address) {
    loadVector(dst: dst, from: address)
  }
  @inline(__always) mutating func storeVector(to address: Address, _ src: VectorRegister) {
    storeVector(to: address, src: src)
  }

  // MARK: Functions, values, calls, operators: see the files of these names

  @inline(__always) static func zero(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ register: Register) {
    compiler.asm.mov(.b32, dst: register, src: .zr)
  }
  @inline(__always) static func zero(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ register: VectorRegister) {
    compiler.asm.vectorZero(register)
  }
  @inline(__always) static func moveBits(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: FloatSize, _ dst: VectorRegister, _ src: Register
  ) { compiler.asm.fmov(size, dst, src) }
  @inline(__always) static func moveBits(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: FloatSize, _ dst: Register, _ src: VectorRegister
  ) { compiler.asm.fmov(size, dst, src) }
  @inline(__always) static func endOutgoing(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ bytes: UInt32) {}
  @inline(__always) static func prologue(_ compiler: inout FunctionCompiler<AArch64Assembler>) -> FramePatch {
    compiler.prologue()
  }
  @inline(__always) static func patchFrame(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ patch: FramePatch) {
    compiler.patchFrame(patch)
  }
  @inline(__always) static func epilogue(_ compiler: inout FunctionCompiler<AArch64Assembler>) { compiler.epilogue() }
  @inline(__always) static func resolveElement(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ item: OutOfLine)
  {
    compiler.resolveElement(item)
  }
  @inline(__always) static func emitTables(_ compiler: inout FunctionCompiler<AArch64Assembler>) {
    compiler.emitTables()
  }
  @inline(__always) static func zeroLocals(_ compiler: inout FunctionCompiler<AArch64Assembler>, count: Int) {
    compiler.zeroLocals(count: count)
  }
  @inline(__always) static func storeConstant(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ bits: UInt64, _ type: ValueType, _ address: Address
  ) { compiler.storeConstant(bits, type, address) }
  @inline(__always) static func copyMemory(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, from source: Address, to destination: Address,
    _ type: ValueType
  ) { compiler.copyMemory(from: source, to: destination, type) }
  @inline(__always) static func moveConstant(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ value: StackValue, to register: VectorRegister
  ) { compiler.moveConstant(value, to: register) }
  @inline(__always) static func branch(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ condition: UInt8, _ label: Label
  ) { compiler.branch(condition, label) }
  @inline(__always) static func popCondition(_ compiler: inout FunctionCompiler<AArch64Assembler>) -> UInt8 {
    compiler.popCondition()
  }
  @inline(__always) static func dispatch(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ index: Register, first: Int, entries: Int
  ) { compiler.dispatch(index, first: first, entries: entries) }
  @inline(__always) static func beginOutgoing(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ bytes: UInt32) {
    compiler.beginOutgoing(bytes)
  }
  @inline(__always) static func callImport(_ compiler: inout FunctionCompiler<AArch64Assembler>, offset: Int32) {
    compiler.callImport(offset: offset)
  }
  @inline(__always) static func callBuiltin(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ builtin: Builtin, constants: (UInt32?, UInt32?)
  ) { compiler.callBuiltin(builtin, constants: constants) }
  @inline(__always) static func callIndirect(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ op: Operator) {
    compiler.callIndirect(op)
  }
  @inline(__always) static func checkStatus(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ code: TrapCode) {
    compiler.checkStatus(code)
  }
  @inline(__always) static func tableGet(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ op: Operator) {
    compiler.tableGet(op)
  }
  @inline(__always) static func tableSet(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ op: Operator) {
    compiler.tableSet(op)
  }
  @inline(__always) static func load(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ op: Operator, _ type: ValueType, from size: OperandSize,
    signed: Bool
  ) { compiler.load(op, type, from: size, signed: signed) }
  @inline(__always) static func loadFloat(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ op: Operator, _ type: ValueType
  ) { compiler.loadFloat(op, type) }
  @inline(__always) static func store(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ op: Operator, _ size: OperandSize
  ) { compiler.store(op, size) }
  @inline(__always) static func storeFloat(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ op: Operator, _ type: ValueType
  ) { compiler.storeFloat(op, type) }
  @inline(__always) static func memorySize(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ op: Operator) {
    compiler.memorySize(op)
  }
  @inline(__always) static func select(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ op: Operator) {
    compiler.select(op)
  }
  @inline(__always) static func equalsZero(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: OperandSize) {
    compiler.equalsZero(size)
  }
  @inline(__always) static func compare(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: OperandSize, _ comparison: Comparison
  ) { compiler.compare(size, comparison) }
  @inline(__always) static func compare(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: FloatSize, _ opcode: Opcode
  ) { compiler.compare(size, opcode) }
  @inline(__always) static func add(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: OperandSize) {
    compiler.add(size)
  }
  @inline(__always) static func subtract(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: OperandSize) {
    compiler.subtract(size)
  }
  @inline(__always) static func logic(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ op: LogicOp, _ size: OperandSize
  ) { compiler.logic(op, size) }
  @inline(__always) static func multiply(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: OperandSize) {
    compiler.multiply(size)
  }
  @inline(__always) static func divide(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: OperandSize, signed: Bool, remainder: Bool
  ) { compiler.divide(size, signed: signed, remainder: remainder) }
  @inline(__always) static func shift(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ op: Shift, _ size: OperandSize
  ) { compiler.shift(op, size) }
  @inline(__always) static func countLeadingZeros(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: OperandSize
  ) { compiler.countLeadingZeros(size) }
  @inline(__always) static func countTrailingZeros(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: OperandSize
  ) { compiler.countTrailingZeros(size) }
  @inline(__always) static func populationCount(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: OperandSize
  ) { compiler.populationCount(size) }
  @inline(__always) static func signExtend(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ from: OperandSize, to size: OperandSize
  ) { compiler.signExtend(from, to: size) }
  @inline(__always) static func arithmetic(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ op: FloatOp, _ size: FloatSize
  ) { compiler.arithmetic(op, size) }
  @inline(__always) static func squareRoot(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: FloatSize) {
    compiler.squareRoot(size)
  }
  @inline(__always) static func round(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: FloatSize, _ mode: Rounding
  ) { compiler.round(size, mode) }
  @inline(__always) static func extremum(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ op: FloatOp, _ size: FloatSize
  ) { compiler.extremum(op, size) }
  @inline(__always) static func absolute(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: FloatSize) {
    compiler.absolute(size)
  }
  @inline(__always) static func negate(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: FloatSize) {
    compiler.negate(size)
  }
  @inline(__always) static func copySign(_ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: FloatSize) {
    compiler.copySign(size)
  }
  @inline(__always) static func promote(_ compiler: inout FunctionCompiler<AArch64Assembler>) { compiler.promote() }
  @inline(__always) static func demote(_ compiler: inout FunctionCompiler<AArch64Assembler>) { compiler.demote() }
  @inline(__always) static func convert(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, _ size: FloatSize, from integer: OperandSize, signed: Bool
  ) { compiler.convert(size, from: integer, signed: signed) }
  @inline(__always) static func truncate(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, to integer: OperandSize, signed: Bool, from size: FloatSize
  ) { compiler.truncate(to: integer, signed: signed, from: size) }
  @inline(__always) static func truncateSaturating(
    _ compiler: inout FunctionCompiler<AArch64Assembler>, to integer: OperandSize, signed: Bool, from size: FloatSize
  ) { compiler.truncateSaturating(to: integer, signed: signed, from: size) }
}
