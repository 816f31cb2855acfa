// What is in each shape: everything but function bodies.

extension CostShape {
  /// Fills in a module whose bodies are nothing special.
  func buildModule(_ module: inout ShapeModule, _ count: Int) {
    let values: [UInt8] = [0x7F, 0x7E, 0x7D, 0x7C]
    /// A type that no smaller number gives.
    func numbered(_ index: Int) -> [UInt8] { (0..<10).map { values[index >> ($0 * 2) & 3] } }
    switch self {
    case .types: for index in 0..<count { module.addType(numbered(index), []) }
    case .equalTypes: for _ in 0..<count { module.addType([Self.i32, Self.i32], [Self.i32]) }
    case .typesOfFunctions:
      for index in 0..<count {
        let type = module.addType(numbered(index), [])
        module.addFunction(type: type) { _ in }
      }
    case .wideTypes:
      for index in 0..<count {
        let type = module.addType(numbered(index) + Array(repeating: Self.i32, count: 500), [])
        module.addFunction(type: type) { _ in }
      }
    case .imports:
      for index in 0..<count {
        module.add(2) {
          $0.name("host")
          $0.name("function_\(index)")
          $0.raw([0, 0])
        }
      }
      module.addFunction { $0.raw([0x20, 0, 0x10, 0]) }
    case .exports:
      module.addFunction { $0.raw([0x20, 0]) }
      for index in 0..<count { Self.export("function_\(index)", &module) }
    case .longNames:
      // A long part in common, the difference at the end.
      module.addFunction { $0.raw([0x20, 0]) }
      let prefix = String(repeating: "n", count: 1000)
      for index in 0..<count { Self.export(prefix + "\((index &* 7919) % 100_003)_\(index)", &module) }
    case .globals:
      for index in 0..<count {
        module.add(6) {
          $0.raw([Self.i32, 1, 0x41])
          $0.signed(index)
          $0.byte(0x0B)
        }
      }
    case .dependentGlobals:
      // Each is one more than the one before.
      for index in 0..<count {
        module.add(6) {
          $0.raw([Self.i32, 0])
          if index > 0 {
            $0.byte(0x23)
            $0.number(index - 1)
            $0.raw([0x41, 1, 0x6A])
          } else {
            $0.raw([0x41, 0])
          }
          $0.byte(0x0B)
        }
      }
    case .longConstant:
      module.add(6) {
        $0.raw([Self.i32, 0])
        for _ in 0..<count { $0.raw([0x41, 1]) }
        for _ in 1..<max(count, 2) { $0.byte(0x6A) }
        $0.byte(0x0B)
      }
    case .elementSegments, .overlappingElements:
      module.addFunction { $0.raw([0x20, 0]) }
      module.addTable(elements: count + 4)
      for index in 0..<count {
        module.add(9) {
          $0.raw([0, 0x41])
          // In no particular order.
          $0.signed(self == .elementSegments ? (index &* 7919) % count : 0)
          $0.raw([0x0B, 2, 0, 0])
        }
      }
    case .elementExpressions:
      module.addFunction { $0.raw([0x20, 0]) }
      module.addTable(elements: count)
      module.add(9) {
        $0.raw([4, 0x41, 0, 0x0B])
        $0.number(count)
        for _ in 0..<count { $0.raw([0xD2, 0, 0x0B]) }
      }
    case .dataSegments, .overlappingData, .scatteredData:
      module.addMemory(pages: 65536)
      let stride = self == .dataSegments ? 24 : self == .overlappingData ? 0 : 70_001
      for index in 0..<count {
        module.add(11) {
          $0.raw([0, 0x41])
          $0.signed((index &* 7919) % count * stride % (1 << 31))
          $0.byte(0x0B)
          $0.number(20)
          for byte in 0..<20 { $0.byte(UInt8(truncatingIfNeeded: index + byte)) }
        }
      }
    case .customSections: for index in 0..<count { module.addCustom("section \(index)") }
    case .functionNames:
      var functions = Bytes()
      functions.number(count)
      for index in 0..<count {
        module.addFunction { $0.raw([0x20, 0]) }
        functions.number(index)
        functions.name("space::function_\(index)")
      }
      var names = Bytes()
      names.section(1, functions)
      module.addCustom("name", names)
    default: preconditionFailure("a shape of bodies")
    }
  }

  private static var i32: UInt8 { ShapeModule.i32 }

  private static func export(_ name: String, _ module: inout ShapeModule) {
    module.add(7) {
      $0.name(name)
      $0.raw([0, 0])
    }
  }
}
