// jitdump: the code itself, with names and lines, for `perf inject --jit`.
//
// A record for each piece of code as it is loaded, with a time of the clock that perf was told to use (`perf record -k mono`).
// The file is mapped executable once, because that is what perf notes: so it learns that the process wrote one, and where.
// (tools/perf/Documentation/jitdump-specification.txt)

import CPrecastHost
import Glibc
import PrecastArtifact
import PrecastLoader

enum JITDump {
  // Guarded by `ProfilerFile.withLock`.
  private nonisolated(unsafe) static var file = ProfilerFile()
  private nonisolated(unsafe) static var nextIndex: UInt64 = 0

  private enum Record {
    static let load: UInt32 = 0
    static let debugInfo: UInt32 = 2
  }

  /// Adds the artifact's code to the process's dump.
  static func add(_ artifact: LoadedArtifact, tables: GuestTables, codeStart: UInt64) {
    let map = (try? artifact.artifact.addressMap()) ?? nil
    let pieces = artifact.codePieces()
    ProfilerFile.withLock {
      guard unsafe file.open({ create(&$0, artifact) }) else { return }
      var bytes = Bytes()
      for piece in pieces {
        if !tables.lines.isEmpty, piece.wasmOffset != nil,
          let entries = try? map?.entries(functionTextOffset: piece.textOffset)
        {
          addLines(of: piece, entries, artifact, tables, codeStart, to: &bytes)
        }
        unsafe addLoad(of: piece, artifact, index: nextIndex, to: &bytes)
        unsafe nextIndex += 1
        if bytes.count > 1 << 20 {
          if unsafe !file.append(bytes.contents) { return }
          bytes = Bytes()
        }
      }
      _ = unsafe file.append(bytes.contents)
    }
  }

  private static var timestamp: UInt64 {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// Makes the process's dump and writes its header.
  private static func create(_ file: inout ProfilerFile, _ artifact: LoadedArtifact) -> Int32 {
    let folder = unsafe getenv("JITDUMPDIR").map { unsafe String(cString: $0) } ?? "."
    let descriptor = ProfilerFile.create("\(folder)/jit-\(getpid()).dump")
    if descriptor < 0 { return descriptor }
    var header = Bytes()
    header.put32(0x4A69_5444)  // "JiTD"
    header.put32(1)
    header.put32(40)
    header.put32(UInt32(artifact.header.record.settings.architecture.rawValue))
    header.put32(0)
    header.put32(UInt32(getpid()))
    header.put64(timestamp)
    header.put64(0)
    // For perf to see; it stays mapped until the process ends.
    let size = sysconf(Int32(_SC_PAGESIZE))
    guard file.start(header.contents, of: descriptor),
      unsafe mmap(nil, size, PROT_READ | PROT_EXEC, MAP_PRIVATE, descriptor, 0) != MAP_FAILED
    else {
      close(descriptor)
      return -EIO
    }
    return descriptor
  }

  private static func addLoad(of piece: CodePiece, _ artifact: LoadedArtifact, index: UInt64, to bytes: inout Bytes) {
    let address = UInt64(artifact.textBase) + UInt64(piece.textOffset)
    let start = bytes.count
    bytes.put32(Record.load)
    bytes.put32(0)
    bytes.put64(timestamp)
    bytes.put32(UInt32(getpid()))
    bytes.put32(UInt32(bitPattern: precast_thread_number()))
    bytes.put64(address)
    bytes.put64(address)
    bytes.put64(UInt64(piece.size))
    bytes.put64(index)
    bytes.put(piece.name)
    // Inside the text, which is mapped as long as the artifact is loaded.
    if let code = unsafe UnsafeRawPointer(bitPattern: UInt(address)) {
      bytes.put(unsafe [UInt8](UnsafeRawBufferPointer(start: code, count: Int(piece.size))))
    }
    bytes.patch32(UInt32(truncatingIfNeeded: bytes.count - start), at: start + 4)
  }

  private static func addLines(
    of piece: CodePiece, _ entries: [RunEntry], _ artifact: LoadedArtifact, _ tables: GuestTables, _ codeStart: UInt64,
    to bytes: inout Bytes
  ) {
    let address = UInt64(artifact.textBase) + UInt64(piece.textOffset)
    var rows: [(address: UInt64, line: GuestLine)] = []
    for entry in entries where UInt64(entry.value) >= codeStart && entry.codeOffset < piece.size {
      guard let line = tables.line(at: UInt64(entry.value) - codeStart), line.line > 0 else { continue }
      if let last = rows.last?.line, last.file == line.file, last.line == line.line { continue }
      rows.append((address + UInt64(entry.codeOffset), line))
    }
    if rows.isEmpty { return }
    let start = bytes.count
    bytes.put32(Record.debugInfo)
    bytes.put32(0)
    bytes.put64(timestamp)
    bytes.put64(address)
    bytes.put64(UInt64(rows.count))
    for row in rows {
      bytes.put64(row.address)
      bytes.put32(row.line.line)
      bytes.put32(0)
      bytes.put(tables.files[Int(row.line.file)])
    }
    bytes.patch32(UInt32(truncatingIfNeeded: bytes.count - start), at: start + 4)
  }
}
