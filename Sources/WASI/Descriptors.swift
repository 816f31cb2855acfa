// The guest's file descriptors.
//
// A guest's descriptor is a small number that means nothing to the host's kernel: an index in a table
// of plain records. They hold no references, so that looking one up on the way to a `write` is a bounds
// check and a copy. What does need references (the closures of in-memory streams, the names of
// preopened directories) stands in arrays beside the table and is reached by index.
//
// A new descriptor takes the lowest free number, as POSIX programs expect.

internal import Glibc

/// What stands behind one number.
struct Descriptor: BitwiseCopyable {
  enum Kind: UInt8 {
    /// Not in use.
    case closed
    /// A host descriptor with an offset: a regular file or a device.
    case file
    /// A host directory.
    case directory
    /// A host descriptor without an offset: terminal, pipe, socket.
    case stream
    /// Reads give end of file, writes are dropped.
    case null
    /// A closure that bytes come from; `host` is its index.
    case source
    /// A closure that bytes go to; `host` is its index.
    case sink
  }

  var kind: Kind
  var fileType: FileType
  var flags: FdFlags
  /// Whether the host descriptor is closed along with this one. One that is shared with the host
  /// (standard input) is not, and its open file description is not changed either: `nonblock` is
  /// then emulated, since setting it would set it for everyone who shares the terminal.
  var isOwned: Bool
  /// Whether a write may raise SIGPIPE in the host.
  var isPipe: Bool
  /// The host descriptor, or the index of a closure.
  var host: Int32
  /// Index of the name of a preopened directory, or -1.
  var preopen: Int32
  var base: Rights
  var inheriting: Rights

  static let closed = Descriptor(
    kind: .closed, fileType: .unknown, flags: [], isOwned: false, isPipe: false, host: -1, preopen: -1, base: [],
    inheriting: [])

  /// Describes an open host descriptor, whose rights are cut to those that its kind knows.
  init(describing host: Int32, isOwned: Bool, flags: FdFlags, base: Rights, inheriting: Rights) throws(WASIErrno) {
    var status = stat()
    if unsafe fstat(host, &status) != 0 { throw .last }
    self = .closed
    fileType = FileType(status, descriptor: host)
    self.host = host
    self.isOwned = isOwned
    self.flags = flags
    switch fileType {
    case .directory:
      kind = .directory
      self.base = base.intersection(.directory)
      self.inheriting = inheriting
    case .regularFile, .blockDevice:
      kind = .file
      self.base = base.intersection(.file)
    case .characterDevice:
      // /dev/zero has an offset of sorts, a terminal has none.
      let isTerminal = isatty(host) == 1
      kind = isTerminal ? .stream : .file
      self.base = base.intersection(isTerminal ? .stream : .file)
    case .socketDgram, .socketStream:
      kind = .stream
      isPipe = true
      self.base = base.intersection(.socket)
    case .unknown, .symbolicLink:
      kind = .stream
      isPipe = true
      self.base = base.intersection(.stream)
    }
  }

  init(
    kind: Kind, fileType: FileType, flags: FdFlags, isOwned: Bool, isPipe: Bool, host: Int32, preopen: Int32,
    base: Rights, inheriting: Rights
  ) {
    self.kind = kind
    self.fileType = fileType
    self.flags = flags
    self.isOwned = isOwned
    self.isPipe = isPipe
    self.host = host
    self.preopen = preopen
    self.base = base
    self.inheriting = inheriting
  }
}

extension FileType {
  /// The type of an open file; sockets are asked which kind they are.
  init(_ status: stat, descriptor: Int32) {
    self.init(mode: status.st_mode)
    if self == .socketStream {
      var type: Int32 = 0
      var size = socklen_t(MemoryLayout<Int32>.size)
      if unsafe getsockopt(descriptor, SOL_SOCKET, SO_TYPE, &type, &size) == 0,
        type == Int32(SOCK_DGRAM.rawValue)
      {
        self = .socketDgram
      }
    }
  }

  /// The type in `st_mode`. Preview 1 has none for pipes.
  init(mode: mode_t) {
    switch mode & S_IFMT {
    case S_IFREG: self = .regularFile
    case S_IFDIR: self = .directory
    case S_IFLNK: self = .symbolicLink
    case S_IFCHR: self = .characterDevice
    case S_IFBLK: self = .blockDevice
    case S_IFSOCK: self = .socketStream
    default: self = .unknown
    }
  }
}

/// The table. At most `limit` descriptors are open at a time (`mfile` beyond).
struct DescriptorTable: ~Copyable {
  private var entries: [Descriptor] = []
  /// No number below this one is free.
  private var lowestFree = 0
  private let limit: Int

  init(limit: Int) {
    self.limit = max(limit, 3)
    entries.reserveCapacity(8)
  }

  deinit {
    for entry in entries where entry.isOwned { close(entry.host) }
  }

  /// The descriptor behind a number, or `badf`.
  subscript(fd: UInt32) -> Descriptor {
    @inline(__always) get throws(WASIErrno) {
      let index = Int(fd)
      if index >= entries.count { throw .badf }
      let entry = entries[index]
      if entry.kind == .closed { throw .badf }
      return entry
    }
  }

  /// Fails with `mfile` where the table is full.
  func requireRoom() throws(WASIErrno) {
    if lowestFree >= limit { throw .mfile }
  }

  /// Takes over an open descriptor and gives it the lowest free number. The caller has made sure of
  /// room.
  mutating func insert(_ descriptor: Descriptor) -> UInt32 {
    let fd = lowestFree
    if fd == entries.count { entries.append(descriptor) } else { entries[fd] = descriptor }
    lowestFree += 1
    while lowestFree < entries.count, entries[lowestFree].kind != .closed { lowestFree += 1 }
    return UInt32(fd)
  }

  /// Changes an open descriptor in place.
  mutating func update(_ fd: UInt32, _ change: (inout Descriptor) -> Void) {
    change(&entries[Int(fd)])
  }

  /// Closes a descriptor.
  mutating func remove(_ fd: UInt32) throws(WASIErrno) {
    let entry = try self[fd]
    entries[Int(fd)] = .closed
    lowestFree = min(lowestFree, Int(fd))
    // Linux frees the number even where close fails, so the guest's number is gone in any case.
    if entry.isOwned, close(entry.host) != 0 { throw .last }
  }

  /// Moves `from` to the number `to`, which is open and is closed first. Either may be a preopened
  /// directory.
  mutating func renumber(_ from: UInt32, to: UInt32) throws(WASIErrno) {
    let moved = try self[from]
    let replaced = try self[to]
    if from == to { return }
    entries[Int(to)] = moved
    entries[Int(from)] = .closed
    lowestFree = min(lowestFree, Int(from))
    if replaced.isOwned { close(replaced.host) }
  }
}
