// An object file to be linked, as an embedder hands it over.
//
// Its bytes are read once and kept: a link reads names, sections and relocations in place, and a file that somebody
// changes meanwhile must not change under it.

import CPrecastHost
import Glibc
public import PrecastArtifact
import PrecastLinker

/// An unlinked object, `ET_REL`: from `precast compile --emit object`, or from a C compiler.
public struct LinkableObject: Sendable {
  /// How messages call it: the path that it was read from.
  public let name: String
  private let contents: ObjectContents

  /// The object in `bytes`.
  public init(_ bytes: [UInt8], name: String) {
    self.name = name
    contents = ObjectContents(bytes)
  }

  /// Reads the object at `path`.
  ///
  /// - Throws: `LoadError` of kind `cannotRead`.
  public init(contentsOfFile path: String) throws(LoadError) {
    name = path
    contents = ObjectContents(try FileDescriptor.open(path: path).readAll(path: path))
  }

  /// For the linker; good as long as the object.
  var input: LinkInput { LinkInput(name: name, bytes: contents.region) }

  /// Size of the file in bytes.
  var byteCount: Int { contents.region.count }

  /// `e_machine`; nil for what is no object.
  var machine: UInt16? { Self.looksLikeObject(contents.region) ? try? contents.region.u16(18) : nil }

  /// A machine's name, as tools write it.
  static func machineName(_ machine: UInt16) -> String {
    switch machine {
    case 3: "i386"
    case 40: "Arm"
    case 62: "x86-64"
    case 183: "AArch64"
    case 243: "RISC-V"
    default: "machine \(machine)"
    }
  }

  /// Whether the bytes, the start of a file, are an unlinked object rather than wasm or a finished artifact: an ELF file
  /// of type `ET_REL`.
  public static func looksLikeObject(_ bytes: ByteRegion) -> Bool {
    guard let magic = try? bytes.u32(0), magic == ELF.magic, let type = try? bytes.u16(16) else { return false }
    return type == ELF.typeRelocatable
  }
}

/// Bytes of an object, which stay where they are.
@safe
private final class ObjectContents: @unchecked Sendable {
  // In `memory` or, without that, in a block of the heap. Written once, in `init`.
  private let bytes: UnsafeRawBufferPointer
  private let memory: FreshMemory?
  private let isOnHeap: Bool

  var region: ByteRegion {
    guard let base = unsafe bytes.baseAddress else { return ByteRegion(emptyIn: .engine) }
    return unsafe ByteRegion(base: base, count: bytes.count)
  }

  init(_ array: [UInt8]) {
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: max(1, array.count), alignment: 16)
    unsafe copy.copyBytes(from: array)
    unsafe bytes = UnsafeRawBufferPointer(rebasing: copy[0..<array.count])
    memory = nil
    isOnHeap = true
  }

  init(_ memory: consuming FreshMemory) {
    unsafe bytes = UnsafeRawBufferPointer(memory.bytes)
    self.memory = consume memory
    isOnHeap = false
  }

  deinit { if isOnHeap { unsafe bytes.deallocate() } }
}
