// Arguments, streams, polling, clocks, random numbers, sockets; and what hostile pointers get.

import Foundation
import Testing

@testable import PrecastWASI

@Suite struct ProcessTests {
  @Test func argumentsAndEnvironmentAreLaidOutAsPointersAndStrings() throws {
    var configuration = WASIConfiguration(arguments: ["prog", "", "ä b"])
    configuration.environment = [("HOME", "/"), ("EMPTY", "")]
    let guest = try Guest(configuration)
    let memory = guest.memory
    try guest.wasi.arguments.sizes(memory, count: 64, size: 68)
    #expect(try memory.load(64, as: UInt32.self) == 3)
    #expect(try memory.load(68, as: UInt32.self) == 11)
    try guest.wasi.arguments.get(memory, pointers: 128, buffer: 1000)
    #expect(guest.text(1000, 11) == "prog\0\0ä b\0")
    #expect(try (0..<3).map { try memory.load(128 + $0 * 4, as: UInt32.self) } == [1000, 1005, 1006])
    try guest.wasi.environment.get(memory, pointers: 128, buffer: 2000)
    #expect(guest.text(2000, 14) == "HOME=/\0EMPTY=\0")
  }

  @Test func stringsThatNoGuestCouldReadAreRefused() {
    #expect(throws: WASIConfigurationError.self) { _ = try WASI(WASIConfiguration(arguments: ["a\0b"])) }
    for (name, value) in [("A=B", "c"), ("", "c"), ("A", "b\0c")] {
      var configuration = WASIConfiguration()
      configuration.environment = [(name, value)]
      #expect(throws: WASIConfigurationError.self) { _ = try WASI(configuration) }
    }
  }

  @Test func clocksTellTheHostsTime() throws {
    let guest = try Guest()
    func now(_ clock: UInt32) throws -> UInt64 {
      try guest.wasi.clockTimeGet(guest.memory, clock, 64)
      return try guest.memory.load(64)
    }
    let host = UInt64(time(nil))
    #expect(try now(0) / 1_000_000_000 - host < 60)
    #expect(try now(1) <= now(1))
    #expect(try now(2) > 0 && now(3) > 0)
    #expect(throws: WASIErrno.inval) { try now(4) }
    try guest.wasi.clockResGet(guest.memory, 1, 64)
    #expect(try guest.memory.load(64, as: UInt64.self) > 0)
  }

  @Test func randomBytesFillTheBufferAndNothingElse() throws {
    let guest = try Guest()
    try guest.wasi.randomGet(guest.memory, 1000, 4096)
    #expect(guest.bytes[1000..<5096].filter { $0 == 0 }.count < 256)
    #expect(guest.bytes[0..<1000].allSatisfy { $0 == 0 } && guest.bytes[5096..<6000].allSatisfy { $0 == 0 })
    let size = UInt32(guest.bytes.count)
    #expect(throws: WASIErrno.fault) { try guest.wasi.randomGet(guest.memory, size - 10, 11) }
    try guest.wasi.randomGet(guest.memory, size - 10, 10)
    try guest.wasi.randomGet(guest.memory, size, 0)
  }

  @Test func signalsAreNotForGuests() throws {
    let guest = try Guest()
    #expect(throws: WASIErrno.notsup) { try guest.wasi.procRaise() }
    guest.wasi.schedYield()
  }
}

@Suite struct StreamTests {
  @Test func streamsCanBeInMemory() throws {
    let output = WASIOutputBuffer()
    var configuration = WASIConfiguration()
    configuration.standardInput = .bytes(Array("some input".utf8))
    configuration.standardOutput = .buffer(output)
    let guest = try Guest(configuration)
    #expect(try guest.read(0, 4) == "some")
    #expect(try guest.read(0, 40) == " input")
    #expect(try guest.read(0, 40) == "")
    #expect(try guest.write(1, "out") == 3)
    #expect(try guest.write(1, "put") == 3)
    #expect(try guest.write(2, "dropped") == 7)
    #expect(output.text == "output")
    #expect(throws: WASIErrno.badf) { try guest.write(0, "x") }
    #expect(throws: WASIErrno.badf) { try guest.read(1, 1) }
  }

  @Test func aSourceThatClaimsTooMuchIsNotBelieved() throws {
    var configuration = WASIConfiguration()
    configuration.standardInput = .source { span in span.byteCount + 1000 }
    let guest = try Guest(configuration)
    #expect(try guest.read(0, 8).utf8.count == 8)
    configuration.standardInput = .source { _ in -5 }
    #expect(try Guest(configuration).read(0, 8) == "")
  }

  @Test func aBrokenPipeIsAnErrorAndNotASignal() throws {
    let pipe = try Pipe()
    var configuration = WASIConfiguration()
    configuration.standardOutput = .descriptor(pipe.write)
    let guest = try Guest(configuration)
    #expect(try guest.write(1, "x") == 1)
    pipe.closeRead()
    // The default action of SIGPIPE would end this process.
    #expect(throws: WASIErrno.pipe) { try guest.write(1, "x") }
  }

  @Test func aSharedDescriptorIsNeitherClosedNorChanged() throws {
    let pipe = try Pipe()
    var configuration = WASIConfiguration()
    configuration.standardInput = .descriptor(pipe.read)
    let guest = try Guest(configuration)
    try guest.wasi.fdFdstatSetFlags(0, UInt32(FdFlags.nonblock.rawValue))
    #expect(fcntl(pipe.read, F_GETFL) & O_NONBLOCK == 0)
    #expect(throws: WASIErrno.again) { try guest.read(0, 4) }
    #expect(Glibc.write(pipe.write, "abcd", 4) == 4)
    #expect(try guest.read(0, 4) == "abcd")
    try guest.wasi.fdClose(0)
    #expect(fcntl(pipe.read, F_GETFD) >= 0)
  }

  @Test func onlyATerminalLooksLikeOne() throws {
    // wasi-libc's isatty: a character device without the rights to seek and tell.
    let null = Glibc.open("/dev/null", O_RDWR | O_CLOEXEC)
    let terminal = Glibc.open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC)
    defer {
      close(null)
      close(terminal)
    }
    var configuration = WASIConfiguration()
    configuration.standardInput = .descriptor(null)
    configuration.standardOutput = .descriptor(terminal)
    let guest = try Guest(configuration)
    func looksLikeATerminal(_ fd: UInt32) throws -> Bool {
      try guest.wasi.fdFdstatGet(guest.memory, fd, 64)
      let rights = Rights(rawValue: try guest.memory.load(72))
      return try guest.memory.load(64, as: UInt8.self) == 2 && rights.isDisjoint(with: [.fdSeek, .fdTell])
    }
    #expect(try !looksLikeATerminal(0))
    #expect(try looksLikeATerminal(1))
    #expect(try !looksLikeATerminal(2))
  }
}

@Suite struct PollTests {
  enum Subscription {
    case clock(id: UInt32 = 1, timeout: UInt64, flags: UInt16 = 0)
    case read(UInt32)
    case write(UInt32)
  }
  struct Event: Equatable {
    var userdata: UInt64
    var error: UInt16 = 0
    var type: UInt8
    var bytes: UInt64 = 0
    var flags: UInt16 = 0
  }

  private func poll(_ guest: Guest, _ subscriptions: [Subscription], _ snapshot: Snapshot = .preview1) throws -> [Event]
  {
    let (size, shift): (UInt32, UInt32) = snapshot == .preview1 ? (48, 0) : (56, 8)
    let input = guest.room(subscriptions.count * Int(size))
    let output = guest.room(subscriptions.count * 32)
    let memory = guest.memory
    for (index, subscription) in subscriptions.enumerated() {
      let address = input + UInt32(index) * size
      try memory.store(UInt64(100 + index), at: address)
      switch subscription {
      case .clock(let id, let timeout, let flags):
        try memory.store(id, at: address, offset: 16 + shift)
        try memory.store(timeout, at: address, offset: 24 + shift)
        try memory.store(flags, at: address, offset: 40 + shift)
      case .read(let fd), .write(let fd):
        var type: UInt8 = 1
        if case .write = subscription { type = 2 }
        try memory.store(type, at: address, offset: 8)
        try memory.store(fd, at: address, offset: 16)
      }
    }
    try guest.wasi.pollOneoff(memory, input, output, UInt32(subscriptions.count), 64, snapshot)
    return try (0..<(try memory.load(64, as: UInt32.self))).map { index in
      let address = output + index * 32
      return Event(
        userdata: try memory.load(address), error: try memory.load(address, offset: 8),
        type: try memory.load(address, offset: 10), bytes: try memory.load(address, offset: 16),
        flags: try memory.load(address, offset: 24))
    }
  }

  @Test func aClockWakesTheGuestNoEarlierThanAsked() throws {
    let guest = try Guest()
    let before = try WASI.now(CLOCK_MONOTONIC)
    #expect(
      try poll(guest, [.clock(timeout: 1 << 62), .clock(timeout: 3_000_000), .clock(id: 0, timeout: 1 << 61)])
        == [Event(userdata: 101, type: 0)])
    #expect(try WASI.now(CLOCK_MONOTONIC) - before >= 3_000_000)
    // In the past, and by both layouts.
    #expect(try poll(guest, [.clock(id: 0, timeout: 1, flags: 1)]) == [Event(userdata: 100, type: 0)])
    #expect(
      try poll(guest, [.clock(timeout: 1 << 62), .clock(timeout: 5, flags: 1)], .unstable)
        == [Event(userdata: 101, type: 0)])
  }

  @Test func descriptorsThatAreReadyComeBeforeTheTimeout() throws {
    let pipe = try Pipe()
    var configuration = WASIConfiguration()
    configuration.standardInput = .descriptor(pipe.read)
    configuration.standardOutput = .descriptor(pipe.write)
    let scratch = try Scratch()
    configuration.preopens = [.init(hostPath: scratch.root, guestPath: "/")]
    let guest = try Guest(configuration)
    let day: UInt64 = 86_400_000_000_000
    #expect(try poll(guest, [.read(0), .write(1), .clock(timeout: day)]) == [Event(userdata: 101, type: 2, bytes: 1)])
    _ = try guest.write(1, "abc")
    #expect(try poll(guest, [.clock(timeout: day), .read(0)]) == [Event(userdata: 101, type: 1, bytes: 3)])
    #expect(try guest.read(0, 3) == "abc")
    #expect(try poll(guest, [.read(0), .clock(timeout: 0)]) == [Event(userdata: 101, type: 0)])
    pipe.closeWrite()
    #expect(try poll(guest, [.read(0), .clock(timeout: day)]) == [Event(userdata: 100, type: 1, flags: 1)])

    let file = try guest.open("file", rights: [.fdRead, .fdSeek, .pollFdReadwrite])
    #expect(try poll(guest, [.read(file)]) == [Event(userdata: 100, type: 1, bytes: 6)])
  }

  @Test func aWrongSubscriptionIsAnEventOfItsOwn() throws {
    let guest = try Guest()
    let day: UInt64 = 86_400_000_000_000
    #expect(
      try poll(
        guest, [.read(99), .clock(timeout: day), .clock(id: 2, timeout: 1), .clock(id: 9, timeout: 1), .write(0)])
        == [
          Event(userdata: 100, error: WASIErrno.badf.rawValue, type: 1),
          Event(userdata: 102, error: WASIErrno.notsup.rawValue, type: 0),
          Event(userdata: 103, error: WASIErrno.inval.rawValue, type: 0),
          Event(userdata: 104, error: WASIErrno.badf.rawValue, type: 2),
        ])
    #expect(throws: WASIErrno.inval) { try poll(guest, []) }
    #expect(throws: WASIErrno.fault) {
      try guest.wasi.pollOneoff(guest.memory, UInt32(guest.bytes.count) - 47, 0, 1, 64, .preview1)
    }
  }
}

@Suite struct SocketTests {
  @Test func inheritedSocketsSendReceiveAndShutDown() throws {
    var pair: [Int32] = [0, 0]
    try #require(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair) == 0)
    defer { pair.forEach { close($0) } }
    var configuration = WASIConfiguration()
    configuration.standardInput = .descriptor(pair[0])
    configuration.standardOutput = .descriptor(pair[1])
    let guest = try Guest(configuration)
    let (wasi, memory) = (guest.wasi, guest.memory)
    try wasi.sockSend(memory, 1, try guest.vector(guest.put("hello")), 1, flags: 0, 64)
    #expect(try memory.load(64, as: UInt32.self) == 5)
    let region = (guest.room(16), UInt32(16))
    for flags: UInt32 in [1, 0] {
      try wasi.sockRecv(memory, 0, try guest.vector(region), 1, flags: flags, 64, 68)
      #expect(guest.text(region.0, try memory.load(64)) == "hello")
    }
    try wasi.sockShutdown(1, 2)
    try wasi.sockRecv(memory, 0, try guest.vector(region), 1, flags: 0, 64, 68)
    #expect(try memory.load(64, as: UInt32.self) == 0)
    #expect(throws: WASIErrno.pipe) {
      try wasi.sockSend(memory, 1, try guest.vector(guest.put("x")), 1, flags: 0, 64)
    }
    #expect(throws: WASIErrno.inval) { try wasi.sockShutdown(1, 4) }
    #expect(throws: WASIErrno.notsock) { try wasi.sockShutdown(2, 1) }
    #expect(throws: WASIErrno.notsock) { try wasi.sockAccept(memory, 2, flags: 0, 64) }
  }
}

/// Pointers and lengths that reach past the memory are `fault`, wherever they occur.
@Suite struct HostilePointerTests {
  private static let end = UInt32(1 << 20)
  private static let bad: [UInt32] = [end - 1, end, 1 << 31, UInt32.max - 7, UInt32.max]

  @Test(arguments: bad)
  func everyPointerIsChecked(_ bad: UInt32) throws {
    let scratch = try Scratch()
    let guest = try Guest(scratch)
    let (w, m) = (guest.wasi, guest.memory)
    let file = try guest.open("file", rights: .everything)
    let (name, length) = guest.put("to-file")
    let vector = try guest.vector((guest.room(16), 16))
    let badVector = try guest.vector((bad, 2))
    let longVector = try guest.vector((8192, UInt32.max))
    let calls: [(String, () throws -> Void)] = [
      ("args sizes", { try StringList(["a"], what: "").sizes(m, count: bad, size: 0) }),
      ("args sizes", { try StringList(["a"], what: "").sizes(m, count: 0, size: bad) }),
      ("args", { try StringList(["a"], what: "").get(m, pointers: bad, buffer: 0) }),
      ("args", { try StringList(["a"], what: "").get(m, pointers: 0, buffer: bad) }),
      ("clock", { try w.clockTimeGet(m, 0, bad) }),
      ("resolution", { try w.clockResGet(m, 0, bad) }),
      ("random", { try w.randomGet(m, bad, 2) }),
      ("random", { try w.randomGet(m, 2, UInt32.max) }),
      ("read", { try w.fdRead(m, file, bad, 1, 64) }),
      ("read", { try w.fdRead(m, file, vector, 1, bad) }),
      ("read", { try w.fdRead(m, file, badVector, 1, 64) }),
      ("read", { try w.fdRead(m, file, longVector, 1, 64) }),
      ("read", { try w.fdRead(m, file, vector, UInt32.max, 64) }),
      ("write", { try w.fdWrite(m, file, bad, 1, 64) }),
      ("write", { try w.fdWrite(m, file, vector, 1, bad) }),
      ("write", { try w.fdWrite(m, file, badVector, 1, 64) }),
      ("write", { try w.fdWrite(m, file, longVector, 1, 64) }),
      ("write", { try w.fdWrite(m, file, vector, UInt32.max, 64) }),
      ("pread", { try w.fdPread(m, file, badVector, 1, offset: 0, 64) }),
      ("pread", { try w.fdPread(m, file, vector, 1, offset: 0, bad) }),
      ("pwrite", { try w.fdPwrite(m, file, badVector, 1, offset: 0, 64) }),
      ("pwrite", { try w.fdPwrite(m, file, vector, 1, offset: 0, bad) }),
      ("fdstat", { try w.fdFdstatGet(m, file, bad) }),
      ("filestat", { try w.fdFilestatGet(m, file, bad, .preview1) }),
      ("prestat", { try w.fdPrestatGet(m, 3, bad) }),
      ("seek", { try w.fdSeek(m, file, offset: 1, whence: 0, bad, .preview1) }),
      ("tell", { try w.fdTell(m, file, bad) }),
      ("readdir", { try w.fdReaddir(m, 3, bad, 100, cookie: 0, 64) }),
      ("readdir", { try w.fdReaddir(m, 3, 0, UInt32.max, cookie: 0, 64) }),
      ("readdir", { try w.fdReaddir(m, 3, 8192, 100, cookie: 0, bad) }),
      ("mkdir", { try w.pathCreateDirectory(m, 3, bad, 2) }),
      ("rmdir", { try w.pathRemoveDirectory(m, 3, bad, 2) }),
      ("unlink", { try w.pathUnlinkFile(m, 3, bad, UInt32.max) }),
      ("stat", { try w.pathFilestatGet(m, 3, lookup: 0, bad, 2, 64, .preview1) }),
      ("stat", { try w.pathFilestatGet(m, 3, lookup: 0, name, length, bad, .preview1) }),
      ("times", { try w.pathFilestatSetTimes(m, 3, lookup: 0, bad, 2, access: 0, modification: 0, 0) }),
      ("link", { try w.pathLink(m, 3, lookup: 0, bad, 2, 3, name, length) }),
      ("link", { try w.pathLink(m, 3, lookup: 0, name, length, 3, bad, 2) }),
      (
        "open",
        {
          try w.pathOpen(
            m, 3, lookup: 0, bad, 2, openFlags: 0, base: 2, inheriting: 0, flags: 0, 64)
        }
      ),
      (
        "open",
        {
          try w.pathOpen(
            m, 3, lookup: 1, name, length, openFlags: 0, base: 2, inheriting: 0, flags: 0, bad)
        }
      ),
      ("readlink", { try w.pathReadlink(m, 3, bad, 2, 64, 8, 128) }),
      ("readlink", { try w.pathReadlink(m, 3, name, length, bad, 8, 128) }),
      ("readlink", { try w.pathReadlink(m, 3, name, length, 64, UInt32.max, 128) }),
      ("readlink", { try w.pathReadlink(m, 3, name, length, 64, 8, bad) }),
      ("rename", { try w.pathRename(m, 3, bad, 2, 3, name, length) }),
      ("rename", { try w.pathRename(m, 3, name, length, 3, bad, 2) }),
      ("symlink", { try w.pathSymlink(m, bad, 2, 3, name, length) }),
      ("symlink", { try w.pathSymlink(m, name, length, 3, bad, 2) }),
      ("poll", { try w.pollOneoff(m, bad, 4096, 1, 64, .preview1) }),
      ("poll", { try w.pollOneoff(m, 4096, bad, 1, 64, .preview1) }),
      ("poll", { try w.pollOneoff(m, 4096, 8192, 1, bad, .preview1) }),
      ("poll", { try w.pollOneoff(m, 4096, 8192, 65536, 64, .preview1) }),
    ]
    for (index, (name, call)) in calls.enumerated() {
      #expect(throws: WASIErrno.fault, "\(name), call \(index)") { try call() }
    }
    // Nothing happened: no byte was read, written or created, and no descriptor opened.
    #expect(scratch.contents("file") == "inside")
    try w.fdTell(m, file, 64)
    #expect(try m.load(64, as: UInt64.self) == 0)
    #expect(try guest.open("file") == file + 1)
  }

  @Test func aBadVectorAfterAThousandGoodOnesDoesNotUndoThem() throws {
    let scratch = try Scratch()
    let guest = try Guest(scratch)
    let file = try guest.open("new", [.create], rights: .everything)
    let count = UInt32(WASI.vectorCapacity + 1)
    let vectors = guest.room(Int(count) * 8)
    for index in 0..<count {
      try guest.memory.store(index + 1 == count ? UInt32.max : 8192, at: vectors + index * 8)
      try guest.memory.store(UInt32(1), at: vectors + index * 8 + 4)
    }
    try guest.wasi.fdWrite(guest.memory, file, vectors, count, 64)
    #expect(try guest.memory.load(64, as: UInt32.self) == count - 1)
    #expect(scratch.contents("new")?.utf8.count == Int(count) - 1)
  }

  @Test func emptyVectorsMayPointAnywhere() throws {
    let guest = try Guest(try Scratch())
    try guest.wasi.fdWrite(guest.memory, 1, try guest.vector((UInt32.max, 0)), 1, 64)
    #expect(try guest.memory.load(64, as: UInt32.self) == 0)
  }
}

/// A pipe that is closed with its owner.
final class Pipe {
  private(set) var read: Int32
  private(set) var write: Int32

  init() throws {
    var ends: [Int32] = [-1, -1]
    try #require(pipe(&ends) == 0)
    (read, write) = (ends[0], ends[1])
  }

  deinit {
    closeRead()
    closeWrite()
  }

  func closeRead() {
    if read >= 0 { close(read) }
    read = -1
  }

  func closeWrite() {
    if write >= 0 { close(write) }
    write = -1
  }
}
