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

  /// What a dump says.
  struct Dump {
    var functions: [String: (address: Int, size: Int)] = [:]
    var linesOf: [Int: Set<Int>] = [:]

    init(_ path: String, pid: Int32) throws {
      let bytes = [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
      func number(_ offset: Int, _ size: Int) -> Int {
        (0..<size).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) }
      }
      func text(_ offset: Int) -> String { String(decoding: bytes[offset...].prefix { $0 != 0 }, as: UTF8.self) }
      #expect(number(0, 4) == 0x4A69_5444 && number(4, 4) == 1 && number(8, 4) == 40 && number(20, 4) == Int(pid))
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
          functions[name] = (number(offset + 24, 8), code)
          // All functions of wasm begin alike.
          if linesOf[number(offset + 24, 8)] != nil { #expect(bytes[offset + size - code] == 0x55) }
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
    }
  }

  @Test("A dump is as its specification says") func dump() throws {
    let scratch = try Scratch()
    let pid = try #require(try work(scratch, "jitdump").pid)
    let dump = try Dump(scratch.path("jit-\(pid).dump"), pid: pid)
    let spin = try #require(dump.functions["spin"])
    #expect(try dump.linesOf[spin.address]?.contains(sourceLine(of: "TIME spin", in: "traps.c")) == true)
    #expect(dump.functions["divide_by"] != nil && dump.functions["wasm[0]::trampoline[0]::enter"] != nil)
  }

  @Test("C that imports are bound to is in a dump as well", .enabled(if: BoundGuest.canCompile, "no C compiler"))
  func dumpOfC() throws {
    let scratch = try Scratch()
    let objects = try BoundGuest(scratch).objects.joined(separator: ",")
    let result = try scratch.run(
      Place.built("debug-host"), ["objects", objects, "ask_host", "1"],
      environment: ["JITDUMPDIR": scratch.url.path, "PRECAST_PROFILE": "jitdump"])
    #expect(result.status == 0, "\(result.text)")
    let pid = try #require(dumps(scratch).first)
    let dump = try Dump(scratch.path("jit-\(pid).dump"), pid: pid)
    for name in ["inner_in_c", "call_in_c", "wasm[0]::adapter[0]::call_in_c", "wasm[0]::stub::resolve_element", "ask"] {
      #expect(dump.functions[name] != nil, "\(name)")
    }
  }

  /// The processes whose dumps are there.
  private func dumps(_ scratch: Scratch) throws -> [Int32] {
    try FileManager.default.contentsOfDirectory(atPath: scratch.url.path).filter { $0.hasPrefix("jit-") }
      .compactMap { Int32($0.dropFirst(4).dropLast(5)) }
  }

  @Test(
    "A child that goes on after fork has files of its own, and leaves its parent's alone",
    arguments: ["jitdump", "perfmap"])
  func forks(_ profile: String) throws {
    let scratch = try Scratch()
    let result = try scratch.run(
      Place.built("debug-host"), ["file", scratch.artifact(of: "traps-O2.wasm"), "divide_by", "1"],
      environment: ["JITDUMPDIR": scratch.url.path, "PRECAST_PROFILE": profile, "DEBUG_HOST_FORK": "1"])
    #expect(result.status == 0, "\(result.text)")
    let pids = result.text.split(separator: "\n").filter { $0.hasPrefix("process ") }.compactMap {
      Int32($0.dropFirst(8))
    }
    try #require(pids.count == 2, "\(result.text)")
    let paths = pids.map { profile == "jitdump" ? scratch.path("jit-\($0).dump") : "/tmp/perf-\($0).map" }
    defer { for path in paths { unlink(path) } }
    let sizes = try paths.map { try Data(contentsOf: URL(fileURLWithPath: $0)).count }
    // The child has loaded the artifact once more than its parent, which it has from the parent as well; but it tells only
    // what it has loaded itself.
    #expect(sizes[0] > 0)
    if profile == "jitdump" {
      #expect(sizes[0] == sizes[1])
      for (pid, path) in zip(pids, paths) { #expect(try Dump(path, pid: pid).functions["divide_by"] != nil) }
    } else {
      for path in paths {
        let lines = try String(contentsOfFile: path, encoding: .utf8).split(separator: "\n")
        #expect(lines.filter { $0.hasSuffix(" divide_by") }.count == 1)
      }
    }
  }

  @Test("What cannot be written whole is not written at all") func partialWrites() async {
    await #expect(processExitsWith: .success) {
      let scratch = try Scratch()
      var file = ProfilerFile()
      let isOpen = file.open { _ in ProfilerFile.create(scratch.path("map")) }
      let isFirst = file.append(Array("first\n".utf8))
      // Behind this size writes end early; there would be a signal as well.
      signal(SIGXFSZ, SIG_IGN)
      var limit = rlimit(rlim_cur: 10, rlim_max: .max)
      try #require(setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0)
      let isSecond = file.append(Array("and a longer second\n".utf8))
      let isThird = file.append(Array("3\n".utf8))
      limit.rlim_cur = .max
      setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit)
      try #require(isOpen && isFirst && !isSecond && isThird)
      try #require(try String(contentsOfFile: scratch.path("map"), encoding: .utf8) == "first\n3\n")
    }
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
    #expect(ProfilerFile.write(Array("new".utf8), to: descriptor, at: 0))
    close(descriptor)
    #expect(try String(contentsOfFile: path, encoding: .utf8) == "new")
    #expect(try String(contentsOfFile: other, encoding: .utf8) == "precious")
    var status = stat()
    #expect(lstat(path, &status) == 0 && status.st_mode & 0o777 == 0o600)
    #expect(ProfilerFile.create(scratch.path("no/such/folder")) == -ENOENT)
  }
}
