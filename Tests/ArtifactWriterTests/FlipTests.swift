// Every bit of an artifact is watched by something.
//
// Two small artifacts, and each of their bits flipped, one at a time: full verification reports every
// one of them; and a reader with a guard, as a loaded artifact has it, gives to each question either
// the answer of the undamaged file or an error.

import CPrecastHost
import Foundation
import PrecastArtifact
import PrecastVerification
import Synchronization
import Testing

@testable import PrecastArtifactWriter

/// Calls `body` for each of `0..<count`, on as many threads as there are processors.
func forEachInParallel(_ count: Int, _ body: @escaping @Sendable (Range<Int>) throws -> Void) throws {
  let workers = max(1, ProcessInfo.processInfo.activeProcessorCount)
  let failure = Mutex<(any Error)?>(nil)
  DispatchQueue.concurrentPerform(iterations: workers) { worker in
    do {
      try body(count * worker / workers..<count * (worker + 1) / workers)
    } catch let error {
      failure.withLock { $0 = error }
    }
  }
  if let error = failure.withLock({ $0 }) { throw error }
}

@Suite struct FlipTests {
  /// Artifacts as the compiler made them, and one with a data image and names.
  static func contents(_ name: String) throws -> [UInt8] {
    if name == "everything" { return try TestModule.everything().artifact() }
    let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("TestData/Golden/\(name).cwasm")
    return [UInt8](try Data(contentsOf: file))
  }

  @Test(arguments: ["fib", "everything"]) func verificationReportsEveryFlippedBit(name: String) throws {
    let bytes = try Self.contents(name)
    try ArtifactVerification.verify(bytes.span.bytes)
    let unnoticed = Mutex<[Int]>([])
    try forEachInParallel(bytes.count) { range in
      var damaged = bytes
      var missed: [Int] = []
      for place in range {
        for bit in Self.bits(place) {
          damaged[place] ^= 1 << bit
          do throws(ArtifactError) {
            try ArtifactVerification.verify(damaged.span.bytes)
            missed.append(place * 8 + bit)
          } catch {}
          damaged[place] ^= 1 << bit
        }
      }
      unnoticed.withLock { $0 += missed }
    }
    #expect(unnoticed.withLock { $0 } == [])
  }

  /// What is asked of a loaded artifact, of every table something; each with its answer, or nil for an error.
  static func answers(_ guarded: GuardedArtifact) -> [UInt64?] {
    let artifact = guarded.artifact
    var answers: [UInt64?] = []
    // Hash values are the same for equal answers as long as the process lives.
    func ask<T: Hashable>(_ question: () throws -> T) {
      answers.append((try? question()).map { UInt64(bitPattern: Int64($0.hashValue)) })
    }
    ask { try artifact.names()?.moduleName() }
    ask { try artifact.names()?.function(3) }
    let info = try? artifact.moduleInfo()
    answers.append(info.map { UInt64($0.functionCount) })
    if let info {
      ask { try info.definedFunction(1).size }
      ask { try info.type(0) }
      ask { try info.entryTrampoline(type: 0)?.textOffset }
      ask { try info.importEntry(0).name }
      ask { try info.export(0).name }
      ask { try info.table(0) }
      ask { try info.memory(0) }
      ask { try info.global(1).type }
      ask { try info.dataSegment(0).bytes }
      ask { try info.elementSegment(0).offset }
      ask { try info.export(named: "alphabet")?.index }
      ask { try info.definedFunction(containing: 20) }
    } else {
      answers += Array(repeating: nil, count: 12)
    }
    for offset in [4, 6, 20, 22, 100] as [UInt32] {
      ask { try artifact.trapTable().code(textOffset: offset) }
      ask { try artifact.addressMap()?.wasmOffset(functionTextOffset: offset & ~15, codeOffset: offset & 15) }
      // The answer for the signal handler says in its value that it is none.
      let code = (try? guarded.trapCode(UInt64(offset))) ?? TrapCode.damagedArtifact.rawValue
      answers.append(code == TrapCode.damagedArtifact.rawValue ? nil : UInt64(code))
    }
    ask { artifact.header.record.compilerName }
    ask { () throws -> Bool in
      try artifact.checkSectionHeaders()
      return true
    }
    return answers
  }

  // One bit of each byte where nothing is optimised, since that takes a hundred times as long.
  #if DEBUG
    static func bits(_ place: Int) -> Range<Int> { place % 8..<place % 8 + 1 }
  #else
    static func bits(_ place: Int) -> Range<Int> { 0..<8 }
  #endif

  @Test(arguments: ["fib", "everything"])
  func aGuardedReaderAnswersAsBeforeOrNotAtAll(name: String) throws {
    let bytes = try Self.contents(name)
    let sound = try GuardedArtifact(bytes)
    let expected = Self.answers(sound)
    #expect(expected.contains { $0 != nil })
    let header = sound.header
    let wrong = Mutex<[Int]>([])
    let withheld = Atomic<Int>(0)
    // Flips in the first page are found before there is a reader; text and image are not read by it.
    let start = Int(header.text.end)
    try forEachInParallel(bytes.count - start) { range in
      let guarded = try GuardedArtifact(bytes, header: header)
      var found: [Int] = []
      for place in range {
        for bit in Self.bits(place) {
          guarded.bytes[start + place] ^= 1 << bit
          let answers = Self.answers(guarded)
          for (answer, expected) in zip(answers, expected) where answer != expected {
            if answer == nil { withheld.wrappingAdd(1, ordering: .relaxed) } else { found.append(place * 8 + bit) }
          }
          guarded.bytes[start + place] ^= 1 << bit
          precast_checked_pages_forget(guarded.pages.pointer, guarded.bytes.baseAddress! + start, UInt64(bytes.count))
        }
      }
      wrong.withLock { $0 += found }
    }
    #expect(wrong.withLock { $0 } == [])
    #expect(withheld.load(ordering: .relaxed) > 1000)
  }

  @Test(arguments: ["fib", "everything"]) func loadNoticesEveryFlippedBitOfTheFirstPage(name: String) throws {
    let bytes = try Self.contents(name)
    var page = Array(bytes[..<4096])
    var unnoticed = 0
    for bit in 0..<4096 * 8 {
      page[bit >> 3] ^= 1 << UInt8(bit & 7)
      page.withUnsafeBytes { buffer in
        let region = ByteRegion(base: buffer.baseAddress!, count: buffer.count)
        if (try? ArtifactHeader(region, fileSize: UInt64(bytes.count))) != nil { unnoticed += 1 }
      }
      page[bit >> 3] ^= 1 << UInt8(bit & 7)
    }
    #expect(unnoticed == 0)
  }

  @Test(arguments: ["fib", "everything"]) func verificationReportsEveryTruncation(name: String) throws {
    let bytes = try Self.contents(name)
    var unnoticed = 0
    for length in 0..<bytes.count {
      do throws(ArtifactError) {
        try ArtifactVerification.verify(bytes.span.bytes.extracting(0..<length))
        unnoticed += 1
      } catch {}
    }
    #expect(unnoticed == 0)
  }
}
