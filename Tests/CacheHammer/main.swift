// cache-hammer: a process that the tests of the cache start many of, and kill some of.
//
//     cache-hammer serve DIRECTORY WASM SEED SECONDS     asks for modules, and runs each that it gets
//     cache-hammer spoil DIRECTORY SEED SECONDS          damages entries
//
// `serve` fails (status 3) when a module gives the wrong answer or cannot be had. Its cache is configured so that everything
// that can happen does: limits that the modules do not fit into, maintenance all the time, entries that are cold at once.
//
// `spoil` changes entries at random: it puts a damaged or shortened copy in an entry's place, or damages or shortens the file
// itself. A file that somebody has mapped cannot be shortened under his feet without harm, whatever the cache does, so
// this is done only to files that nobody has open, which a lease tells.

import CacheTestSupport
import Glibc
import Precast

struct Random: RandomNumberGenerator {
  private var state: UInt64
  init(_ seed: UInt64) { state = seed &* 0x9E37_79B9_7F4A_7C15 | 1 }
  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state &* 0x2545_F491_4F6C_DD1D
  }
}

func now() -> Double {
  var time = timespec()
  unsafe clock_gettime(CLOCK_MONOTONIC, &time)
  return Double(time.tv_sec) + Double(time.tv_nsec) * 1e-9
}

func fail(_ message: String) -> Never {
  print("cache-hammer: \(message)")
  exit(3)
}

// MARK: Serving

let moduleCount = 24

func configuration(_ directory: String) -> CacheConfiguration {
  var configuration = CacheConfiguration(directory: directory)
  configuration.fileCountSoftLimit = 24
  configuration.fileCountLimitPercentIfDeleting = 60
  configuration.cleanupInterval = .milliseconds(20)
  configuration.compressAfter = .milliseconds(100)
  configuration.baselineCompressionLevel = 1
  return configuration
}

func serve(_ directory: String, _ wasm: String, _ seed: UInt64, _ seconds: Double) throws {
  var random = Random(seed)
  let end = now() + seconds
  var kept: [(Int32, Module)] = []
  var served = 0
  var cache = try ArtifactCache(configuration(directory))
  while now() < end {
    // Now and then as a process that has just begun.
    if Int.random(in: 0..<20, using: &random) == 0 { cache = try ArtifactCache(configuration(directory)) }
    let number = Int32.random(in: 0..<Int32(moduleCount), using: &random)
    // A new engine, or memory would have it.
    let engine = Engine(cache: cache)
    let made =
      Bool.random(using: &random)
      ? try Module(engine: engine, wasmFile: "\(wasm)/\(number).wasm")
      : try Module(engine: engine, wasm: module(answer: number, padding: Int(number) * 20))
    let found = try answer(of: made)
    if found != number { fail("module \(number) answers \(found)") }
    served += 1
    kept.append((number, made))
    if kept.count > 8 {
      let (number, module) = kept.remove(at: Int.random(in: 0..<kept.count, using: &random))
      let found = try answer(of: module)
      if found != number { fail("module \(number) answers \(found), after a while") }
    }
  }
  cache.finish(within: .seconds(20))
  print(served)
}

// MARK: Spoiling

func files(in directory: String) -> [String] {
  guard let stream = unsafe opendir(directory) else { return [] }
  defer { unsafe _ = closedir(stream) }
  var names: [String] = []
  while let entry = unsafe readdir(stream) {
    let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) { place in
      unsafe place.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
    }
    if !name.hasPrefix(".") { names.append(name) }
  }
  return names
}

func contents(_ descriptor: Int32) -> [UInt8] {
  var status = stat()
  guard unsafe fstat(descriptor, &status) == 0 else { return [] }
  var bytes = [UInt8](repeating: 0, count: Int(status.st_size))
  let count = unsafe bytes.withUnsafeMutableBytes { unsafe pread(descriptor, $0.baseAddress, $0.count, 0) }
  return Array(bytes[..<max(0, count)])
}

func spoil(_ directory: String, _ seed: UInt64, _ seconds: Double) {
  // Sent to whoever holds a lease that somebody waits for.
  _ = signal(SIGIO, SIG_IGN)
  var random = Random(seed)
  let end = now() + seconds
  var done = 0
  while now() < end {
    usleep(UInt32.random(in: 500..<8000, using: &random))
    let below = files(in: directory).filter { $0.hasPrefix("code-") || $0 == "index" }
    guard let folder = below.randomElement(using: &random) else { continue }
    let all = files(in: "\(directory)/\(folder)")
    guard let name = all.randomElement(using: &random) else { continue }
    let path = "\(directory)/\(folder)/\(name)"
    if Bool.random(using: &random) {
      if replace(path, "\(directory)/\(folder)/.tmp-spoiled-\(getpid())", &random) { done += 1 }
    } else if change(path, &random) {
      done += 1
    }
  }
  print(done)
}

/// Puts a damaged or shortened copy in a file's place.
func replace(_ path: String, _ temporary: String, _ random: inout Random) -> Bool {
  let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
  guard descriptor >= 0 else { return false }
  var bytes = contents(descriptor)
  close(descriptor)
  damage(&bytes, &random)
  let copy = unsafe open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
  guard copy >= 0 else { return false }
  // Held, as any writer does, or clean-up takes the file away.
  flock(copy, LOCK_EX)
  defer { close(copy) }
  _ = unsafe bytes.withUnsafeBytes { unsafe write(copy, $0.baseAddress, $0.count) }
  return unsafe rename(temporary, path) == 0
}

/// Damages or shortens a file that nobody has open.
func change(_ path: String, _ random: inout Random) -> Bool {
  let descriptor = unsafe open(path, O_RDWR | O_CLOEXEC | O_NONBLOCK)
  guard descriptor >= 0 else { return false }
  defer { close(descriptor) }
  // F_SETLEASE and F_WRLCK: fails if anybody else has the file open or mapped.
  guard fcntl(descriptor, 1024, 1) == 0 else { return false }
  var bytes = contents(descriptor)
  let size = bytes.count
  damage(&bytes, &random)
  if bytes.count < size {
    ftruncate(descriptor, off_t(bytes.count))
  } else {
    _ = unsafe bytes.withUnsafeBytes { unsafe pwrite(descriptor, $0.baseAddress, $0.count, 0) }
  }
  return true
}

func damage(_ bytes: inout [UInt8], _ random: inout Random) {
  guard !bytes.isEmpty else { return }
  if Int.random(in: 0..<3, using: &random) == 0 {
    bytes.removeLast(Int.random(in: 1...bytes.count, using: &random))
    return
  }
  for _ in 0..<Int.random(in: 1...16, using: &random) {
    bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
  }
}

let words = CommandLine.arguments
switch (words.dropFirst().first, words.count) {
case ("serve", 6):
  do { try serve(words[2], words[3], UInt64(words[4]) ?? 1, Double(words[5]) ?? 1) } catch { fail("\(error)") }
case ("spoil", 5): spoil(words[2], UInt64(words[3]) ?? 1, Double(words[4]) ?? 1)
default: fail("not like that")
}
