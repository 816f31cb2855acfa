// `fd_*` and `path_open` as a guest calls them: numbers, rights, reading and writing, directory listings.

import Foundation
import Testing

@testable import PrecastWASI

@Suite struct DescriptorTests {
  @Test func numbersAreTheLowestFreeOnes() throws {
    let guest = try Guest(try Scratch())
    let first = try guest.open("file")
    let second = try guest.open("dir/nested/file")
    #expect(first == 4 && second == 5)
    try guest.wasi.fdClose(first)
    #expect(throws: WASIErrno.badf) { try guest.wasi.fdClose(first) }
    #expect(throws: WASIErrno.badf) { try guest.read(first, 1) }
    #expect(try guest.open("file") == 4)
    #expect(try guest.open("file") == 6)
    #expect(throws: WASIErrno.badf) { try guest.wasi.fdClose(UInt32.max) }
  }

  @Test func renumberReplacesAnOpenDescriptor() throws {
    let guest = try Guest(try Scratch())
    let a = try guest.open("file")
    let b = try guest.open("dir/nested/file")
    try guest.wasi.fdRenumber(a, b)
    #expect(try guest.read(b, 16) == "inside")
    #expect(throws: WASIErrno.badf) { try guest.read(a, 1) }
    #expect(throws: WASIErrno.badf) { try guest.wasi.fdRenumber(b, 77) }
    #expect(throws: WASIErrno.badf) { try guest.wasi.fdRenumber(77, b) }
    try guest.wasi.fdRenumber(b, b)
    #expect(try guest.open("file") == a)
    // A preopened directory takes its name along.
    try guest.wasi.fdRenumber(3, a)
    try guest.wasi.fdPrestatGet(guest.memory, a, 64)
    #expect(throws: WASIErrno.badf) { try guest.wasi.fdPrestatGet(guest.memory, 3, 64) }
  }

  @Test func aGuestCannotOpenMoreThanItsShare() throws {
    var configuration = WASIConfiguration()
    let scratch = try Scratch()
    configuration.preopens = [.init(hostPath: scratch.root, guestPath: "/")]
    configuration.maximumDescriptors = 6
    let guest = try Guest(configuration)
    _ = try guest.open("file")
    let last = try guest.open("file")
    #expect(throws: WASIErrno.mfile) { try guest.open("new", [.create], rights: .everything) }
    #expect(!scratch.exists("new"))
    try guest.wasi.fdClose(last)
    _ = try guest.open("file")
  }

  @Test func hostDescriptorsAreClosedWithTheGuest() throws {
    let scratch = try Scratch()
    let before = try scratch.openFiles()
    do {
      let guest = try Guest(scratch)
      for _ in 0..<5 { _ = try guest.open("file") }
      try guest.wasi.fdClose(4)
      #expect(try scratch.openFiles() == before + 5)
    }
    #expect(try scratch.openFiles() == before)
  }

  @Test func preopenedDirectoriesAreFoundByNumber() throws {
    let guest = try Guest(try Scratch())
    try guest.wasi.fdPrestatGet(guest.memory, 3, 64)
    #expect(try guest.memory.load(64, as: UInt64.self) == 1 << 32)
    try guest.wasi.fdPrestatDirName(guest.memory, 3, 80, 1)
    #expect(guest.text(80, 1) == "/")
    #expect(throws: WASIErrno.nametoolong) { try guest.wasi.fdPrestatDirName(guest.memory, 3, 80, 0) }
    for fd: UInt32 in [0, 4] {
      #expect(throws: WASIErrno.badf) { try guest.wasi.fdPrestatGet(guest.memory, fd, 64) }
    }
  }

  @Test func aMissingDirectoryIsAConfigurationError() {
    var configuration = WASIConfiguration()
    configuration.preopens = [.init(hostPath: "/no/such/directory", guestPath: "/")]
    let error = #expect(throws: WASIConfigurationError.self) { _ = try WASI(configuration) }
    #expect(error?.message.contains("/no/such/directory") == true)
  }
}

@Suite struct OpeningTests {
  @Test func openFlagsMeanWhatTheySay() throws {
    let scratch = try Scratch()
    let guest = try Guest(scratch)
    #expect(throws: WASIErrno.noent) { try guest.open("new", rights: .everything) }
    #expect(throws: WASIErrno.exist) { try guest.open("file", [.create, .exclusive], rights: .everything) }
    #expect(throws: WASIErrno.notdir) { try guest.open("file", [.directory]) }
    #expect(throws: WASIErrno.inval) { try guest.open("new", [.create, .directory]) }
    #expect(throws: WASIErrno.inval) { try guest.open("file", OpenFlags(rawValue: 16)) }
    #expect(throws: WASIErrno.inval) { try guest.open("file", fdFlags: FdFlags(rawValue: 32)) }
    #expect(throws: WASIErrno.loop) { try guest.open("to-file", follow: false) }
    #expect(throws: WASIErrno.isdir) { try guest.open("dir", [.directory], rights: [.fdRead, .fdWrite]) }

    let new = try guest.open("new", [.create, .exclusive], rights: .everything)
    #expect(try guest.write(new, "contents") == 8)
    #expect(scratch.contents("new") == "contents")
    _ = try guest.open("new", [.truncate], rights: .everything)
    #expect(scratch.contents("new") == "")

    let log = try guest.open("new", rights: .everything, fdFlags: .append)
    for _ in 0..<2 { _ = try guest.write(try guest.open("new", rights: .everything, fdFlags: .append), "ab") }
    _ = try guest.write(log, "c")
    #expect(scratch.contents("new") == "ababc")
  }

  @Test func whatIsNotADirectoryCannotBeOpenedFrom() throws {
    let guest = try Guest(try Scratch())
    let file = try guest.open("file", rights: .everything)
    #expect(throws: WASIErrno.notdir) { try guest.open("x", in: file) }
    #expect(throws: WASIErrno.notdir) { try guest.open("x", in: 0) }
    #expect(throws: WASIErrno.badf) { try guest.open("x", in: 99) }
  }

  @Test func directoriesCannotBeReadOrWrittenAsFiles() throws {
    let guest = try Guest(try Scratch())
    let directory = try guest.open("dir", [.directory], rights: [.fdRead, .fdReaddir])
    #expect(throws: WASIErrno.badf) { try guest.read(directory, 1) }
    #expect(throws: WASIErrno.badf) { try guest.write(directory, "x") }
    #expect(throws: WASIErrno.badf) {
      try guest.wasi.fdSeek(guest.memory, directory, offset: 0, whence: 0, 64, .preview1)
    }
    #expect(throws: WASIErrno.badf) { try guest.wasi.fdFilestatSetSize(directory, 0) }
  }
}

@Suite struct RightsTests {
  @Test func aReadOnlyDirectoryCannotBeChanged() throws {
    let scratch = try Scratch()
    let guest = try Guest(scratch, isReadOnly: true)
    let (wasi, memory) = (guest.wasi, guest.memory)
    #expect(try guest.read(try guest.open("file"), 16) == "inside")
    let (a, n) = guest.put("file")
    let (b, m) = guest.put("new")
    #expect(throws: WASIErrno.notcapable) { try guest.open("file", rights: [.fdWrite]) }
    #expect(throws: WASIErrno.notcapable) { try guest.open("new", [.create]) }
    #expect(throws: WASIErrno.notcapable) { try guest.open("file", [.truncate]) }
    #expect(throws: WASIErrno.notcapable) { try wasi.pathCreateDirectory(memory, 3, b, m) }
    #expect(throws: WASIErrno.notcapable) { try wasi.pathUnlinkFile(memory, 3, a, n) }
    #expect(throws: WASIErrno.notcapable) { try wasi.pathRemoveDirectory(memory, 3, a, n) }
    #expect(throws: WASIErrno.notcapable) { try wasi.pathRename(memory, 3, a, n, 3, b, m) }
    #expect(throws: WASIErrno.notcapable) { try wasi.pathLink(memory, 3, lookup: 0, a, n, 3, b, m) }
    #expect(throws: WASIErrno.notcapable) { try wasi.pathSymlink(memory, a, n, 3, b, m) }
    #expect(throws: WASIErrno.notcapable) {
      try wasi.pathFilestatSetTimes(memory, 3, lookup: 0, a, n, access: 0, modification: 0, 5)
    }
    // Nor through a directory or file that is opened in it, with all rights asked for but two.
    let directory = try guest.open("dir", [.directory], rights: .everything.subtracting(.fdWrite))
    #expect(throws: WASIErrno.notcapable) { try wasi.pathCreateDirectory(memory, directory, b, m) }
    #expect(throws: WASIErrno.notcapable) { try guest.open("nested/file", in: directory, rights: [.fdWrite]) }
    let file = try guest.open("file", rights: .everything.subtracting(.fdWrite))
    #expect(throws: WASIErrno.badf) { try guest.write(file, "x") }
    #expect(throws: WASIErrno.notcapable) { try wasi.fdFilestatSetSize(file, 0) }
    #expect(throws: WASIErrno.notcapable) { try wasi.fdAllocate(file, offset: 0, length: 100) }
    #expect(throws: WASIErrno.notcapable) { try wasi.fdFilestatSetTimes(file, access: 0, modification: 0, 5) }
    #expect(scratch.contents("file") == "inside" && !scratch.exists("new"))
  }

  @Test func rightsCanBeLostButNotGained() throws {
    let guest = try Guest(try Scratch())
    let file = try guest.open("file", rights: [.fdRead, .fdSeek])
    #expect(throws: WASIErrno.notcapable) {
      try guest.wasi.fdFdstatSetRights(file, base: Rights([.fdRead, .fdWrite]).rawValue, inheriting: 0)
    }
    try guest.wasi.fdFdstatSetRights(file, base: Rights([.fdSeek]).rawValue, inheriting: 0)
    #expect(throws: WASIErrno.badf) { try guest.read(file, 1) }
    try guest.wasi.fdFdstatGet(guest.memory, file, 64)
    #expect(try guest.memory.load(64 + 8, as: UInt64.self) == Rights.fdSeek.rawValue)
    #expect(try guest.memory.load(64, as: UInt8.self) == FileType.regularFile.rawValue)
    #expect(throws: WASIErrno.notcapable) {
      try guest.wasi.fdFdstatSetRights(file, base: Rights([.fdRead]).rawValue, inheriting: 0)
    }
  }
}

@Suite struct TransferTests {
  @Test func vectorsAreFilledInOrder() throws {
    let guest = try Guest(try Scratch())
    let file = try guest.open("file")
    let vectors = guest.room(32)
    for (index, (address, length)) in [(8192, 2), (12345, 0), (9000, 1), (9100, 100)].enumerated() {
      try guest.memory.store(UInt32(address), at: vectors + UInt32(index) * 8)
      try guest.memory.store(UInt32(length), at: vectors + UInt32(index) * 8 + 4)
    }
    try guest.wasi.fdRead(guest.memory, file, vectors, 4, 64)
    #expect(try guest.memory.load(64, as: UInt32.self) == 6)
    #expect(guest.text(8192, 2) == "in" && guest.text(9000, 1) == "s" && guest.text(9100, 3) == "ide")
  }

  @Test func moreVectorsThanTheKernelTakesAreTakenInPieces() throws {
    let scratch = try Scratch()
    let guest = try Guest(scratch)
    let file = try guest.open("new", [.create], rights: .everything)
    let count: UInt32 = 5000
    let vectors = guest.room(Int(count) * 8)
    let letters = guest.put((0..<count).map { UInt8(ascii: "a") + UInt8($0 % 26) })
    for index in 0..<count {
      try guest.memory.store(letters.address + index, at: vectors + index * 8)
      try guest.memory.store(UInt32(1), at: vectors + index * 8 + 4)
    }
    try guest.wasi.fdWrite(guest.memory, file, vectors, count, 64)
    #expect(try guest.memory.load(64, as: UInt32.self) == count)
    #expect(scratch.contents("new") == guest.text(letters.address, count))
    try guest.wasi.fdPwrite(guest.memory, file, vectors, count, offset: 3, 64)
    #expect(scratch.contents("new") == "abc" + guest.text(letters.address, count))

    let target = guest.room(Int(count))
    for index in 0..<count { try guest.memory.store(target + index, at: vectors + index * 8) }
    try guest.wasi.fdPread(guest.memory, file, vectors, count, offset: 3, 64)
    #expect(try guest.memory.load(64, as: UInt32.self) == count)
    #expect(guest.text(target, count) == guest.text(letters.address, count))
  }

  @Test func positionedTransfersLeaveTheOffsetAlone() throws {
    let scratch = try Scratch()
    let guest = try Guest(scratch)
    let (wasi, memory) = (guest.wasi, guest.memory)
    let file = try guest.open("file", rights: .everything)
    #expect(try guest.read(file, 2) == "in")
    let vector = try guest.vector(guest.put("XY"))
    try wasi.fdPwrite(memory, file, vector, 1, offset: 4, 64)
    #expect(scratch.contents("file") == "insiXY")
    try wasi.fdPread(memory, file, vector, 1, offset: 0, 64)
    #expect(try memory.load(64, as: UInt32.self) == 2)
    try wasi.fdTell(memory, file, 64)
    #expect(try memory.load(64, as: UInt64.self) == 2)
    for offset in [UInt64(1) << 63, UInt64.max] {
      #expect(throws: WASIErrno.inval) { try wasi.fdPread(memory, file, vector, 1, offset: offset, 64) }
      #expect(throws: WASIErrno.inval) { try wasi.fdPwrite(memory, file, vector, 1, offset: offset, 64) }
    }
    #expect(throws: WASIErrno.self) {
      try wasi.fdPwrite(memory, file, vector, 1, offset: UInt64(Int64.max) - 1, 64)
    }
  }

  @Test func seekNumbersOriginsAsItsSnapshotDoes() throws {
    let guest = try Guest(try Scratch())
    let (wasi, memory) = (guest.wasi, guest.memory)
    let file = try guest.open("file")
    func seek(_ offset: Int64, _ whence: UInt32, _ snapshot: Snapshot = .preview1) throws -> UInt64 {
      try wasi.fdSeek(memory, file, offset: offset, whence: whence, 64, snapshot)
      return try memory.load(64)
    }
    #expect(try seek(2, 0) == 2)
    #expect(try seek(1, 1) == 3)
    #expect(try seek(-1, 2) == 5)
    #expect(try seek(2, 2, .unstable) == 2)
    #expect(try seek(1, 0, .unstable) == 3)
    #expect(try seek(-1, 1, .unstable) == 5)
    #expect(throws: WASIErrno.inval) { try seek(0, 3) }
    #expect(throws: WASIErrno.inval) { try seek(-7, 2) }
    #expect(throws: WASIErrno.spipe) { try wasi.fdSeek(memory, 0, offset: 0, whence: 0, 64, .preview1) }
  }

  @Test func sizesAndTimesAreSetAndSeen() throws {
    let scratch = try Scratch()
    let guest = try Guest(scratch)
    let (wasi, memory) = (guest.wasi, guest.memory)
    let file = try guest.open("file", rights: .everything)
    try wasi.fdFilestatSetSize(file, 3)
    #expect(scratch.contents("file") == "ins")
    try wasi.fdAllocate(file, offset: 0, length: 10)
    try wasi.fdFilestatSetTimes(file, access: 1_500_000_001, modification: 0, 1)
    try wasi.fdFilestatSetTimes(file, access: 0, modification: 7, 4)
    try wasi.fdFilestatGet(memory, file, 64, .preview1)
    #expect(try memory.load(64 + 16, as: UInt8.self) == FileType.regularFile.rawValue)
    #expect(try memory.load(64 + 24, as: UInt64.self) == 1)
    #expect(try memory.load(64 + 32, as: UInt64.self) == 10)
    #expect(try memory.load(64 + 40, as: UInt64.self) == 1_500_000_001)
    #expect(try memory.load(64 + 48, as: UInt64.self) == 7)
    try wasi.fdFilestatGet(memory, file, 256, .unstable)
    #expect(try memory.load(256 + 20, as: UInt32.self) == 1)
    #expect(try memory.load(256 + 24, as: UInt64.self) == 10)
    #expect(throws: WASIErrno.inval) { try wasi.fdFilestatSetTimes(file, access: 0, modification: 0, 3) }
    #expect(throws: WASIErrno.inval) { try wasi.fdFilestatSetTimes(file, access: 0, modification: 0, 16) }
    #expect(throws: WASIErrno.inval) { try wasi.fdFilestatSetSize(file, UInt64.max) }
    #expect(throws: WASIErrno.inval) { try wasi.fdAllocate(file, offset: 0, length: 0) }
    for advice: UInt32 in 0...5 { try wasi.fdAdvise(file, offset: 0, length: 0, advice: advice) }
    #expect(throws: WASIErrno.inval) { try wasi.fdAdvise(file, offset: 0, length: 0, advice: 6) }
    try wasi.fdSync(file)
    try wasi.fdDatasync(file)
  }

  @Test func flagsOfAnOpenFileCanBeChanged() throws {
    let scratch = try Scratch()
    let guest = try Guest(scratch)
    let file = try guest.open("file", rights: .everything)
    try guest.wasi.fdFdstatSetFlags(file, UInt32(FdFlags.append.rawValue))
    _ = try guest.write(file, "!")
    #expect(scratch.contents("file") == "inside!")
    try guest.wasi.fdFdstatGet(guest.memory, file, 64)
    #expect(try guest.memory.load(66, as: UInt16.self) == FdFlags.append.rawValue)
    #expect(throws: WASIErrno.notsup) { try guest.wasi.fdFdstatSetFlags(file, 16) }
    #expect(throws: WASIErrno.inval) { try guest.wasi.fdFdstatSetFlags(file, 1 << 16) }
  }
}

@Suite struct ListingTests {
  struct Entry: Hashable {
    var name: String
    var type: UInt8
    var inode: UInt64
    var next: UInt64
  }

  /// Lists a directory as wasi-libc does: whole entries only, then again from the last one's cookie.
  private func list(_ guest: Guest, _ fd: UInt32, bufferSize: UInt32, from cookie: UInt64 = 0) throws -> [Entry] {
    let buffer = guest.room(Int(bufferSize))
    let result = guest.room(4)
    var entries: [Entry] = []
    var cookie = cookie
    while true {
      try guest.wasi.fdReaddir(guest.memory, fd, buffer, bufferSize, cookie: cookie, result)
      let used: UInt32 = try guest.memory.load(result)
      var position: UInt32 = 0
      var whole = 0
      while used - position >= 24 {
        let start = buffer + position
        let length: UInt32 = try guest.memory.load(start, offset: 16)
        if used - position - 24 < length { break }
        entries.append(
          Entry(
            name: guest.text(start + 24, length), type: try guest.memory.load(start, offset: 20),
            inode: try guest.memory.load(start, offset: 8), next: try guest.memory.load(start)))
        cookie = entries.last!.next
        position += 24 + length
        whole += 1
      }
      if used < bufferSize { return entries }
      try #require(whole > 0, "a buffer of \(bufferSize) bytes holds no entry")
    }
  }

  @Test(arguments: [300, 333, 4096, 65536] as [UInt32])
  func thousandsOfEntriesComeOnceEach(_ bufferSize: UInt32) throws {
    let scratch = try Scratch()
    let guest = try Guest(scratch)
    try FileManager.default.createDirectory(atPath: "\(scratch.root)/many", withIntermediateDirectories: false)
    var expected: Set = [".", ".."]
    for index in 0..<3000 {
      // Lengths from 1 to 255.
      let name = "\(index)" + String(repeating: "x", count: index * 7 % 250)
      close(Glibc.open("\(scratch.root)/many/\(name)", O_CREAT | O_WRONLY | O_CLOEXEC, 0o644))
      expected.insert(name)
    }
    let many = try guest.open("many", [.directory], rights: [.fdReaddir])
    let entries = try list(guest, many, bufferSize: bufferSize)
    #expect(entries.count == expected.count)
    #expect(Set(entries.map(\.name)) == expected)
    for entry in entries where entry.name.first != "." { #expect(entry.type == FileType.regularFile.rawValue) }
    // Any cookie can be gone back to.
    let middle = entries.count / 2
    #expect(
      try list(guest, many, bufferSize: bufferSize, from: entries[middle].next) == Array(entries[(middle + 1)...]))
    #expect(try list(guest, many, bufferSize: bufferSize) == entries)
  }

  @Test func entriesTellTypesAndNothingOfTheParent() throws {
    let guest = try Guest(try Scratch())
    let entries = try list(guest, 3, bufferSize: 4096)
    let byName = Dictionary(uniqueKeysWithValues: entries.map { ($0.name, $0) })
    #expect(byName["file"]?.type == FileType.regularFile.rawValue)
    #expect(byName["dir"]?.type == FileType.directory.rawValue)
    #expect(byName["up"]?.type == FileType.symbolicLink.rawValue)
    #expect(byName[".."]?.inode == byName["."]?.inode)
  }

  @Test func theLastEntryIsCutOffAnywhere() throws {
    let guest = try Guest(try Scratch())
    let whole = guest.room(4096)
    try guest.wasi.fdReaddir(guest.memory, 3, whole, 4096, cookie: 0, 64)
    let size: UInt32 = try guest.memory.load(64)
    try #require(size < 4096 && size > 100)
    for length in 0...size {
      let part = UInt32(65536)
      try guest.memory.clear(part, 8192)
      try guest.wasi.fdReaddir(guest.memory, 3, part, length, cookie: 0, 64)
      #expect(try guest.memory.load(64, as: UInt32.self) == length)
      let range = Int(part)..<Int(part + length)
      #expect(guest.bytes[range].elementsEqual(guest.bytes[Int(whole)..<Int(whole + length)]))
      #expect(guest.bytes[range.upperBound] == 0)
    }
  }

  @Test func whatIsNotADirectoryHasNoEntries() throws {
    let guest = try Guest(try Scratch())
    let file = try guest.open("file", rights: .everything)
    #expect(throws: WASIErrno.notdir) { try list(guest, file, bufferSize: 64) }
    let directory = try guest.open("dir", [.directory], rights: [.pathOpen])
    #expect(throws: WASIErrno.notcapable) { try list(guest, directory, bufferSize: 64) }
    #expect(throws: WASIErrno.inval) { try list(guest, 3, bufferSize: 64, from: UInt64.max) }
  }
}
