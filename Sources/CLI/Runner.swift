// `precast run`: from a file to a guest that has ended.
//
// The file is opened once, looked at, and loaded from that same descriptor: what was looked at is what runs. A guest ends in
// one of four ways (it returns, it calls proc_exit, it traps, the host fails it), and each has its exit code.

import Glibc
import Precast
import PrecastArtifact
import PrecastWasm

struct Runner {
  let options: RunOptions

  /// How many frames of a backtrace are shown at its inner and at its outer end.
  private static let framesShown = (inner: 24, outer: 8)

  /// Runs the guest; what it returns is the command's exit code.
  func run() throws -> Int32 {
    var timings = Timings()
    defer { if options.timings { Terminal.note(timings.report) } }
    do {
      try start(&timings)
      return Exit.success
    } catch let exit as WASIExit {
      return Exit.code(forGuest: exit.code)
    } catch let trap as Trap {
      Terminal.report(Failure(block: "\(options.file.printable): \(Self.describe(trap))"))
      return Exit.trap
    } catch let failure as Failure {
      throw failure
    } catch let error as LoadError where error.kind == .cannotLink {
      throw Failure(linking: error)
    } catch {
      throw Failure("\(options.file): \(error)")
    }
  }

  private func start(_ timings: inout Timings) throws {
    let file = try InputFile(path: options.file)
    let kind = try file.kind()
    // The guest gets all the stack that this thread has.
    var configuration = EngineConfiguration(maximumWasmStack: 0)
    configuration.verifiesArtifacts = options.verify
    configuration.announcesToDebuggers = options.debug
    configuration.profiling = options.profile ?? .none
    warnOfProfile()
    let cache = kind == .elf || !options.usesCache ? nil : try CacheFront.open()
    // A hit is counted at once; after a compilation, which took longer than that, clean-up gets some time.
    defer { cache?.finish(within: .milliseconds(cache?.missCount == 0 ? 0 : 250)) }
    let engine = Engine(configuration: configuration, cache: cache)
    var module = try load(file, kind, engine, &timings)
    let call = try options.invoke.map { try invocation(of: $0, in: module) }
    try checkEntries(of: module, invoked: call?.name)

    let store = Store(engine: engine)
    let instance = try timings.measure("instantiate") { () throws -> Instance in
      var imports = Imports()
      try wasi().define(in: &imports, store: store, for: module)
      do {
        return try module.instantiate(store: store, imports: imports)
      } catch let error as RuntimeError where error.kind == .damagedArtifact && engine.discardCached(module) {
        // An entry whose tables turn out to be damaged is made again.
        var again = Timings()
        module = try load(file, kind, engine, &again)
        return try module.instantiate(store: store, imports: imports)
      }
    }
    let results = try timings.measure("run") { () throws -> [Value] in
      if let initialize = instance.exports[function: "_initialize"] { try initialize.invoke([]) }
      if let call { return try instance.exports[function: call.name]?.invoke(call.arguments) ?? [] }
      return try instance.exports[function: "_start"]?.invoke([]) ?? []
    }
    if call != nil {
      try Terminal.write(results.map { InvokeValue.text($0) + "\n" }.joined())
    }
  }

  /// Whether there is something to call, and what is called without arguments takes none.
  private func checkEntries(of module: Module, invoked: String?) throws(Failure) {
    var isStartable = invoked != nil
    for export in module.exports where export.name == "_initialize" || export.name == "_start" && invoked == nil {
      if invoked != nil && export.type.kind != .function { continue }
      guard export.type == .function(FunctionType(parameters: [], results: [])) else {
        throw Failure("\(options.file): export '\(export.name)' is a \(export.type), but must be a function [] -> []")
      }
      isStartable = true
    }
    guard isStartable else {
      throw Failure("\(options.file): exports no _start and no _initialize; name an export with --invoke")
    }
  }

  // MARK: The module

  private func load(
    _ file: borrowing InputFile, _ kind: FileKind, _ engine: Engine, _ timings: inout Timings
  ) throws -> Module {
    switch kind {
    case .wasm:
      if engine.cache == nil {
        return try timings.measure("compile") { () throws -> Module in
          try Module(engine: engine, wasm: try file.contents(ifOneOf: [.wasm]), settings: settings())
        }
      }
      return try measureCached(engine, &timings) {
        try Module(engine: engine, wasmFile: file.descriptor, settings: settings()) {
          try file.contents(ifOneOf: [.wasm])
        }
      }
    case .elf:
      try checkName()
      if Self.isObject(try file.start(18)) { return try link(file.contents(ifOneOf: [.elf]), engine, &timings) }
      return try timings.measure("load") { () throws(LoadError) -> Module in
        try Module(engine: engine, deserializeFile: file.descriptor)
      }
    case .archive, .bitcode, .other:
      if file.isRegular { throw noModule(kind) }
    }
    // A pipe: what it is shows once all of it is here.
    let contents = try file.contents(ifOneOf: [.wasm, .elf])
    switch FileKind(contents) {
    case .wasm:
      return try measureCached(engine, &timings) {
        try Module(engine: engine, wasm: contents, settings: settings())
      }
    case .elf:
      try checkName()
      if Self.isObject(contents.bytes(0..<min(18, contents.count))) { return try link(contents, engine, &timings) }
      return try timings.measure("load") { () throws(LoadError) -> Module in
        try Module(engine: engine, deserialize: contents.bytes(0..<contents.count))
      }
    case .archive, .bitcode, .other:
      throw noModule(FileKind(contents))
    }
  }

  private func noModule(_ kind: FileKind) -> Failure {
    Failure("\(options.file): \(kind.hint ?? "neither a wasm module nor an artifact")")
  }

  /// Whether an ELF file that starts so is an object: `e_type` is `ET_REL`.
  private static func isObject(_ start: [UInt8]) -> Bool { start.count == 18 && start.suffix(2) == [1, 0] }

  /// A module from an object that needs no other.
  private func link(_ contents: WasmBinary, _ engine: Engine, _ timings: inout Timings) throws -> Module {
    let object = LinkableObject(contents.bytes(0..<contents.count), name: options.file)
    return try timings.measure("link") { () throws(LoadError) -> Module in
      try Module(engine: engine, linking: [object])
    }
  }

  /// Says that a wish for a profiler's file, in the environment, is none that can be fulfilled.
  private func warnOfProfile() {
    guard options.profile == nil, let value = unsafe getenv("PRECAST_PROFILE") else { return }
    let name = unsafe String(cString: value)
    if name.isEmpty || name == ProfilingStrategy.none.rawValue || ProfilingStrategy(name: name) != nil { return }
    let wrong = "PRECAST_PROFILE is perfmap or jitdump, not '\(name.printable)'"
    Terminal.note("precast: warning: \(wrong); nothing is written for profilers\n")
  }

  /// Times a step that is a load if the cache has the module, and a compilation if it has not.
  private func measureCached(_ engine: Engine, _ timings: inout Timings, _ body: () throws -> Module) throws -> Module {
    let start = Timings.now()
    let misses = engine.cache?.missCount
    defer {
      let name = engine.cache?.missCount == misses && misses != nil ? "load" : "compile"
      timings.add(name, seconds: Double(Timings.now() - start) * 1e-9)
    }
    return try body()
  }

  private func settings() throws -> CompilerSettings {
    var settings = CompilerSettings()
    settings.cpuFeatures = try CPUFeatureOption.parse(options.cpuFeatures ?? "native")
    return settings
  }

  /// Whoever runs a file named `.wasm` expects it to be confined. An artifact under that name is native code in disguise.
  private func checkName() throws(Failure) {
    if options.allowPrecompiled || !options.file.lowercased().hasSuffix(".wasm") { return }
    throw Failure(
      "\(options.file): this is no wasm but an artifact, native code that nothing confines; "
        + "give --allow-precompiled if you trust it")
  }

  // MARK: --invoke

  private func invocation(of name: String, in module: Module) throws(Failure) -> (name: String, arguments: [Value]) {
    guard let export = module.exports.first(where: { $0.name == name }) else {
      throw Failure("\(options.file): has no export '\(name)'")
    }
    guard case .function(let type) = export.type else {
      throw Failure("\(options.file): export '\(name)' is a \(export.type.kind), not a function")
    }
    guard type.parameters.count == options.arguments.count else {
      throw Failure(
        "'\(name)' takes \(type.parameters.count) arguments \(type), not \(options.arguments.count)", code: Exit.usage)
    }
    var arguments: [Value] = []
    for (word, type) in zip(options.arguments, type.parameters) {
      guard let value = InvokeValue.parse(word, as: type) else {
        throw Failure("argument \(arguments.count + 1) of '\(name)', '\(word)', is no \(type)", code: Exit.usage)
      }
      arguments.append(value)
    }
    return (name, arguments)
  }

  // MARK: What the guest is given

  private func wasi() throws(WASIConfigurationError) -> WASI {
    var configuration = WASIConfiguration()
    let name = options.file.split(separator: "/").last.map(String.init) ?? options.file
    // With --invoke the words after FILE are the export's arguments; the guest has its name only.
    configuration.arguments = options.invoke == nil ? [name] + options.arguments : [name]
    configuration.environment = options.environment.compactMap { $0.split(atFirst: "=") }.map { ($0.0, $0.1) }
    configuration.preopens = options.directories.map { .init(hostPath: $0.host, guestPath: $0.guest) }
    configuration.raisesBrokenPipes = true
    configuration.standardInput = .inherit
    configuration.standardOutput = .inherit
    configuration.standardError = .inherit
    return try WASI(configuration)
  }

  // MARK: Traps

  /// What happened, and a line or more a frame; of a long backtrace, both ends, as far as they are known.
  private static func describe(_ trap: Trap) -> String {
    let outer = trap.isTruncated ? 0 : framesShown.outer
    let left = trap.frames.count - framesShown.inner - outer
    var text = "wasm trap: \(trap.message)"
    for (index, frame) in trap.frames.enumerated() {
      if left > 1 && index >= framesShown.inner && index < framesShown.inner + left { continue }
      if left > 1 && index == framesShown.inner + left { text += "\n  ... \(left) more" }
      let lines = frame.sourceDescription
      text += "\n  \(index): \(lines[0])"
      for line in lines.dropFirst() { text += "\n  \(line)" }
    }
    return trap.isTruncated ? text + "\n  ... and more than can be counted" : text
  }
}
