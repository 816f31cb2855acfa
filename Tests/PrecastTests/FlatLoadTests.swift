// Loading costs the same for a hello world and for 200,000 functions.
//
// Asserted by counting what the kernel does for it, never by the clock: page faults of the thread that loads, pages of the
// mapping that are resident when it has been loaded (none: nothing was touched), and system calls, which `strace` counts in
// a small process that does nothing but load.

import Foundation
import PrecastLoader
import TestSupport
import Testing

@Suite struct FlatLoadTests {
  @Test("The large module is much larger")
  func inputs() throws {
    let sizes = try [LoadInputs.hello, LoadInputs.large].map {
      try Data(contentsOf: $0.get(), options: .alwaysMapped).count
    }
    #expect(sizes[1] > 100 * sizes[0])
    let loaded = try LoadedArtifact(path: LoadInputs.large.get().path)
    #expect(try loaded.moduleInfo().definedFunctionCount == LoadInputs.largeCount)
  }

  @Test("A load of 200,000 functions faults as few pages in as one of a hello world")
  func pageFaults() throws {
    let hello = try faults(LoadInputs.hello.get().path)
    let large = try faults(LoadInputs.large.get().path)
    #expect(large.load == hello.load)
    #expect(large.drop == hello.drop)
    // What the kernel charges for the mapping itself, if anything.
    #expect(large.load <= 2)
  }

  /// The least number of page faults of this thread in a load, and in a drop: what other threads of the process make of the
  /// heap meanwhile may add to one of them.
  private func faults(_ path: String) throws -> (load: Int, drop: Int) {
    func count() -> Int {
      var usage = rusage()
      // RUSAGE_THREAD, which Swift does not see.
      getrusage(1, &usage)
      return usage.ru_minflt + usage.ru_majflt
    }
    var loads: [Int] = []
    var drops: [Int] = []
    var loaded: [LoadedArtifact] = []
    loaded.reserveCapacity(1)
    for _ in 0..<50 {
      let start = count()
      loaded.append(try LoadedArtifact(path: path))
      let middle = count()
      loaded.removeAll(keepingCapacity: true)
      loads.append(middle - start)
      drops.append(count() - middle)
    }
    return (try #require(loads.min()), try #require(drops.min()))
  }

  @Test("Nothing of the mapping is resident after a load, and little after a look")
  func residentBytes() throws {
    for artifact in [LoadInputs.hello, LoadInputs.large] {
      let loaded = try LoadedArtifact(path: artifact.get().path)
      let end = loaded.textBase + UInt(loaded.header.fileSize - loaded.header.text.offset)
      #expect(try resident(loaded.textBase..<end) == 0)
      // One look, to see that the counting can tell.
      try withExtendedLifetime(loaded) {
        let info = try loaded.moduleInfo()
        _ = try info.definedFunction(0)
        #expect(try resident(loaded.textBase..<end) > 0)
      }
    }
  }

  /// Resident bytes of the process's mappings that lie in `range`, of which there must be two or more.
  private func resident(_ range: Range<UInt>) throws -> Int {
    var bytes = 0
    var mappings = 0
    var isInside = false
    for line in try procText("/proc/self/smaps").split(separator: "\n") {
      let words = line.split(separator: " ")
      let bounds = words[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
      if bounds.count == 2 {
        isInside = range.contains(bounds[0])
        if isInside { mappings += 1 }
      } else if isInside, words[0] == "Rss:", let kibibytes = Int(words[1]) {
        bytes += kibibytes * 1024
      }
    }
    try #require(mappings >= 2)
    return bytes
  }

  @Test(
    "A load of 200,000 functions makes the system calls that one of a hello world makes",
    .enabled(if: Strace.works, "strace is not installed, or may not trace here"))
  func systemCalls() throws {
    let artifacts = try [LoadInputs.hello.get(), LoadInputs.large.get()]
    let log = try Strace.log(builtProgram("artifact-holder"), artifacts.map(\.path))
    // Of several rounds, the shortest: the heap grows now and then.
    func calls(_ mark: Int) throws -> [String] {
      let found = log.indices.filter { log[$0] == "close(\(mark)" }.map { start in
        log[(start + 1)...].prefix { !$0.hasPrefix("close(-") }.map { String($0.prefix { $0 != "(" }) }
      }
      return try #require(found.min { $0.count < $1.count })
    }
    let load = try calls(-1000)
    #expect(try calls(-1001) == load)
    #expect((3...8).contains(load.count), "\(load)")
    #expect(load.contains("mmap"))
    let drop = try calls(-2000)
    #expect(try calls(-2001) == drop)
    #expect(drop.count <= 3, "\(drop)")
  }
}

/// The tracer of system calls.
enum Strace {
  /// Whether it is there, and may trace.
  static let works: Bool = {
    guard let program = findTool("strace") else { return false }
    return (try? run(program, ["-o", "/dev/null", "/bin/true"]))?.status == 0
  }()

  /// Each system call of a program up to its first comma, without the thread that made it.
  static func log(_ program: URL, _ arguments: [String]) throws -> [String] {
    guard let strace = findTool("strace") else { return [] }
    let scratch = try TemporaryDirectory()
    let file = scratch.appending("log")
    let result = try run(strace, ["-f", "-o", file.path, program.path] + arguments)
    guard result.status == 0 else { throw SpecError("\(program.path): \(result.outputText)\(result.errorText)") }
    return try String(decoding: Data(contentsOf: file), as: UTF8.self).split(separator: "\n").map { line in
      String(line.drop { $0.isNumber || $0 == " " }.prefix { $0 != "," && $0 != ")" })
    }
  }
}
