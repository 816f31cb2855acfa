// `--target`: compiling for a machine that this one need not be.

import Foundation
import Testing

@Suite struct TargetTests {
  private let folder: Folder

  init() throws { folder = try Folder() }

  @Test(arguments: [("x86_64", UInt8(62)), ("aarch64", 183)])
  func everyTargetCanBeCompiledForAnywhere(target: String, machine: UInt8) throws {
    try folder.add("guest.wasm")
    for emission in ["artifact", "object"] {
      let outcome = try Command.run(
        "compile", "guest.wasm", "-o", emission, "--emit", emission, "--target", target, in: folder)
      #expect(outcome.status == 0 && outcome.errors.isEmpty, "\(outcome.errors)")
      #expect(try [UInt8](folder.read(emission))[18] == machine)
    }
    #expect(try Command.run("inspect", "artifact", in: folder).text.contains(target))
    #expect(try Command.run("verify", "artifact", in: folder).status == 0)
    #expect(try Command.run("link", "object", "-o", "linked", in: folder).status == 0)
    #expect(try Command.run("verify", "linked", in: folder).status == 0)
  }

  @Test func withoutOneItIsThisMachine() throws {
    #if arch(arm64)
      let here = "aarch64"
    #else
      let here = "x86_64"
    #endif
    try folder.add("guest.wasm")
    #expect(try Command.run("compile", "guest.wasm", "-o", "here", "--target", here, in: folder).status == 0)
    #expect(try Command.run("compile", "guest.wasm", "-o", "default", in: folder).status == 0)
    #expect(try folder.read("here") == folder.read("default"))
    #expect(try Command.run("compile", "--help", in: folder).text.contains("x86_64, aarch64"))
  }

  #if arch(x86_64)
    @Test func whatIsForAnotherMachineIsNotRunAndSaysForWhich() throws {
      try folder.add("guest.wasm")
      #expect(
        try Command.run("compile", "guest.wasm", "-o", "arm.cwasm", "--target", "aarch64", in: folder).status == 0)
      let outcome = try Command.run("run", "arm.cwasm", "exit", "3", in: folder)
      #expect(outcome.status == 1 && outcome.output.isEmpty)
      #expect(
        outcome.errors.contains("architecture is aarch64 in the artifact, x86_64 here (compile for this machine"),
        "\(outcome.errors)")
    }

    @Test func nativeFeaturesAreOfThisMachineOnly() throws {
      try folder.add("guest.wasm")
      let outcome = try Command.run(
        "compile", "guest.wasm", "--target", "aarch64", "--cpu-features", "native", in: folder)
      #expect(outcome.status == 64 && outcome.errors.contains("aarch64"))
    }
  #endif

  @Test(arguments: [
    ("aarch64", "bti,lse,fp16", true), ("aarch64", "baseline", true), ("aarch64", "lzcnt", false),
    ("x86_64", "bti", false), ("x86_64", "lzcnt", true),
  ])
  func featuresAreTheTargets(target: String, features: String, isKnown: Bool) throws {
    try folder.add("guest.wasm")
    let outcome = try Command.run(
      "compile", "guest.wasm", "-o", "out", "--target", target, "--cpu-features", features, in: folder)
    #expect(outcome.status == (isKnown ? 0 : 64), "\(outcome.errors)")
    if isKnown, features != "baseline" {
      let names = features == "lzcnt" ? features : "lse,fp16,bti"
      #expect(try Command.run("inspect", "out", in: folder).text.contains(names))
    } else if !isKnown {
      #expect(outcome.errors.contains("unknown CPU feature '\(features)' of \(target); known: native, baseline, "))
    }
  }

  @Test(.enabled(if: Self.hasDisassembler, "no objdump for AArch64"))
  func aFunctionIsDisassembledWithWhatTheTablesSay() throws {
    try folder.add("guest.wasm")
    #expect(try Command.run("compile", "guest.wasm", "-o", "arm", "--target", "aarch64", in: folder).status == 0)
    let outcome = try Command.run("inspect", "--disassemble", "_start", "arm", in: folder)
    #expect(outcome.status == 0, "\(outcome.errors)")
    #expect(outcome.text.contains("stp x29, x30, [sp, #-16]!"))
    #expect(outcome.text.contains("udf #10") && outcome.text.contains("; trap: "))
    #expect(outcome.text.contains("ret"))
  }

  static let hasDisassembler = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":")
    .contains { FileManager.default.isExecutableFile(atPath: "\($0)/aarch64-linux-gnu-objdump") }
}
