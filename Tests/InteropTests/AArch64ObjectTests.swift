// AArch64 objects as C compilers make them, linked by Precast and executed.

import PrecastEmulator
import PrecastLinker
import PrecastMachineCode
import Testing

@Suite("AArch64 objects of C compilers", .emulated)
struct AArch64ObjectTests {
  @Test("linked at an address, they do what the native library does", arguments: Variant.all(for: .aarch64))
  func corpus(variant: Variant) throws {
    let program = try EmulatedObjects(Corpus.objects(variant))
    try Corpus.check(perform: program.perform)
  }

  @Test(
    "with a section for each function and each datum, they do the same",
    arguments: Variant.all(for: .aarch64, extra: ["-ffunction-sections", "-fdata-sections"]))
  func sections(variant: Variant) throws {
    let program = try EmulatedObjects(Corpus.objects(variant))
    try Corpus.check(perform: program.perform)
  }

  @Test(
    "the order of objects does not matter",
    arguments: Variant.all(for: .aarch64).prefix(1))
  func order(variant: Variant) throws {
    let objects = try Corpus.objects(variant)
    try Corpus.check(perform: EmulatedObjects(objects.reversed()).perform)
  }

  @Test(
    "with every call through a veneer, they do the same",
    arguments: Variant.all(for: .aarch64, extra: ["-ffunction-sections"]))
  func veneers(variant: Variant) throws {
    var testing = TextLayoutTesting()
    testing.forceVeneers = true
    let program = try EmulatedObjects(
      Corpus.objects(variant), testing: testing)
    #expect(!program.image.islands.isEmpty)
    try Corpus.check(perform: program.perform)
  }

  @Test(
    "compiled for branch target identification, every indirect branch meets a landing pad",
    arguments: Variant.all(for: .aarch64, extra: ["-mbranch-protection=standard", "-ffunction-sections"]),
    [false, true])
  func branchTargets(variant: Variant, forceVeneers: Bool) throws {
    var testing = TextLayoutTesting()
    testing.forceVeneers = forceVeneers
    let program = try EmulatedObjects(
      Corpus.objects(variant), testing: testing, isGuarded: true)
    try Corpus.check(perform: program.perform)
  }

  @Test(
    "in a text of more than 128 MiB, calls across it in both directions arrive",
    arguments: Variant.all(for: .aarch64, extra: ["-ffunction-sections"]).filter { $0.flags.contains("-fPIC") })
  func trueDistance(variant: Variant) throws {
    var testing = TextLayoutTesting()
    testing.padding = 5 << 20
    let program = try EmulatedObjects(
      Corpus.objects(variant), testing: testing)
    #expect(program.image.sizes.text > 128 << 20)
    #expect(!program.image.islands.isEmpty)
    // Objects call each other in both directions: odd.c and even.c, and all of them support.c or data.c.
    let distance = try program.address("recurse") - program.address("memcpy")
    #expect(distance > 128 << 20)
    try Corpus.check(perform: program.perform)
  }

  @Test(
    "random programs do what the native library does", arguments: 0..<12 as Range<UInt64>, [false, true])
  func randomPrograms(seed: UInt64, forceVeneers: Bool) throws {
    let program = try RandomProgram(seed: seed).compiled(for: .aarch64, seed: seed)
    var testing = TextLayoutTesting()
    testing.forceVeneers = forceVeneers
    let linked = try EmulatedObjects(program.objects, testing: testing)
    try Corpus.check(RandomProgram.calls, program.expected, perform: linked.perform)
  }
}
