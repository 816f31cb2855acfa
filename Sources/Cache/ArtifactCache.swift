// The cache: a look-up, and what happens when it finds nothing.
//
// One call, `artifact(for:load:)`, gives an artifact for everything that its code depends on. On a hit the entry's own file
// is handed over, to be mapped where it lies. What is wrong with the cache is never the caller's problem: an entry that
// cannot be used is removed and counts as none; one that cannot be written is used from memory. The exception is a
// read-only cache, whose whole point is that nothing is compiled: there a miss is an error.
//
// Everything that need not happen before the caller goes on (use counts, stamps, clean-up, compression) goes to the worker
// (Worker.swift).

import CPrecastHost
import Glibc
import Synchronization

/// What a cache cannot do anything about.
public enum CacheError: Error, Sendable, Equatable, CustomStringConvertible {
  /// A read-only cache has no entry for what was asked.
  case notInCache(key: String, directory: String)
  /// There is neither a configured directory nor a home directory to put one into.
  case noDirectory
  /// The directory cannot be used for what was asked (listing, clearing, …).
  case unusable(String)
  /// The compiled artifact could not be read from memory.
  case outOfResources(String)

  /// What is wrong, where, and what to do.
  public var description: String {
    switch self {
    case .notInCache(let key, let directory):
      "no entry \(key.prefix(16))… in the read-only artifact cache \(directory); "
        + "the module, the settings or the compiler differ from those that it was filled with"
    case .noDirectory:
      "there is no place for an artifact cache: neither XDG_CACHE_HOME nor HOME is set; name one with "
        + StandardPaths.directoryVariable
    case .unusable(let why): why
    case .outOfResources(let why): why
    }
  }
}

/// An entry's file, to be loaded.
public struct CachedFile: Sendable {
  /// Open for reading; valid during the call.
  public let descriptor: Int32
  /// Whether all of it has to be verified before any of it is used.
  public let mustVerify: Bool
  /// Whether this is what was just compiled, in memory. If it cannot be loaded, the cache is not to blame.
  public let isFresh: Bool
}

/// What came of loading an entry's file.
public enum CachedLoad<Loaded> {
  /// It is loaded.
  case loaded(Loaded)
  /// The file is damaged, or not what it should be: the entry is removed, and made again.
  case damaged
  /// The file may be fine, but cannot be used from where it is (a file system that is mounted noexec, say). Why, in words.
  case unavailable(String)
}

/// A cache of artifacts on disk, shared with other threads, processes and caches of the same directory.
public final class ArtifactCache: Sendable {
  let core: CacheCore
  private let worker: Worker
  private let misses = Atomic<Int>(0)

  /// A cache in a directory that is made when the first entry is written.
  ///
  /// - Parameters:
  ///   - configuration: how it behaves. Settings files are read by `PrecastCacheSettings`.
  ///   - defersWork: for a program that makes a module or two and ends soon: no thread is started for hits, and `finish`
  ///     does what is to be done for them.
  ///   - warn: told at most once that the cache cannot be written or used. Standard error by default.
  /// - Throws: `CacheError.noDirectory`.
  public convenience init(
    _ configuration: CacheConfiguration = CacheConfiguration(), defersWork: Bool = false,
    warn: (@Sendable (String) -> Void)? = nil
  ) throws(CacheError) {
    try self.init(
      configuration, calls: FileCalls(), defersWork: defersWork, warn: warn ?? Self.warnOnStandardError)
  }

  init(
    _ configuration: CacheConfiguration, calls: FileCalls, defersWork: Bool = false,
    warn: @escaping @Sendable (String) -> Void
  ) throws(CacheError) {
    guard let root = configuration.directory ?? StandardPaths.cacheDirectory else { throw .noDirectory }
    core = CacheCore(configuration: configuration, root: root, calls: calls, warn: warn)
    worker = Worker(core: core, isDeferred: defersWork)
  }

  deinit { worker.stop() }

  /// How the cache behaves.
  public var configuration: CacheConfiguration { core.configuration }

  /// How many modules were compiled through this object because the cache lacked them.
  public var missCount: Int { misses.load(ordering: .relaxed) }

  /// Path of the cache's root.
  public var directory: String { core.directory.root }

  private static let warnOnStandardError: @Sendable (String) -> Void = { message in
    let line = Array("precast: warning: \(message)\n".utf8)
    // Nothing can be done, or said, where that fails.
    _ = unsafe line.withUnsafeBytes { unsafe Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }

  // MARK: Artifacts

  /// The artifact for a compilation: from the cache, or compiled and then put there.
  ///
  /// - Parameters:
  ///   - state: everything that the code depends on.
  ///   - load: makes of the artifact's file what the caller wants. Called up to three times: with an entry, with what was
  ///     compiled and written, with the same in memory.
  /// - Throws: what compiling and `load` throw; `CacheError.notInCache` if the cache is read-only.
  public func artifact<State: CachedCompilation, Loaded>(
    for state: State, load: (CachedFile) throws -> CachedLoad<Loaded>
  ) throws -> Loaded {
    let key = try CacheKey(of: state)
    if let found = try lookUp(key, of: State.compiler, load: load) { return found }
    if configuration.isReadOnly { throw CacheError.notInCache(key: key.description, directory: directory) }
    core.count(.misses)
    misses.wrappingAdd(1, ordering: .relaxed)
    let memory = try State.compile(state)
    defer { close(memory) }
    let stored = store(memory, as: key, of: State.compiler)
    defer { if let stored { close(stored) } }
    worker.offer(.stored)
    // A file that was written a moment ago and cannot be loaded says nothing about the module: the same is in memory.
    if let stored {
      switch try load(CachedFile(descriptor: stored, mustVerify: false, isFresh: false)) {
      case .loaded(let loaded): return loaded
      case .damaged: break
      case .unavailable(let why): core.warnOnce(DirectoryProblem(unusable: why))
      }
    }
    guard case .loaded(let loaded) = try load(CachedFile(descriptor: memory, mustVerify: false, isFresh: true)) else {
      throw CacheError.outOfResources("the artifact that was compiled for \(key) cannot be loaded")
    }
    return loaded
  }

  /// The artifact with a key, if there is an entry for it that can be used.
  ///
  /// - Throws: what `load` throws.
  public func lookUp<Loaded>(
    _ key: CacheKey, of compiler: CompilerIdentity, load: (CachedFile) throws -> CachedLoad<Loaded>
  ) throws -> Loaded? {
    guard let entries = try? core.subdirectory(compiler.directoryName, creates: false) else { return nil }
    let name = key.description
    let verifies = configuration.verifiesEverything
    // The second time because another process may have packed or unpacked the entry between the two looks of the first.
    for _ in 0..<2 {
      let file = name + EntryName.artifact
      switch core.directory.openFile(file, in: entries, seal: key.seal) {
      case .sound(let descriptor, let status):
        defer { close(descriptor) }
        return try use(descriptor, status, file, key, entries, mustVerify: verifies, load)
      case .unsealed(let descriptor, let status):
        defer { close(descriptor) }
        if configuration.isReadOnly { return try use(descriptor, status, file, key, entries, mustVerify: true, load) }
        remove(file, in: entries, ifStill: status)
        return nil
      case .untrusted:
        remove(file, in: entries, ifStill: nil)
        return nil
      case .unreadable: return nil
      case .absent: break
      }
      let packed = name + EntryName.compressed
      switch core.directory.openFile(packed, in: entries, seal: key.seal) {
      case .sound(let descriptor, let status), .unsealed(let descriptor, let status):
        defer { close(descriptor) }
        // Its own checksum covers all of it, but not whether it belongs to this key.
        let isSealed = status.st_mtim.tv_sec == key.seal
        if isSealed || configuration.isReadOnly,
          let unpacked = unpack(descriptor, Int(status.st_size), as: key, in: entries)
        {
          defer { close(unpacked) }
          return try use(unpacked, nil, file, key, entries, mustVerify: verifies || !isSealed, load)
        }
        remove(packed, in: entries, ifStill: status)
        return nil
      case .untrusted:
        remove(packed, in: entries, ifStill: nil)
        return nil
      case .unreadable: return nil
      case .absent: break
      }
    }
    return nil
  }

  /// Removes an entry that turned out to be damaged after it was served.
  public func discard(_ key: CacheKey, of compiler: CompilerIdentity) {
    guard !configuration.isReadOnly, let entries = try? core.subdirectory(compiler.directoryName, creates: false) else {
      return
    }
    remove(key.description + EntryName.artifact, in: entries, ifStill: nil)
    _ = core.calls.remove(entries.number, key.description + EntryName.compressed)
  }

  private func use<Loaded>(
    _ descriptor: Int32, _ status: stat?, _ file: String, _ key: CacheKey, _ entries: OwnedDescriptor,
    mustVerify: Bool, _ load: (CachedFile) throws -> CachedLoad<Loaded>
  ) throws -> Loaded? {
    let loaded: Loaded
    switch try load(CachedFile(descriptor: descriptor, mustVerify: mustVerify, isFresh: false)) {
    case .loaded(let value): loaded = value
    case .damaged:
      remove(file, in: entries, ifStill: status)
      return nil
    case .unavailable(let why):
      core.warnOnce(DirectoryProblem(unusable: why))
      return nil
    }
    core.count(.hits)
    worker.offer(.used(entries, key))
    return loaded
  }

  private func remove(_ file: String, in entries: OwnedDescriptor, ifStill status: stat?) {
    if configuration.isReadOnly { return }
    core.count(.damaged)
    core.directory.discard(file, in: entries, ifStill: status)
  }

  // MARK: Writing

  /// Writes an entry. Nil where that cannot be done; otherwise a descriptor of its file that the caller closes.
  private func store(_ memory: Int32, as key: CacheKey, of compiler: CompilerIdentity) -> Int32? {
    do throws(DirectoryProblem) {
      let descriptor = try core.withSubdirectory(compiler.directoryName) { (entries) throws(DirectoryProblem) in
        var file = try TemporaryFile(in: entries, calls: core.calls, isFinal: true)
        try copy(memory, to: file.descriptor)
        try file.publish(as: key.description + EntryName.artifact, seal: key.seal)
        return file.take()
      }
      core.count(.stored)
      return descriptor
    } catch {
      core.count(.notStored)
      core.warnOnce(error)
      return nil
    }
  }

  /// Copies an in-memory file.
  private func copy(_ memory: Int32, to descriptor: Int32) throws(DirectoryProblem) {
    var status = stat()
    guard unsafe fstat(memory, &status) == 0 else { throw DirectoryProblem(errno: errno, "read the artifact") }
    let size = Int(status.st_size)
    // A mapping of sealed memory: nobody can shorten it.
    guard let base = unsafe mmap(nil, max(size, 1), PROT_READ, MAP_SHARED, memory, 0), unsafe base != MAP_FAILED else {
      throw DirectoryProblem(errno: errno, "read the artifact")
    }
    defer { unsafe _ = munmap(base, max(size, 1)) }
    let result = unsafe core.calls.write(descriptor, UnsafeRawBufferPointer(start: base, count: size), at: 0)
    if result < 0 { throw DirectoryProblem(errno: -result, "write a file") }
  }

  /// Unpacks a compressed entry, and makes it an ordinary one where that can be written. Nil for a damaged one; otherwise a
  /// descriptor of its file that the caller closes.
  private func unpack(_ descriptor: Int32, _ size: Int, as key: CacheKey, in entries: OwnedDescriptor) -> Int32? {
    guard size <= Compression.mostBytes,
      let packed = HeapBytes.read(descriptor, size: size, calls: core.calls),
      let bytes = Compression.unpack(packed)
    else { return nil }
    if !configuration.isReadOnly {
      do throws(DirectoryProblem) {
        var file = try TemporaryFile(in: entries, calls: core.calls, isFinal: true)
        let result = unsafe bytes.withBytes { unsafe core.calls.write(file.descriptor, $0, at: 0) }
        if result < 0 { throw DirectoryProblem(errno: -result, "write a file") }
        try file.publish(as: key.description + EntryName.artifact, seal: key.seal)
        _ = core.calls.remove(entries.number, key.description + EntryName.compressed)
        core.count(.unpacked)
        return file.take()
      } catch {
        core.warnOnce(error)
      }
    }
    let memory = unsafe bytes.withBytes { unsafe precast_sealed_memfd("precast-artifact", $0.baseAddress, $0.count) }
    return memory >= 0 ? memory : nil
  }

  // MARK: Digests of files

  /// The digest of a file that was hashed before and has not changed since; nil where that is not known.
  public func digest(of identity: FileIdentity) -> Digest? {
    guard let index = try? core.subdirectory(FileIndex.directoryName, creates: false),
      case .sound(let record, _) = core.directory.openFile(FileIndex.name(identity), in: index, seal: nil)
    else { return nil }
    defer { close(record) }
    let found: Digest? = unsafe withUnsafeTemporaryAllocation(byteCount: FileIndex.recordSize, alignment: 16) {
      buffer in
      guard unsafe core.calls.read(record, buffer, at: 0) == FileIndex.recordSize else { return nil }
      return unsafe FileIndex.digest(in: UnsafeRawBufferPointer(buffer), for: identity)
    }
    if found != nil { worker.offer(.read(index, identity)) }
    return found
  }

  /// Remembers the digest of a file.
  ///
  /// - Parameters:
  ///   - digest: of the file's contents, as they were read.
  ///   - identity: what the file was, both before and after that.
  ///   - moment: the time of day (`currentMoment`) before the first byte was read. A file that had changed only just before
  ///     is not remembered.
  public func remember(_ digest: Digest, of identity: FileIdentity, at moment: Moment) {
    guard !configuration.isReadOnly, identity.isSettled(at: moment.time) else { return }
    do throws(DirectoryProblem) {
      try core.withSubdirectory(FileIndex.directoryName) { (index) throws(DirectoryProblem) in
        var file = try TemporaryFile(in: index, calls: core.calls, isFinal: false)
        let result = core.calls.write(file.descriptor, FileIndex.record(identity, digest), at: 0)
        if result < 0 { throw DirectoryProblem(errno: -result, "write a file") }
        // The record has its own checksum, so half of one is none.
        try file.publish(as: FileIndex.name(identity), seal: nil, isDurable: false)
      }
    } catch {
      core.warnOnce(error)
    }
  }

  /// A time of day.
  public struct Moment: Sendable {
    let time: WallTime
  }

  /// The time of day, for `remember`.
  public static var currentMoment: Moment { Moment(time: .now) }

  // MARK: The worker

  /// Waits until the worker has done what it was given, but no longer than that; whether it has.
  @discardableResult
  public func finish(within time: Duration) -> Bool { worker.finish(within: time) }
}
