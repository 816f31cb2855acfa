import Foundation
import PrecastLinker
import PrecastMachineCode
import TestSupport
import Testing

/// C objects, linked at an address of this process and executed.
@Suite struct ExecutionTests {
  static let a = """
    #include <stddef.h>
    extern int strcmp(const char *, const char *);
    extern size_t strlen(const char *);
    extern long b_recursion(long);
    extern long b_counter;
    extern const char *const b_names[];
    extern int __attribute__((weak)) nowhere(int);
    extern int __attribute__((weak)) nowhere_data;
    long __attribute__((weak)) overridden(void) { return 1; }
    int common[100];
    static long zeros[5000];
    long initialised = 42;
    static const char *table[] = { "zero", "one", "two", "three" };
    static long (*const pointers[])(long) = { b_recursion, b_recursion };
    double scale(double x) { return x * 2.5 + 0.125; }
    long a_recursion(long n) { return n <= 0 ? 7 : 1 + b_recursion(n - 1); }
    long sum_zeros(void) { long s = 0; for (int i = 0; i < 5000; i++) s += zeros[i]; zeros[17]++; return s; }
    long switched(long n) {
      switch (n) {
      case 0: return strlen("string"); case 1: return b_counter; case 2: return initialised++;
      case 3: return overridden(); case 4: return common[7]; case 5: return pointers[1](3);
      case 6: return table[3][1]; case 7: return nowhere ? nowhere(1) : -5; case 8: return &nowhere_data == 0;
      case 9: return b_names[1][0]; case 10: return (long)(scale(2.0) * 8); case 11: return strcmp(table[1], "one");
      default: return -1;
      }
    }
    """
  static let b = """
    extern long a_recursion(long);
    extern int common[100];
    long overridden(void) { return 2; }
    long b_counter = 1000;
    const char *const b_names[] = { "first", "second" };
    long b_recursion(long n) { common[7]++; return n <= 0 ? 9 : 1 + a_recursion(n - 1); }
    static int hidden_helper(int x) { return x * 3; }
    int (*helper(void))(int) { return hidden_helper; }
    long through(long x) { return helper()(x); }
    """

  static let options: [[String]] = {
    var result: [[String]] = []
    for level in ["-O0", "-O2"] {
      for model in [["-fPIC"], ["-fno-pic", "-mcmodel=large"], ["-fPIC", "-mcmodel=large"], ["-fPIE"]] {
        result.append([level] + model)
        result.append([level] + model + ["-ffunction-sections", "-fdata-sections", "-fcommon"])
      }
    }
    result.append(["-O2", "-fPIC", "-fno-asynchronous-unwind-tables", "-fno-plt"])
    return result
  }()

  static func check(_ loaded: LoadedObjects) throws {
    #expect(try loaded.call("a_recursion", 10) == 10 + 7)
    #expect(try loaded.call("a_recursion", 11) == 11 + 9)
    #expect(try loaded.call("sum_zeros") == 0)
    #expect(try loaded.call("sum_zeros") == 1)
    #expect(try loaded.call("through", 5) == 15)
    let counted = try loaded.call("switched", 4)
    let expected = [
      6, 1000, 42, 2, counted, 10, Int(UInt8(ascii: "h")), -5, 1, Int(UInt8(ascii: "s")), 41, 0, -1,
    ]
    for (n, value) in expected.enumerated() { #expect(try loaded.call("switched", n) == value, "switched(\(n))") }
    #expect(try loaded.call("switched", 2) == 43)
    #expect(try loaded.call("switched", 4) == counted + 2)
  }

  static var libc: [String: UInt64] {
    let names = ["strlen", "strcmp", "memset", "memcpy"]
    return Dictionary(uniqueKeysWithValues: names.map { ($0, UInt64(UInt(bitPattern: dlsym(nil, $0)))) })
  }

  @Test(arguments: CCompiler.native, options)
  func objectsRunAtAnyAddress(_ compiler: CCompiler, _ options: [String]) throws {
    let scratch = try TemporaryDirectory()
    let objects = try [("a.c", Self.a), ("b.c", Self.b)].map {
      try ObjectBytes(path: compiler.compile($0.1, $0.0, options, in: scratch))
    }
    let loaded = try LoadedObjects(objects, symbols: Self.libc)
    #expect(loaded.image.holdsAbsoluteAddresses)
    try Self.check(loaded)
  }

  @Test(arguments: CCompiler.native, ["-O0", "-O2"])
  func codeThatIsNotPositionIndependentRunsBelowTwoGiB(_ compiler: CCompiler, _ level: String) throws {
    let scratch = try TemporaryDirectory()
    let objects = try [("a.c", Self.a), ("b.c", Self.b)].map {
      try ObjectBytes(path: compiler.compile($0.1, $0.0, [level, "-fno-pic", "-mcmodel=small"], in: scratch))
    }
    try Self.check(LoadedObjects(objects, symbols: Self.libc, address: 0x2000_0000 + (level == "-O0" ? 0 : 0x100_0000)))
  }

  @Test(arguments: CCompiler.native)
  func codeRunsWhenEveryCallGoesThroughAVeneer(_ compiler: CCompiler) throws {
    let scratch = try TemporaryDirectory()
    let objects = try [("a.c", Self.a), ("b.c", Self.b)].map {
      try ObjectBytes(path: compiler.compile($0.1, $0.0, ["-O2", "-fPIC", "-ffunction-sections"], in: scratch))
    }
    var text = TextSectionOptions()
    text.testing.forceVeneers = true
    let loaded = try LoadedObjects(objects, symbols: Self.libc, text: text)
    #expect(!loaded.image.islands.isEmpty)
    try Self.check(loaded)
  }
}
