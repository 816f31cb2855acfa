// What the compiler asks of a machine.
//
// Nearly all of a baseline compiler is the same for every machine: the virtual stack, which locals are in registers, what
// labels agree on, how arguments come to their places, the table of operators. It is written once, generic over the machine,
// which it knows by its assembler. What is left, the code of arithmetic, comparisons, memory accesses and calls, each
// machine has in files of the same names, as extensions of the compiler for that machine; they use the shared part freely,
// and the shared part calls them through the requirements here.
//
// Generic code costs nothing: all of this is one module, so the compiler of Swift specialises every function for each machine
// (the cost tests would show if it ceased to).
//
// Registers of both classes are numbered, and locals live in registers 0 to 15 of each class only, so that a set of locals is
// 32 bits. Register 0 of each class is a temporary on every machine: it has the first result of calls and the value of labels.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

/// A register of one of the two classes.
protocol MachineRegister: BitwiseCopyable, Equatable {
  init(number: UInt8)
  var rawValue: UInt8 { get }
}

/// A machine that functions are compiled for. The conforming type is its assembler.
protocol TargetMachine: ~Copyable {
  associatedtype Register: MachineRegister
  associatedtype VectorRegister: MachineRegister
  associatedtype Address: BitwiseCopyable, Equatable

  // MARK: Registers

  /// Registers that locals can live in, as bits; lower numbers are given first.
  static var generalLocals: UInt32 { get }
  static var vectorLocals: UInt32 { get }
  /// Registers that are always temporaries.
  static var generalTemporaries: UInt32 { get }
  static var vectorTemporaries: UInt32 { get }
  /// A temporary that is no argument and that no call pins.
  static var constantScratch: UInt32 { get }
  /// Number of the vector register that breaks cycles among arguments: none of them.
  static var vectorScratch: UInt8 { get }

  // MARK: Addresses

  /// A place in the frame, relative to the frame pointer.
  static func frame(_ offset: Int32) -> Address
  /// A place in this function's outgoing area, while a call is being made.
  static func outgoing(_ offset: UInt32) -> Address
  /// A field of the instance's context.
  static func context(_ offset: Int32) -> Address
  /// A field of what a register points to.
  static func field(_ base: Register, _ offset: Int32) -> Address

  // MARK: Instructions

  /// Bytes of code that a chunk may have.
  static var maximumChunkSize: Int { get }
  static func makeAssembler(_ testing: TextLayoutTesting) -> Self
  var offset: UInt32 { get }
  var relocationCount: Int { get }
  mutating func reset()
  mutating func takeChunk() -> CodeChunk
  /// Ends a function; whether every label that is used was bound, and in reach.
  mutating func finishFunction() -> Bool
  /// Whether the last function had a branch to a label too far away.
  var finishedOutOfReach: Bool { get }
  mutating func alignFunction(_ alignment: Int)
  mutating func makeLabel() -> Label
  mutating func bind(_ label: Label)
  /// Sees to it that the next instruction stands at `offset`, and the next `n` bytes come without anything in between.
  mutating func reserve(_ n: Int)
  mutating func jump(_ label: Label)
  mutating func callRelocated(_ symbol: UInt32)
  /// An instruction that raises the signal of an explicit trap.
  mutating func trap(_ code: TrapCode)
  // The following change no flags.
  mutating func mov(_ size: OperandSize, dst: Register, src: Register)
  mutating func mov(_ size: OperandSize, dst: Register, immediate: UInt64)
  mutating func load(_ size: OperandSize, dst: Register, from address: Address)
  mutating func store(_ size: OperandSize, to address: Address, src: Register)
  mutating func load(_ size: FloatSize, dst: VectorRegister, from address: Address)
  mutating func store(_ size: FloatSize, to address: Address, src: VectorRegister)
  mutating func exchange(_ a: Register, _ b: Register)
  /// Whole vector registers.
  mutating func moveVector(_ dst: VectorRegister, _ src: VectorRegister)
  mutating func loadVector(_ dst: VectorRegister, from address: Address)
  mutating func storeVector(to address: Address, _ src: VectorRegister)

  // MARK: Functions

  /// Emits the prologue; returns what `patchFrame` needs.
  static func prologue(_ compiler: inout FunctionCompiler<Self>) -> FramePatch
  /// Fills in the size of the frame, now that it is known.
  static func patchFrame(_ compiler: inout FunctionCompiler<Self>, _ patch: FramePatch)
  static func epilogue(_ compiler: inout FunctionCompiler<Self>)
  /// The way from an unfilled table element to its value.
  static func resolveElement(_ compiler: inout FunctionCompiler<Self>, _ item: OutOfLine)
  /// What stands behind the function's code.
  static func emitTables(_ compiler: inout FunctionCompiler<Self>)
  /// Makes registers, and the slots of `count` other locals, zero.
  static func zero(_ compiler: inout FunctionCompiler<Self>, _ register: Register)
  static func zero(_ compiler: inout FunctionCompiler<Self>, _ register: VectorRegister)
  static func zeroLocals(_ compiler: inout FunctionCompiler<Self>, count: Int)

  // MARK: Values

  // The following change no flags, and no register that is in use.
  static func storeConstant(
    _ compiler: inout FunctionCompiler<Self>, _ bits: UInt64, _ type: ValueType, _ address: Address)
  static func copyMemory(
    _ compiler: inout FunctionCompiler<Self>, from source: Address, to destination: Address, _ type: ValueType)
  static func moveConstant(
    _ compiler: inout FunctionCompiler<Self>, _ value: StackValue, to register: VectorRegister)

  // MARK: Control

  /// A branch on a condition.
  static func branch(_ compiler: inout FunctionCompiler<Self>, _ condition: UInt8, _ label: Label)
  /// Pops an i32 and makes a condition: that it is not zero.
  static func popCondition(_ compiler: inout FunctionCompiler<Self>) -> UInt8
  /// Branches to one of the labels from `first` on in `tableLabels` by the index in a temporary, which is released.
  static func dispatch(_ compiler: inout FunctionCompiler<Self>, _ index: Register, first: Int, entries: Int)

  // MARK: Calls

  /// The registers of a call to a built-in, in order.
  static var platformArguments: [UInt8] { get }
  /// Makes room for arguments and results in memory, and takes it back.
  static func beginOutgoing(_ compiler: inout FunctionCompiler<Self>, _ bytes: UInt32)
  static func endOutgoing(_ compiler: inout FunctionCompiler<Self>, _ bytes: UInt32)
  static func callImport(_ compiler: inout FunctionCompiler<Self>, offset: Int32)
  /// Calls a built-in whose arguments are in place, context and constants apart.
  static func callBuiltin(
    _ compiler: inout FunctionCompiler<Self>, _ builtin: Builtin, constants: (UInt32?, UInt32?))
  static func callIndirect(_ compiler: inout FunctionCompiler<Self>, _ op: Operator)
  static func checkStatus(_ compiler: inout FunctionCompiler<Self>, _ code: TrapCode)
  static func tableGet(_ compiler: inout FunctionCompiler<Self>, _ op: Operator)
  static func tableSet(_ compiler: inout FunctionCompiler<Self>, _ op: Operator)

  // MARK: Operators

  static func load(
    _ compiler: inout FunctionCompiler<Self>, _ op: Operator, _ type: ValueType, from size: OperandSize, signed: Bool)
  static func loadFloat(_ compiler: inout FunctionCompiler<Self>, _ op: Operator, _ type: ValueType)
  static func store(_ compiler: inout FunctionCompiler<Self>, _ op: Operator, _ size: OperandSize)
  static func storeFloat(_ compiler: inout FunctionCompiler<Self>, _ op: Operator, _ type: ValueType)
  static func memorySize(_ compiler: inout FunctionCompiler<Self>, _ op: Operator)
  static func select(_ compiler: inout FunctionCompiler<Self>, _ op: Operator)
  static func equalsZero(_ compiler: inout FunctionCompiler<Self>, _ size: OperandSize)
  static func compare(_ compiler: inout FunctionCompiler<Self>, _ size: OperandSize, _ comparison: Comparison)
  static func compare(_ compiler: inout FunctionCompiler<Self>, _ size: FloatSize, _ opcode: Opcode)
  static func add(_ compiler: inout FunctionCompiler<Self>, _ size: OperandSize)
  static func subtract(_ compiler: inout FunctionCompiler<Self>, _ size: OperandSize)
  static func logic(_ compiler: inout FunctionCompiler<Self>, _ op: LogicOp, _ size: OperandSize)
  static func multiply(_ compiler: inout FunctionCompiler<Self>, _ size: OperandSize)
  static func divide(_ compiler: inout FunctionCompiler<Self>, _ size: OperandSize, signed: Bool, remainder: Bool)
  static func shift(_ compiler: inout FunctionCompiler<Self>, _ op: Shift, _ size: OperandSize)
  static func countLeadingZeros(_ compiler: inout FunctionCompiler<Self>, _ size: OperandSize)
  static func countTrailingZeros(_ compiler: inout FunctionCompiler<Self>, _ size: OperandSize)
  static func populationCount(_ compiler: inout FunctionCompiler<Self>, _ size: OperandSize)
  static func signExtend(_ compiler: inout FunctionCompiler<Self>, _ from: OperandSize, to size: OperandSize)
  static func arithmetic(_ compiler: inout FunctionCompiler<Self>, _ op: FloatOp, _ size: FloatSize)
  static func squareRoot(_ compiler: inout FunctionCompiler<Self>, _ size: FloatSize)
  static func round(_ compiler: inout FunctionCompiler<Self>, _ size: FloatSize, _ mode: Rounding)
  static func extremum(_ compiler: inout FunctionCompiler<Self>, _ op: FloatOp, _ size: FloatSize)
  static func absolute(_ compiler: inout FunctionCompiler<Self>, _ size: FloatSize)
  static func negate(_ compiler: inout FunctionCompiler<Self>, _ size: FloatSize)
  static func copySign(_ compiler: inout FunctionCompiler<Self>, _ size: FloatSize)
  static func promote(_ compiler: inout FunctionCompiler<Self>)
  static func demote(_ compiler: inout FunctionCompiler<Self>)
  static func moveBits(
    _ compiler: inout FunctionCompiler<Self>, _ size: FloatSize, _ dst: VectorRegister, _ src: Register)
  static func moveBits(
    _ compiler: inout FunctionCompiler<Self>, _ size: FloatSize, _ dst: Register, _ src: VectorRegister)
  static func convert(
    _ compiler: inout FunctionCompiler<Self>, _ size: FloatSize, from integer: OperandSize, signed: Bool)
  static func truncate(
    _ compiler: inout FunctionCompiler<Self>, to integer: OperandSize, signed: Bool, from size: FloatSize)
  static func truncateSaturating(
    _ compiler: inout FunctionCompiler<Self>, to integer: OperandSize, signed: Bool, from size: FloatSize)
}

/// Comparisons of integers.
enum Comparison: UInt8 {
  // swift-format-ignore
  case equal, notEqual, lessSigned, lessUnsigned, greaterSigned, greaterUnsigned
  // swift-format-ignore
  case lessOrEqualSigned, lessOrEqualUnsigned, greaterOrEqualSigned, greaterOrEqualUnsigned
}

/// Bitwise operations.
enum LogicOp: UInt8 { case and, or, xor }

/// Shifts and rotations.
enum Shift: UInt8 { case left, rightSigned, rightUnsigned, rotateLeft, rotateRight }

/// Floating-point operations on two values.
enum FloatOp: UInt8 { case add, subtract, multiply, divide, minimum, maximum }

/// Directions of rounding.
enum Rounding: UInt8 { case nearest, floor, ceil, truncate }

/// What `patchFrame` must fill in: where, or -1.
struct FramePatch { var offset: Int }
