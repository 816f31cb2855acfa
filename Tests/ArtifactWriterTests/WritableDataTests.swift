// Artifacts with writable data, and the frame that is written without libelf.

import Foundation
import PrecastArtifact
import PrecastVerification
import TestSupport
import Testing

@testable import PrecastArtifactWriter

@Suite struct WritableDataTests {
  /// An artifact, section by section, put together anew with other sections added.
  static func reassembled(
    _ artifact: [UInt8], readOnly: [UInt8] = [], data: [UInt8] = [], bss: UInt64 = 0
  ) throws -> [UInt8] {
    try unsafe artifact.withUnsafeBytes { bytes in
      let reader = try unsafe Artifact(ByteRegion(base: bytes.baseAddress!, count: bytes.count))
      var sizes = ArtifactLayout.Sizes()
      for kind in SectionKind.allCases { sizes[kind] = reader.header.extent(of: kind).size }
      sizes[.readOnlyData] = UInt64(readOnly.count)
      sizes[.data] = UInt64(data.count)
      sizes[.bss] = bss
      let layout = ArtifactLayout(record: reader.header.record, sizes: sizes)
      var file = [UInt8](repeating: 0, count: Int(layout.engine.fileSize))
      func put(_ kind: SectionKind, _ contents: [UInt8]) {
        let start = Int(layout.engine[kind].offset)
        file.replaceSubrange(start..<start + contents.count, with: contents)
      }
      let written: Set<SectionKind> = [.buildID, .engine, .checksums, .sectionNames]
      for kind in SectionKind.allCases where !written.contains(kind) {
        if let contents = try reader.section(kind) { put(kind, try contents.copyBytes()) }
      }
      if !readOnly.isEmpty { put(.readOnlyData, readOnly) }
      if !data.isEmpty { put(.data, data) }
      unsafe file.withUnsafeMutableBytes {
        unsafe layout.writeFrame(to: $0, localSymbols: Int(sizes[.symbols] / ELF.symbolSize))
        unsafe ArtifactSeal.apply(to: $0, engine: layout.engine)
      }
      return file
    }
  }

  private func artifact() throws -> [UInt8] {
    try TestModule.everything().withInput { try ArtifactWriter.bytes($0) }
  }

  private func verify(_ artifact: [UInt8]) throws(ArtifactError) {
    try ArtifactVerification.verify(artifact.span.bytes)
  }

  @Test func theFrameIsWhatLibelfWrites() throws {
    for test in try FileTests.modules() {
      let bytes = try test.withInput { try ArtifactWriter.bytes($0) }
      #expect(try Self.reassembled(bytes) == bytes)
    }
  }

  static let shapes: [(readOnly: Int, data: Int, bss: UInt64)] = [
    (100, 0, 0), (0, 128, 0), (0, 5, 0), (5000, 64, 100_000), (1, 4096, 4096), (0, 8192, 1 << 31),
  ]

  @Test(arguments: shapes.indices) func sectionsOfLinkedCodePassAllChecks(_ shape: Int) throws {
    let (readOnly, data, bss) = Self.shapes[shape]
    let original = try artifact()
    let file = try Self.reassembled(
      original, readOnly: [UInt8](repeating: 1, count: readOnly), data: [UInt8](repeating: 2, count: data), bss: bss)
    try verify(file)
    let directory = try TemporaryDirectory()
    try Data(file).write(to: URL(fileURLWithPath: directory.path + "/a.cwasm"))
    if let lint = try runTool("eu-elflint", ["--gnu-ld", directory.path + "/a.cwasm"]) {
      #expect(lint.text == "No errors\n")
    }
    if let headers = try runTool("readelf", ["-lSW", directory.path + "/a.cwasm"]) {
      #expect(!headers.text.lowercased().contains("warning"))
      #expect(headers.text.contains(" RW ") || data == 0)
      #expect(!headers.text.contains("RWE"))
    }
  }

  @Test func whatIsWritableHasNoChecksumsAndIsInTheDigest() throws {
    var file = try Self.reassembled(try artifact(), readOnly: [1, 2, 3], data: [UInt8](repeating: 7, count: 9000))
    file[file.count - 1] ^= 1
    #expect {
      try verify(file)
    } throws: { error in
      let error = error as? ArtifactError
      return error?.section == SectionKind.buildID.name && "\(error!)".contains(".data")
    }
    #expect(
      try unsafe file.withUnsafeBytes { bytes in
        try unsafe Artifact(ByteRegion(base: bytes.baseAddress!, count: bytes.count)).damagedPages().isEmpty
      })
  }

  @Test func constantsAreOnPagesWithChecksums() throws {
    var file = try Self.reassembled(try artifact(), readOnly: [UInt8](repeating: 1, count: 10_000))
    let start = try unsafe file.withUnsafeBytes { bytes in
      unsafe Int(
        try Artifact(ByteRegion(base: bytes.baseAddress!, count: bytes.count)).header.extent(of: .readOnlyData).offset)
    }
    file[start + 5000] ^= 1
    #expect { try verify(file) } throws: { ($0 as? ArtifactError)?.section == SectionKind.readOnlyData.name }
  }

  /// Rows of the directory for `.data` and `.bss` that no writer makes, with the other sums right.
  @Test func writableDataElsewhereIsRefused() throws {
    let file = try Self.reassembled(try artifact(), data: [UInt8](repeating: 7, count: 4096), bss: 100)
    let engine = try unsafe file.withUnsafeBytes { bytes in
      try unsafe ArtifactHeader(ByteRegion(base: bytes.baseAddress!, count: 4096), fileSize: UInt64(bytes.count)).engine
    }
    let changes: [(SectionKind, Int64, Int64)] = [
      (.data, -4096, 0), (.data, -4096, 4096), (.data, 0, -1), (.data, 1, -1), (.data, 0, 1), (.bss, 1, 0),
      (.bss, -64, 0), (.bss, 4096, 0), (.bss, 0, 1 << 32), (.bss, 0, -101), (.data, 0, -4096), (.readOnlyData, 4096, 8),
    ]
    for (kind, offset, size) in changes {
      var changed = engine
      changed[kind].offset &+= UInt64(bitPattern: offset)
      changed[kind].size &+= UInt64(bitPattern: size)
      var bytes = file
      let section = changed.encoded()
      bytes.replaceSubrange(ArtifactHeader.engineOffset..<ArtifactHeader.engineOffset + section.count, with: section)
      unsafe bytes.withUnsafeMutableBytes { unsafe ArtifactHeader.fillChecksum($0) }
      #expect(throws: ArtifactError.self, "\(kind) \(offset) \(size)") {
        try unsafe bytes.withUnsafeBytes {
          _ = try unsafe ArtifactHeader(ByteRegion(base: $0.baseAddress!, count: 4096), fileSize: UInt64($0.count))
        }
      }
    }
  }
}
