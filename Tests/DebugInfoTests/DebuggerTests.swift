// gdb, driven as a developer drives it: breakpoints on functions of the guest, a stack through host and guest, the source.

import CPrecastHost
import Foundation
import Precast
import PrecastCompiler
import PrecastLoader
import PrecastWasm
import Testing

@testable import PrecastDebugInfo

@Suite(.serialized) struct DebuggerTests {
  /// Whether gdb may run programs here.
  static let canDebug: Bool = {
    guard let gdb = Place.program("gdb"), let scratch = try? Scratch() else { return false }
    let result = try? scratch.run(gdb, ["-nx", "-batch", "-ex", "break main", "-ex", "run", "--args", "/bin/true"])
    return result?.text.contains("Cannot") == false && result?.text.contains("ptrace") == false
  }()

  /// What gdb says, to commands that come before a program is run and after it has stopped.
  private func gdb(_ scratch: Scratch, before: [String], after: [String], _ words: [String]) throws -> String {
    // Without the debug information of the host, as it is installed: symbols remain.
    let program = scratch.path("host")
    if !FileManager.default.fileExists(atPath: program) {
      try scratch.run(
        #require(Place.program("strip")), ["--strip-debug", "-o", program, Place.built("debug-host").path])
    }
    var arguments = ["-nx", "-batch"]
    let source = "set substitute-path /guest \(Place.guests.path)"
    for command in ["set pagination off", "set breakpoint pending on", "set width 0", source] + before + ["run"] + after
    {
      arguments += ["-ex", command]
    }
    return try scratch.run(
      #require(Place.program("gdb")), arguments + ["--args", program] + words,
      environment: ["PRECAST_DEBUG": "1", "DEBUGINFOD_URLS": ""]
    ).text
  }

  /// The functions of the frames in a backtrace of gdb's.
  private func frames(_ text: String) -> [String] {
    text.split(separator: "\n").filter { $0.hasPrefix("#") }.map { line in
      var rest = line.drop { $0 != " " }.drop { $0 == " " }
      if rest.hasPrefix("0x"), let range = rest.range(of: " in ") { rest = rest[range.upperBound...] }
      return String(rest.prefix(upTo: rest.range(of: " (")?.lowerBound ?? rest.endIndex))
    }
  }

  @Test(
    "break on a function of the guest, bt through host and guest and back, list its source",
    .enabled(if: canDebug && Place.has("strip"), "gdb is not installed, or may not run programs here"),
    arguments: ["file", "memory"])
  func breakpoint(_ loading: String) throws {
    let scratch = try Scratch()
    let artifact = try scratch.artifact(of: "traps-O0.wasm")
    let text = try gdb(
      scratch, before: ["break divide"], after: ["bt", "list", "info line"],
      [loading, artifact, "ask_host", "1", "divide_by"])
    let line = try sourceLine(of: "TRAP divide", in: "traps.c")
    #expect(text.contains("/traps.c:\(line)\n"), "\(text)")
    #expect(text.contains("return a / b;  // TRAP divide"), "\(text)")
    let frames = frames(text)
    let isGuest: (String) -> Bool = {
      ["divide", "divide_by", "ask", "ask_host"].contains($0) || $0.hasPrefix("wasm[0]::")
    }
    let guest = frames.filter(isGuest)
    // Twice into the guest, once out of it again, with the host's frames between and around.
    let once = ["wasm[0]::trampoline[0]::exit", "ask", "ask_host", "wasm[0]::trampoline[0]::enter"]
    #expect(guest == ["divide", "divide_by", "wasm[0]::trampoline[0]::enter"] + once + once, "\(text)")
    #expect(frames.contains { $0.contains("precast_call") || $0.contains("precast_enter") }, "\(text)")
    #expect(frames.last?.hasSuffix("main") == true, "\(text)")
    let call = try sourceLine(of: "TRAP ask", in: "traps.c")
    #expect(text.contains("ask () at /guest/traps.c:\(call)"), "\(text)")
  }

  @Test(
    "break by the name section's name, where there is no DWARF",
    .enabled(if: canDebug && Place.has("strip"), "gdb is not installed, or may not run programs here"),
    arguments: ["file", "memory"])
  func breakpointWithoutDWARF(_ loading: String) throws {
    let scratch = try Scratch()
    let artifact = try scratch.artifact(of: "traps-O2.wasm", debugInfo: false)
    let text = try gdb(
      scratch, before: ["break recurse"], after: ["bt"], [loading, artifact, "recurse_from", "3", "0"])
    #expect(frames(text).prefix(3) == ["recurse", "recurse_from", "wasm[0]::trampoline[0]::enter"], "\(text)")
  }

  @Test(
    "break on a C++ function by its scope and name",
    .enabled(if: canDebug && Place.has("strip"), "gdb is not installed, or may not run programs here"))
  func breakpointInScope() throws {
    let scratch = try Scratch()
    let artifact = try scratch.artifact(of: "shop.wasm")
    let text = try gdb(scratch, before: ["break shop::Till::pay"], after: ["bt"], ["file", artifact, "pay", "1", "0"])
    #expect(frames(text).first?.contains("shop::Till::pay") == true || text.contains("Function \"shop"), "\(text)")
    #expect(text.contains("Breakpoint 1, "), "\(text)")
    #expect(try text.contains("/shop.cpp:\(sourceLine(of: "TRAP pay", in: "shop.cpp"))"), "\(text)")
  }

  @Test(
    "bt shows C between wasm: the function that an import is bound to, its adapter, and wasm that it entered again",
    .enabled(
      if: canDebug && Place.has("strip") && BoundGuest.canCompile, "needs gdb, which may run programs, and a C compiler"
    ))
  func bound() throws {
    let scratch = try Scratch()
    let guest = try BoundGuest(scratch)
    let text = try gdb(
      scratch, before: ["break divide"], after: ["bt"],
      ["objects", guest.objects.joined(separator: ","), "ask_host", "1", "divide_by"])
    let frames = frames(text).filter {
      ["divide", "divide_by", "ask", "ask_host"].contains($0) || $0.hasSuffix("_in_c") || $0.hasPrefix("wasm[0]::")
    }
    #expect(
      frames == [
        "divide", "divide_by", "wasm[0]::trampoline[0]::enter", "inner_in_c", "call_in_c",
        "wasm[0]::adapter[0]::call_in_c", "ask", "ask_host", "wasm[0]::trampoline[0]::enter",
      ], "\(text)")
    #expect(self.frames(text).last?.hasSuffix("main") == true, "\(text)")
  }

  @Test(
    "break on a function of C in a finished artifact",
    .enabled(
      if: canDebug && Place.has("strip") && BoundGuest.canCompile, "needs gdb, which may run programs, and a C compiler"
    ),
    arguments: ["file", "memory"])
  func breakpointInC(_ loading: String) throws {
    let scratch = try Scratch()
    let path = scratch.path("bound.cwasm")
    try ObjectLinking.link(BoundGuest(scratch).linkable, toFile: path, durable: false)
    let text = try gdb(scratch, before: ["break inner_in_c"], after: ["bt"], [loading, path, "ask_host", "1"])
    #expect(
      frames(text).prefix(6) == [
        "inner_in_c", "call_in_c", "wasm[0]::adapter[0]::call_in_c", "ask", "ask_host", "wasm[0]::trampoline[0]::enter",
      ], "\(text)")
  }

  @Test(
    "Every byte of code is in a piece with a name: functions, adapters, stubs, veneers, C", arguments: [false, true])
  func pieces(hasC: Bool) throws {
    guard !hasC || BoundGuest.canCompile else { return }
    let scratch = try Scratch()
    let engine = Engine()
    for (number, layout) in [LinkLayout(), BoundGuest.veneers].enumerated() {
      let module: Module
      if hasC {
        module = try Module(engine: engine, linking: BoundGuest(scratch).linkable, layout: layout)
      } else {
        let wasm = [UInt8](try Data(contentsOf: Place.guests.appendingPathComponent("traps-O2.wasm")))
        let object = LinkableObject(try Compiler().compileObject(WasmBinary(wasm)), name: "guest.o")
        module = try Module(engine: engine, linking: [object], layout: layout)
      }
      let artifact = module.artifact
      let pieces = artifact.codePieces().sorted { $0.textOffset < $1.textOffset }
      let text = try #require(UnsafeRawPointer(bitPattern: artifact.textBase))
      var at = 0
      for piece in pieces + [CodePiece(textOffset: UInt32(artifact.textSize), size: 0, name: "", wasmOffset: nil)] {
        try #require(Int(piece.textOffset) >= at, "\(piece.name) overlaps")
        // Filling: `int3`.
        let between = (at..<Int(piece.textOffset)).filter { text.load(fromByteOffset: $0, as: UInt8.self) != 0xCC }
        #expect(between == [], "before \(piece.name)")
        at = Int(piece.textOffset) + Int(piece.size)
      }
      let names = Set(pieces.map(\.name))
      #expect(names.isSuperset(of: ["divide_by", "wasm[0]::trampoline[0]::enter", "wasm[0]::stub::resolve_element"]))
      if hasC { #expect(names.isSuperset(of: ["inner_in_c", "call_in_c", "wasm[0]::adapter[0]::call_in_c"])) }
      // The host's function is far away from wherever code is linked to.
      #expect(names.contains("wasm[0]::stub::veneers") == (number == 1 || hasC))
      // The same in a perf map, at addresses of this process.
      let lines = String(decoding: PerfMap.lines(of: artifact), as: UTF8.self).split(separator: "\n")
      #expect(lines.count == pieces.count)
      for piece in pieces {
        let start = String(artifact.textBase + UInt(piece.textOffset), radix: 16)
        #expect(lines.contains("\(start) \(String(piece.size, radix: 16)) \(piece.name)"))
      }
    }
  }

  @Test(
    "add-symbol-file on the artifact names its functions, without anything being asked for",
    .enabled(if: Place.has("gdb")))
  func addSymbolFile() throws {
    let scratch = try Scratch()
    let artifact = try scratch.artifact(of: "traps-O2.wasm")
    let text = try scratch.run(
      #require(Place.program("gdb")),
      ["-nx", "-batch", "-ex", "add-symbol-file \(artifact) -o 0x10000000", "-ex", "info symbol 0x10001000"]
    ).text
    #expect(text.contains("wasm[0]::function[1]::unreachable in section .text"), "\(text)")
  }

  // MARK: What is announced

  /// The announced file for code at an address.
  private func image(of artifact: LoadedArtifact) -> [UInt8]? {
    for index in 0... {
      var size = 0
      guard let start = precast_gdb_image(index, &size) else { return nil }
      let bytes = [UInt8](UnsafeRawBufferPointer(start: start, count: size))
      // The first section is the text: its address.
      let address = bytes[144..<152].reversed().reduce(UInt(0)) { $0 << 8 | UInt($1) }
      if address == artifact.textBase { return bytes }
    }
    return nil
  }

  private func module(_ guest: String, debuggers: Bool, in scratch: Scratch) throws -> Module {
    var configuration = EngineConfiguration()
    configuration.announcesToDebuggers = debuggers
    return try Module(
      engine: Engine(configuration: configuration), deserializeFile: try scratch.artifact(of: guest))
  }

  @Test("Code is announced once, while it is loaded, to those who asked") func life() throws {
    let scratch = try Scratch()
    let before = precast_gdb_count()
    do {
      let silent = try module("traps-O2.wasm", debuggers: false, in: scratch)
      #expect(precast_gdb_count() == before)
      // Nothing was kept for it, nor read.
      #expect(silent.artifact.companion.load() == nil)
      let module = try module("traps-O2.wasm", debuggers: true, in: scratch)
      #expect(precast_gdb_count() == before + 1)
      #expect(image(of: module.artifact) != nil)
      let same = Module(engine: module.engine, artifact: module.artifact)
      #expect(precast_gdb_count() == before + 1)
      withExtendedLifetime(same) {}
    }
    #expect(precast_gdb_count() == before)
  }

  @Test("Threads announce and withdraw at once") func threads() async throws {
    let scratch = try Scratch()
    let path = try scratch.artifact(of: "traps-O2.wasm")
    let before = precast_gdb_count()
    try await withThrowingTaskGroup(of: Void.self) { group in
      for _ in 0..<8 {
        group.addTask {
          for _ in 0..<20 {
            var configuration = EngineConfiguration()
            configuration.announcesToDebuggers = true
            let module = try Module(engine: Engine(configuration: configuration), deserializeFile: path)
            withExtendedLifetime(module) {}
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(precast_gdb_count() == before)
  }

  @Test(
    "The announced file is DWARF that a verifier takes, with the source's lines at native addresses",
    .enabled(if: Place.has("llvm-dwarfdump-19") && Place.has("llvm-symbolizer-19")),
    arguments: ["traps-O0.wasm", "traps-O2.wasm", "shop.wasm"])
  func file(_ guest: String) throws {
    let scratch = try Scratch()
    let module = try module(guest, debuggers: true, in: scratch)
    let bytes = try #require(image(of: module.artifact))
    let path = scratch.path("image")
    try Data(bytes).write(to: URL(fileURLWithPath: path))
    let verdict = try scratch.run(#require(Place.program("llvm-dwarfdump-19")), ["--verify", path])
    #expect(verdict.status == 0 && verdict.text.contains("No errors."), "\(verdict.text)")
    // At each entry of the address map (but those of operators at the end, which emit nothing), the line is that of the guest's DWARF.
    let info = try module.artifact.moduleInfo()
    let map = try #require(try module.artifact.artifact.addressMap())
    var asked: [(address: UInt, wasmOffset: Int)] = []
    for row in 0..<info.definedFunctionCount {
      let function = try info.definedFunction(row)
      for entry in try map.entries(functionTextOffset: function.textOffset)
      where entry.codeOffset > 0 && entry.codeOffset < function.size {
        asked.append((module.artifact.textBase + UInt(function.textOffset + entry.codeOffset), Int(entry.value)))
      }
    }
    let answers = try scratch.run(
      #require(Place.program("llvm-symbolizer-19")),
      ["--obj=\(path)", "--no-inlines", "--output-style=GNU", "--functions=none"]
        + asked.map { "0x" + String($0.address, radix: 16) }
    ).text.split(separator: "\n").map(String.init)
    try #require(answers.count == asked.count)
    var compared = 0
    for (place, answer) in zip(asked, answers) {
      guard let expected = module.artifact.sourcePositions(ofWasmOffset: place.wasmOffset).first,
        let line = expected.line,
        let file = expected.file
      else { continue }
      #expect(answer.hasPrefix("\(file):\(line)"), "wasm offset \(place.wasmOffset)")
      compared += 1
    }
    #expect(compared > 4)
  }
}
