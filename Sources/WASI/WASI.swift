// The state of one guest: its descriptors, arguments and environment, and the buffers that its calls
// reuse.
//
// The functions of preview 1 are methods in the files beside this one, one file for each family, under
// their names in the witx file. They take numbers and a view of the guest's memory and throw the errno;
// `HostFunctions.swift` alone knows how they become imports of a module. So they can be tested without
// any module at all.
//
// Buffers (two paths, 1024 vectors, directory entries) belong to the state and are reused: no call that
// a program makes often allocates.

internal import CPrecastHost
internal import Glibc

/// WASI preview 1 for one guest.
///
/// An instance belongs to one store, and so to one thread at a time. It may serve several instances of
/// that store, which then share their descriptors. Host descriptors that the guest opened are closed when
/// it goes away.
@safe public final class WASI {
  var descriptors: DescriptorTable
  var sources: [(inout MutableRawSpan) -> Int] = []
  var sinks: [(RawSpan) -> Void] = []
  let preopenNames: [[UInt8]]
  let arguments: StringList
  let environment: StringList
  let ignoresBrokenPipes: Bool

  let path = PathBuffer()
  let secondPath = PathBuffer()
  /// Vectors of one system call; the kernel takes no more at a time.
  let vectors: UnsafeMutablePointer<iovec>
  static let vectorCapacity = 1024
  /// Room for directory entries as the kernel gives them.
  let entryBuffer: UnsafeMutableRawPointer
  static let entryBufferSize = 32768

  /// Opens the directories and streams of a configuration.
  ///
  /// Throws where a directory cannot be opened, or where a string cannot be passed to a guest (a NUL
  /// inside, or an `=` in the name of a variable).
  public init(_ configuration: WASIConfiguration) throws(WASIConfigurationError) {
    arguments = try StringList(configuration.arguments, what: "argument")
    for variable in configuration.environment where variable.name.isEmpty || variable.name.utf8.contains(0x3D) {
      throw WASIConfigurationError("environment variable '\(variable.name)': not a name")
    }
    environment = try StringList(configuration.environment.map { "\($0.name)=\($0.value)" }, what: "variable")
    preopenNames = configuration.preopens.map { Array($0.guestPath.utf8) }
    ignoresBrokenPipes = configuration.raisesBrokenPipes || precast_ignores_sigpipe() == 1
    descriptors = DescriptorTable(limit: max(configuration.maximumDescriptors, 3 + configuration.preopens.count))
    // Untouched pages of these cost nothing, so a guest that needs none of them pays nothing.
    unsafe vectors = .allocate(capacity: Self.vectorCapacity)
    unsafe entryBuffer = .allocate(byteCount: Self.entryBufferSize, alignment: 8)

    addInput(configuration.standardInput)
    addOutput(configuration.standardOutput, inherited: 1)
    addOutput(configuration.standardError, inherited: 2)
    for (index, preopen) in configuration.preopens.enumerated() {
      try addPreopen(preopen, index: index)
    }
  }

  deinit {
    unsafe vectors.deallocate()
    unsafe entryBuffer.deallocate()
  }

  private func addInput(_ input: WASIInput) {
    let rights: Rights = [.fdRead, .fdFilestatGet, .pollFdReadwrite, .fdFdstatSetFlags]
    switch input {
    case .null: addMemoryStream(.null, index: 0, rights)
    case .inherit: addShared(0)
    case .descriptor(let number): addShared(number)
    case .bytes(let bytes):
      var position = 0
      addSource { span in
        let count = min(span.byteCount, bytes.count - position)
        for offset in 0..<count { span.storeBytes(of: bytes[position + offset], toByteOffset: offset, as: UInt8.self) }
        position += count
        return count
      }
    case .source(let closure): addSource(closure)
    }
    func addSource(_ closure: @escaping (inout MutableRawSpan) -> Int) {
      sources.append(closure)
      addMemoryStream(.source, index: sources.count - 1, rights)
    }
  }

  private func addOutput(_ output: WASIOutput, inherited: Int32) {
    let rights: Rights = [.fdWrite, .fdFilestatGet, .pollFdReadwrite, .fdFdstatSetFlags]
    switch output {
    case .null: addMemoryStream(.null, index: 0, rights)
    case .inherit: addShared(inherited)
    case .descriptor(let number): addShared(number)
    case .buffer(let buffer): addSink { buffer.append($0) }
    case .sink(let closure): addSink(closure)
    }
    func addSink(_ closure: @escaping (RawSpan) -> Void) {
      sinks.append(closure)
      addMemoryStream(.sink, index: sinks.count - 1, rights)
    }
  }

  private func addMemoryStream(_ kind: Descriptor.Kind, index: Int, _ rights: Rights) {
    var descriptor = Descriptor.closed
    descriptor.kind = kind
    descriptor.host = Int32(index)
    descriptor.base = rights
    _ = descriptors.insert(descriptor)
  }

  /// A descriptor that stays the host's. One that is not open becomes an empty stream, so that the
  /// numbers of the others do not change.
  private func addShared(_ number: Int32) {
    let status = fcntl(number, F_GETFL)
    var rights: Rights = [.file, .socket]
    if status >= 0, status & O_ACCMODE == O_RDONLY { rights.subtract([.fdWrite, .fdAllocate, .fdFilestatSetSize]) }
    if status >= 0, status & O_ACCMODE == O_WRONLY { rights.subtract(.fdRead) }
    do throws(WASIErrno) {
      if status < 0 { throw .badf }
      _ = descriptors.insert(
        try Descriptor(
          describing: number, isOwned: false, flags: FdFlags(hostFlags: status), base: rights, inheriting: []))
    } catch {
      addMemoryStream(.null, index: 0, [.fdRead, .fdWrite, .fdFilestatGet, .pollFdReadwrite])
    }
  }

  private func addPreopen(_ preopen: WASIConfiguration.Preopen, index: Int) throws(WASIConfigurationError) {
    func fail(_ reason: String) -> WASIConfigurationError {
      WASIConfigurationError("directory '\(preopen.hostPath)': \(reason)")
    }
    if preopen.hostPath.utf8.contains(0) || preopen.guestPath.utf8.contains(0) { throw fail("a NUL in its name") }
    // The host's own path, so opened as the host would open any other.
    let host = unsafe open(preopen.hostPath, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    if host < 0 { throw fail(unsafe String(cString: strerror(errno))) }
    var base = Rights.directory
    var inheriting = Rights.directory.union(.file)
    if preopen.isReadOnly {
      base.subtract(.changing)
      inheriting.subtract(.changing)
    }
    var descriptor = Descriptor.closed
    descriptor.kind = .directory
    descriptor.fileType = .directory
    descriptor.isOwned = true
    descriptor.host = host
    descriptor.preopen = Int32(index)
    descriptor.base = base
    descriptor.inheriting = inheriting
    _ = descriptors.insert(descriptor)
  }

  // MARK: Looking up descriptors

  /// An open descriptor with the rights for an operation on a file.
  @inline(__always)
  func file(_ fd: UInt32, _ rights: Rights) throws(WASIErrno) -> Descriptor {
    let descriptor = try descriptors[fd]
    if !descriptor.base.isSuperset(of: rights) { throw Self.missing(rights, of: descriptor) }
    return descriptor
  }

  /// An open directory with the rights for an operation.
  func directory(_ fd: UInt32, _ rights: Rights) throws(WASIErrno) -> Descriptor {
    let descriptor = try descriptors[fd]
    if descriptor.kind != .directory { throw .notdir }
    if !descriptor.base.isSuperset(of: rights) { throw .notcapable }
    return descriptor
  }

  /// A right may be missing because the guest was not given it (`notcapable`), or because the thing
  /// cannot do that at all; then the answer is the one that POSIX programs know.
  private static func missing(_ rights: Rights, of descriptor: Descriptor) -> WASIErrno {
    if !rights.isDisjoint(with: [.fdRead, .fdWrite]) { return .badf }
    switch descriptor.kind {
    case .directory: return .badf
    case .stream, .null, .source, .sink: return rights.isDisjoint(with: [.fdSeek, .fdTell]) ? .inval : .spipe
    case .file, .closed: return .notcapable
    }
  }
}

extension FdFlags {
  /// From `fcntl(F_GETFL)`.
  init(hostFlags: Int32) {
    self = []
    if hostFlags & O_APPEND != 0 { insert(.append) }
    if hostFlags & O_NONBLOCK != 0 { insert(.nonblock) }
    if hostFlags & O_SYNC == O_SYNC { insert(.sync) }
    if hostFlags & O_DSYNC != 0 { insert(.dsync) }
  }

  /// For `open(2)`.
  var hostFlags: Int32 {
    var flags: Int32 = 0
    if contains(.append) { flags |= O_APPEND }
    if contains(.nonblock) { flags |= O_NONBLOCK }
    if contains(.dsync) { flags |= O_DSYNC }
    // Linux treats O_RSYNC as O_SYNC.
    if contains(.rsync) || contains(.sync) { flags |= O_SYNC }
    return flags
  }
}

/// Strings laid out as the guest gets them: one after the other, each with its terminator.
struct StringList: Sendable {
  let bytes: [UInt8]
  /// Where each one starts in `bytes`.
  let offsets: [UInt32]

  init(_ strings: [String], what: String) throws(WASIConfigurationError) {
    var bytes: [UInt8] = []
    var offsets: [UInt32] = []
    for string in strings {
      if string.utf8.contains(0) { throw WASIConfigurationError("\(what) '\(string)': a NUL inside") }
      guard let offset = UInt32(exactly: bytes.count) else {
        throw WASIConfigurationError("\(what)s: more than 4 GiB")
      }
      offsets.append(offset)
      bytes.append(contentsOf: string.utf8)
      bytes.append(0)
    }
    if bytes.count > Int(UInt32.max) { throw WASIConfigurationError("\(what)s: more than 4 GiB") }
    self.bytes = bytes
    self.offsets = offsets
  }

  /// `args_sizes_get`, `environ_sizes_get`.
  func sizes(_ memory: GuestMemory, count: UInt32, size: UInt32) throws(WASIErrno) {
    try memory.check(size, 4)
    try memory.store(UInt32(offsets.count), at: count)
    try memory.store(UInt32(bytes.count), at: size)
  }

  /// `args_get`, `environ_get`: an array of pointers, and the bytes that they point to.
  func get(_ memory: GuestMemory, pointers: UInt32, buffer: UInt32) throws(WASIErrno) {
    try memory.checkArray(pointers, elements: UInt32(offsets.count), stride: 4)
    try memory.check(buffer, UInt64(bytes.count))
    for (index, offset) in offsets.enumerated() {
      // Both sums are inside the memory, which was just checked.
      try memory.store(buffer &+ offset, at: pointers, offset: UInt32(index) * 4)
    }
    try unsafe bytes.withUnsafeBufferPointer { (source) throws(WASIErrno) in
      try unsafe memory.write(UnsafeRawBufferPointer(source), at: buffer)
    }
  }
}
