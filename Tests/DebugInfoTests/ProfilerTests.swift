// What is written for profilers: perf itself reads it, and where perf cannot run, a parser of this test's own.

import Foundation
import Glibc
import Precast
import Testing

@testable import PrecastDebugInfo

@Suite struct ProfilerTests {
  /// Whether perf may record here.
  static let canRecord: Bool = {
    guard let perf = Place.program("perf"), let scratch = try? Scratch() else { return false }
    return
      (try? scratch.run(perf, ["record", "-q", "-e", "cpu-clock", "-o", scratch.path("data"), "/bin/true"]).status) == 0
  }()

  /// A process that spends its time in a guest; its number.
  private func work(_ scratch: Scratch, _ profile: String?, loading: String = "memory", under perf: URL? = nil) throws
    -> (
      pid: Int32?, text: String
    )
  {
    let artifact = try scratch.artifact(of: "traps-O2.wasm")
    let program = [Place.built("debug-host").path, loading, artifact, "spin", "60000000", "0"]
    let words =
      perf == nil
      ? Array(program.dropFirst())
      : ["record", "-q", "-k", "mono", "-e", "cpu-clock", "-F", "2000", "-o", scratch.path("data")] + program
    var environment = ["JITDUMPDIR": scratch.url.path]
    if let profile { environment["PRECAST_PROFILE"] = profile }
    let result = try scratch.run(
      perf ?? Place.built("debug-host"), words, environment: environment)
    #expect(result.status == 0, "\(result.text)")
    let dump = try FileManager.default.contentsOfDirectory(atPath: scratch.url.path).first { $0.hasPrefix("jit-") }
    return (dump.flatMap { Int32($0.dropFirst(4).dropLast(5)) }, result.text)
  }

  private func report(_ scratch: Scratch, _ data: String) throws -> String {
    try scratch.run(
      #require(Place.program("perf")), ["report", "--stdio", "-i", scratch.path(data), "--sort", "dso,symbol"]
    ).text
  }

  @Test("perf finds an artifact's functions by itself", .enabled(if: canRecord, "perf is not here, or may not record"))
  func fromFile() throws {
    let scratch = try Scratch()
    _ = try work(scratch, nil, loading: "file", under: Place.program("perf"))
    let text = try report(scratch, "data")
    #expect(text.split(separator: "\n").contains { $0.contains(".cwasm") && $0.contains("]::spin") }, "\(text)")
  }

  @Test(
    "perf finds functions of modules from memory in a map",
    .enabled(if: canRecord, "perf is not here, or may not record"))
  func map() throws {
    let scratch = try Scratch()
    _ = try work(scratch, "perfmap", under: Place.program("perf"))
    let text = try report(scratch, "data")
    #expect(text.split(separator: "\n").contains { $0.contains("[JIT]") && $0.contains("] spin") }, "\(text)")
  }

  @Test("perf takes the dump, names and lines", .enabled(if: canRecord, "perf is not here, or may not record"))
  func inject() throws {
    let scratch = try Scratch()
    _ = try work(scratch, "jitdump", under: Place.program("perf"))
    try scratch.run(
      #require(Place.program("perf")), ["inject", "--jit", "-i", scratch.path("data"), "-o", scratch.path("jitted")])
    let text = try report(scratch, "jitted")
    #expect(text.split(separator: "\n").contains { $0.contains("jitted-") && $0.contains("] spin") }, "\(text)")
  }

  @Test("A dump is as its specification says") func dump() throws {
    let scratch = try Scratch()
    let pid = try #require(try work(scratch, "jitdump").pid)
    let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: scratch.path("jit-\(pid).dump"))))
    func number(_ offset: Int, _ size: Int) -> Int { (0..<size).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) } }
    func text(_ offset: Int) -> String { String(decoding: bytes[offset...].prefix { $0 != 0 }, as: UTF8.self) }
    #expect(number(0, 4) == 0x4A69_5444 && number(4, 4) == 1 && number(8, 4) == 40 && number(20, 4) == Int(pid))
    var functions: [String: (address: Int, size: Int)] = [:]
    var linesOf: [Int: Set<Int>] = [:]
    var indices: [Int] = []
    var offset = 40
    var time = number(24, 8)
    while offset < bytes.count {
      let (id, size) = (number(offset, 4), number(offset + 4, 4))
      try #require(size >= 16 && offset + size <= bytes.count)
      #expect(number(offset + 8, 8) >= time)
      time = number(offset + 8, 8)
      if id == 0 {
        let name = text(offset + 56)
        let code = number(offset + 40, 8)
        #expect(number(offset + 16, 4) == Int(pid) && number(offset + 24, 8) == number(offset + 32, 8))
        #expect(56 + name.utf8.count + 1 + code == size)
        // All functions begin alike.
        #expect(bytes[offset + size - code] == 0x55 || name.hasPrefix("wasm[0]::"))
        functions[name] = (number(offset + 24, 8), code)
        indices.append(number(offset + 48, 8))
      } else {
        #expect(id == 2)
        let address = number(offset + 16, 8)
        var at = offset + 32
        for _ in 0..<number(offset + 24, 8) {
          #expect(number(at, 8) >= address && text(at + 16) == "/guest/traps.c")
          linesOf[address, default: []].insert(number(at + 8, 4))
          at += 16 + text(at + 16).utf8.count + 1
        }
        #expect(at == offset + size)
      }
      offset += size
    }
    #expect(Set(indices).count == indices.count)
    let spin = try #require(functions["spin"])
    #expect(try linesOf[spin.address]?.contains(sourceLine(of: "TIME spin", in: "traps.c")) == true)
    #expect(functions["divide_by"] != nil && functions["wasm[0]::trampoline[0]::enter"] != nil)
  }

  @Test("A file is made new, and nobody else's is touched") func files() throws {
    let scratch = try Scratch()
    let (path, other) = (scratch.path("map"), scratch.path("other"))
    try "precious".write(toFile: other, atomically: false, encoding: .utf8)
    try FileManager.default.createSymbolicLink(atPath: path, withDestinationPath: other)
    #expect(ProfilerFile.create(path) == -EEXIST)
    #expect(try String(contentsOfFile: other, encoding: .utf8) == "precious")
    unlink(path)
    // One that an earlier process left is replaced, not written into.
    #expect(link(other, path) == 0)
    let descriptor = ProfilerFile.create(path)
    try #require(descriptor >= 0)
    #expect(ProfilerFile.write(Array("new".utf8), to: descriptor))
    close(descriptor)
    #expect(try String(contentsOfFile: path, encoding: .utf8) == "new")
    #expect(try String(contentsOfFile: other, encoding: .utf8) == "precious")
    var status = stat()
    #expect(lstat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    #expect(ProfilerFile.create(scratch.path("no/such/folder")) == -ENOENT)
  }
}
