// The corpus itself.

import Testing

@Suite("C corpus")
struct CorpusTests {
  @Test("the native library answers every call, the same each time from fresh data")
  func native() throws {
    let expected = try #require(Corpus.expected)
    #expect(expected.count == Corpus.calls.count)
    #expect(Set(expected).count > expected.count / 2)
    let again = try NativeLibrary(Corpus.sources + ["host.c"], in: Corpus.folder).results(of: Corpus.calls)
    #expect(again == expected)
  }

  @Test(
    "AArch64 objects linked by the system's linker do what the native library does", .emulated,
    .enabled(if: hasTool("aarch64-linux-gnu-ld")), arguments: Variant.all(for: .aarch64))
  func systemLinked(variant: Variant) throws {
    let program = try SystemLinkedObjects(Corpus.objects(variant))
    try Corpus.check(perform: program.perform)
  }

  @Test(
    "random programs linked by the system's linker for AArch64 do what the native library does", .emulated,
    .enabled(if: hasTool("aarch64-linux-gnu-ld")), arguments: 0..<6 as Range<UInt64>)
  func randomPrograms(seed: UInt64) throws {
    let program = try RandomProgram(seed: seed).compiled(for: .aarch64, seed: seed)
    #expect(Set(program.expected).count > 1)
    try Corpus.check(RandomProgram.calls, program.expected, perform: SystemLinkedObjects(program.objects).perform)
  }
}
