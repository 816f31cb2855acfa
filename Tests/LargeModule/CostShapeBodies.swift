// What is in each shape: function bodies.

extension CostShape {
  private static var i32: UInt8 { ShapeModule.i32 }

  /// Fills in a module.
  func build(_ module: inout ShapeModule, _ count: Int) {
    switch self {
    case .arithmetic:
      module.addFunction(locals: [(20, Self.i32)]) { code in
        code.get(0)
        for index in 0..<count {
          code.get(index % 21)
          code.byte([0x6A, 0x6B, 0x6C, 0x71, 0x72, 0x73, 0x74, 0x46][index % 8])
          if index % 3 == 0 { code.tee((index * 7) % 21) }
        }
      }
    case .liveLocals:
      // Every local is set before any is read.
      module.addFunction(locals: [(count, Self.i32)]) { code in
        for index in 1...count {
          code.get(0)
          code.constant(index)
          code.byte(0x6A)
          code.set(index)
        }
        code.get(0)
        for index in 1...count {
          code.get(index)
          code.byte(0x6A)
        }
      }
    case .branchesToOneLabel:
      module.addFunction { code in
        code.raw([0x02, 0x40])
        for _ in 0..<count { code.raw([0x20, 0, 0x0D, 0]) }
        code.raw([0x0B, 0x20, 0])
      }
    case .chainedBlocks:
      module.addFunction { code in
        for _ in 0..<count { code.raw([0x02, 0x40, 0x20, 0, 0x0D, 0, 0x20, 0, 0x41, 3, 0x6A, 0x21, 0, 0x0B]) }
        code.get(0)
      }
    case .chainedIfs:
      module.addFunction { code in
        code.get(0)
        for index in 0..<count {
          code.raw([0x04, Self.i32, 0x20, 0, 0x05, 0x41])
          code.signed(index)
          code.byte(0x0B)
        }
      }
    case .chainedLoops:
      module.addFunction(locals: [(30, Self.i32)]) { code in
        for index in 0..<count {
          code.raw([0x03, 0x40])
          code.get(index % 31)
          code.raw([0x41, 1, 0x6B])
          code.tee(index % 31)
          code.raw([0x0D, 0, 0x0B])
        }
        code.get(0)
      }
    case .nestedBlocks: Self.nest(&module, count, [0x02, 0x40, 0x20, 0, 0x0D, 0], [0x0B])
    case .nestedLoops: Self.nest(&module, count, [0x03, 0x40, 0x20, 0], [0x41, 1, 0x6B, 0x22, 0, 0x0D, 0, 0x0B], 0x1A)
    case .nestedIfs: Self.nest(&module, count, [0x20, 0, 0x04, 0x40], [0x05, 0x41, 7, 0x21, 0, 0x0B])
    case .deadBlocks:
      module.addFunction { code in
        code.get(0)
        code.byte(0x0F)
        for _ in 0..<count { code.raw([0x02, Self.i32, 0x20, 0, 0x0C, 0, 0x0B, 0x1A]) }
      }
    case .deepOperands:
      module.addFunction { code in
        for _ in 0..<count { code.raw([0x20, 0, 0x45]) }
        for _ in 1..<count { code.byte(0x6A) }
        if count == 1 { code.byte(0x01) }
      }
    case .deepOperandsWithBlocks:
      module.addFunction { code in
        for _ in 0..<count { code.raw([0x20, 0, 0x45, 0x02, 0x40, 0x20, 0, 0x0D, 0, 0x0B]) }
        for _ in 1..<count { code.raw([0x02, 0x40, 0x20, 0, 0x0D, 0, 0x0B, 0x6A]) }
      }
    case .deepOperandsWithCalls:
      module.addFunction { code in
        for _ in 0..<count { code.raw([0x20, 0, 0x10, 0]) }
        for _ in 1..<count { code.raw([0x20, 0, 0x10, 0, 0x21, 0, 0x6A]) }
      }
    case .earlyReferences:
      // A hundred locals are on the stack below all else; one after the other is set, and calls come in between.
      module.addFunction(locals: [(100, Self.i32)]) { code in
        for index in 0..<100 { code.get(index) }
        for _ in 0..<count { code.raw([0x20, 0, 0x10, 0]) }
        for index in 0..<100 {
          code.constant(1)
          code.set(index)
          code.raw([0x41, 1, 0x10, 0, 0x1A])
        }
        for _ in 1..<count + 100 { code.byte(0x6A) }
      }
    case .selects:
      module.addFunction(locals: [(10, Self.i32)]) { code in
        code.get(0)
        for index in 0..<count {
          code.get(index % 11)
          code.get((index * 3) % 11)
          code.raw([0x20, 1, 0x48, 0x1B])
          code.tee((index * 5) % 11)
        }
      }
    case .longBranchTable:
      module.addFunction { code in
        for _ in 0..<10 { code.raw([0x02, 0x40]) }
        code.get(0)
        code.byte(0x0E)
        code.number(count)
        for index in 0...count { code.number(index % 10) }
        for _ in 0..<10 { code.raw([0x0B, 0x20, 0, 0x41, 1, 0x6A, 0x21, 0]) }
        code.get(0)
      }
    case .branchTables:
      module.addFunction { code in
        for _ in 0..<count {
          for _ in 0..<5 { code.raw([0x02, 0x40]) }
          code.raw([0x20, 0, 0x0E, 6, 0, 1, 2, 3, 4, 0, 1])
          for _ in 0..<5 { code.raw([0x0B, 0x20, 0, 0x41, 1, 0x6A, 0x21, 0]) }
        }
        code.get(0)
      }
    case .branchTableWithValues:
      let wide = module.addType([], Array(repeating: Self.i32, count: 200))
      module.addFunction { code in
        for _ in 0..<10 {
          code.byte(0x02)
          code.signed(wide)
        }
        for _ in 0..<201 { code.get(0) }
        code.byte(0x0E)
        code.number(count)
        for index in 0...count { code.number(index % 10) }
        for _ in 0..<10 { code.byte(0x0B) }
        for _ in 1..<200 { code.byte(0x6A) }
      }
    case .branchesWithValues:
      let wide = module.addType([], Array(repeating: Self.i32, count: 4))
      module.addFunction { code in
        code.byte(0x02)
        code.signed(wide)
        for _ in 0..<4 { code.get(0) }
        for _ in 0..<count { code.raw([0x20, 0, 0x0D, 0]) }
        code.raw([0x0B, 0x6A, 0x6A, 0x6A])
      }
    case .branchesOutward:
      // Every branch is to another of a thousand labels.
      module.addFunction { code in
        for _ in 0..<1000 { code.raw([0x02, 0x40]) }
        for index in 0..<count {
          code.raw([0x20, 0, 0x0D])
          code.number(index * 7 % 1000)
        }
        for _ in 0..<1000 { code.byte(0x0B) }
        code.get(0)
      }
    case .memoryAccesses:
      module.addMemory()
      module.addFunction { code in
        for index in 0..<count {
          code.raw([0x20, 0, 0x20, 0, 0x28, 2])
          code.number(index)
          code.raw([0x36, 2])
          code.number(index)
        }
        code.get(0)
      }
    case .indirectCalls:
      module.addTable(elements: 10)
      module.addFunction { code in
        code.get(0)
        for _ in 0..<count { code.raw([0x20, 0, 0x11, 0, 0]) }
      }
    case .wideCalls:
      let wide = Array(repeating: Self.i32, count: 20)
      let type = module.addType(wide, wide)
      module.addFunction(type: type) { code in
        for index in 0..<20 { code.get(index) }
        for _ in 0..<count { code.raw([0x10, 0]) }
      }
    case .wideBlocks:
      let wide = Array(repeating: Self.i32, count: 20)
      let type = module.addType(wide, wide)
      module.addFunction { code in
        for _ in 0..<20 { code.get(0) }
        for _ in 0..<count {
          code.byte(0x02)
          code.signed(type)
          code.raw([0x20, 0, 0x0D, 0, 0x0B])
        }
        for _ in 1..<20 { code.byte(0x6A) }
      }
    case .localGroups:
      module.addFunction(
        locals: (0..<count).map { (1, [ShapeModule.i32, ShapeModule.i64, ShapeModule.f64][$0 % 3]) }
      ) { code in
        // Those of type i32 and i64.
        for index in 1...count where index % 3 != 0 {
          code.raw(index % 3 == 1 ? [0x20, 0] : [0x42, 0])
          code.set(index)
        }
        code.get(0)
      }
    case .tinyFunctions:
      for _ in 0..<count { module.addFunction { $0.raw([0x20, 0, 0x41, 1, 0x6A]) } }
    case .functionsWithDeclaredLocals:
      for index in 0..<count {
        module.addFunction(locals: [(49_000, Self.i32)]) {
          $0.get(0)
          $0.get(index % 49_000)
          $0.byte(0x6A)
        }
      }
    case .functionsWithParameters:
      let type = module.addType(Array(repeating: Self.i32, count: 1000), [])
      for index in 0..<count {
        module.addFunction(type: type) {
          $0.get(index % 1000)
          $0.byte(0x1A)
        }
      }
    case .functionsWithOneMoreByte:
      // No buffer may be made anew for each function that is larger than the one before. About `count` bytes in all.
      for index in 0..<Int((2 * Double(count)).squareRoot()) {
        module.addFunction { code in
          code.get(0)
          for _ in 0..<index { code.byte(0x01) }
        }
      }
    default: buildModule(&module, count)
    }
  }

  /// One function with `opening` and `closing` around each other, the closing ones after a `local.get 0` in the middle.
  private static func nest(
    _ module: inout ShapeModule, _ count: Int, _ opening: [UInt8], _ closing: [UInt8], _ drop: UInt8? = nil
  ) {
    module.addFunction { code in
      for _ in 0..<count {
        code.raw(opening)
        if let drop { code.byte(drop) }
      }
      for _ in 0..<count {
        if drop != nil { code.get(0) }
        code.raw(closing)
      }
      code.get(0)
    }
  }
}
