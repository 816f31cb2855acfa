// No input makes compilation take time or memory out of proportion.
//
// `CostShape` has modules of one kind of thing each. The command compiles them under a tool that counts the instructions
// that it executes (valgrind's cachegrind without its model of a cache, or `perf stat`), once with so many of them and once
// with four times as many. Clocks have no part in it: the counts are the same on a busy machine. Two things must hold. Four
// times as many cost no more than 1.3 times four times as much, which something quadratic would miss by far; and no shape
// costs more for a byte of module and artifact than another by an order of magnitude, which tells of things like work for
// each local that a function declares and does not use: that is linear, in what need not be there.
//
// What the command costs before it has anything to do is taken off: it is measured with a module that has next to nothing.

import Foundation
import LargeModule
import PrecastMachineCode
import TestSupport
import Testing

@Suite struct LinearityTests {
  /// Instructions for a byte of the module and the artifact together: about twice what the most expensive shape takes.
  static let mostForAByte = 600

  /// How many of each there are in the smaller module: fewer where each is large.
  static func count(_ shape: CostShape) -> Int {
    switch shape {
    case .wideTypes: 100
    case .branchTableWithValues, .typesOfFunctions, .longNames, .wideCalls: 500
    case .functionsWithDeclaredLocals, .functionsWithParameters: 1000
    default: 4000
    }
  }

  private static let directory = try? TemporaryDirectory()

  /// `PRECAST_COMMAND`, or `precast` beside the test program; without its debugging information where `strip` is at hand,
  /// since valgrind reads that first, and gives up where it is newer than itself.
  static let command: URL? = {
    let program = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
    let path =
      Repository.environment("PRECAST_COMMAND")
      ?? URL(fileURLWithPath: program).deletingLastPathComponent().appending(path: "precast").path
    guard FileManager.default.isExecutableFile(atPath: path) else { return nil }
    if let strip = findTool("strip"), let copy = directory?.appending("precast"),
      let result = try? run(strip, ["-g", "-o", copy.path, path]), result.status == 0
    {
      return copy
    }
    return URL(fileURLWithPath: path)
  }()

  /// Runs the command under a tool that counts.
  ///
  /// - Returns: the number of instructions that it executed.
  static func instructions(_ arguments: [String]) throws -> Int {
    let command = try #require(command)
    // Hash tables then have the same collisions each time.
    let environment = ["SWIFT_DETERMINISTIC_HASHING=1", command.path] + arguments
    let env = URL(fileURLWithPath: "/usr/bin/env")
    let result: ToolResult
    switch counter {
    case .perf(let perf): result = try run(perf, ["stat", "-x,", "-e", "instructions:u", env.path] + environment)
    case .valgrind(let valgrind):
      let options = ["--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/null", "--trace-children=yes"]
      result = try run(valgrind, options + [env.path] + environment)
    case nil: throw SpecError("nothing counts instructions")
    }
    try #require(result.status == 0, "\(result.errorText.suffix(2000))")
    return try #require(count(in: result.errorText), "\(result.errorText.suffix(2000))")
  }

  /// The number in what a tool prints: `==7== I   refs:      20,854,991` or `20854991,,instructions:u,…`. The last one,
  /// which is that of the process itself rather than of `env` before it.
  static func count(in text: String) -> Int? {
    var found: Int?
    for line in text.split(separator: "\n") {
      if line.contains("I   refs:"), let number = line.split(separator: ":").last {
        found = Int(number.filter(\.isNumber))
      } else if line.contains("instructions:u"), let number = line.split(separator: ",").first {
        found = Int(number)
      }
    }
    return found
  }

  enum Counter { case perf(URL), valgrind(URL) }

  /// `perf` where the machine lets it count, since it costs nothing; else valgrind.
  static let counter: Counter? = {
    if let perf = findTool("perf"),
      let result = try? run(perf, ["stat", "-x,", "-e", "instructions:u", "/bin/true"]),
      result.status == 0, count(in: result.errorText) ?? 0 > 0
    {
      return .perf(perf)
    }
    return findTool("valgrind").map { .valgrind($0) }
  }()

  static let isPossible = counter != nil && command != nil

  /// What the command costs with nothing to do.
  static let idle = [Architecture: Result<Int, any Error>](
    uniqueKeysWithValues: Architecture.allCases.map { architecture in
      (architecture, Result { try compile(.tinyFunctions, 1, architecture).instructions })
    })

  struct Cost {
    var instructions: Int
    /// Of the module and the artifact.
    var bytes: Int
  }

  static func compile(_ shape: CostShape, _ count: Int, _ architecture: Architecture) throws -> Cost {
    let directory = try TemporaryDirectory()
    let module = directory.appending("module.wasm")
    let artifact = directory.appending("module.cwasm")
    try Data(shape.wasm(count: count)).write(to: module)
    // One thread: how two of them meet is not the same each time.
    let instructions = try instructions([
      "compile", "--target", architecture.name, "--threads", "1", module.path, "-o", artifact.path,
    ])
    let sizes = try [module, artifact].map { try Data(contentsOf: $0, options: .alwaysMapped).count }
    return Cost(instructions: instructions, bytes: sizes[0] + sizes[1])
  }

  @Test(
    "The instructions that a compilation takes grow as the module does",
    .enabled(if: isPossible, "needs valgrind, or perf and the permission to count"), arguments: CostShape.allCases,
    Architecture.allCases)
  func growth(_ shape: CostShape, architecture: Architecture) throws {
    let count = Self.count(shape)
    let idle = try #require(Self.idle[architecture]).get()
    let small = try Self.compile(shape, count, architecture)
    let large = try Self.compile(shape, count * 4, architecture)
    let cost = Double(large.instructions - idle)
    // A shape whose cost vanishes in that of starting up would tell nothing of its growth.
    let least = 300_000.0
    let factor = cost / max(Double(small.instructions - idle), least)
    #expect(factor <= 4 * 1.3, "\(shape): \(small) for \(count), \(large) for four times as many")
    #expect(cost / Double(large.bytes) < Double(Self.mostForAByte), "\(shape): \(large)")
    if Repository.environment("PRECAST_SHOW_COSTS") != nil {
      print(
        "\(shape)", architecture.name, small.instructions - idle, large.instructions - idle,
        String(format: "%.2f", factor),
        String(format: "%.0f", cost / Double(large.bytes)))
    }
  }

  @Test(
    "The memory that a compilation takes is in proportion to the module and the artifact", arguments: CostShape.allCases
  )
  func memory(_ shape: CostShape) throws {
    let command = try #require(Self.command)
    let directory = try TemporaryDirectory()
    let module = directory.appending("module.wasm")
    let artifact = directory.appending("module.cwasm")
    try Data(shape.wasm(count: Self.count(shape) * 4)).write(to: module)
    let peak = try Self.peak(command, ["compile", "--threads", "1", module.path, "-o", artifact.path])
    let sizes = try [module, artifact].map { try Data(contentsOf: $0, options: .alwaysMapped).count }
    // 24 MiB for the command itself and its buffers, which are there for any module.
    #expect(peak < 24 << 20 + 40 * (sizes[0] + sizes[1]), "\(shape): \(peak) bytes for \(sizes)")
    if Repository.environment("PRECAST_SHOW_COSTS") != nil { print("\(shape)", "peak", peak, sizes) }
  }

  /// Runs a program to its end and gives the most memory that it had, in bytes.
  static func peak(_ program: URL, _ arguments: [String]) throws -> Int {
    // A file of its own: `getrusage` would mix this child with those of tests that run at the same time.
    let script =
      #"import os,sys; p=os.spawnv(os.P_NOWAIT,sys.argv[1],sys.argv[1:]); _,s,u=os.wait4(p,0); print(u.ru_maxrss*1024); sys.exit(s!=0)"#
    let python = try #require(Repository.python)
    let result = try run(python, ["-c", script, program.path] + arguments)
    try #require(result.status == 0, "\(result.errorText)")
    return try #require(Int(result.outputText.split(separator: "\n").last ?? ""))
  }
}
