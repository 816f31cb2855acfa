// Objects that are loaded as they are.
//
// For a finished artifact a compiler or linker has resolved everything when the file was written. Objects are resolved
// here, when they are loaded. First a range of addresses is reserved, large enough for whatever comes of the objects; then
// they are linked for those addresses, into an artifact in a sealed `memfd`; then that is mapped over the reservation,
// by the same code that loads any artifact. So the text was never writable where it runs, and all that is known of
// artifacts, from traps to unwinding, holds for linked objects.
//
// Nothing links against the process by itself: symbols that no object defines are those that the caller names.

import CPrecastHost
import Glibc
public import PrecastArtifact
package import PrecastLinker
public import PrecastMachineCode

extension LoadedArtifact {
  /// Links objects and loads the result: at most one of a wasm module, any number of a C compiler's.
  ///
  /// - Parameters:
  ///   - objects: the objects, in the order of the text.
  ///   - symbols: addresses of symbols that no object defines. What is there has to stay as long as this artifact.
  ///   - host: what the artifact may ask for.
  ///   - unwinding: how the code is made known to the process's unwinder.
  ///   - layout: how the text is laid out, for tests.
  /// - Throws: `LoadError`: `cannotLink` in a linker's words, `incompatible`, `outOfResources`.
  public convenience init(
    linking objects: [LinkableObject], symbols: [String: UInt] = [:], host: CompilerSettings = HostSettings.current,
    unwinding: UnwindRegistration = .perModule, layout: LinkLayout = LinkLayout()
  ) throws(LoadError) {
    try self.init(
      linking: objects, symbols: symbols, host: host, unwinding: unwinding, layout: layout, needsModule: true)
  }

  fileprivate convenience init(
    linking objects: [LinkableObject], symbols: [String: UInt], host: CompilerSettings, unwinding: UnwindRegistration,
    layout: LinkLayout, needsModule: Bool, found: FoundSymbols? = nil
  ) throws(LoadError) {
    for object in objects {
      if let machine = object.machine, UInt64(machine) != host[.architecture] {
        throw LoadError(
          kind: .cannotLink, path: nil,
          message:
            "\(object.name) was built for \(LinkableObject.machineName(machine)), and this is "
            + LinkableObject.machineName(UInt16(truncatingIfNeeded: host[.architecture])))
      }
    }
    var options = layout.options
    for (name, address) in symbols { options.externalSymbols[name] = UInt64(address) }
    options.pageSize = Int(host.pageSize)
    // The module's tables, symbols and headers come on top of what the linker knows of: they are smaller than the files
    // that they are made from, all together.
    let bound: Int
    do throws(LinkError) {
      bound = try Linker.extentBound(objects.map(\.input), options: options)
    } catch {
      throw LoadError(error)
    }
    let files = objects.reduce(0) { $0 + $1.byteCount }
    let (size, overflow) = bound.addingReportingOverflow(files + files / 64 + (1 << 20))
    guard !overflow else { throw .system(ENOMEM, "reserve address space for the objects") }
    let page = precast_page_size()
    let whole = (size + page - 1) / page * page
    let alignment = max(page, Int(host.pageSize))
    var placed: PlacedArtifact
    do throws(LoadError) {
      placed = try PlacedArtifact(
        objects, options, at: AddressReservation(size: whole, alignment: alignment), needsModule: needsModule)
    } catch {
      // Code with 32-bit addresses (-fno-pic) can only be where addresses have as many bits.
      guard error.isOutOfRange, let low = AddressReservation(lowSize: whole, alignment: alignment) else { throw error }
      do throws(LoadError) {
        placed = try PlacedArtifact(objects, options, at: low, needsModule: needsModule)
      } catch let second {
        // What is out of reach from everywhere is better told with the usual addresses.
        throw second.isOutOfRange ? error : second
      }
    }
    found?.symbols = placed.artifact.symbols
    try self.init(placed, host: host, unwinding: unwinding, stepEnded: options.stepEnded)
  }

  private convenience init(
    _ placed: consuming PlacedArtifact, host: CompilerSettings, unwinding: UnwindRegistration,
    stepEnded: ((LinkStep) -> Void)?
  ) throws(LoadError) {
    let isBound = placed.artifact.isBoundToAddress
    let file = try placed.artifact.bytes.sealedFile()
    stepEnded?(.sums)
    try self.init(
      file, path: nil, at: placed.reservation, isBoundToAddress: isBound, host: host, verification: .none,
      unwinding: unwinding)
    stepEnded?(.mapping)
  }
}

/// Objects linked for an address range, which is reserved.
private struct PlacedArtifact: ~Copyable {
  let reservation: AddressReservation
  let artifact: LinkedArtifact

  init(
    _ objects: [LinkableObject], _ options: LinkOptions, at reservation: consuming AddressReservation, needsModule: Bool
  ) throws(LoadError) {
    var options = options
    options.baseAddress = UInt64(reservation.address)
    artifact = try LinkedArtifact(objects, options: options, needsModule: needsModule)
    self.reservation = reservation
  }
}

/// What a link has found besides code.
private final class FoundSymbols {
  var symbols: [String: LinkedSymbol] = [:]
}

/// How the text of linked objects is laid out. The default is what everybody wants; the rest makes rare things happen, for
/// tests: islands of veneers without 128 MiB of code.
public struct LinkLayout: Sendable {
  var options = LinkOptions()

  /// The layout that everybody wants.
  public init() {}

  /// A layout with other settings for the text section.
  public init(text: TextSectionOptions) { options.text = text }

  /// The usual layout, watched.
  package init(stepEnded: @escaping @Sendable (LinkStep) -> Void) { options.stepEnded = stepEnded }
}

/// Objects of a C compiler, linked and loaded, without a wasm module: known by their symbols.
///
/// Code and data stay mapped, and known to the unwinder, as long as this object lives; then all of it goes. There is no
/// constructor or destructor that would be called.
public final class LoadedObjects: Sendable {
  /// Where it is.
  public let artifact: LoadedArtifact
  private let symbols: [String: LinkedSymbol]

  /// Links and loads objects.
  ///
  /// - Parameters:
  ///   - objects: the objects, in the order of the text.
  ///   - symbols: addresses of symbols that no object defines. What is there has to stay as long as this object.
  ///   - unwinding: how the code is made known to the process's unwinder.
  ///   - layout: how the text is laid out, for tests.
  /// - Throws: `LoadError`: `cannotLink` in a linker's words, `outOfResources`.
  public init(
    _ objects: [LinkableObject], symbols: [String: UInt] = [:], unwinding: UnwindRegistration = .perModule,
    layout: LinkLayout = LinkLayout()
  ) throws(LoadError) {
    let found = FoundSymbols()
    artifact = try LoadedArtifact(
      linking: objects, symbols: symbols, host: HostSettings.current, unwinding: unwinding, layout: layout,
      needsModule: false, found: found)
    self.symbols = found.symbols
  }

  /// The address of a function or variable that an object defines for others (`STB_GLOBAL` or `STB_WEAK`); nil where none
  /// does. Good as long as this object.
  public func address(ofSymbol name: String) -> UInt? {
    guard let symbol = symbols[name] else { return nil }
    if symbol.part == .absolute { return UInt(bitPattern: symbol.offset) }
    return artifact.textBase &+ UInt(bitPattern: symbol.offset)
  }
}

/// Finished artifacts from objects, on disk: what `precast link` does.
public enum ObjectLinking {
  /// Links objects, of which one is a wasm module's, and writes the artifact to `path`, atomically. It is position-independent
  /// and has no relocation of any kind.
  ///
  /// - Parameter durable: whether to wait until the file is on disk.
  /// - Throws: `LoadError` of kind `cannotLink` in a linker's words; or what keeps the file from being written.
  public static func link(
    _ objects: [LinkableObject], toFile path: String, durable: Bool = true, layout: LinkLayout = LinkLayout()
  ) throws(LoadError) {
    let linked = try LinkedArtifact(objects, options: layout.options, needsModule: true)
    try linked.bytes.write(toFile: path, durable: durable)
  }
}
