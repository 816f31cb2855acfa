// Artifacts for AArch64, as the tools of that architecture see them. What their code does is for the tests that run it.

import Foundation
import PrecastArtifact
import PrecastCompiler
import PrecastLoader
import PrecastMachineCode
import PrecastRuntime
import PrecastWasm
import TestSupport
import Testing

@Suite struct AArch64ArtifactTests {
  static let missing = ELFTools.missing(for: .aarch64)

  /// The modules: small ones of all kinds, real programs, and published ones where they are there.
  static let modules: [URL] =
    GoldenTests.names.map { GoldenTests.folder.appending(path: "\($0).wasm") }
    + ["Unwind/frames", "Load/calls", "Load/unwind", "Load/hello", "demo/tracer", "Debug/shop", "Debug/traps-O0"].map {
      Repository.testData.appending(path: "\($0).wasm")
    }
    + ["dispatch", "interpreter", "json", "lz", "mandelbrot", "sort"].map {
      Repository.testData.appending(path: "Kernels/\($0).wasm")
    }
    + ["boolector", "avr-as"].map { Repository.corpus.appending(path: "\($0).wasm") }.filter {
      FileManager.default.fileExists(atPath: $0.path)
    }

  static func settings(_ features: CPUFeatures = []) -> CompilerSettings {
    var settings = CompilerSettings()
    settings.architecture = .aarch64
    settings.cpuFeatures = features
    return settings
  }

  @Test(
    "readelf and eu-elflint have no complaint, and objdump knows every instruction",
    .enabled(if: missing.isEmpty, "needs \(missing.joined(separator: ", "))"), arguments: [CPUFeatures(), .bti])
  func complaints(features: CPUFeatures) throws {
    let path = try RealPath()
    for module in Self.modules { _ = try path.compile(wasm: module, settings: Self.settings(features)) }
    #expect(try ELFTools.complaints(about: path.artifacts, for: .aarch64) == [])
  }

  @Test("An instruction that there is none of is noticed", .enabled(if: missing.isEmpty))
  func undefined() throws {
    let path = try RealPath()
    let artifact = try path.compile(wasm: Self.modules[1], settings: Self.settings())
    let text = try #require(ObjectFile(artifact)[".text"])
    var bytes = try Data(contentsOf: artifact)
    bytes.replaceSubrange(text.address + 8..<text.address + 12, with: [0xFF, 0xFF, 0xFF, 0xFF])
    try bytes.write(to: artifact)
    #expect(try ELFTools.complaints(about: [artifact], for: .aarch64).contains { $0.contains(".inst") })
  }

  @Test("Text and data are aligned to the largest pages, and what is no function traps")
  func pages() throws {
    let path = try RealPath()
    let module = GoldenTests.folder.appending(path: "worked.wasm")
    let file = try ObjectFile(path.compile(wasm: module, settings: Self.settings()))
    let text = try #require(file[".text"])
    #expect(text.address % 65536 == 0 && text.bytes.count % 65536 == 0 && text.alignment == 65536)
    #expect(try #require(file[".rodata.wasm"]).address % 65536 == 0)
    var covered = Set<Int>()
    for symbol in file.symbols where symbol.info & 15 == 2 {
      covered.formUnion(stride(from: symbol.value, to: symbol.value + symbol.size, by: 4))
    }
    let gaps = stride(from: 0, to: text.bytes.count, by: 4).filter { !covered.contains(text.address + $0) }
    #expect(gaps.count > 10_000)
    // brk #0
    #expect(gaps.allSatisfy { text.bytes.number($0, 4) == 0xD420_0000 })
  }

  // MARK: Landing pads

  /// A line of a disassembly.
  private struct Instruction {
    var symbol: String
    var address: Int
    var text: String
  }

  private func disassembly(_ artifact: URL) throws -> [Instruction] {
    var list: [Instruction] = []
    var symbol = ""
    for line in try run("aarch64-linux-gnu-objdump", ["-d", "--no-show-raw-insn", artifact.path]).split(separator: "\n")
    {
      if line.hasSuffix(">:"), let name = line.firstIndex(of: "<") {
        symbol = String(line[line.index(after: name)...].dropLast(2))
      } else if let colon = line.firstIndex(of: ":"),
        let address = Int(line[..<colon].drop { $0 == " " }, radix: 16)
      {
        let text = line[line.index(after: colon)...].split(whereSeparator: { " \t".contains($0) })
        list.append(.init(symbol: symbol, address: address, text: text.joined(separator: " ")))
      }
    }
    return list
  }

  @Test(
    "With landing pads asked for, one stands wherever an indirect branch may lead",
    .enabled(if: missing.isEmpty, "needs \(missing.joined(separator: ", "))"))
  func landingPads() throws {
    var tables = 0
    for name in ["Golden/linked", "Unwind/frames", "Kernels/interpreter", "demo/tracer"] {
      let path = try RealPath()
      let module = Repository.testData.appending(path: "\(name).wasm")
      let list = try disassembly(path.compile(wasm: module, settings: Self.settings(.bti)))
      let places = Dictionary(list.enumerated().map { ($0.element.address, $0.offset) }, uniquingKeysWith: { $1 })
      for (index, instruction) in list.enumerated() {
        // Calls lead to functions, all of which an export or a table may hand out.
        if index == 0 || list[index - 1].symbol != instruction.symbol {
          #expect(instruction.text == "bti c", "\(name): \(instruction.symbol)")
        }
        let words = instruction.text.split(separator: " ")
        // Where a trap goes on, and where a table of branches begins.
        if words[0] == "adr" {
          let target = try #require(Int(words[2], radix: 16).flatMap { places[$0] }, "\(instruction.text)")
          #expect(list[target].text == "bti j", "\(name): \(instruction.symbol)")
        }
        guard words[0] == "br" else { continue }
        #expect(["x16", "x17"].contains(words[1]), "\(name): \(instruction.symbol)")
        if instruction.symbol.contains("trampoline") { continue }
        // Each entry of the table is a pad and a branch; their number is what the index is compared with.
        let comparison = try #require(list[..<index].last { $0.text.hasPrefix("cmp ") })
        let count = try #require(comparison.text.split(separator: "#").last.flatMap(Self.number))
        for entry in 0..<count {
          #expect(list[index + 1 + 2 * entry].text == "bti j", "\(name): \(instruction.symbol)")
          #expect(list[index + 2 + 2 * entry].text.hasPrefix("b "), "\(name): \(instruction.symbol)")
        }
        tables += 1
      }
    }
    #expect(tables > 3)
  }

  private static func number(_ text: Substring) -> Int? {
    text.hasPrefix("0x") ? Int(text.dropFirst(2).prefix { $0.isHexDigit }, radix: 16) : Int(text)
  }

  @Test("Without, only entry trampolines have one", .enabled(if: missing.isEmpty))
  func noLandingPads() throws {
    let path = try RealPath()
    let module = Repository.testData.appending(path: "Unwind/frames.wasm")
    let list = try disassembly(path.compile(wasm: module, settings: Self.settings()))
    let pads = list.filter { $0.text.hasPrefix("bti") }
    #expect(!pads.isEmpty)
    #expect(pads.allSatisfy { $0.symbol.hasSuffix("::enter") || $0.symbol.contains("::enter") })
  }

  // MARK: Elsewhere

  #if arch(x86_64)
    @Test("Here it is refused, with what it was built for")
    func refused() throws {
      let path = try RealPath()
      let artifact = try path.compile(wasm: Self.modules[1], settings: Self.settings())
      let error = #expect(throws: LoadError.self) {
        try Module(engine: path.engine, deserializeFile: artifact.path)
      }
      #expect(
        "\(error.map(String.init(describing:)) ?? "")".contains("architecture is aarch64 in the artifact, x86_64 here"))
    }
  #endif

  // MARK: Objects

  /// Compiles to an object.
  private func object(_ module: URL, in folder: TemporaryDirectory, sections: Bool, _ features: CPUFeatures) throws
    -> String
  {
    var options = ObjectOptions()
    options.hasFunctionSections = sections
    let file = folder.file("module.o")
    try Compiler(settings: Self.settings(features)).compileObject(
      WasmBinary([UInt8](try Data(contentsOf: module))), options: options, toFile: file)
    return file
  }

  @Test(
    "An object links to an artifact of the same code, on any machine", arguments: [false, true], [CPUFeatures(), .bti])
  func linking(sections: Bool, features: CPUFeatures) throws {
    let folder = try TemporaryDirectory()
    for name in ["Golden/linked", "demo/tracer"] {
      let module = Repository.testData.appending(path: "\(name).wasm")
      let path = try RealPath()
      let made = try ObjectFile(path.compile(wasm: module, settings: Self.settings(features)))
      let object = try object(module, in: folder, sections: sections, features)
      let output = folder.appending("linked.cwasm")
      let result = try run(builtProgram("precast"), ["link", object, "-o", output.path])
      #expect(result.status == 0, "\(result.errorText)")
      let linked = try ObjectFile(output)
      for section in [".text", ".wasmtime.info", ".wasmtime.addrmap", ".wasmtime.traps", ".rodata.wasm"] {
        #expect(linked[section]?.bytes == made[section]?.bytes, "\(name): \(section)")
      }
      #expect(try run(builtProgram("precast"), ["verify", output.path]).status == 0)
      if Self.missing.isEmpty { #expect(try ELFTools.complaints(about: [output], for: .aarch64) == []) }
    }
  }

  static let hasLinker = findTool("aarch64-linux-gnu-ld") != nil && findTool("aarch64-linux-gnu-gcc") != nil

  @Test(
    "The platform's linker and tools take objects without a word",
    .enabled(if: hasLinker && missing.isEmpty, "needs binutils and gcc for AArch64"), arguments: [false, true])
  func platformLinker(sections: Bool) throws {
    let folder = try TemporaryDirectory()
    let module = Repository.testData.appending(path: "demo/tracer.wasm")
    let object = try object(module, in: folder, sections: sections, [])
    for (tool, words) in [
      ("aarch64-linux-gnu-ld", ["-r", object, "-o", folder.file("r.o")]),
      ("aarch64-linux-gnu-gcc", ["-shared", "-nostdlib", object, "-o", folder.file("whole.so")]),
      ("aarch64-linux-gnu-gcc", ["-shared", "-nostdlib", folder.file("r.o"), "-o", folder.file("again.so")]),
    ] {
      let result = try #require(try runTool(tool, words))
      #expect(result.status == 0 && result.text == "", "\(tool) \(words): \(result.text)")
    }
    for file in ["module.o", "r.o"] {
      #expect(try run("eu-elflint", ["--gnu-ld", folder.file(file)]) == "No errors\n")
    }
    // The calls lead where they lead in the artifact.
    let path = try RealPath()
    let wanted = calls(try disassembly(path.compile(wasm: module, settings: Self.settings())))
    #expect(wanted.count > 300)
    #expect(calls(try disassembly(folder.appending("whole.so"))) == wanted)
  }

  private func calls(_ list: [Instruction]) -> [String] {
    list.filter { $0.text.hasPrefix("bl ") && $0.symbol.hasPrefix("wasm[0]") }.map {
      "\($0.symbol) calls \($0.text.drop { $0 != "<" })"
    }
  }
}
