import Foundation
import PrecastArtifact
import PrecastLinker
import PrecastMachineCode
import TestSupport
import Testing

/// The system's linker, told to put sections where ours does, makes the same bytes of code, constants and data.
@Suite struct OracleTests {
  static let a = """
    extern long b_recursion(long), far_function(long);
    extern long b_counter, b_array[];
    extern const char *const b_names[];
    long __attribute__((weak)) overridden(void) { return 1; }
    static char bytes[3]; static short halves[5]; static int words[7]; static long longs[900];
    long initialised = 42;
    const double constants[] = { 1.5, 2.5, -3.25 };
    static const char *table[] = { "zero", "one", "two", "three" };
    static long (*const pointers[])(long) = { b_recursion, far_function };
    long *into = &b_array[3];
    double scale(double x, int i) { return x * 2.5 + constants[i & 1]; }
    long stores(long i) { bytes[1] = i; halves[2] = i; words[3] = i; longs[4] = i; return bytes[2] + halves[3] + words[4]; }
    long switched(long n) {
      switch (n) {
      case 0: return b_counter; case 1: return initialised++; case 2: return overridden(); case 3: return b_array[2];
      case 4: return pointers[n & 1](3); case 5: return table[3][n]; case 6: return b_names[1][0];
      case 7: return far_function(n) + b_recursion(n); case 8: return longs[n]; case 9: return stores(n) * 2;
      default: return -1;
      }
    }
    """
  static let b = """
    extern long switched(long); extern long initialised;
    long overridden(void) { return 2; }
    long b_counter = 1000, b_array[20];
    long *const pointer_to_data = &initialised;
    const char *const b_names[] = { "first", "second" };
    static long __attribute__((noinline)) helper(long x) { return x * 3 + b_array[x]; }
    long b_recursion(long n) { return n <= 0 ? 9 : helper(n) + switched(n - 1); }
    """

  static let configurations: [(CCompiler, [String])] = {
    var result: [(CCompiler, [String])] = []
    for compiler in CCompiler.all {
      var models = [["-fno-pic"]]
      if compiler.architecture == .x86_64 {
        // Clang would go by way of the offset table, which is not where ours is.
        let direct = compiler.command[0] == "gcc" ? [] : ["-fdirect-access-external-data"]
        models += [["-fPIE"] + direct, ["-fno-pic", "-mcmodel=large"]]
      }
      if compiler.architecture == .aarch64 { models += [["-fno-pic", "-mcmodel=large"]] }
      for level in ["-O0", "-O2"] {
        for model in models { result.append((compiler, [level] + model)) }
        result.append((compiler, [level] + models[0] + ["-ffunction-sections", "-fdata-sections"]))
      }
    }
    return result
  }()

  @Test(arguments: configurations.indices)
  func bytesAreThoseOfTheSystemsLinker(_ index: Int) throws {
    let (compiler, options) = Self.configurations[index]
    let prefix = compiler.architecture == .aarch64 ? "aarch64-linux-gnu-" : ""
    guard findTool(prefix + "ld") != nil else { return }
    let scratch = try TemporaryDirectory()
    let base: UInt64 = 0x1000_0000
    let symbols: [String: UInt64] = ["far_function": 0x1200_1230]
    var objects: [ObjectBytes] = []
    for (name, text) in [("a.c", Self.a), ("b.c", Self.b)] {
      let path = try compiler.compile(text, name, options + ["-fno-asynchronous-unwind-tables"], in: scratch)
      // The system's linker would share equal strings.
      let flags = ["--set-section-flags", ".rodata*=alloc,readonly,data"]
      let result = try #require(try runTool(prefix + "objcopy", ["-w"] + flags + [path]))
      try #require(result.status == 0, "\(result.text)")
      objects.append(try ObjectBytes(path: path))
    }
    let linkOptions = LinkOptions(baseAddress: base, externalSymbols: symbols)
    let linker = try Linker(objects.map(\.input), options: linkOptions)
    let placement = LinkPlacement(linker.sizes, pageSize: 65536)
    let image = try linker.link(placement)
    try #require(image.islands.isEmpty)

    // The same sections in the same order at the same addresses.
    var inputs: [String: [String]] = [:]
    for object in objects {
      let outline = try #require(ElfOutline(object.input.bytes))
      for number in 1..<outline.sectionCount {
        let section = try #require(outline.section(number))
        let name = outline.name(of: section)
        guard section.flags & 2 != 0, section.type == 1 || section.type == 8, name != ".eh_frame" else { continue }
        let part =
          section.flags & 4 != 0
          ? "text"
          : section.type == 8
            ? "zeros" : section.flags & 1 != 0 && !name.hasPrefix(".data.rel.ro") ? "data" : "constants"
        inputs[part, default: []].append("\"\(object.name)\"(\(name))")
      }
    }
    // Right behind the data, as if they were data: an output section of their own would be aligned as a whole.
    inputs["data", default: []] += inputs["zeros"] ?? []
    func output(_ name: String, _ part: String, _ address: UInt64, _ fill: String = "") -> String {
      return ".\(name) \(address) : { \((inputs[part] ?? []).joined(separator: " ")) } \(fill)"
    }
    let script = """
      SECTIONS {
        \(output("code", "text", base, compiler.architecture == .x86_64 ? "=0xCCCCCCCC" : "=0x000020D4"))
        \(output("constants", "constants", base + UInt64(placement.readOnly), "=0"))
        \(output("data", "data", base + UInt64(placement.writable), "=0"))
        /DISCARD/ : { *(*) }
      }
      """
    _ = try scratch.write(script, to: "script.ld")
    let linked = try #require(
      try runTool(
        prefix + "ld",
        ["-static", "-T", "script.ld", "--build-id=none", "--no-relax", "--orphan-handling=discard"]
          + symbols.map { "--defsym=\($0.key)=\($0.value)" } + ["-o", "out"] + objects.map(\.name), in: scratch.path))
    try #require(linked.status == 0, "\(linked.text)\n\(script)")
    let theirs = try ObjectBytes(path: scratch.file("out"))
    let outline = try #require(ElfOutline(theirs.input.bytes))
    for (name, part) in [(".code", image.text), (".constants", image.readOnly), (".data", image.writable)] {
      let number = outline.index(ofSection: name)
      let expected = try number.flatMap { outline.section($0) }.flatMap { outline.contents(of: $0) }?.copyBytes() ?? []
      let count = min(part.count, expected.count)
      let ours = Array(bytes(part).prefix(count))
      let difference = zip(ours, expected).enumerated().first { $0.element.0 != $0.element.1 }?.offset
      #expect(ours == Array(expected.prefix(count)), "\(compiler) \(options): \(name) differs at \(difference ?? -1)")
      if name == ".code" { #expect(count > 200 && count == expected.count) }
    }
  }
}
