// The tools that engineers have find the functions of an artifact, in the file and in a process that maps it.
//
// What nobody has to be told: an artifact is an ELF file whose offsets are its addresses, with a symbol and a size for each
// function, and its text is mapped from that file. So debuggers, symbolisers and profilers need nothing of ours. The
// expected places come from the artifact's own tables, by the loader.

import Foundation
import PrecastArtifact
import PrecastLoader
import TestSupport
import Testing

@Suite struct ToolsTests {
  /// A function of the hello world, as the artifact's tables have it.
  struct Function {
    var symbol: String
    /// Its offset in the file, which is its address there.
    var address: UInt
    var size: UInt
    /// Its index among the functions that the module defines.
    var index: Int
  }

  /// All functions of the hello world, without the names of those that have none.
  static func functions() throws -> [Function] {
    let loaded = try LoadedArtifact(path: LoadInputs.hello.get().path)
    let info = try loaded.moduleInfo()
    return try (0..<info.definedFunctionCount).map { index in
      let function = try info.definedFunction(index)
      let number = info.importedFunctionCount + index
      return Function(
        symbol: "wasm[0]::function[\(number)]::\(try loaded.artifact.names()?.function(number) ?? "")",
        address: UInt(loaded.header.text.offset) + UInt(function.textOffset), size: UInt(function.size), index: index)
    }
  }

  /// The one that formats: every hello world has it.
  static func printf() throws -> Function {
    try #require(try functions().first { $0.symbol.hasSuffix("::printf_core") })
  }

  static func has(_ tool: String) -> Bool { findTool(tool) != nil }

  private func output(_ tool: String, _ words: [String]) throws -> String {
    let result = try run(try #require(findTool(tool)), words)
    #expect(result.status == 0, "\(tool): \(result.errorText)")
    return result.outputText
  }

  // MARK: The file

  @Test("nm has each function with its address and size", .enabled(if: has("nm"), "nm is not installed"))
  func nm() throws {
    var symbols: [String: (address: UInt, size: UInt)] = [:]
    for line in try output("nm", ["-S", LoadInputs.hello.get().path]).split(separator: "\n") {
      let words = line.split(separator: " ", maxSplits: 3).map(String.init)
      try #require(words.count == 4 && words[2].lowercased() == "t", "\(line)")
      symbols[words[3]] = (try #require(UInt(words[0], radix: 16)), try #require(UInt(words[1], radix: 16)))
    }
    let functions = try Self.functions()
    #expect(functions.count > 50)
    for function in functions {
      let symbol = symbols.removeValue(forKey: function.symbol)
      #expect(symbol?.address == function.address, "\(function.symbol)")
      #expect(symbol?.size == function.size, "\(function.symbol)")
    }
    for rest in symbols.keys {
      #expect(rest.hasPrefix("wasm[0]::trampoline[") || rest.hasPrefix("wasm[0]::stub::"), "\(rest)")
    }
  }

  @Test("addr2line names the function of an address", .enabled(if: has("addr2line"), "addr2line is not installed"))
  func addr2line() throws {
    let function = try Self.printf()
    let addresses = [function.address, function.address + 1, function.address + function.size - 1]
    let text = try output(
      "addr2line",
      ["-f", "-e", LoadInputs.hello.get().path] + addresses.map { "0x" + String($0, radix: 16) })
    let lines = text.split(separator: "\n").map(String.init)
    try #require(lines.count == 6)
    for line in [0, 2, 4] { #expect(lines[line] == function.symbol) }
  }

  @Test("gdb names the function of an address, and disassembles it", .enabled(if: has("gdb"), "gdb is not installed"))
  func gdb() throws {
    let function = try Self.printf()
    let text = try output(
      "gdb",
      [
        "-nx", "-batch", "-ex", "info symbol 0x\(String(function.address, radix: 16))",
        "-ex", "info symbol 0x\(String(function.address + 5, radix: 16))",
        "-ex", "disassemble '\(function.symbol)'", LoadInputs.hello.get().path,
      ])
    #expect(text.contains("\(function.symbol) in section .text\n"))
    #expect(text.contains("\(function.symbol) + 5 in section .text\n"))
    checkDisassembly(text, of: function, at: function.address)
  }

  /// That a listing begins where the function does, with what all functions begin with, and covers it.
  private func checkDisassembly(_ text: String, of function: Function, at address: UInt) {
    let lines = text.split(separator: "\n").filter { $0.contains(" <+") }
    #expect(lines.first?.contains(String(address, radix: 16) + " <+0>:") == true, "\(lines.first ?? "nothing")")
    #expect(lines.first?.contains("push   %rbp") == true, "\(lines.first ?? "nothing")")
    let offsets = lines.compactMap { line in
      line.split(separator: "<+").last?.split(separator: ">").first.flatMap { UInt($0) }
    }
    // The last instruction is no longer than 15 bytes.
    #expect((offsets.last ?? 0) + 15 >= function.size && (offsets.last ?? .max) < function.size)
  }

  @Test(
    "readelf, objdump and eu-elflint have no complaint about a small artifact or a larger one",
    .enabled(if: ELFTools.missing.isEmpty, "needs \(ELFTools.missing.joined(separator: ", "))"))
  func complaints() throws {
    #expect(try ELFTools.complaints(about: [LoadInputs.hello.get(), LoadInputs.medium.get()]) == [])
  }

  @Test(
    "eu-elflint has no complaint about an artifact of 200,000 functions",
    .enabled(if: has("eu-elflint"), "eu-elflint is not installed"))
  func largeComplaints() throws {
    #expect(try output("eu-elflint", ["--gnu-ld", LoadInputs.large.get().path]) == "No errors\n")
  }

  // MARK: A process that maps it

  @Test("A process's map says where in the file each function's address is")
  func maps() throws {
    let file = try LoadInputs.hello.get()
    let holder = try ArtifactHolder([file])
    let text = try #require(holder.texts.first)
    let mapping = try mapping(of: text.address, in: holder.pid)
    #expect(mapping.rights == "r-xp")
    #expect(mapping.path == file.path)
    // What a profiler computes of an address: the mapping's offset, and the symbol at that address of the file.
    let loaded = try LoadedArtifact(path: file.path)
    #expect(mapping.start == text.address && mapping.offset == UInt(loaded.header.text.offset))
    for function in try Self.functions() {
      let address = text.address + (try #require(try loaded.functionAddress(function)) - loaded.textBase)
      #expect(address - mapping.start + mapping.offset == function.address)
    }
    // And which build of the file it is: the build-id is in the first page, which profilers read from the file.
    if Self.has("readelf") {
      #expect(try output("readelf", ["-n", file.path]).contains("Build ID: "))
    }
  }

  private struct MapsLine {
    var start: UInt
    var rights: String
    var offset: UInt
    var path: String
  }

  private func mapping(of address: UInt, in pid: Int32) throws -> MapsLine {
    for line in try procText("/proc/\(pid)/maps").split(separator: "\n") {
      // start-end rights offset device inode path
      let words = line.split(separator: " ", maxSplits: 5, omittingEmptySubsequences: true)
      let bounds = words[0].split(separator: "-").compactMap { UInt($0, radix: 16) }
      guard bounds.count == 2, (bounds[0]..<bounds[1]).contains(address), words.count == 6 else { continue }
      return MapsLine(
        start: bounds[0], rights: String(words[1]), offset: try #require(UInt(words[2], radix: 16)),
        path: words[5].trimmingCharacters(in: .whitespaces))
    }
    throw SpecError("no mapping holds \(address)")
  }

  /// Whether gdb may look into another process.
  static let mayAttach: Bool = {
    guard let gdb = findTool("gdb"), let holder = try? ArtifactHolder([]) else { return false }
    let result = try? run(gdb, ["-nx", "-batch", "-p", "\(holder.pid)", "-ex", "info registers rip"])
    return result?.outputText.contains("rip  ") == true
  }()

  @Test(
    "gdb in a process that maps it names and disassembles its functions",
    .enabled(if: mayAttach, "gdb is not installed, or may not attach here"))
  func gdbInProcess() throws {
    let file = try LoadInputs.hello.get()
    let holder = try ArtifactHolder([file])
    let text = try #require(holder.texts.first)
    let function = try Self.printf()
    let mapping = try mapping(of: text.address, in: holder.pid)
    let bias = mapping.start - mapping.offset
    let shown = try output(
      "gdb",
      [
        "-nx", "-batch", "-p", "\(holder.pid)", "-ex", "add-symbol-file \(file.path) -o 0x\(String(bias, radix: 16))",
        "-ex", "info symbol 0x\(String(bias + function.address, radix: 16))",
        "-ex", "disassemble '\(function.symbol)'",
      ])
    #expect(shown.contains("\(function.symbol) in section .text"))
    checkDisassembly(shown, of: function, at: bias + function.address)
  }

  /// Whether perf is there and may record.
  static let mayProfile: Bool = {
    guard let perf = findTool("perf"), let scratch = try? TemporaryDirectory() else { return false }
    let result = try? run(
      perf, ["record", "-q", "-e", "cpu-clock", "-o", scratch.appending("data").path, "/bin/true"])
    return result?.status == 0
  }()

  @Test(
    "perf names the function that a process was in",
    .enabled(if: mayProfile, "perf is not installed, or may not record here"))
  func perf() throws {
    let scratch = try TemporaryDirectory()
    let perf = try #require(findTool("perf"))
    let precast = builtProgram("precast")
    let artifact = scratch.appending("fib.cwasm").path
    let data = scratch.appending("data").path
    try run(precast, ["compile", Repository.testData.appending(path: "Golden/fib.wasm").path, "-o", artifact])
    let result = try run(
      perf,
      [
        "record", "-q", "-e", "cpu-clock", "-F", "2000", "-o", data, precast.path, "run", "--invoke", "fib", artifact,
        "32",
      ],
      in: scratch.url)
    #expect(result.outputText.contains("2178309"), "\(result.outputText) \(result.errorText)")
    let report = try run(perf, ["report", "--stdio", "-i", data, "--sort", "dso,symbol"], in: scratch.url).outputText
    #expect(
      report.split(separator: "\n").contains {
        $0.contains("fib.cwasm") && $0.contains("wasm[0]::function[0]::fib")
      }, "\(report.prefix(2000))")
  }
}

extension LoadedArtifact {
  /// A function's address, by what the tests know of it.
  fileprivate func functionAddress(_ function: ToolsTests.Function) throws -> UInt? {
    functionAddress(try moduleInfo().importedFunctionCount + function.index)
  }
}
