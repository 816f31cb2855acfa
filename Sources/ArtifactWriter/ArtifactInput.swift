// What a compiler hands over: everything that goes into a finished artifact.
//
// Large things (the text, the wasm binary) are pointers into the caller's memory, which stays as it
// is until `write` returns; nothing of that size is copied on the way to libelf.

public import PrecastArtifact
import PrecastMachineCode
public import PrecastWasm

/// A piece of the text: code that stands at an offset of `.text`.
@safe
public struct TextPiece: @unchecked Sendable {
  /// Offset in `.text`, in bytes.
  public var textOffset: UInt64
  /// Length in bytes.
  public var count: Int
  // Read by the writer only, within `count`.
  let base: UnsafeRawPointer

  /// The piece of `count` bytes at `base`, which stay there until the artifact is written.
  @unsafe
  public init(textOffset: UInt64, base: UnsafeRawPointer, count: Int) {
    self.textOffset = textOffset
    self.count = max(0, count)
    unsafe self.base = base
  }
}

/// The trampolines of a function type.
public struct TypeTrampolines: Sendable, Equatable {
  /// From the host into wasm.
  public var entry: CodeRange?
  /// From wasm out to the host.
  public var exit: CodeRange?

  /// Creates a pair.
  public init(entry: CodeRange? = nil, exit: CodeRange? = nil) {
    self.entry = entry
    self.exit = exit
  }
}

/// Code that is neither a function of the module nor a trampoline, with what its symbol says it is.
public struct TextStub: Sendable {
  /// The last part of the symbol's name, in ASCII.
  public var name: StaticString
  /// Where its code is.
  public var code: CodeRange

  /// Creates a description.
  public init(name: StaticString, code: CodeRange) {
    self.name = name
    self.code = code
  }
}

/// Everything that goes into a finished artifact.
public struct ArtifactInput: Sendable {
  /// Who compiled, with which settings.
  public var record: CompatibilityRecord
  /// The decoded module.
  public var module: WasmModule
  /// Its binary: data segments, names.
  public var binary: WasmBinary
  /// The text, in ascending order, without overlaps; gaps are filled with trapping instructions.
  public var text: [TextPiece] = []
  /// Size of the text in bytes; rounded up to whole pages by the writer.
  public var textSize: UInt64 = 0
  /// Where the code of each defined function stands, in index order, ascending.
  public var functions: [CodeRange] = []
  /// Trampolines by type index; may be shorter than the number of types.
  public var trampolines: [TypeTrampolines] = []
  /// Adapters of bound imports, ascending by index. Only an unlinked object has any: they call what is not in it.
  public var adapters: [ImportAdapter] = []
  /// Everything else in the text that is code: helpers that functions call, islands of veneers.
  public var stubs: [TextStub] = []
  /// Contents of `.eh_frame` for a section that starts right behind the last page of the text.
  public var ehFrame: [UInt8] = []
  /// The address map's runs, text offsets ascending; ignored when the settings leave the map out.
  public var addressMap: [CodeRun] = []
  /// The trap table's runs, text offsets ascending.
  public var traps: [CodeRun] = []
  /// Names of all functions (imported ones first) as ranges in the binary; may be shorter.
  public var functionNames: [Range<UInt32>] = []
  /// Name of the module as a range in the binary.
  public var moduleName: Range<Int>?

  /// An input without code.
  public init(record: CompatibilityRecord, module: WasmModule, binary: WasmBinary) {
    self.record = record
    self.module = module
    self.binary = binary
  }

  /// The contents of `.wasmtime.info`.
  func encodedInfo(image: DataImagePlan) -> CodeBuffer {
    ModuleInfoBuilder.encoded(
      module: module, functions: functions, trampolines: trampolines.map { (entry: $0.entry, exit: $0.exit) },
      adapters: adapters, image: image)
  }

  /// The contents of `.name.wasm`.
  func encodedNames() -> CodeBuffer {
    var section = CodeBuffer(capacity: 64)
    unsafe binary.withUnsafeBytes { bytes in
      section = NameTable.encoded(functions: functionNames, module: moduleName, binary: unsafe bytes.bytes)
    }
    return section
  }

  /// Size of the text in whole pages of the target: where `.eh_frame` starts, counted from the text.
  /// A text without code still has one page.
  public static func paddedTextSize(_ size: UInt64, settings: CompilerSettings) -> UInt64 {
    let page = settings.pageSize
    return max(page, (size + page - 1) / page * page)
  }
}
