// `inspect --disassemble`: a function's instructions, with the wasm offsets they come from and the traps they may end
// in.
//
// Decoding instructions is objdump's trade, and it is where engineers look anyway. It gets the bytes that were read, in
// a sealed memory file, so that it sees what everything else was said of, whether that came from a file or a pipe;
// symbols in the artifact give it the names of call targets. Its lines come in the order of addresses, and so do the
// entries of the address map and the trap table, so the three are merged as they come.
//
// Tables of branches stand behind a function's last instruction. To objdump they are instructions like any other. They
// are told by the instruction that gets their address, `lea` relative to rip (48/4C 8D, mod 0, rm 5), when it points
// forward into the same function and what stands there is a distance to a place between the function's start and the
// table. On AArch64 they are not told yet.

import Glibc
import PrecastArtifact
import PrecastMachineCode
import PrecastWasm

/// A function or trampoline, to be disassembled.
struct Disassembly {
  private let piece: CodePiece
  private let architecture: Architecture
  private let file: ByteRegion
  private let path: String
  /// The code, and the address of its first byte in the file.
  private let code: ByteRegion
  private let address: UInt64
  private let wasmOffsets: [RunEntry]
  private let traps: [RunEntry]

  /// Gathers what is known of a function.
  ///
  /// - Throws: `ArtifactError` where the tables about it cannot be read.
  init(_ artifact: Artifact, _ piece: CodePiece, file: ByteRegion, path: String) throws {
    self.piece = piece
    self.file = file
    self.path = path
    architecture = artifact.header.record.settings.architecture
    address = artifact.header.text.offset + UInt64(piece.code.textOffset)
    guard let text = try artifact.section(.text) else { throw Failure("\(path): has no .text") }
    code = try text.slice(Int(piece.code.textOffset), Int(piece.code.size))
    wasmOffsets = try artifact.addressMap()?.entries(functionTextOffset: piece.code.textOffset) ?? []
    traps = try artifact.trapTable().entries(functionTextOffset: piece.code.textOffset)
  }

  /// Programs that may know the architecture, in the order of trying, and where Debian has them.
  private var tools: (names: [String], package: String) {
    switch architecture {
    case .x86_64: (["objdump", "x86_64-linux-gnu-objdump", "llvm-objdump"], "binutils")
    case .aarch64:
      (["aarch64-linux-gnu-objdump", "objdump", "llvm-objdump"], "binutils-aarch64-linux-gnu or binutils-multiarch")
    }
  }

  /// Writes the disassembly.
  func write(to output: TextOutput) throws {
    var said: String?
    for tool in tools.names {
      var merger = Merger(self, output)
      let result = try Subprocess.run(tool, arguments, file: file) { line in
        merger.take(line)
        return !output.isClosed
      }
      guard let result else { continue }
      if merger.hasBegun || code.count == 0 {
        merger.end()
        if result.status == 0 || output.isClosed { return }
        throw Failure("\(path): \(tool) did not come to its end\(result.firstError.map { ": " + $0 } ?? "")")
      }
      said = said ?? result.firstError ?? "\(tool) shows nothing"
    }
    if let said { throw Failure("\(path): cannot be disassembled: \(said); perhaps \(tools.package) helps") }
    throw Failure("there is no objdump on the PATH; Debian has it in the package \(tools.package)")
  }

  private var arguments: [String] {
    let common = [
      "-d", "--no-show-raw-insn", "--start-address=0x\(String(address, radix: 16))",
      "--stop-address=0x\(String(address + UInt64(code.count), radix: 16))",
    ]
    return architecture == .x86_64 ? ["-M", "intel"] + common : common
  }

  // MARK: Merging

  private struct Merger {
    let subject: Disassembly
    let output: TextOutput
    private(set) var hasBegun = false
    private var nextOffset = 0
    private var nextTrap = 0
    /// Code offsets of tables of branches.
    private var tables: Set<Int> = []
    private var firstTable = Int.max

    init(_ subject: Disassembly, _ output: TextOutput) {
      self.subject = subject
      self.output = output
    }

    private mutating func begin() {
      if hasBegun { return }
      hasBegun = true
      let piece = subject.piece
      let name = piece.name.map { " " + $0.printable } ?? ""
      let wasm = piece.wasmOffset.map { ", wasm offset \(hexadecimal(UInt64($0)))" } ?? ""
      output.append(
        "\(piece.label)\(name): \(piece.code.size) bytes at text offset \(hexadecimal(UInt64(piece.code.textOffset)))"
          + "\(wasm)\n")
      output.append("  wasm offset     address  instruction\n")
    }

    /// Takes a line of objdump's: blanks, an address, a colon, an instruction; others are of no interest.
    mutating func take(_ line: String) {
      let trimmed = line.drop { $0 == " " }
      guard let colon = trimmed.firstIndex(of: ":"),
        let place = UInt64(trimmed[..<colon], radix: 16), place >= subject.address,
        let offset = Int(exactly: place - subject.address), offset < subject.code.count,
        offset < firstTable
      else { return }
      let instruction = trimmed[trimmed.index(after: colon)...].map { $0 == "\t" ? " " : $0 }.drop { $0 == " " }
      begin()
      write(offset, String(instruction))
      noteTable(offset)
    }

    /// Writes the tables behind the instructions.
    mutating func end() {
      begin()
      if tables.isEmpty { return }
      var offset = firstTable
      var base = offset
      while offset + 4 <= subject.code.count, let entry = try? subject.code.u32(offset) {
        if tables.contains(offset) { base = offset }
        let target = subject.address &+ UInt64(base) &+ UInt64(bitPattern: Int64(Int32(bitPattern: entry)))
        write(offset, ".long  \(Int32(bitPattern: entry))", comment: "branch table: \(String(target, radix: 16))")
        offset += 4
      }
    }

    private mutating func noteTable(_ offset: Int) {
      let code = subject.code
      guard subject.architecture == .x86_64, let rex = try? code.u8(offset), rex & 0xFB == 0x48,
        let opcode = try? code.u8(offset + 1), opcode == 0x8D, let mode = try? code.u8(offset + 2), mode & 0xC7 == 5,
        let distance = try? code.u32(offset + 3)
      else { return }
      let target = offset + 7 + Int(Int32(bitPattern: distance))
      guard target > offset, let entry = try? code.u32(target) else { return }
      let destination = target + Int(Int32(bitPattern: entry))
      guard destination >= 0 && destination < target else { return }
      tables.insert(target)
      firstTable = min(firstTable, target)
    }

    private mutating func write(_ offset: Int, _ instruction: String, comment: String? = nil) {
      var wasm = ""
      while nextOffset < subject.wasmOffsets.count, Int(subject.wasmOffsets[nextOffset].codeOffset) <= offset {
        wasm = hexadecimal(UInt64(subject.wasmOffsets[nextOffset].value))
        nextOffset += 1
      }
      var comment = comment
      while nextTrap < subject.traps.count, Int(subject.traps[nextTrap].codeOffset) <= offset {
        let entry = subject.traps[nextTrap]
        if Int(entry.codeOffset) == offset { comment = "trap: \(TrapCode.words(entry.value))" }
        nextTrap += 1
      }
      let place = String(subject.address + UInt64(offset), radix: 16)
      var line = wasm.paddedLeft(13) + place.paddedLeft(12) + ":  " + instruction.printable
      if let comment { line = line.padded(68) + "  ; " + comment }
      output.append(line + "\n")
    }
  }
}

private func hexadecimal(_ value: UInt64) -> String { "0x" + String(value, radix: 16) }

extension String {
  /// The text with blanks behind it, up to a width.
  fileprivate func padded(_ width: Int) -> String { self + String(repeating: " ", count: max(0, width - count)) }

  /// The text with blanks before it, up to a width.
  fileprivate func paddedLeft(_ width: Int) -> String {
    String(repeating: " ", count: max(0, width - utf8.count)) + self
  }
}
