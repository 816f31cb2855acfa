// What the emulated processor promises to the tests that run code on it. The code here is written out in words of
// machine code, so that these tests need no assembler.

import Glibc
import PrecastEmulator
import Testing

/// Machine code of small functions, and how far apart they stand.
private enum Code {
  static let sumOfTenIntegers: [UInt32] = [
    0x8B01_0000, 0x8B02_0000, 0x8B03_0000, 0x8B04_0000, 0x8B05_0000, 0x8B06_0000, 0x8B07_0000,  // add x0, x0, x1...
    0xA940_0BE1, 0x8B01_0000, 0x8B02_0000, 0xD65F_03C0,  // ldp x1, x2, [sp]; add; add; ret
  ]
  /// fadd d0, d0, d1; scvtf d1, w0; fadd d0, d0, d1; ret
  static let sumOfDoublesAndInteger: [UInt32] = [0x1E61_2800, 0x1E62_0001, 0x1E61_2800, 0xD65F_03C0]
  /// Calls x2 with a frame record, adds 1 to the result.
  static let callX2: [UInt32] = [0xA9BF_7BFD, 0x9100_03FD, 0xD63F_0040, 0x9100_0400, 0xA8C1_7BFD, 0xD65F_03C0]
  /// b .
  static let forever: [UInt32] = [0x1400_0000]
  /// subs x0, x0, #1; b.ne .-4; ret
  static let countDown: [UInt32] = [0xF100_0400, 0x54FF_FFE1, 0xD65F_03C0]
  /// add x0, x0, #1; brk #0x1234
  static let breakpoint: [UInt32] = [0x9100_0400, 0xD422_4680]
  /// add x0, x0, #1; udf #7
  static let undefined: [UInt32] = [0x9100_0400, 7]
  /// svc #5
  static let supervisorCall: [UInt32] = [0xD400_00A1]
  /// ldr x0, [x0]; ret
  static let load: [UInt32] = [0xF940_0000, 0xD65F_03C0]
  /// add x2, x2, #1; str x1, [x0]; ret
  static let store: [UInt32] = [0x9100_0442, 0xF900_0001, 0xD65F_03C0]
  /// add x0, x0, #1; ret, and the same with #2
  static let addOne: [UInt32] = [0x9100_0400, 0xD65F_03C0]
  static let addTwo: [UInt32] = [0x9100_0800, 0xD65F_03C0]
  /// br x0
  static let jump: [UInt32] = [0xD61F_0000]
  /// mov x16, x0; br x16
  static let jumpThroughX16: [UInt32] = [0xAA00_03F0, 0xD61F_0200]
  /// ldadd x0, x2, [x1]; ret: an instruction of Armv8.1-A
  static let atomicAdd: [UInt32] = [0xF820_0022, 0xD65F_03C0]
  /// Calls itself with a frame record, without end.
  static let recurse: [UInt32] = [0xA9BF_7BFD, 0x9100_03FD, 0x97FF_FFFE, 0xA8C1_7BFD, 0xD65F_03C0]
}

/// A processor with one page of code.
private struct Setup {
  let processor: AArch64Processor
  let code: HostPages
  var address: UInt64 { code.address }

  init(_ instructions: [UInt32]..., model: AArch64Processor.Model = .baseline) throws {
    processor = try AArch64Processor(model: model)
    code = try HostPages(count: HostPages.pageSize)
    for (index, function) in instructions.enumerated() { code.write(instructions: function, at: index * Setup.stride) }
    code.protect()
    try processor.map(code, .readExecute)
  }

  static let stride = 64
  func function(_ index: Int) -> UInt64 { address + UInt64(index * Setup.stride) }
}

extension Trait where Self == ConditionTrait {
  /// Only where there is an emulator.
  static var emulated: Self {
    .enabled(
      if: AArch64Processor.unavailableReason == nil, Comment(rawValue: AArch64Processor.unavailableReason ?? ""))
  }
}

/// What `body` throws as a stop; nil if it returns.
func stop(_ body: () throws -> Void) -> ProcessorStop? {
  do {
    try body()
    return nil
  } catch let stop as ProcessorStop {
    return stop
  } catch {
    Issue.record("\(error)")
    return nil
  }
}

@Suite("Emulated calls", .emulated)
struct EmulatedCallTests {
  @Test("integers go to eight registers, then to the stack")
  func integers() throws {
    let setup = try Setup(Code.sumOfTenIntegers)
    let result = try setup.processor.call(setup.address, (1...10).map { .integer64(1 << UInt64($0)) })
    #expect(result.integer == (1 << 11) - 2)
  }

  @Test("floating-point and integer arguments are counted apart")
  func floats() throws {
    let setup = try Setup(Code.sumOfDoublesAndInteger)
    #expect(try setup.processor.call(setup.address, .double(1.5), .int32(-7), .double(0.25)).double == -5.25)
  }

  @Test("the upper half of a register with a 32-bit argument is filled")
  func upperHalf() throws {
    let setup = try Setup([0xD65F_03C0])
    let result = try setup.processor.call(setup.address, .integer32(5))
    #expect(result.int32 == 5)
    #expect(result.integer != 5)
  }

  @Test("a host function gets arguments and gives a result, and the code goes on behind the call")
  func hostFunction() throws {
    let setup = try Setup(Code.callX2)
    let multiply = setup.processor.addHostFunction { $0.return($0.integer(0) &* $0.integer(1)) }
    for factor in 0..<10 as Range<UInt64> {
      let result = try setup.processor.call(
        setup.address, .integer64(factor), .integer64(7), .integer64(multiply))
      #expect(result.integer == 7 * factor + 1)
    }
  }

  @Test("a host function enters emulated code again, to any depth")
  func nested() throws {
    let setup = try Setup(Code.callX2)
    let processor = setup.processor
    var depths: [UInt64] = []
    var address: UInt64 = 0
    address = processor.addHostFunction { [unowned processor] call in
      let n = call.integer(0)
      depths.append(n)
      if n == 0 { return call.return(100 as UInt64) }
      let inner = try processor.call(setup.address, .integer64(n - 1), .integer64(0), .integer64(address))
      call.return(inner.integer)
    }
    let result = try processor.call(setup.address, .integer64(20), .integer64(0), .integer64(address))
    #expect(result.integer == 121)
    #expect(depths == (0...20).reversed())
  }

  @Test("an error of a host function comes out of the outermost call, through calls in between")
  func hostError() throws {
    struct Refusal: Error, Equatable {}
    let setup = try Setup(Code.callX2)
    let processor = setup.processor
    let refuse = processor.addHostFunction { _ in throw Refusal() }
    let pass = processor.addHostFunction { [unowned processor] _ in
      try processor.call(setup.address, .integer64(0), .integer64(0), .integer64(refuse))
    }
    let end = stop { try processor.call(setup.address, .integer64(0), .integer64(0), .integer64(pass)) }
    #expect(end?.reason == .hostFunction)
    #expect((end?.hostError as? ProcessorStop)?.hostError is Refusal)
    // And the processor is as good as before.
    let identity = processor.addHostFunction { _ in }
    #expect(try processor.call(setup.address, .integer64(4), .integer64(0), .integer64(identity)).integer == 5)
  }

  @Test("a fetch from memory of the host may be answered by a function of the host")
  func foreignCall() throws {
    let setup = try Setup(Code.callX2)
    let foreign = try HostPages(count: 1)
    setup.processor.onForeignCall = { address in
      address == foreign.address + 8 ? { $0.return($0.integer(0) + 40) } : nil
    }
    let result = try setup.processor.call(
      setup.address, .integer64(1), .integer64(0), .integer64(foreign.address + 8))
    #expect(result.integer == 42)
    let end = stop {
      try setup.processor.call(setup.address, .integer64(1), .integer64(0), .integer64(foreign.address))
    }
    #expect(end?.reason == .fetch(address: foreign.address))
  }

  @Test(
    "what a function must preserve is checked",
    arguments: [
      ([0xD280_0033, 0xD65F_03C0], ProcessorStop.Reason.clobbered("x19")),  // mov x19, #1
      ([0xD280_003D, 0xD65F_03C0], .clobbered("x29")),  // mov x29, #1
      ([0x1E6E_1009, 0xD65F_03C0], .clobbered("d9")),  // fmov d9, #1.0
    ])
  func preserved(code: [UInt32], reason: ProcessorStop.Reason) throws {
    let setup = try Setup(code)
    #expect(stop { try setup.processor.call(setup.address) }?.reason == reason)
  }

  @Test("a stack pointer that is wrong at a return or a call out is reported")
  func stackPointer() throws {
    // sub sp, sp, #16; ret, and sub sp, sp, #8; br x0
    let setup = try Setup([0xD100_43FF, 0xD65F_03C0], [0xD100_23FF, 0xD61F_0000])
    let top = setup.processor.stackRange.upperBound
    #expect(stop { try setup.processor.call(setup.address) }?.reason == .stackPointer(top - 16))
    let callee = setup.processor.addHostFunction { _ in }
    #expect(
      stop { try setup.processor.call(setup.function(1), .integer64(callee)) }?.reason == .stackPointer(top - 8))
  }

  @Test("processors run on several threads at once")
  func parallel() async throws {
    try await withThrowingTaskGroup(of: UInt64.self) { group in
      for number in 1...8 as ClosedRange<UInt64> {
        group.addTask {
          let setup = try Setup(Code.countDown, Code.callX2)
          let count = setup.processor.addHostFunction { $0.return($0.integer(0) &* number) }
          var sum: UInt64 = 0
          for turn in 1...50 as ClosedRange<UInt64> {
            try setup.processor.call(setup.address, .integer64(1000))
            sum += try setup.processor.call(
              setup.function(1), .integer64(turn), .integer64(0), .integer64(count)
            ).integer
          }
          return sum == 50 * 51 / 2 * number + 50 ? number : 0
        }
      }
      var numbers: Set<UInt64> = []
      for try await number in group { numbers.insert(number) }
      #expect(numbers == Set(1...8))
    }
  }
}

@Suite("Emulated faults and stops", .emulated)
struct EmulatedStopTests {
  @Test("breakpoints and undefined instructions stop at their pc, with registers as they were")
  func explicitTraps() throws {
    let setup = try Setup(Code.breakpoint, Code.undefined, Code.supervisorCall)
    let breakpoint = stop { try setup.processor.call(setup.function(0), .integer64(41)) }
    #expect(breakpoint?.reason == .breakpoint(0x1234))
    #expect(breakpoint?.pc == setup.function(0) + 4)
    #expect(breakpoint?.registers[0] == 42)
    #expect(breakpoint?.stackPointer == setup.processor.stackRange.upperBound)
    let undefined = stop { try setup.processor.call(setup.function(1)) }
    #expect(undefined?.reason == .undefined(7))
    #expect(undefined?.pc == setup.function(1) + 4)
    let call = stop { try setup.processor.call(setup.function(2)) }
    #expect(call?.reason == .supervisorCall(5))
  }

  @Test("loads and stores fault exactly where memory ends, and change nothing")
  func faults() throws {
    let setup = try Setup(Code.load, Code.store)
    let data = try HostPages(count: 2 * HostPages.pageSize)
    data.write(77 as UInt64, at: HostPages.pageSize - 8)
    try setup.processor.map(data.address, HostPages.pageSize, .readWrite)
    let end = data.address + UInt64(HostPages.pageSize)
    #expect(try setup.processor.call(setup.address, .integer64(end - 8)).integer == 77)
    let load = stop { try setup.processor.call(setup.address, .integer64(end)) }
    #expect(load?.reason == .load(address: end, size: 8))
    #expect(load?.pc == setup.address)
    #expect(load?.registers[0] == end)
    let store = stop { try setup.processor.call(setup.function(1), .integer64(end), .integer64(1), .integer64(5)) }
    #expect(store?.reason == .store(address: end, size: 8))
    #expect(store?.pc == setup.function(1) + 4)
    #expect(store?.registers[2] == 6)
    #expect(data.read(UInt64.self, at: HostPages.pageSize) == 0)
    let null = stop { try setup.processor.call(setup.address, .integer64(0)) }
    #expect(null?.reason == .load(address: 0, size: 8))
    let far = stop { try setup.processor.call(setup.address, .integer64(0xFFFF_8000_0000_0000)) }
    #expect(far?.reason == .load(address: 0xFFFF_8000_0000_0000, size: 8))
  }

  @Test("an access across the end of memory faults at the first byte that is not there")
  func straddling() throws {
    let setup = try Setup(Code.load)
    let data = try HostPages(count: 2 * HostPages.pageSize)
    try setup.processor.map(data.address, HostPages.pageSize, .readWrite)
    let end = data.address + UInt64(HostPages.pageSize)
    let load = stop { try setup.processor.call(setup.address, .integer64(end - 3)) }
    guard case .load(let address, _)? = load?.reason else {
      Issue.record("\(String(describing: load))")
      return
    }
    #expect((end - 3...end).contains(address))
    #expect(load?.pc == setup.address)
  }

  @Test("access rights hold")
  func rights() throws {
    let setup = try Setup(Code.load, Code.store, Code.jump)
    let data = try HostPages(count: 1)
    try setup.processor.map(data, .read)
    #expect(try setup.processor.call(setup.address, .integer64(data.address)).integer == 0)
    let store = stop { try setup.processor.call(setup.function(1), .integer64(data.address), .integer64(1)) }
    #expect(store?.reason == .store(address: data.address, size: 8))
    let jump = stop { try setup.processor.call(setup.function(2), .integer64(data.address)) }
    #expect(jump?.reason == .fetch(address: data.address))
    try setup.processor.map(data, .readWrite)
    try setup.processor.call(setup.function(1), .integer64(data.address), .integer64(9))
    #expect(data.read(UInt64.self, at: 0) == 9)
  }

  @Test("recursion without end faults in the guard below the stack")
  func stackOverflow() throws {
    let setup = try Setup(Code.recurse)
    let end = stop { try setup.processor.call(setup.address) }
    let low = setup.processor.stackRange.lowerBound
    guard case .store(let address, _)? = end?.reason else {
      Issue.record("\(String(describing: end))")
      return
    }
    #expect((low - 16..<low).contains(address))
    #expect(end?.pc == setup.address)
  }

  @Test("code that does not end is stopped after the limit of instructions, which is per call")
  func limit() throws {
    let setup = try Setup(Code.forever, Code.countDown)
    setup.processor.instructionLimit = 10_000
    let end = stop { try setup.processor.call(setup.address) }
    #expect(end?.reason == .limit)
    #expect(end?.pc == setup.address)
    for _ in 0..<5 { try setup.processor.call(setup.function(1), .integer64(4000)) }
    #expect(stop { try setup.processor.call(setup.function(1), .integer64(6000)) }?.reason == .limit)
  }

  @Test("executed instructions are counted exactly")
  func counting() throws {
    let setup = try Setup(Code.countDown)
    let before = setup.processor.executedInstructions
    try setup.processor.call(setup.address, .integer64(1000))
    #expect(setup.processor.executedInstructions - before == 2001)
  }

  @Test("a trap handler says where to go on, as a signal handler does")
  func resumption() throws {
    // stp x29, x30, [sp, #-16]!; mov x29, sp; sub sp, sp, #64; udf #7; mov x0, #3; ldp x29, x30, [sp], #16; ret
    let setup = try Setup([
      0xA9BF_7BFD, 0x9100_03FD, 0xD101_03FF, 0x0000_0007, 0xD280_0060, 0xA8C1_7BFD, 0xD65F_03C0,
    ])
    var seen: [UInt64] = []
    setup.processor.onTrap = { stop in
      seen.append(stop.pc)
      return .init(pc: stop.pc + 4, stackPointer: stop.framePointer)
    }
    #expect(try setup.processor.call(setup.address).integer == 3)
    #expect(seen == [setup.address + 12])
  }

  @Test("the baseline processor lacks later extensions, the maximal one has them")
  func models() throws {
    let data = try HostPages(count: 1)
    let baseline = try Setup(Code.atomicAdd)
    try baseline.processor.map(data, .readWrite)
    #expect(
      stop { try baseline.processor.call(baseline.address, .integer64(5), .integer64(data.address)) }?.reason
        == .undefined(Code.atomicAdd[0]))
    let maximal = try Setup(Code.atomicAdd, model: .maximal)
    try maximal.processor.map(data, .readWrite)
    try maximal.processor.call(maximal.address, .integer64(5), .integer64(data.address))
    #expect(data.read(UInt64.self, at: 0) == 5)
  }
}

@Suite("Emulated code that changes or is watched", .emulated)
struct EmulatedCodeTests {
  @Test("code that the host has changed is translated anew once it says so")
  func invalidation() throws {
    let processor = try AArch64Processor()
    let code = try HostPages(count: 1)
    try processor.map(code, .readExecute)
    code.write(instructions: Code.addOne)
    #expect(try processor.call(code.address, .integer64(1)).integer == 2)
    code.write(instructions: Code.addTwo)
    processor.invalidateCode(code.address, 8)
    #expect(try processor.call(code.address, .integer64(1)).integer == 3)
  }

  @Test("unmapped code cannot be run, and other code in its place is")
  func remapping() throws {
    let processor = try AArch64Processor()
    let code = try HostPages(count: 1)
    code.write(instructions: Code.addOne)
    try processor.map(code, .readExecute)
    #expect(try processor.call(code.address, .integer64(1)).integer == 2)
    try processor.unmap(code.address, code.count)
    #expect(stop { try processor.call(code.address, .integer64(1)) }?.reason == .fetch(address: code.address))
    code.write(instructions: Code.addTwo)
    try processor.map(code, .readExecute)
    #expect(try processor.call(code.address, .integer64(1)).integer == 3)
  }

  @Test("an observer sees every instruction, in code that has run before as well, and not after it is gone")
  func observer() throws {
    let setup = try Setup(Code.countDown)
    let processor = setup.processor
    try processor.call(setup.address, .integer64(3))
    var seen: [UInt64] = []
    processor.observeInstructions { [unowned processor] pc in
      seen.append(pc - setup.address)
      seen.append(processor[.x(0)])
      return true
    }
    try processor.call(setup.address, .integer64(2))
    #expect(seen == [0, 2, 4, 1, 0, 1, 4, 0, 8, 0])
    processor.observeInstructions(nil)
    try processor.call(setup.address, .integer64(3))
    #expect(seen.count == 10)
  }

  @Test("an observer can stop before any instruction")
  func stopping() throws {
    let setup = try Setup(Code.countDown)
    var left = 5
    setup.processor.observeInstructions { _ in
      left -= 1
      return left > 0
    }
    let end = stop { try setup.processor.call(setup.address, .integer64(100)) }
    #expect(end?.reason == .stopped)
    #expect(end?.pc == setup.address)
    #expect(end?.registers[0] == 98)
  }

  @Test(
    "indirect branches into guarded code need a landing pad of their kind",
    arguments: [
      // Landing pad, and whether it takes blr, br x16, br.
      (0xD503_245F as UInt32, true, true, false),  // bti c
      (0xD503_249F, false, true, true),  // bti j
      (0xD503_24DF, true, true, true),  // bti jc
      (0xD503_233F, true, true, false),  // paciasp
      (0xD503_241F, false, false, false),  // bti
      (0xD503_201F, false, false, false),  // nop
    ])
  func landingPads(pad: UInt32, afterCall: Bool, afterX16: Bool, afterJump: Bool) throws {
    let setup = try Setup(Code.callX2, Code.jumpThroughX16, Code.jump)
    let processor = setup.processor
    let target = try HostPages(count: 1)
    target.write(instructions: [pad, 0xD65F_03C0])
    try processor.map(target, .readExecute)
    let calls: [(Bool, () throws -> Void)] = [
      (afterCall, { try processor.call(setup.function(0), .integer64(1), .integer64(0), .integer64(target.address)) }),
      (afterX16, { try processor.call(setup.function(1), .integer64(target.address)) }),
      (afterJump, { try processor.call(setup.function(2), .integer64(target.address)) }),
    ]
    for (_, call) in calls { #expect(stop(call) == nil) }
    processor.guardCode(target.address, target.count)
    for (index, (isAllowed, call)) in calls.enumerated() {
      let end = stop(call)
      #expect(end?.reason == (isAllowed ? nil : .branchTarget(branchType: [2, 1, 3][index])), "\(index)")
      #expect(end == nil || end?.pc == target.address)
    }
  }
}

@Suite("Emulated memory", .emulated)
struct EmulatedMemoryTests {
  @Test("memory of the host is found when it is touched, guards stay faults, and what grows is found again")
  func findsHostMemory() throws {
    let setup = try Setup(Code.load, Code.store)
    setup.processor.findsHostMemory = true
    // Inaccessible around, like a linear memory in its reservation.
    let memory = try HostPages(count: 1 << 20, isReserved: true)
    let start = memory.address + 65536
    memory.protect(65536..<2 * 65536, writable: true)
    try setup.processor.call(setup.function(1), .integer64(start), .integer64(11))
    #expect(try setup.processor.call(setup.address, .integer64(start)).integer == 11)
    let end = start + 65536
    #expect(
      stop { try setup.processor.call(setup.address, .integer64(end)) }?.reason == .load(address: end, size: 8))
    #expect(
      stop { try setup.processor.call(setup.address, .integer64(start - 8)) }?.reason
        == .load(address: start - 8, size: 8))
    memory.protect(65536..<3 * 65536, writable: true)
    try setup.processor.call(setup.function(1), .integer64(end + 8), .integer64(12))
    #expect(memory.read(UInt64.self, at: 2 * 65536 + 8) == 12)
    // The host's stack and heap are there as well, its code is no code here.
    var local: UInt64 = 13
    let found = try withUnsafePointer(to: &local) {
      try setup.processor.call(setup.address, .integer64(UInt64(UInt(bitPattern: $0)))).integer
    }
    #expect(found == 13)
    let readOnly = try HostPages(count: 1)
    readOnly.protect()
    #expect(
      stop { try setup.processor.call(setup.function(1), .integer64(readOnly.address), .integer64(1)) }?.reason
        == .store(address: readOnly.address, size: 8))
  }

  @Test("memory that is not to be found is not found")
  func doesNotFindHostMemory() throws {
    let setup = try Setup(Code.load)
    let data = try HostPages(count: 1)
    #expect(
      stop { try setup.processor.call(setup.address, .integer64(data.address)) }?.reason
        == .load(address: data.address, size: 8))
  }

  @Test("a memory grows by a page a thousand times")
  func growth() throws {
    let setup = try Setup(Code.load)
    let data = try HostPages(count: 1000 * HostPages.pageSize)
    for page in 0..<1000 {
      data.write(UInt64(page), at: page * HostPages.pageSize)
      let address = data.address + UInt64(page * HostPages.pageSize)
      #expect(
        stop { try setup.processor.call(setup.address, .integer64(address)) }?.reason
          == .load(address: address, size: 8))
      try setup.processor.map(data.address, (page + 1) * HostPages.pageSize, .readWrite)
      #expect(try setup.processor.call(setup.address, .integer64(address)).integer == UInt64(page))
    }
    for page in 0..<1000 {
      #expect(
        try setup.processor.call(
          setup.address, .integer64(data.address + UInt64(page * HostPages.pageSize))
        ).integer == UInt64(page))
    }
  }

  @Test("as many regions as are allowed work, one more is an error, and then all goes on")
  func tooManyRegions() throws {
    let setup = try Setup(Code.load)
    let page = HostPages.pageSize
    let data = try HostPages(count: 2 * (RegionMap.limit + 1) * page)
    var mapped = 0
    do {
      for index in 0...RegionMap.limit {
        data.write(UInt64(index), at: 2 * index * page)
        try setup.processor.map(data.address + UInt64(2 * index * page), page, .readWrite)
        mapped = index + 1
      }
      Issue.record("all regions were mapped")
    } catch {
      #expect(error == .tooManyRegions(RegionMap.limit + 1))
    }
    #expect(mapped == RegionMap.limit - 2)  // the stack and the code are regions as well
    for index in 0..<mapped {
      let address = data.address + UInt64(2 * index * page)
      #expect(try setup.processor.call(setup.address, .integer64(address)).integer == UInt64(index))
    }
  }

  @Test("ranges that are no pages are refused")
  func invalidRanges() throws {
    let processor = try AArch64Processor()
    #expect(throws: ProcessorError.invalidRange(address: 4097, count: 4096)) { try processor.map(4097, 4096, .read) }
    #expect(throws: ProcessorError.invalidRange(address: 4096, count: 1)) { try processor.map(4096, 1, .read) }
    #expect(throws: ProcessorError.invalidRange(address: 4096, count: 0)) { try processor.unmap(4096, 0) }
    #expect(throws: ProcessorError.self) { try processor.map(UInt64.max & ~4095, 8192, .read) }
  }
}
