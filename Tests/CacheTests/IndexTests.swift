// Digests of files are remembered as long as the files cannot have changed, and no longer.

import CacheTestSupport
import Foundation
import Glibc
import Precast
import Testing

@testable import PrecastCache

@Suite struct IndexTests {
  private func load(_ test: TestCache, _ path: String) throws -> Int32 {
    try answer(of: Module(engine: Engine(cache: test.cache), wasmFile: path))
  }

  private func known(_ test: TestCache, _ path: String) -> Digest? {
    let descriptor = open(path, O_RDONLY)
    defer { close(descriptor) }
    return FileIdentity(fileDescriptor: descriptor).flatMap { test.cache.digest(of: $0) }
  }

  @Test func aFileThatWasSeenIsNotReadAgain() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    let wasm = module(answer: 71)
    let path = try writeWasm(folder, "m.wasm", wasm)
    #expect(known(test, path) == nil)
    #expect(try load(test, path) == 71)
    #expect(known(test, path) == Digest(of: wasm))
    #expect(try load(test, path) == 71)
    #expect(test.counts.hits == 1)
    #expect(test.counts.misses == 1)
  }

  @Test func aFileThatHasJustChangedIsNotRemembered() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    for answer in Int32(72)..<92 {
      try folder.write("m.wasm", module(answer: answer))
      #expect(try load(test, folder["m.wasm"]) == answer)
    }
    #expect(known(test, folder["m.wasm"]) == nil)
  }

  @Test func theSameSizeAndTimeDoNotMakeTheSameFile() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    let path = try writeWasm(folder, "m.wasm", module(answer: 2))
    #expect(try load(test, path) == 2)
    #expect(known(test, path) != nil)
    let before = status(path)
    // In place, and with its time put back.
    let descriptor = open(path, O_WRONLY)
    let other = module(answer: 3)
    #expect(other.withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) } == other.count)
    close(descriptor)
    setTime(path, before.st_mtim.tv_sec, nanoseconds: before.st_mtim.tv_nsec)
    let after = status(path)
    #expect(after.st_size == before.st_size && after.st_mtim.tv_nsec == before.st_mtim.tv_nsec)
    #expect(after.st_ino == before.st_ino)
    #expect(known(test, path) == nil)
    #expect(try load(test, path) == 3)
  }

  @Test func aFileFromTheFutureIsNotRemembered() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    let path = try writeWasm(folder, "m.wasm", module(answer: 4))
    setTime(path, Int(time(nil)) + 3600)
    usleep(60_000)
    #expect(try load(test, path) == 4)
    #expect(known(test, path) == nil)
  }

  @Test func aGrainOfTheClockIsAGrain() {
    func identity(_ modified: WallTime, _ changed: WallTime) -> FileIdentity {
      var status = stat()
      status.st_mtim = timespec(tv_sec: modified.seconds, tv_nsec: modified.nanoseconds)
      status.st_ctim = timespec(tv_sec: changed.seconds, tv_nsec: changed.nanoseconds)
      return FileIdentity(status)
    }
    let then = WallTime(seconds: 1000, nanoseconds: 500)
    let late = WallTime(seconds: 1000, nanoseconds: 30_000_000)
    #expect(identity(then, then).isSettled(at: late))
    #expect(!identity(then, late).isSettled(at: late))
    #expect(!identity(late, then).isSettled(at: late))
    #expect(!identity(then, then).isSettled(at: then))
    // Whole seconds: the file system knows no better.
    let whole = WallTime(seconds: 1000)
    #expect(!identity(whole, whole).isSettled(at: WallTime(seconds: 1001)))
    #expect(identity(whole, whole).isSettled(at: WallTime(seconds: 1004)))
    #expect(!identity(whole, whole).isSettled(at: WallTime(seconds: Int.min)))
  }

  @Test func aDamagedRecordIsNone() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    let path = try writeWasm(folder, "m.wasm", module(answer: 5))
    #expect(try load(test, path) == 5)
    let record = try #require(folder.files.first { $0.contains("/index/") })
    let bytes = try folder.read(record)
    for index in bytes.indices {
      var damaged = bytes
      damaged[index] ^= 1
      try folder.write(record, damaged)
      chmod(folder[record], 0o600)
      #expect(known(test, path) == nil, "byte \(index)")
    }
    for size in [0, 1, 127] {
      try folder.write(record, Array(bytes[..<size]))
      chmod(folder[record], 0o600)
      #expect(known(test, path) == nil)
    }
    try folder.write(record, bytes)
    chmod(folder[record], 0o600)
    #expect(known(test, path) != nil)
    chmod(folder[record], 0o622)
    #expect(known(test, path) == nil, "others may have written it")
    #expect(try load(test, path) == 5)
  }

  @Test func whatIsNoRegularFileIsAnErrorAndNotRemembered() throws {
    let folder = try Folder()
    let test = try TestCache(folder)
    let engine = Engine(cache: test.cache)
    for path in ["/dev/null", folder.url.path, folder["absent"]] {
      #expect(throws: (any Error).self) { try Module(engine: engine, wasmFile: path) }
    }
  }
}
