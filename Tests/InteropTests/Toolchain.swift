// Compilers, and files that live as long as a test needs them.

import Foundation
import PrecastMachineCode
import TestSupport
import Testing

/// A C compiler for a machine.
enum CCompiler: String, Sendable, CaseIterable {
  case gcc
  case clang

  func command(for machine: Architecture) -> [String] {
    switch (self, machine) {
    case (.gcc, .x86_64): ["gcc"]
    case (.gcc, .aarch64): ["aarch64-linux-gnu-gcc"]
    case (.clang, .x86_64): ["clang-19", "--target=x86_64-linux-gnu"]
    case (.clang, .aarch64): ["clang-19", "--target=aarch64-linux-gnu"]
    }
  }

  /// Whether it is installed.
  func isAvailable(for machine: Architecture) -> Bool { hasTool(command(for: machine)[0]) }
}

/// Whether a program is installed.
func hasTool(_ name: String) -> Bool { availableTools.contains(name) }

private let availableTools: Set<String> = Set(
  [
    "gcc", "clang-19", "aarch64-linux-gnu-gcc", "aarch64-linux-gnu-ld", "wasm-tools", "gdb", "eu-elflint",
  ].filter { (try? run($0, ["--version"])) != nil })

/// One way to compile.
struct Variant: Sendable, Hashable, CustomTestStringConvertible {
  var machine: Architecture
  var compiler: CCompiler
  var flags: [String]
  var testDescription: String { "\(compiler) \(flags.joined(separator: " "))" }

  /// Both compilers, unoptimised and optimised, position-independent and not, each that is there.
  static func all(for machine: Architecture, extra: [String] = []) -> [Variant] {
    CCompiler.allCases.filter { $0.isAvailable(for: machine) }.flatMap { compiler in
      ["-O0", "-O2"].flatMap { level in
        ["-fPIC", "-fno-pic"].map { Variant(machine: machine, compiler: compiler, flags: [level, $0] + extra) }
      }
    }
  }
}

/// Objects made by a compiler.
struct CompiledObjects: Sendable {
  var objects: [(name: String, bytes: [UInt8])]

  /// Compiles C sources, all in one run of the compiler.
  init(
    _ sources: [String], in folder: String, _ variant: Variant,
    _ warnings: [String] = ["-Wall", "-Werror", "-Wno-parentheses"]
  ) throws {
    let output = try TemporaryDirectory()
    let command = variant.compiler.command(for: variant.machine)
    let common = [
      "-c", "-ffreestanding", "-fno-builtin", "-ffp-contract=off", "-fno-stack-protector",
    ]
    try run(
      command[0], Array(command.dropFirst()) + common + warnings + variant.flags + sources.map { "\(folder)/\($0)" },
      in: output.path)
    objects = try sources.map { source in
      let name = String(source.prefix { $0 != "." }) + ".o"
      return (name, [UInt8](try Data(contentsOf: URL(fileURLWithPath: output.file(name)))))
    }
  }
}
