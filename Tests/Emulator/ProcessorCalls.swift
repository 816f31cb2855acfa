// Calls into emulated code, and out of it, by the Procedure Call Standard for the Arm 64-bit Architecture (AAPCS64, 6).
//
// A call gives the function registers that hold nothing useful but its arguments, so that code which depends on
// anything else shows it: the upper bits of 32-bit arguments and all other registers are filled with a pattern. After
// the return the registers that belong to the caller must be as they were, and so must the stack pointer.
//
// A call from within a host function continues on the emulated stack below the frames that are there, keeps their frame
// chain, and leaves all registers as they were, however it ends.

import CUnicorn

/// A closure that emulated code can call. Arguments and results are in the processor's registers.
package typealias HostFunction = (borrowing HostCall) throws -> Void

/// An argument of a call.
package enum Argument: Sendable {
  case integer64(UInt64)
  /// The upper half of the register, which AAPCS64 leaves unspecified, is filled with ones and zeros.
  case integer32(UInt32)
  case float(Float)
  case double(Double)
  case vector(AArch64Processor.Vector)

  package static func int(_ value: Int) -> Argument { .integer64(UInt64(bitPattern: Int64(value))) }
  package static func int64(_ value: Int64) -> Argument { .integer64(UInt64(bitPattern: value)) }
  package static func int32(_ value: Int32) -> Argument { .integer32(UInt32(bitPattern: value)) }
}

/// What a function left in the result registers; which of them mean something is for the caller to know.
package struct CallResult: Equatable, Sendable {
  /// `x0`.
  package let integer: UInt64
  /// `x1`.
  package let secondInteger: UInt64
  /// `v0`.
  package let vector: AArch64Processor.Vector
  /// `v1`.
  package let secondVector: AArch64Processor.Vector

  package var int64: Int64 { Int64(bitPattern: integer) }
  /// `w0`.
  package var int32: Int32 { Int32(truncatingIfNeeded: integer) }
  /// `d0`.
  package var double: Double { Double(bitPattern: vector.low) }
  /// `s0`.
  package var float: Float { Float(bitPattern: UInt32(truncatingIfNeeded: vector.low)) }
}

/// A call of a host function that is going on.
@safe
package struct HostCall: ~Copyable {
  /// The processor; its registers are those at the call.
  package let processor: AArch64Processor

  /// Integer argument `index`, counted among the integers: of the first eight.
  package func integer(_ index: Int) -> UInt64 {
    precondition((0..<8).contains(index))
    return processor[.x(index)]
  }
  /// Floating-point argument `index`, counted among those: of the first eight.
  package func double(_ index: Int) -> Double {
    precondition((0..<8).contains(index))
    return Double(bitPattern: processor[vector: index].low)
  }
  package func float(_ index: Int) -> Float {
    precondition((0..<8).contains(index))
    return Float(bitPattern: UInt32(truncatingIfNeeded: processor[vector: index].low))
  }
  /// Argument `index` of those on the stack: 8 bytes.
  package func stackArgument(_ index: Int) -> UInt64? { processor.stackWord(processor[.sp] &+ UInt64(8 * index)) }
  /// Sets the integer result.
  package func `return`(_ value: UInt64) { processor[.x(0)] = value }
  package func `return`(_ value: Double) { processor[vector: 0] = .init(low: value.bitPattern) }
  package func `return`(_ value: Float) { processor[vector: 0] = .init(low: UInt64(value.bitPattern)) }
}

extension AArch64Processor {
  /// Gives a closure an address that emulated code can call.
  package func addHostFunction(_ body: @escaping HostFunction) -> UInt64 {
    hostFunctions.append(body)
    // Slot 0 is where calls return to.
    precondition(4 * hostFunctions.count < reserved.count, "too many host functions")
    return reserved.address + 4 * UInt64(hostFunctions.count)
  }

  private var returnAddress: UInt64 { reserved.address }

  /// 8 bytes of the processor's stack, or nil if they are not all there.
  func stackWord(_ address: UInt64) -> UInt64? {
    guard address >= stackRange.lowerBound, address <= stackRange.upperBound - 8 else { return nil }
    return stack.read(UInt64.self, at: Int(address - stack.address))
  }

  /// Calls the function at `address` and runs it until it returns.
  ///
  /// - Returns: the result registers.
  /// - Throws: how it ended, if it did not return.
  @discardableResult
  package func call(_ address: UInt64, _ arguments: Argument...) throws(ProcessorStop) -> CallResult {
    try call(address, arguments)
  }

  /// Calls the function at `address` with any number of arguments.
  @discardableResult
  package func call(_ address: UInt64, _ arguments: [Argument]) throws(ProcessorStop) -> CallResult {
    let saved = depth == 0 ? nil : unsafe precast_emulator_save(emulator)
    defer {
      if let saved = unsafe saved {
        unsafe precast_emulator_restore(emulator, saved)
        unsafe precast_emulator_forget(saved)
      }
    }
    if depth == 0 {
      self[.fpcr] = 0
      self[.x(29)] = 0
      let executed = executedInstructions
      unsafe precast_emulator_set_limit(emulator, executed &+ instructionLimit)
    }
    let stackPointer = depth == 0 ? stackRange.upperBound : self[.sp]
    let framePointer = self[.x(29)]
    try prepare(arguments, stackPointer: stackPointer)
    let callStackPointer = self[.sp]
    self[.x(30)] = returnAddress
    depth += 1
    defer { depth -= 1 }
    try run(from: address)
    try checkReturn(stackPointer: callStackPointer, framePointer: framePointer)
    return CallResult(
      integer: self[.x(0)], secondInteger: self[.x(1)], vector: self[vector: 0], secondVector: self[vector: 1])
  }

  private static let junk: UInt64 = 0xA5A5_A5A5_5A5A_5A5A
  private static func pattern(_ register: Int) -> UInt64 { 0xC0DE_0000_0000_0000 | UInt64(register) }

  // Stages A to C of AAPCS64 6.8.2, for arguments that are no aggregates.
  private func prepare(_ arguments: [Argument], stackPointer: UInt64) throws(ProcessorStop) {
    for register in 0..<19 { self[.x(register)] = Self.junk }
    for register in 19..<29 { self[.x(register)] = Self.pattern(register) }
    for register in 0..<32 {
      self[vector: register] = Vector(
        low: (8..<16).contains(register) ? Self.pattern(register) : Self.junk, high: Self.junk)
    }
    var integers = 0
    var vectors = 0
    var words: [UInt64] = []
    for argument in arguments {
      switch argument {
      case .integer64(let value):
        if integers < 8 { self[.x(integers)] = value } else { words.append(value) }
        integers += 1
      case .integer32(let value):
        let filled = UInt64(value) | Self.junk << 32
        if integers < 8 { self[.x(integers)] = filled } else { words.append(filled) }
        integers += 1
      case .float(let value):
        let filled = UInt64(value.bitPattern) | Self.junk << 32
        if vectors < 8 { self[vector: vectors] = Vector(low: filled, high: Self.junk) } else { words.append(filled) }
        vectors += 1
      case .double(let value):
        if vectors < 8 {
          self[vector: vectors] = Vector(low: value.bitPattern, high: Self.junk)
        } else {
          words.append(value.bitPattern)
        }
        vectors += 1
      case .vector(let value):
        if vectors < 8 {
          self[vector: vectors] = value
        } else {
          if words.count % 2 != 0 { words.append(Self.junk) }
          words += [value.low, value.high]
        }
        vectors += 1
      }
    }
    if words.count % 2 != 0 { words.append(Self.junk) }
    let size = UInt64(8 * words.count)
    guard stackPointer % 16 == 0, stackPointer <= stackRange.upperBound,
      stackPointer >= stackRange.lowerBound, stackPointer - stackRange.lowerBound >= size
    else { throw stop(.stackPointer(stackPointer), pc: self[.pc]) }
    let bottom = stackPointer - size
    for (index, word) in words.enumerated() { stack.write(word, at: Int(bottom - stack.address) + 8 * index) }
    self[.sp] = bottom
  }

  private func checkReturn(stackPointer: UInt64, framePointer: UInt64) throws(ProcessorStop) {
    if self[.sp] != stackPointer { throw stop(.stackPointer(self[.sp]), pc: returnAddress) }
    for register in 19..<29 where self[.x(register)] != Self.pattern(register) {
      throw stop(.clobbered("x\(register)"), pc: returnAddress)
    }
    if self[.x(29)] != framePointer { throw stop(.clobbered("x29"), pc: returnAddress) }
    for register in 8..<16 where self[vector: register].low != Self.pattern(register) {
      throw stop(.clobbered("d\(register)"), pc: returnAddress)
    }
  }

  private func stop(_ reason: ProcessorStop.Reason, pc: UInt64, hostError: (any Error)? = nil) -> ProcessorStop {
    ProcessorStop(
      reason: reason, pc: pc, registers: (0..<31).map { self[.x($0)] }, stackPointer: self[.sp], hostError: hostError)
  }

  // Runs until the return address of the innermost call is reached.
  private func run(from address: UInt64) throws(ProcessorStop) {
    var pc = address
    while true {
      let end = unsafe precast_emulator_run(emulator, pc)
      switch end.end {
      case PRECAST_EMULATOR_RESERVED:
        if end.pc == returnAddress { return }
        let index = Int(end.pc - reserved.address) / 4 - 1
        guard end.pc % 4 == 0, hostFunctions.indices.contains(index) else {
          throw stop(.fetch(address: end.pc), pc: end.pc)
        }
        pc = try callOut(hostFunctions[index], pc: end.pc)
      case PRECAST_EMULATOR_LOAD, PRECAST_EMULATOR_STORE:
        if findHostMemory(end.address, isStore: end.end == PRECAST_EMULATOR_STORE) {
          pc = end.pc
        } else {
          pc = try resume(reason(end), pc: end.pc)
        }
      case PRECAST_EMULATOR_FETCH:
        if let code = onMissingCode?(end.pc), (try? map(code.start, Int(code.end - code.start), .readExecute)) != nil {
          pc = end.pc
        } else if let function = onForeignCall?(end.pc) {
          pc = try callOut(function, pc: end.pc)
        } else {
          pc = try resume(reason(end), pc: end.pc)
        }
      case PRECAST_EMULATOR_LIMIT, PRECAST_EMULATOR_STOPPED, PRECAST_EMULATOR_BRANCH_TARGET, PRECAST_EMULATOR_ERROR:
        throw stop(reason(end), pc: end.pc)
      default:
        pc = try resume(reason(end), pc: end.pc)
      }
    }
  }

  // Calls a host function; returns where to go on. Swift 6.3.1's optimiser crashes when it inlines this: a host call is
  // not copyable, and is made of a guaranteed value.
  @inline(never)
  private func callOut(_ function: HostFunction, pc: UInt64) throws(ProcessorStop) -> UInt64 {
    let stackPointer = self[.sp]
    guard stackPointer % 16 == 0, stackRange.contains(stackPointer) || stackPointer == stackRange.upperBound else {
      throw stop(.stackPointer(stackPointer), pc: pc)
    }
    let link = self[.x(30)]
    do {
      try function(HostCall(processor: self))
    } catch {
      throw stop(.hostFunction, pc: pc, hostError: error)
    }
    return link
  }

  private func resume(_ reason: ProcessorStop.Reason, pc: UInt64) throws(ProcessorStop) -> UInt64 {
    let stop = stop(reason, pc: pc)
    guard let resumption = onTrap?(stop) else { throw stop }
    self[.sp] = resumption.stackPointer
    if let framePointer = resumption.framePointer { self[.x(29)] = framePointer }
    return resumption.pc
  }

  // Maps the host's mapping behind an address. False if there is nothing more to map.
  private func findHostMemory(_ address: UInt64, isStore: Bool) -> Bool {
    guard findsHostMemory, regionMap.region(at: address) == nil, !reservedContains(address),
      let region = HostMappings.region(at: address), region.access.contains(isStore ? .readWrite : .read)
    else { return false }
    if regionMap.regions.count >= RegionMap.crowded { forgetFoundMemory() }
    // Only the part around the address that is not mapped yet: what was mapped on purpose keeps its access.
    let gap = regionMap.gap(around: address, in: region)
    return (try? map(gap.start, Int(gap.end - gap.start), region.access)) != nil
  }

  private func reservedContains(_ address: UInt64) -> Bool { address >= reserved.address && address < reserved.end }

  private func reason(_ end: precast_emulator_stop) -> ProcessorStop.Reason {
    switch end.end {
    case PRECAST_EMULATOR_LOAD: .load(address: end.address, size: Int(end.size))
    case PRECAST_EMULATOR_STORE: .store(address: end.address, size: Int(end.size))
    case PRECAST_EMULATOR_FETCH: .fetch(address: end.address)
    case PRECAST_EMULATOR_BREAKPOINT: .breakpoint(immediate(instruction(at: end.pc)))
    case PRECAST_EMULATOR_UNDEFINED: .undefined(instruction(at: end.pc))
    case PRECAST_EMULATOR_SUPERVISOR_CALL: .supervisorCall(immediate(instruction(at: end.pc &- 4)))
    case PRECAST_EMULATOR_EXCEPTION: .exception(end.detail)
    case PRECAST_EMULATOR_LIMIT: .limit
    case PRECAST_EMULATOR_STOPPED: .stopped
    case PRECAST_EMULATOR_BRANCH_TARGET: .branchTarget(branchType: end.detail)
    default: .emulator(Self.message(Int32(truncatingIfNeeded: end.detail)))
    }
  }

  // An instruction that the processor has executed, so that it is mapped; 0 otherwise.
  private func instruction(at address: UInt64) -> UInt32 {
    guard address % 4 == 0, regionMap.region(at: address)?.access.contains(.execute) == true,
      let pointer = unsafe UnsafeRawPointer(bitPattern: UInt(address))
    else { return 0 }
    return unsafe pointer.load(as: UInt32.self)
  }

  // `imm16` of `brk` and `svc`.
  private func immediate(_ instruction: UInt32) -> UInt16 { UInt16(truncatingIfNeeded: instruction >> 5) }
}
