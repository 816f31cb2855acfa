// C beside wasm by the command alone: compile, link, run, and what other tools say of the result.

#if arch(x86_64)

  import Foundation
  import Precast
  import PrecastLoader
  import TestSupport
  import Testing

  /// The command that was built beside these tests.
  private enum Command {
    static let path: String = {
      if let path = ProcessInfo.processInfo.environment["PRECAST_COMMAND"] { return path }
      let program = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
      return URL(fileURLWithPath: program).deletingLastPathComponent().appendingPathComponent("precast").path
    }()

    @discardableResult
    static func run(_ arguments: String..., in folder: TemporaryDirectory) throws -> String {
      try TestSupport.run(path, arguments, in: folder.path)
    }

    /// What the command says when it refuses, without its name.
    static func error(_ arguments: String..., in folder: TemporaryDirectory) throws -> String {
      do {
        _ = try TestSupport.run(path, arguments, in: folder.path)
      } catch let failure as ToolFailure {
        let text = failure.description
        guard let start = text.range(of: "precast: error: ") else { return text }
        return String(text[start.upperBound...].prefix { $0 != "\n" })
      }
      Issue.record("no error: \(arguments)")
      return ""
    }
  }

  extension TemporaryDirectory {
    fileprivate func write(_ name: String, _ text: String) throws {
      try Data(text.utf8).write(to: URL(fileURLWithPath: file(name)))
    }

    /// Compiles C that is in the folder to objects in it.
    fileprivate func compileC(_ compiler: [String], _ sources: String...) throws {
      try run(
        compiler[0], Array(compiler.dropFirst()) + ["-c", "-fPIC", "-fvisibility=hidden", "-ffreestanding"] + sources,
        in: path)
    }
  }

  @Suite("C beside wasm, by the command", .enabled(if: WAT.isAvailable && hasTool("gcc"), "needs wasm-tools and gcc"))
  struct LinkCommandTests {
    private static let wat = """
      (module $shop
        (import "c" "isqrt" (func $isqrt (param i32) (result i32)))
        (import "c" "visits" (func $visits (result i64)))
        (func (export "hypotenuse") (param i32 i32) (result i32)
          (call $isqrt (i32.add (i32.mul (local.get 0) (local.get 0)) (i32.mul (local.get 1) (local.get 1)))))
        (func (export "visits") (result i64) (drop (call $visits)) (call $visits)))
      """
    private static let c = """
      static long count;
      extern const unsigned limits[2];
      long visits(void) { return ++count; }
      __attribute__((noinline)) static unsigned step(unsigned x, unsigned r) { return (r + x / r) / 2; }
      unsigned isqrt(unsigned x) {
        unsigned r = limits[x > 65535], next;
        while (x && (next = step(x, r)) < r) r = next;
        return x ? r : 0;
      }
      """
    private static let more = "const unsigned limits[2] = {256, 65536};\n"
    private static let bindings = ["--bind-import", "c.isqrt=isqrt", "--bind-import", "c.visits=visits"]

    private func folder() throws -> TemporaryDirectory {
      let folder = try TemporaryDirectory()
      try folder.write("shop.wat", Self.wat)
      try folder.write("isqrt.c", Self.c)
      try folder.write("limits.c", Self.more)
      try run("wasm-tools", ["parse", "shop.wat", "-o", "shop.wasm"], in: folder.path)
      return folder
    }

    private func compile(_ bindings: [String], in folder: TemporaryDirectory) throws {
      try run(Command.path, ["compile", "--emit", "object", "shop.wasm", "-o", "shop.o"] + bindings, in: folder.path)
    }

    static let compilers = CCompiler.allCases.filter { $0.isAvailable(for: .x86_64) }.flatMap { compiler in
      ["-O0", "-O2"].map { compiler.command(for: .x86_64) + [$0] }
    }

    @Test("an artifact of wasm and C runs, and every tool is content with it", arguments: compilers, [false, true])
    func linked(compiler: [String], sections: Bool) throws {
      let folder = try folder()
      try compile(Self.bindings + (sections ? ["--function-sections"] : []), in: folder)
      try folder.compileC(
        compiler + (sections ? ["-ffunction-sections", "-fdata-sections"] : []), "isqrt.c", "limits.c")
      try Command.run("link", "isqrt.o", "shop.o", "limits.o", "-o", "shop.cwasm", in: folder)
      #expect(try Command.run("run", "--invoke", "hypotenuse", "shop.cwasm", "30000", "40000", in: folder) == "50000\n")
      #expect(try Command.run("run", "--invoke", "visits", "shop.cwasm", in: folder) == "2\n")
      #expect(try Command.run("verify", "shop.cwasm", in: folder).contains("shop.cwasm"))

      // Linked again, it is the same.
      try Command.run("link", "isqrt.o", "shop.o", "limits.o", "-o", "again.cwasm", in: folder)
      #expect(
        try Data(contentsOf: URL(fileURLWithPath: folder.file("shop.cwasm")))
          == Data(contentsOf: URL(fileURLWithPath: folder.file("again.cwasm"))))

      let listing = try run("readelf", ["-aW", "shop.cwasm"], in: folder.path)
      #expect(!listing.contains(/[Ww]arning|[Ee]rror:|<corrupt/))
      #expect(listing.contains("There are no relocations in this file."))
      let headers = try run("readelf", ["-lW", "shop.cwasm"], in: folder.path)
      #expect(!headers.contains("RWE"))
      if hasTool("eu-elflint") {
        #expect(try run("eu-elflint", ["--gnu-ld", "shop.cwasm"], in: folder.path) == "No errors\n")
      }
    }

    @Test("the example of the documentation does what it says")
    func documentation() throws {
      let root = URL(fileURLWithPath: Corpus.folder).deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent()
      let page = try String(contentsOf: root.appendingPathComponent("Docs/Linking.md"), encoding: .utf8)
      let section = try #require(page.range(of: "\n## C beside wasm\n"))
      let example = try #require(page[section.upperBound...].firstMatch(of: /(?s)\n```\n(.*?)\n```\n/)).output.1
      let folder = try TemporaryDirectory()
      try folder.write("example.sh", "set -e\nprecast() { \(Command.path) \"$@\"; }\n\(example)\n")
      let lines = try run("bash", ["example.sh"], in: folder.path).split(separator: "\n")
      #expect(lines.first == "50000")
      #expect(lines.contains { $0.hasSuffix("<isqrt>:") })
    }

    @Test("objects that the system's linker has joined are one object, or one of several")
    func joined() throws {
      let folder = try folder()
      try compile(Self.bindings, in: folder)
      try folder.compileC(["gcc", "-O2"], "isqrt.c", "limits.c")
      try run("ld", ["-r", "isqrt.o", "shop.o", "-o", "both.o"], in: folder.path)
      try run("ld", ["-r", "limits.o", "both.o", "-o", "all.o"], in: folder.path)
      for objects in [["both.o", "limits.o"], ["all.o"]] {
        try run(Command.path, ["link"] + objects + ["-o", "shop.cwasm"], in: folder.path)
        #expect(
          try Command.run("run", "--invoke", "hypotenuse", "shop.cwasm", "30000", "40000", in: folder) == "50000\n")
        try Command.run("verify", "shop.cwasm", in: folder)
      }
    }

    @Test("C functions have their names for nm, objdump, addr2line and gdb")
    func names() throws {
      let folder = try folder()
      try compile(Self.bindings, in: folder)
      try folder.compileC(["gcc", "-O2"], "isqrt.c", "limits.c")
      try Command.run("link", "shop.o", "isqrt.o", "limits.o", "-o", "shop.cwasm", in: folder)
      let symbols = try run("nm", ["-S", "shop.cwasm"], in: folder.path).split(separator: "\n")
        .map { $0.split(separator: " ").map(String.init) }
      for (name, letter) in [("isqrt", "t"), ("step", "t"), ("limits", "r"), ("count", "b"), ("visits", "t")] {
        let symbol = try #require(symbols.first { $0.last == name }, "no symbol \(name)")
        #expect(symbol.count == 4 && symbol[2] == letter, "\(symbol)")
        guard letter == "t" else { continue }
        let address = "0x" + symbol[0]
        #expect(try run("addr2line", ["-fe", "shop.cwasm", address], in: folder.path).hasPrefix("\(name)\n"))
        #expect(
          try run("objdump", ["-d", "--disassemble=\(name)", "shop.cwasm"], in: folder.path).contains("<\(name)>:"))
        if hasTool("gdb") {
          let answer = try run(
            "gdb", ["-nx", "-batch", "-ex", "info symbol \(address)", "shop.cwasm"], in: folder.path)
          #expect(answer.contains("\(name) in section .text"))
        }
      }
      // The adapter is called by wasm and calls C, by relative calls.
      let code = try run("objdump", ["-d", "shop.cwasm"], in: folder.path)
      #expect(code.contains(/call +[0-9a-f]+ <wasm\[0\]::adapter\[0\]::isqrt>/))
      #expect(code.contains(/call +[0-9a-f]+ <isqrt>/))
    }

    @Test("what cannot be linked is told in a linker's words")
    func linkErrors() throws {
      let folder = try folder()
      try compile(Self.bindings, in: folder)
      try folder.compileC(["gcc", "-O2"], "isqrt.c", "limits.c")
      func error(_ name: String, _ source: String, _ flags: String...) throws -> String {
        try folder.write("\(name).c", source)
        try run(
          "gcc", ["-c", "-ffreestanding", "-fPIC", "-fvisibility=hidden", "-O1"] + flags + ["\(name).c"],
          in: folder.path)
        return try Command.error(
          "link", "shop.o", "isqrt.o", "limits.o", "\(name).o", "-o", "no.cwasm", in: folder)
      }
      #expect(
        try Command.error("link", "shop.o", "limits.o", "-o", "no.cwasm", in: folder)
          .contains(
            /undefined symbol: isqrt; referenced by shop\.o: \.text\+0x[0-9a-f]+ \(wasm\[0\]::adapter\[0\]::isqrt\)/))
      #expect(
        try error("twice", "int isqrt(int x) { return x; }\n")
          == "duplicate symbol: isqrt; defined in isqrt.o and twice.o")
      #expect(
        try error("tls", "_Thread_local int t; int f(void) { return t; }\n", "-ftls-model=initial-exec")
          .contains("thread-local storage"))
      #expect(
        try error("missing", "int g(int); int f(int x) { return g(x) + 1; }\n").contains(
          /undefined symbol: g; referenced by missing\.o: \.text\+0x[0-9a-f]+ \(f\)/))
      #expect(
        try error("absolute", "int f(int x) { return x; }\nint (*const table[])(int) = {f};\n")
          .contains(/absolute\.o: in \.data\.rel\.ro.*R_X86_64_64.*'f'/))
      #expect(
        try error("small", "int v; int *f(void) { return &v; }\n", "-fno-pic").contains(/R_X86_64_32.*-fPIC/))
      #expect(
        try error("constructor", "int n; __attribute__((constructor)) static void f(void) { n++; }\n").contains(
          ".init_array"))
      #expect(
        try Command.error("link", "shop.o", "shop.o", "isqrt.o", "limits.o", "-o", "no.cwasm", in: folder)

          == "shop.o and shop.o each hold a wasm module; an image can hold one")
      #expect(try Command.error("link", "isqrt.o", "limits.o", "-o", "no.cwasm", in: folder).contains("wasm module"))
      #expect(try Command.error("link", "shop.wasm", "-o", "no.cwasm", in: folder).contains("--emit object"))
      #expect(try Command.error("link", "isqrt.c", "-o", "no.cwasm", in: folder).contains("isqrt.c"))
      #expect(try Command.error("link", "absent.o", "-o", "no.cwasm", in: folder).contains("absent.o"))
      #expect(!FileManager.default.fileExists(atPath: folder.file("no.cwasm")))
    }

    /// Changes an object by `objcopy`, which is there where gcc is.
    private func change(_ object: String, _ options: [String], to name: String, in folder: TemporaryDirectory) throws {
      try run("objcopy", options + [object, name], in: folder.path)
    }

    @Test("an object that was changed is linked only if its tables, symbols and code still fit one another")
    func changedObjects() throws {
      let folder = try folder()
      try compile(Self.bindings, in: folder)
      try folder.compileC(["gcc", "-O2"], "isqrt.c", "limits.c")
      func error(_ options: String...) throws -> String {
        try change("shop.o", options, to: "changed.o", in: folder)
        let error = try Command.error("link", "changed.o", "isqrt.o", "limits.o", "-o", "no.cwasm", in: folder)
        #expect(!FileManager.default.fileExists(atPath: folder.file("no.cwasm")))
        return error
      }
      #expect(try error("--remove-section=.wasmtime.traps").contains("changed.o: "))
      #expect(try error("--remove-section=.wasmtime.traps").contains(".wasmtime.traps+0x0: the section is missing"))
      #expect(try error("--remove-section=.wasmtime.info").contains("a wasm module without its tables"))
      #expect(try error("--remove-section=.wasmtime.engine").contains("a wasm module without its tables"))
      let symbols = try run("nm", ["shop.o"], in: folder.path).split(separator: "\n").compactMap { line in
        line.firstRange(of: "wasm[0]::").map { String(line[$0.lowerBound...]) }
      }
      let function = try #require(symbols.first { $0.hasPrefix("wasm[0]::function[") })
      let adapter = try #require(symbols.first { $0.hasPrefix("wasm[0]::adapter[") })
      for (old, new) in [(function, "other"), (adapter, "wasm[0]::function[77]::x"), (function, adapter)] {
        let message = try error("--redefine-sym", "\(old)=\(new)")
        #expect(message.contains(/changed\.o: the wasm module is damaged.*\.symtab\+0x/), "\(old) \(new): \(message)")
      }
      // What says nothing of the code may go.
      try change(
        "shop.o", ["--remove-section=.wasmtime.addrmap", "--remove-section=.name.wasm"], to: "less.o", in: folder)
      try Command.run("link", "less.o", "isqrt.o", "limits.o", "-o", "less.cwasm", in: folder)
      #expect(try Command.run("run", "--invoke", "hypotenuse", "less.cwasm", "3", "4", in: folder) == "5\n")
      try Command.run("verify", "less.cwasm", in: folder)
    }

    @Test("symbols of other objects that pretend to be the module's, or reach out of their sections, are errors")
    func oddSymbols() throws {
      let folder = try folder()
      try compile(Self.bindings, in: folder)
      try folder.compileC(["gcc", "-O2"], "isqrt.c", "limits.c")
      func error(_ text: String) throws -> String {
        try folder.write("odd.s", text + "\n.section .note.GNU-stack,\"\",@progbits\n")
        try run("gcc", ["-c", "odd.s"], in: folder.path)
        return try Command.error("link", "shop.o", "isqrt.o", "limits.o", "odd.o", "-o", "no.cwasm", in: folder)
      }
      let name = "\"wasm[0]::function[2]::shop\""
      #expect(
        try error(".text\n.globl \(name)\n.type \(name), @function\n\(name): ret\n.size \(name), 1\n").contains(
          "symbol 'wasm[0]::function[2]::shop' is named like a function of the wasm module"))
      #expect(
        try error(".text\n.globl odd\n.type odd, @function\nodd: ret\n.size odd, 100000\n").contains(
          "symbol 'odd' lies in no section of code or data, or reaches out of it"))
      #expect(
        try error(".data\n.globl odd\n.type odd, @object\nodd: .quad 1\n.size odd, 0x7fffffffffffffff\n").contains(
          "symbol 'odd' lies in no section"))
    }

    @Test("code that the system's linker put right behind the module's runs, at every level of optimisation")
    func joinedWithoutAlignment() throws {
      for options in [["-O0"], ["-Os"], ["-O2", "-falign-functions=64"]] {
        let folder = try folder()
        try compile(Self.bindings, in: folder)
        try folder.compileC(["gcc"] + options, "isqrt.c", "limits.c")
        // An odd number of bytes behind the module, and C behind that.
        try folder.write("odd.s", ".text\n.globl one\n.type one, @function\none: ret\n.size one, .-one\n")
        try run("gcc", ["-c", "odd.s"], in: folder.path)
        try run("ld", ["-r", "shop.o", "odd.o", "isqrt.o", "limits.o", "-o", "all.o"], in: folder.path)
        try Command.run("link", "all.o", "-o", "shop.cwasm", in: folder)
        #expect(
          try Command.run("run", "--invoke", "hypotenuse", "shop.cwasm", "30000", "40000", in: folder) == "50000\n")
        #expect(try Command.run("run", "--invoke", "visits", "shop.cwasm", in: folder) == "2\n")
        try Command.run("verify", "shop.cwasm", in: folder)
      }
    }

    @Test("an import is bound to a function, not to data and not to a number")
    func boundToData() throws {
      let folder = try folder()
      try compile(Self.bindings, in: folder)
      try folder.compileC(["gcc", "-O2"], "limits.c")
      func error(_ text: String) throws -> String {
        try folder.write("data.s", ".text\n.globl visits, isqrt\nvisits: ret\n\(text)\n")
        try run("gcc", ["-c", "data.s"], in: folder.path)
        return try Command.error("link", "shop.o", "data.o", "limits.o", "-o", "no.cwasm", in: folder)
      }
      let call =
        #/shop\.o: \.text\+0x[0-9a-f]+ \(wasm\[0\]::adapter\[0\]::isqrt\): calls symbol 'isqrt', which is (.*)/#
      for (text, what) in [(".data\nisqrt: .quad 1", "data"), (".set isqrt, 0x1000", "a number")] {
        let message = try error(text)
        #expect(message.firstMatch(of: call)?.1 == "\(what) in data.o; bind the import to a function", "\(message)")
      }
    }

    @Test("unwind entries with a personality, as C++ has them, stand beside the module's")
    func personality() throws {
      let folder = try folder()
      try compile(Self.bindings, in: folder)
      try folder.compileC(["gcc", "-O2"], "isqrt.c", "limits.c")
      // As g++ would, without the library that goes with it.
      try folder.write(
        "p.s",
        """
        .text
        .globl personality, guarded
        .type personality, @function
        personality: mov $8, %eax
        ret
        .type guarded, @function
        guarded:
        .cfi_startproc
        .cfi_personality 0x1b, personality
        ret
        .cfi_endproc
        .size guarded, .-guarded
        .section .note.GNU-stack,"",@progbits

        """)
      try run("gcc", ["-c", "p.s"], in: folder.path)
      try Command.run("link", "shop.o", "isqrt.o", "limits.o", "p.o", "-o", "shop.cwasm", in: folder)
      try Command.run("verify", "shop.cwasm", in: folder)
      #expect(try run("readelf", ["-wf", "shop.cwasm"], in: folder.path).contains("\"zPR\""))
    }

    @Test("an object of another machine is told by its machine")
    func anotherMachine() throws {
      guard findTool("aarch64-linux-gnu-gcc") != nil else { return }
      let folder = try folder()
      try compile(Self.bindings, in: folder)
      try run("aarch64-linux-gnu-gcc", ["-c", "-O1", "-ffreestanding", "limits.c", "-o", "arm.o"], in: folder.path)
      #expect(
        try Command.error("link", "shop.o", "arm.o", "-o", "no.cwasm", in: folder)
          == "arm.o is for AArch64, shop.o for x86-64")
      #expect(
        try Command.error("run", "arm.o", in: folder) == "arm.o was built for AArch64, and this is x86-64")
      let object = LinkableObject([UInt8](try Data(contentsOf: folder.appending("arm.o"))), name: "arm.o")
      let error = #expect(throws: LoadError.self) { try LoadedObjects([object]) }
      #expect(error?.kind == .cannotLink && error?.message == "arm.o was built for AArch64, and this is x86-64")
    }

    @Test("what cannot be bound is told with the import's name")
    func bindingErrors() throws {
      let folder = try TemporaryDirectory()
      try folder.write(
        "a.wat",
        """
        (module
          (import "env" "good" (func (param i32)))
          (import "env" "reference" (func (result externref)))
          (import "env" "two" (func (result i32 i32)))
          (import "env" "memory" (memory 1)))
        """)
      try run("wasm-tools", ["parse", "a.wat", "-o", "a.wasm"], in: folder.path)
      func error(_ bindings: String...) throws -> String {
        do {
          try run(
            Command.path,
            ["compile", "--emit", "object", "a.wasm", "-o", "a.o"] + bindings.flatMap { ["--bind-import", $0] },
            in: folder.path)
        } catch let failure as ToolFailure {
          return failure.description
        }
        return ""
      }
      #expect(try error("env.good=f") == "")
      #expect(try error("env.god=f").contains("there is no import env.god to bind; the module imports env.good"))
      #expect(try error("env.good=f", "env.good=g").contains("the import env.good is bound twice"))
      #expect(try error("env.reference=f").contains("the import env.reference cannot be bound: C has no externref"))
      #expect(try error("env.two=f").contains("the import env.two cannot be bound: it has 2 results"))
      #expect(try error("env.memory=f").contains("the import env.memory cannot be bound: it is no function"))
      #expect(try error("env.good=").contains("is no name for a symbol"))
      #expect(try error("env.good").contains("--bind-import takes MODULE.NAME=SYMBOL, not 'env.good'"))
      #expect(
        try Command.error("compile", "a.wasm", "-o", "a.cwasm", "--bind-import", "env.good=f", in: folder)
          .contains("--bind-import needs --emit object"))
      // An import that is not bound is asked for where the artifact runs, one that is bound where it is linked.
      #expect(try error("env.good=f") == "")
      #expect(
        try Command.error("run", "a.o", in: folder).contains(/undefined symbol: f; referenced by a\.o/))
    }
  }

#endif
