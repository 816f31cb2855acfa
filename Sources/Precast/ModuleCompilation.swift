// From a wasm binary to a module that can be instantiated, in one step.
//
// The artifact comes from memory, from the engine's cache, or from the compiler, whichever has it first. A file is
// not even read where the cache knows its digest: its identity (device, inode, size, times) is enough to find the artifact.

import Glibc
public import PrecastArtifact
import PrecastCache
import PrecastCompiler
import PrecastLoader
public import PrecastRuntime
public import PrecastWasm

extension CompilerSettings {
  /// The settings for code that runs here and now: all that this processor has.
  public static var native: CompilerSettings {
    var settings = CompilerSettings()
    settings.cpuFeatures = HostSettings.cpuFeatures
    return settings
  }
}

extension Module {
  /// Makes a module of a wasm binary, for the processor of this machine: from the engine's cache, or compiled.
  ///
  /// - Throws: `CompilerError` for a module that is malformed, invalid or uses what is not supported; `LoadError`;
  ///   `CacheError.notInCache` if the engine's cache is read-only and has no entry.
  public convenience init(engine: Engine, wasm: [UInt8], settings: CompilerSettings = .native) throws {
    let state = CompiledModule(wasm: WasmSource(wasm), settings: settings)
    self.init(
      engine: engine,
      artifact: try engine.modules.artifact(for: state, in: engine.configuration))
  }

  /// Makes a module of a wasm binary, with given settings: from the engine's cache, or compiled.
  ///
  /// - Throws: `CompilerError`; `LoadError`, also where the settings ask for what this machine lacks; `CacheError`.
  public convenience init(engine: Engine, wasm: WasmBinary, settings: CompilerSettings, threads: Int? = nil) throws {
    let state = CompiledModule(wasm: WasmSource(wasm), settings: settings, threads: threads)
    self.init(
      engine: engine,
      artifact: try engine.modules.artifact(for: state, in: engine.configuration))
  }

  /// Makes a module of a file of wasm: from the engine's cache, without reading the file where it has been seen before and has
  /// not changed since; or compiled.
  ///
  /// - Throws: `LoadError` where the file cannot be read; `CompilerError`; `CacheError`.
  public convenience init(
    engine: Engine, wasmFile path: String, settings: CompilerSettings = .native, threads: Int? = nil
  ) throws {
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw CompiledModule.cannotRead(errno, path) }
    defer { close(descriptor) }
    do {
      try self.init(engine: engine, wasmFile: descriptor, settings: settings, threads: threads)
    } catch var error as LoadError where error.path == nil {
      error.path = path
      throw error
    }
  }

  /// Makes a module of an open file of wasm, which stays the caller's. Its position is neither used nor changed.
  ///
  /// - Throws: `LoadError` where the file cannot be read; `CompilerError`; `CacheError`.
  public convenience init(
    engine: Engine, wasmFile descriptor: Int32, settings: CompilerSettings = .native, threads: Int? = nil
  ) throws {
    try self.init(engine: engine, wasmFile: descriptor, settings: settings, threads: threads) {
      try CompiledModule.read(descriptor)
    }
  }

  /// Makes a module of an open file of wasm, for callers with a way of their own to read it.
  ///
  /// - Parameter reading: reads all of this file; only called where that is necessary.
  /// - Throws: what `reading` throws; `LoadError`; `CompilerError`; `CacheError`.
  public convenience init(
    engine: Engine, wasmFile descriptor: Int32, settings: CompilerSettings, threads: Int? = nil,
    reading: () throws -> WasmBinary
  ) throws {
    let modules = engine.modules
    let configuration = engine.configuration
    let identity = FileIdentity(fileDescriptor: descriptor)
    if let identity, let digest = modules.cache?.digest(of: identity) {
      // Looking for it compiles nothing, so the bytes are not asked for.
      let source = WasmSource(digest: digest) { throw CompiledModule.cannotRead(ENODATA, nil) }
      let state = CompiledModule(wasm: source, settings: settings, threads: threads)
      if let artifact = try modules.knownArtifact(for: state, in: configuration) {
        self.init(engine: engine, artifact: artifact)
        return
      }
    }
    let moment = ArtifactCache.currentMoment
    let source = WasmSource(try reading())
    if let identity, FileIdentity(fileDescriptor: descriptor) == identity {
      modules.cache?.remember(source.digest, of: identity, at: moment)
    }
    let state = CompiledModule(wasm: source, settings: settings, threads: threads)
    self.init(engine: engine, artifact: try modules.artifact(for: state, in: configuration))
  }
}

extension CompiledModule {
  /// Reads a regular file to its end.
  static func read(_ descriptor: Int32) throws(LoadError) -> WasmBinary {
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { throw cannotRead(errno, nil) }
    guard status.st_mode & S_IFMT == S_IFREG else {
      throw cannotRead(status.st_mode & S_IFMT == S_IFDIR ? EISDIR : ESPIPE, nil)
    }
    // Offsets in modules have 32 bits.
    guard status.st_size <= Int(UInt32.max) else { throw cannotRead(EFBIG, nil) }
    let binary = try unsafe WasmBinary(capacity: Int(status.st_size)) { (buffer) throws(LoadError) in
      var count = 0
      while count < buffer.count {
        // In bounds: `count` is less than the size.
        let part = unsafe UnsafeMutableRawBufferPointer(rebasing: buffer[count...])
        let read = unsafe pread(descriptor, part.baseAddress, part.count, off_t(count))
        if read < 0 && errno == EINTR { continue }
        guard read >= 0 else { throw cannotRead(errno, nil) }
        if read == 0 { break }
        count += read
      }
      return count
    }
    guard let binary else { throw cannotRead(ENOMEM, nil) }
    return binary
  }

  static func cannotRead(_ number: Int32, _ path: String?) -> LoadError {
    LoadError(
      kind: .cannotRead(errno: number), path: path, message: "could not read the wasm file: \(describe(number))")
  }

  private static func describe(_ number: Int32) -> String {
    // `strerror_r` writes into our buffer; `strerror` would share one among threads.
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
      guard let start = buffer.baseAddress, unsafe strerror_r(number, start, buffer.count) == 0 else {
        return "error \(number)"
      }
      return unsafe String(cString: start)
    }
  }

  static func close(_ descriptor: Int32) { _ = Glibc.close(descriptor) }
}
