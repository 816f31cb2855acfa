// Functions compile in parallel, a run of them at a time.
//
// A chunk is a run of neighbouring functions with about as much code as keeps a worker busy for some
// milliseconds: large enough that handing it over costs nothing, small enough that both cores are busy to
// the end. Workers take chunks in order; what a chunk contains depends on nothing but the module, so the
// output does not depend on the number of workers. The first error by function index wins, whoever finds
// it, for the same reason.

import PrecastArtifact
import PrecastMachineCode
import PrecastWasm
import Synchronization

#if canImport(Glibc)
  import Glibc
#endif

/// The code of a run of functions, with everything about it.
final class CompiledChunk: @unchecked Sendable {
  // Written by the worker that made it, before it is handed over; read by one thread afterwards.
  let code: CodeChunk
  let functions: FlatBuffer<FunctionRecord>
  let map: CodeBuffer
  let traps: CodeBuffer
  let returns: FlatBuffer<UInt32>
  /// Types of indirect calls.
  let indirectTypes: [UInt32]

  init(
    code: CodeChunk, functions: consuming FlatBuffer<FunctionRecord>, map: consuming CodeBuffer,
    traps: consuming CodeBuffer, returns: consuming FlatBuffer<UInt32>, indirectTypes: [UInt32]
  ) {
    self.code = code
    self.functions = functions
    self.map = map
    self.traps = traps
    self.returns = returns
    self.indirectTypes = indirectTypes
  }
}

/// The work of compiling all bodies of a module, shared by its workers.
@safe
final class ChunkedCompilation: @unchecked Sendable {
  private let environment: ModuleEnvironment
  private let ranges: [Range<Int>]
  private let next = Atomic<Int>(0)
  private let finishedBytes = Atomic<Int>(0)
  /// Lowest chunk with an error.
  private let failedChunk = Atomic<Int>(Int.max)
  // Each slot is written by the worker that took its chunk, and read after all workers have been joined.
  private nonisolated(unsafe) let results: UnsafeMutablePointer<CompiledChunk?>
  private nonisolated(unsafe) let errors: UnsafeMutablePointer<CompilerError?>

  init(environment: ModuleEnvironment) {
    self.environment = environment
    var ranges: [Range<Int>] = []
    let bodies = environment.module.bodies
    var start = 0
    while start < bodies.count {
      var end = start
      var bytes = 0
      while end < bodies.count, bytes < 96 * 1024, end - start < 2048 {
        bytes += bodies[end].body.count
        end += 1
      }
      ranges.append(start..<end)
      start = end
    }
    self.ranges = ranges
    unsafe results = .allocate(capacity: max(1, ranges.count))
    unsafe results.initialize(repeating: nil, count: max(1, ranges.count))
    unsafe errors = .allocate(capacity: max(1, ranges.count))
    unsafe errors.initialize(repeating: nil, count: max(1, ranges.count))
  }

  deinit {
    unsafe results.deinitialize(count: max(1, ranges.count))
    unsafe results.deallocate()
    unsafe errors.deinitialize(count: max(1, ranges.count))
    unsafe errors.deallocate()
  }

  /// Bytes of function bodies that have been compiled so far.
  var progress: Int { finishedBytes.load(ordering: .relaxed) }

  /// Compiles everything on `threads` threads, this one among them.
  func run(threads: Int, onProgress: (@Sendable (Int) -> Void)?) throws(CompilerError) -> [CompiledChunk] {
    let workers = max(1, min(threads, ranges.count))
    var handles: [pthread_t] = []
    for _ in 1..<max(workers, 1) {
      var handle = pthread_t()
      let context = unsafe Unmanaged.passRetained(self).toOpaque()
      let status = unsafe pthread_create(
        &handle, nil,
        { argument in
          // Retained for this thread just above; a thread always gets its argument.
          guard let argument = unsafe argument else { return nil }
          let compilation = unsafe Unmanaged<ChunkedCompilation>.fromOpaque(argument).takeRetainedValue()
          compilation.work(onProgress: nil)
          return nil
        }, context)
      if status != 0 {
        // No thread to be had: the others do its share.
        unsafe Unmanaged<ChunkedCompilation>.fromOpaque(context).release()
        break
      }
      handles.append(handle)
    }
    work(onProgress: onProgress)
    for handle in handles { pthread_join(handle, nil) }

    let failed = failedChunk.load(ordering: .acquiring)
    if failed < ranges.count, let error = unsafe errors[failed] { throw error }
    var chunks: [CompiledChunk] = []
    chunks.reserveCapacity(ranges.count)
    for index in ranges.indices {
      guard let chunk = unsafe results[index] else { throw CompilerError.internal("chunk \(index) is missing") }
      chunks.append(chunk)
      unsafe results[index] = nil
    }
    return chunks
  }

  private func work(onProgress: (@Sendable (Int) -> Void)?) {
    switch environment.settings.architecture {
    case .x86_64:
      var compiler = FunctionCompiler<X86_64Assembler>(environment: environment)
      work(&compiler, onProgress: onProgress)
    case .aarch64:
      var compiler = FunctionCompiler<AArch64Assembler>(environment: environment)
      work(&compiler, onProgress: onProgress)
    }
  }

  private func work<Machine: TargetMachine & ~Copyable>(
    _ compiler: inout FunctionCompiler<Machine>, onProgress: (@Sendable (Int) -> Void)?
  ) {
    var validator = FunctionValidator(module: environment.module, binary: environment.binary)
    while true {
      let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
      // Chunks before a failed one go on: theirs may be the first error.
      guard index < ranges.count, index <= failedChunk.load(ordering: .relaxed) else { return }
      do {
        let chunk = try compile(ranges[index], &validator, &compiler)
        unsafe results[index] = chunk
      } catch {
        unsafe errors[index] = error
        failedChunk.min(index, ordering: .releasing)
      }
      var bytes = 0
      for body in ranges[index] { bytes += environment.module.bodies[body].body.count }
      let total = finishedBytes.wrappingAdd(bytes, ordering: .relaxed).newValue
      onProgress?(total)
    }
  }

  private func compile<Machine: TargetMachine & ~Copyable>(
    _ range: Range<Int>, _ validator: inout FunctionValidator, _ compiler: inout FunctionCompiler<Machine>
  ) throws(CompilerError) -> CompiledChunk {
    compiler.beginChunk()
    var records = FlatBuffer<FunctionRecord>(capacity: range.count)
    for body in range {
      do {
        try validator.validate(bodyIndex: body, into: &compiler.ops)
      } catch {
        throw CompilerError.wasm(error)
      }
      guard let record = compiler.compile() else {
        let function = "function \(environment.module.importedFunctionCount + body)"
        throw compiler.isTooLarge
          ? .textTooLarge("\(function) would have more than \(FunctionCompiler<Machine>.maximumChunkSize) bytes")
          : .internal("\(function) has a branch without a target")
      }
      records.append(record)
    }
    return CompiledChunk(
      code: compiler.asm.takeChunk(), functions: records, map: compiler.map.bytes.extract(),
      traps: compiler.traps.bytes.extract(), returns: compiler.returns.extract(),
      indirectTypes: compiler.indirectTypes.array)
  }
}
