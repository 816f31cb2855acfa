// The wasm functions on a thread's stack, in the terms of their modules.
//
// A walk by frame pointers gives addresses; what they mean is in tables of the artifacts that they belong to. Which function a
// frame is in, and at which wasm offset, is looked up when the backtrace is made, in microseconds. What the source says is
// looked up when somebody asks: it may take a library and a hundred megabytes of DWARF, and most traps are caught and counted,
// not read. So a frame keeps the artifact that it is of, and asks it then.

import CPrecastHost
public import PrecastDebugInfo
import PrecastLoader
import PrecastWasm

/// The wasm functions on a thread's stack, innermost first, through all nested calls between host and wasm.
public struct Backtrace: Sendable, Equatable, CustomStringConvertible {
  /// A wasm function on the stack.
  public struct Frame: Sendable, Equatable, CustomStringConvertible {
    /// Index in the module's function index space; nil if it could not be found out.
    public var functionIndex: Int?
    /// The function's name, if the module has one for it, as the module has it.
    public var functionName: String?
    /// The module's name, if it has one.
    public var moduleName: String?
    /// Offset in the wasm binary of the instruction that trapped, or of the call; nil without an address map.
    public var wasmOffset: Int?
    /// Offset in the artifact's text.
    public var textOffset: Int
    /// How many entries from the host into wasm lie between this frame and the innermost ones: 0, then 1, ...
    public var depth: Int
    private var origin = FrameOrigin()

    /// Makes a frame.
    public init(
      functionIndex: Int?, functionName: String?, moduleName: String?, wasmOffset: Int?, textOffset: Int, depth: Int
    ) {
      self.functionIndex = functionIndex
      self.functionName = functionName
      self.moduleName = moduleName
      self.wasmOffset = wasmOffset
      self.textOffset = textOffset
      self.depth = depth
    }

    /// A frame of code of `artifact`, which it keeps loaded.
    init(_ location: CodeLocation?, of artifact: LoadedArtifact?, moduleName: String?, depth: Int) {
      self.init(
        functionIndex: location?.functionIndex,
        functionName: location?.functionIndex.flatMap { artifact?.functionName($0) },
        moduleName: moduleName, wasmOffset: location?.wasmOffset, textOffset: location?.textOffset ?? 0, depth: depth)
      origin.artifact = artifact
    }

    /// ``functionName`` as its author wrote it, where it is a mangled name of C++, Rust or Swift and can be taken apart.
    public var demangledName: String? { functionName.map(Demangler.demangle) }

    /// Where in the source the frame is, from the DWARF that the guest was compiled with: innermost first, functions that were
    /// inlined there, then the function itself. Empty when the guest has no DWARF, when it was left out of the artifact, or
    /// when the library that reads it (libdw) is not there.
    ///
    /// The first question about a module reads its DWARF's outline; answers are kept with the module.
    public var sourcePositions: [SourcePosition] {
      guard let wasmOffset, let artifact = origin.artifact else { return [] }
      return artifact.sourcePositions(ofWasmOffset: wasmOffset)
    }

    private var place: String {
      wasmOffset.map { "0x" + hexadecimal(UInt64($0), digits: 4) } ?? "text+0x" + String(textOffset, radix: 16)
    }

    private var name: String {
      demangledName?.printable ?? functionIndex.map { "<wasm function \($0)>" } ?? "<unknown>"
    }

    /// `0x1a2b - module!function`, on one line whatever the names hold.
    public var description: String { "\(place) - \(moduleName?.printable ?? "<unknown>")!\(name)" }

    /// What ``description`` says, with the source where it is known: a line for each function, inlined ones before the one that
    /// they are in, and behind each a line `at file:line:column`.
    public var sourceDescription: [String] {
      let positions = sourcePositions
      if positions.isEmpty { return [description] }
      var lines: [String] = []
      for (index, position) in positions.enumerated() {
        // The innermost function that was not inlined has the name that the module gives it.
        let function = position.function?.printable ?? (position.isInlined ? "<inlined function>" : name)
        let mark = position.isInlined ? " (inlined)" : ""
        lines.append(
          index == 0
            ? "\(place) - \(moduleName?.printable ?? "<unknown>")!\(function)\(mark)" : "    - \(function)\(mark)")
        guard let file = position.file else { continue }
        var at = "        at \(file.printable)"
        if let line = position.line { at += ":\(line)" }
        if position.line != nil, let column = position.column { at += ":\(column)" }
        lines.append(at)
      }
      return lines
    }
  }

  /// The wasm functions, innermost first.
  public var frames: [Frame]
  /// Whether there were more frames than could be recorded.
  public var isTruncated: Bool

  /// Makes a backtrace.
  public init(frames: [Frame] = [], isTruncated: Bool = false) {
    self.frames = frames
    self.isTruncated = isTruncated
  }

  /// Most frames that a backtrace has.
  public static let maximumFrameCount = Int(PRECAST_TRAP_FRAMES)

  /// The wasm functions on the calling thread's stack: those that led to the host function that asks, and through nested calls
  /// to those that called them. Empty where no wasm function is waiting for the caller.
  public static func capture() -> Backtrace {
    unsafe withUnsafeTemporaryAllocation(of: precast_frame.self, capacity: maximumFrameCount) { buffer in
      var isTruncated = false
      guard let start = buffer.baseAddress else { return Backtrace() }
      // The thread's own activations, which stay while it is here.
      let count = unsafe precast_stack_walk(precast_current_activation(), start, buffer.count, &isTruncated)
      return unsafe Backtrace(UnsafeBufferPointer(start: start, count: count), isTruncated: isTruncated)
    }
  }

  init(_ raw: UnsafeBufferPointer<precast_frame>, isTruncated: Bool) {
    var names = FrameNames()
    // The caller's buffer, for the time of the call.
    self.init(frames: unsafe raw.map { names.frame($0) }, isTruncated: isTruncated)
  }

  /// One line a frame, with its number, and the source where it is known.
  public var description: String {
    var lines: [String] = []
    for (index, frame) in frames.enumerated() {
      let shown = frame.sourceDescription
      lines.append("  \(index): \(shown[0])")
      lines += shown.dropFirst().map { "  " + $0 }
    }
    if isTruncated { lines.append("  (more frames)") }
    return lines.joined(separator: "\n")
  }
}

/// What a frame is of; not a part of what it is.
private struct FrameOrigin: Sendable, Equatable {
  var artifact: LoadedArtifact?
  static func == (_: FrameOrigin, _: FrameOrigin) -> Bool { true }
}

extension Caller {
  /// The wasm functions on the stack, from the one that called this host function outwards.
  public func captureBacktrace() -> Backtrace { Backtrace.capture() }
}
