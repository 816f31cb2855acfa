import Foundation
import PrecastArtifact
import PrecastLinker
import PrecastMachineCode
import TestSupport
import Testing

/// A C compiler with the options for a target.
struct CCompiler: CustomStringConvertible, Sendable {
  var command: [String]
  var architecture: Architecture
  var description: String { command.joined(separator: " ") }

  static let gcc = CCompiler(command: ["gcc"], architecture: .x86_64)
  static let clang = CCompiler(command: ["clang-19"], architecture: .x86_64)
  static let gccAArch64 = CCompiler(command: ["aarch64-linux-gnu-gcc"], architecture: .aarch64)
  static let clangAArch64 = CCompiler(command: ["clang-19", "--target=aarch64-linux-gnu"], architecture: .aarch64)
  static let native = [gcc, clang].filter { findTool($0.command[0]) != nil }
  static let all = [gcc, clang, gccAArch64, clangAArch64].filter { findTool($0.command[0]) != nil }

  /// Compiles C or assembler (by the file's name) and returns the object's path.
  func compile(_ text: String, _ name: String, _ options: [String], in scratch: TemporaryDirectory) throws -> String {
    let source = try scratch.write(text, to: name)
    let object = source + ".o"
    let result = try #require(try runTool(command[0], command.dropFirst() + options + ["-c", source, "-o", object]))
    try #require(result.status == 0, "\(self) \(options): \(result.text)")
    return object
  }
}

/// The bytes of a file (or of nothing in particular), as a link reads them.
final class ObjectBytes: @unchecked Sendable {
  private let memory: UnsafeMutableRawBufferPointer
  let name: String

  init(_ bytes: [UInt8], name: String) {
    // Exactly as large as the file, so that the address sanitizer sees what reads past its end.
    memory = .allocate(byteCount: max(bytes.count, 1), alignment: 16)
    memory.copyBytes(from: bytes)
    size = bytes.count
    self.name = name
  }

  private let size: Int

  convenience init(path: String) throws {
    self.init(
      [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))), name: URL(fileURLWithPath: path).lastPathComponent)
  }

  deinit { memory.deallocate() }

  var input: LinkInput {
    LinkInput(name: name, bytes: unsafe ByteRegion(base: UnsafeRawPointer(memory.baseAddress!), count: size))
  }
}

func bytes(_ region: ByteRegion) -> [UInt8] { (try? region.copyBytes()) ?? [] }

/// Objects linked at an address of this process, and executable.
final class LoadedObjects {
  let image: LinkedImage
  let base: UInt
  private let size: Int
  private let objects: [ObjectBytes]

  /// Links at a fresh place, or at `address`.
  init(
    _ objects: [ObjectBytes], symbols: [String: UInt64] = [:], address: UInt? = nil, wide: Bool? = nil,
    text: TextSectionOptions = TextSectionOptions()
  ) throws {
    self.objects = objects
    let inputs = objects.map(\.input)
    var options = LinkOptions(baseAddress: 0, externalSymbols: symbols)
    options.text = text
    options.usesWideUnwindTables = wide
    let size = (try Linker.extentBound(inputs, options: options) + 4095) & ~4095
    let flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | (address == nil ? 0 : 0x10_0000)
    let hint = address.map { UnsafeMutableRawPointer(bitPattern: $0)! }
    let memory = try #require(mmap(hint, size, PROT_NONE, flags, -1, 0))
    try #require(memory != MAP_FAILED)
    self.size = size
    base = UInt(bitPattern: memory)
    options.baseAddress = UInt64(base)
    let linker = try Linker(inputs, options: options)
    let sizes = linker.sizes
    let placement = LinkPlacement(sizes, pageSize: 4096)
    try #require(placement.writable + sizes.writableInMemory <= size)
    try #require(mprotect(memory, size, PROT_READ | PROT_WRITE) == 0)
    func part(_ offset: Int, _ size: Int) -> UnsafeMutableRawBufferPointer {
      UnsafeMutableRawBufferPointer(start: memory + offset, count: size)
    }
    image = try linker.link(
      placement,
      into: unsafe LinkDestination(
        text: part(0, sizes.text), ehFrame: part(sizes.text, sizes.ehFrame),
        readOnly: part(placement.readOnly, sizes.readOnly), writable: part(placement.writable, sizes.writable)))
    try #require(mprotect(memory, placement.writable, PROT_READ) == 0)
    try #require(sizes.text == 0 || mprotect(memory, sizes.text, PROT_READ | PROT_EXEC) == 0)
  }

  deinit { munmap(UnsafeMutableRawPointer(bitPattern: base), size) }

  func address(_ name: String) throws -> UInt {
    let symbol = try #require(image.symbol(named: name), "no symbol \(name)")
    return symbol.part == .absolute ? UInt(bitPattern: symbol.offset) : base + UInt(bitPattern: symbol.offset)
  }

  func call(_ name: String, _ a: Int = 0, _ b: Int = 0, _ c: Int = 0) throws -> Int {
    typealias Code = @convention(c) (Int, Int, Int) -> Int
    let code = unsafe unsafeBitCast(try address(name), to: Code.self)
    return code(a, b, c)
  }
}

/// The link error that `body` throws.
func linkError(_ body: () throws -> Void) -> LinkError? {
  do {
    try body()
    return nil
  } catch { return error as? LinkError }
}
