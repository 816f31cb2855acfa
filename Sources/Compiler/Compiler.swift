// The way from a wasm binary to an artifact.
//
// Sections are decoded first; bodies are validated and compiled in parallel (Chunks.swift); then the text
// is laid out, calls are resolved in the chunks where they stand, unwind entries are written, and the
// writer takes it from there. Nothing the size of the text is copied on the way.

public import PrecastArtifact
public import PrecastArtifactWriter
public import PrecastMachineCode
public import PrecastWasm

#if canImport(Glibc)
  import Glibc
#endif

/// Why a module could not be compiled.
public enum CompilerError: Error, Sendable, CustomStringConvertible {
  /// The module is malformed, invalid, or uses what is not supported.
  case wasm(WasmError)
  /// The settings ask for what this compiler cannot do.
  case unsupportedSettings(String)
  /// The text is larger than an artifact can hold.
  case textTooLarge(String)
  /// An import cannot be bound to a symbol.
  case binding(String)
  /// The artifact could not be written.
  case writer(ArtifactWriterError)
  /// A defect of the compiler.
  case `internal`(String)

  /// What is wrong, in words.
  public var description: String {
    switch self {
    case .wasm(let error): "\(error)"
    case .unsupportedSettings(let message), .binding(let message): message
    case .textTooLarge(let message): "the code is too large for an artifact: \(message)"
    case .writer(let error): "\(error)"
    case .internal(let message): "internal error of the compiler (please report it): \(message)"
    }
  }
}

/// Durations of the parts of a compilation, in seconds, and sizes in bytes.
public struct CompilationStatistics: Sendable {
  /// Decoding of all sections but the code.
  public var decode = 0.0
  /// Validation and compilation of function bodies.
  public var functions = 0.0
  /// Layout of the text, relocation, unwind tables.
  public var layout = 0.0
  /// Writing the artifact.
  public var write = 0.0
  /// Size of the text.
  public var textSize = 0
  /// Number of functions compiled.
  public var functionCount = 0
}

/// What an unlinked object is to be like.
public struct ObjectOptions: Sendable, Equatable {
  /// Whether each piece of code gets a section of its own, which linkers can place, order and leave out one by one.
  public var hasFunctionSections = false
  /// Whether `.eh_frame` has 64-bit pointers, for whoever places code further from it than 2 GiB; a text that could need them
  /// has them anyway.
  public var hasWideUnwindTables = false
  /// Imported functions that are bound to symbols of the platform.
  public var bindings: [ImportBinding] = []

  /// One `.text`, no binding.
  public init() {}
}

/// Compiles wasm modules with given settings. A value; use it from any thread.
public struct Compiler: Sendable {
  /// Name that goes into the compatibility record.
  public static let name = "precast-baseline"
  /// Version that goes into the compatibility record.
  public static let version = "0.1.0"

  /// The settings that shape the code.
  public var settings: CompilerSettings
  /// Number of threads; as many as there are processors if nil.
  public var threads: Int?
  /// For tests: a layout that makes a small text behave like a large one. An artifact made with it says so in its compiler's
  /// version, and a cache takes none such. Objects are not laid out; of it they take the reach of conditional branches.
  public var testingLayout = TextLayoutTesting()
  /// Called from one thread at a time with the bytes of function bodies compiled so far, and of all.
  public var onProgress: (@Sendable (_ done: Int, _ total: Int) -> Void)?

  /// A compiler with `settings`.
  public init(settings: CompilerSettings = CompilerSettings(), threads: Int? = nil) {
    self.settings = settings
    self.threads = threads
  }

  /// Compiles `binary` and writes the artifact to `path`, atomically.
  ///
  /// - Throws: `CompilerError`; then no file has been written or changed.
  @discardableResult
  public func compile(_ binary: WasmBinary, toFile path: String) throws(CompilerError) -> CompilationStatistics {
    var statistics = CompilationStatistics()
    try compile(binary, &statistics) { input throws(ArtifactWriterError) in
      try ArtifactWriter.write(input, toFile: path)
    }
    return statistics
  }

  /// Compiles `binary` and returns the artifact.
  ///
  /// - Throws: `CompilerError`.
  public func compile(_ binary: WasmBinary) throws(CompilerError) -> [UInt8] {
    var statistics = CompilationStatistics()
    var bytes: [UInt8] = []
    try compile(binary, &statistics) { input throws(ArtifactWriterError) in
      bytes = try ArtifactWriter.bytes(input)
    }
    return bytes
  }

  /// Compiles `binary` to a sealed file in memory, and returns its descriptor, which the caller closes.
  ///
  /// - Throws: `CompilerError`.
  public func compileToMemory(_ binary: WasmBinary) throws(CompilerError) -> Int32 {
    var statistics = CompilationStatistics()
    var descriptor: Int32 = -1
    try compile(binary, &statistics) { input throws(ArtifactWriterError) in
      descriptor = try ArtifactWriter.memoryFile(input)
    }
    return descriptor
  }

  /// Compiles `binary` to an unlinked object, and writes it to `path`, atomically.
  ///
  /// - Throws: `CompilerError`; then no file has been written or changed.
  @discardableResult
  public func compileObject(
    _ binary: WasmBinary, options: ObjectOptions = ObjectOptions(), toFile path: String
  ) throws(CompilerError) -> CompilationStatistics {
    var statistics = CompilationStatistics()
    try compileObject(binary, options, &statistics) { input throws(ArtifactWriterError) in
      try ObjectWriter.write(input, toFile: path)
    }
    return statistics
  }

  /// Compiles `binary` to an unlinked object.
  ///
  /// - Throws: `CompilerError`.
  public func compileObject(
    _ binary: WasmBinary, options: ObjectOptions = ObjectOptions()
  ) throws(CompilerError) -> [UInt8] {
    var statistics = CompilationStatistics()
    var bytes: [UInt8] = []
    try compileObject(binary, options, &statistics) { input throws(ArtifactWriterError) in
      bytes = try ObjectWriter.bytes(input)
    }
    return bytes
  }

  private func compile(
    _ binary: WasmBinary, _ statistics: inout CompilationStatistics,
    write: (ArtifactInput) throws(ArtifactWriterError) -> Void
  ) throws(CompilerError) {
    var clock = Stopwatch()
    let (environment, chunks) = try compileFunctions(binary, bindings: [], &clock, &statistics)
    let layout = try TextLayout(environment: environment, chunks: chunks, testing: testingLayout)
    statistics.layout = clock.lap()
    statistics.textSize = layout.textSize
    var input = input(environment)
    if testingLayout.isActive { input.record.compilerVersion += "+testing-layout" }
    layout.fill(&input)
    do {
      try write(input)
    } catch {
      throw .writer(error)
    }
    // The input points into the chunks and the layout.
    withExtendedLifetime((layout, chunks)) {}
    statistics.write = clock.lap()
  }

  private func compileObject(
    _ binary: WasmBinary, _ options: ObjectOptions, _ statistics: inout CompilationStatistics,
    write: (ObjectInput) throws(ArtifactWriterError) -> Void
  ) throws(CompilerError) {
    var clock = Stopwatch()
    let (environment, chunks) = try compileFunctions(binary, bindings: options.bindings, &clock, &statistics)
    let layout = try ObjectLayout(
      environment: environment, chunks: chunks, isUnwindWide: options.hasWideUnwindTables ? true : nil)
    statistics.layout = clock.lap()
    statistics.textSize = layout.textSize
    var input = ObjectInput(input(environment))
    input.hasFunctionSections = options.hasFunctionSections
    layout.fill(&input)
    do {
      try write(input)
    } catch {
      throw .writer(error)
    }
    // The input points into the chunks and the layout.
    withExtendedLifetime((layout, chunks)) {}
    statistics.write = clock.lap()
  }

  /// Everything up to the machine code of all functions.
  private func compileFunctions(
    _ binary: WasmBinary, bindings: [ImportBinding], _ clock: inout Stopwatch,
    _ statistics: inout CompilationStatistics
  ) throws(CompilerError) -> (ModuleEnvironment, [CompiledChunk]) {
    let foreign = settings.cpuFeatures.subtracting(.all(of: settings.architecture))
    guard foreign.isEmpty else {
      throw .unsupportedSettings("\(settings.architecture.name) has no CPU features of the names \(foreign.names)")
    }
    let module: WasmModule
    do {
      module = try WasmModule(decoding: binary)
    } catch {
      throw .wasm(error)
    }
    let environment = ModuleEnvironment(
      module: module, binary: binary, settings: settings, boundImports: try BoundImports(bindings, of: module),
      testing: testingLayout)
    statistics.decode = clock.lap()

    let total = module.bodies.reduce(0) { $0 + $1.body.count }
    let compilation = ChunkedCompilation(environment: environment)
    let report: (@Sendable (Int) -> Void)? = onProgress.map { callback in
      { @Sendable (done: Int) in callback(done, total) }
    }
    let chunks = try compilation.run(threads: threads ?? Self.processorCount, onProgress: report)
    statistics.functions = clock.lap()
    statistics.functionCount = module.bodies.count
    return (environment, chunks)
  }

  /// What goes into a file besides the code.
  private func input(_ environment: ModuleEnvironment) -> ArtifactInput {
    let record = CompatibilityRecord(
      compilerName: Self.name, compilerVersion: Self.version, settings: settings)
    var input = ArtifactInput(record: record, module: environment.module, binary: environment.binary)
    let names = NameSection(module: environment.module, binary: environment.binary)
    input.functionNames = names.functionNames
    input.moduleName = names.moduleName
    return input
  }

  /// Number of processors that this process may run on.
  public static var processorCount: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }
}

/// Measures laps.
private struct Stopwatch {
  private var last = ContinuousClock.now

  mutating func lap() -> Double {
    let now = ContinuousClock.now
    let duration = last.duration(to: now)
    last = now
    return Double(duration.components.seconds) + Double(duration.components.attoseconds) * 1e-18
  }
}
