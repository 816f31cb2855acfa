// What a link knows while it goes on.
//
// Sections and symbols of all objects are numbered through, in the order of the objects, and what is known of each
// is a row of plain data in one array. Nothing here is kept in a set or a dictionary, so the result depends on the
// order of the objects and on nothing else.

import PrecastArtifact
import PrecastMachineCode

/// Zeros that several objects share under one name (`SHN_COMMON`).
struct CommonSymbol: BitwiseCopyable {
  var size: Int
  var alignment: Int
  /// In bytes from the start of the writable part.
  var offset = 0
}

/// The state of a link: built up by `Linker.init`, read by `Linker.link` and the image.
final class LinkState: @unchecked Sendable {
  // Changed by one thread, before anybody else has it.
  let options: LinkOptions
  let architecture: Architecture
  let pageSize: Int
  let objects: [ObjectFile]

  var sections = InputSections()
  var symbols = FlatBuffer<SymbolState>(capacity: 64)
  /// Number of each object's first symbol.
  var symbolBase: [Int] = []
  var globals = GlobalNames()
  var commons = FlatBuffer<CommonSymbol>(capacity: 1)

  var pieces = FlatBuffer<TextPiece>(capacity: 16)
  var moduleRows = FlatBuffer<ModuleRow>(capacity: 1)
  /// The object that holds the wasm module.
  var moduleObject: Int?
  /// What the places of others' code between the module's may take at most, in bytes.
  var foreignPadding = 0
  var text = LinkedText()
  var slots = FlatBuffer<UInt32>(capacity: 1)
  var unwind = UnwindTable()
  var undefined = FlatBuffer<UndefinedReference>(capacity: 1)
  /// Whether anything refers to the global offset table itself.
  var usesOffsetTable = false
  var sizes = LinkedSizes()
  /// Where in the read-only part the global offset table starts.
  var offsetTable = 0
  /// The sum of all sizes that are known before anything has a place; whether branches and references within the image
  /// certainly reach is decided by it.
  var totalSize = 0

  /// Reads the headers of all objects.
  init(_ inputs: [LinkInput], _ options: LinkOptions) throws(LinkError) {
    self.options = options
    var objects: [ObjectFile] = []
    for input in inputs {
      let object = try ObjectFile(input)
      if let first = objects.first, first.architecture != object.architecture {
        throw LinkError(
          .wrongMachine,
          "\(object.name) is for \(object.architecture.commonName), \(first.name) for \(first.architecture.commonName)")
      }
      objects.append(object)
    }
    guard let first = objects.first else { throw LinkError(.cannotLayOut, "there is nothing to link") }
    self.objects = objects
    architecture = first.architecture
    pageSize = options.pageSize ?? architecture.largestPageSize
    guard pageSize >= 4096, pageSize & (pageSize - 1) == 0, pageSize <= 1 << 21 else {
      throw LinkError(.cannotLayOut, "pages of \(pageSize) bytes are not possible")
    }
    guard (options.baseAddress ?? 0) % UInt64(pageSize) == 0 else {
      throw LinkError(
        .cannotLayOut, "the base address \(hexadecimal(options.baseAddress ?? 0)) is not on a page of \(pageSize) bytes"
      )
    }
    guard options.zerosAlignment.nonzeroBitCount == 1, (1...pageSize).contains(options.zerosAlignment) else {
      throw LinkError(.cannotLayOut, "zeros cannot start at multiples of \(options.zerosAlignment)")
    }
    for (number, object) in objects.enumerated() { try sections.add(object, number, pageSize: pageSize) }
  }
}

extension Architecture {
  /// As people write it.
  var commonName: String {
    switch self {
    case .x86_64: "x86-64"
    case .aarch64: "AArch64"
    }
  }

  /// The largest page size that the psABI allows for, in bytes.
  var largestPageSize: Int {
    switch self {
    case .x86_64: 4096
    case .aarch64: 65536
    }
  }
}

/// The next multiple of a power of two.
@inline(__always)
func aligned(_ offset: Int, _ alignment: Int) -> Int { (offset + alignment - 1) & ~(alignment - 1) }

extension LinkState {
  /// See `Linker.extentBound`.
  func extentBound() throws(LinkError) -> Int {
    // Four parts that start on pages.
    var bound = 8 * pageSize + 2 * options.zerosAlignment
    let padding = max(options.text.testing.padding, 0)
    // The largest of any code's.
    var codeAlignment = 1
    for number in 0..<sections.count where sections[number].role == .text {
      codeAlignment = max(codeAlignment, sections[number].alignment)
    }
    for number in 0..<sections.count {
      let section = sections[number]
      guard section.role.isLinked || section.role == .module else { continue }
      bound += section.size + section.alignment + padding
      // A relocation asks for an entry in the offset table at most, or a veneer, or eight bytes more in an unwind
      // entry; a row of a module's list may ask for padding, and so may code of others behind it.
      bound += section.relocationCount * (64 + 2 * padding + (section.role == .module ? 2 * codeAlignment : 0))
      try checkSize(bound)
    }
    for object in objects {
      for index in 0..<object.symbols.count {
        let symbol = object.symbols[index]
        guard symbol.section == ELFObject.indexCommon || symbol.section == ELFObject.indexLargeCommon else { continue }
        bound += Int(clamping: min(symbol.size, UInt64(InputSections.sizeLimit))) + pageSize
        try checkSize(bound)
      }
    }
    return bound
  }

  /// What `Linker.module` says.
  var linkedModule: LinkedModule? {
    guard let number = moduleObject else { return nil }
    return LinkedModule(input: number, code: movedCode(), sections: moduleSections(number))
  }

  /// The tables of the module in an object.
  func moduleSections(_ number: Int) -> [(name: String, bytes: ByteRegion)] {
    var result: [(name: String, bytes: ByteRegion)] = []
    let object = objects[number]
    for index in 0..<sections.count {
      let section = sections[index]
      guard section.role == .module, Int(section.object) == number,
        let bytes = try? object.bytes.slice(section.fileOffset, section.size)
      else { continue }
      result.append((object.sectionName(Int(section.index)), bytes))
    }
    return result
  }

  func check(_ placement: LinkPlacement) throws(LinkError) {
    guard placement.readOnly >= sizes.text + sizes.ehFrame, placement.readOnly % sizes.readOnlyAlignment == 0,
      placement.readOnly < InputSections.sizeLimit, placement.writable < InputSections.sizeLimit,
      placement.writable >= placement.readOnly + sizes.readOnly, placement.writable % pageSize == 0
    else {
      throw LinkError(
        .cannotLayOut,
        "the parts cannot stand at \(hexadecimal(placement.readOnly)) and \(hexadecimal(placement.writable))")
    }
  }
}
