// The kernels that the benchmark suite times give what a native build of them gives, so that what is timed is right.
//
// TestData/Kernels/expected.txt has a line for each kernel and size, `name size checksum`. Here each kernel runs at its small
// size; `precast-bench suite` compares every run at the full one.

import Foundation
import Precast
import PrecastMachineCode
import PrecastRuntime
import PrecastWASI
import TestSupport
import Testing

@Suite struct KernelTests {
  static let folder = Repository.testData.appending(path: "Kernels")

  /// The kernels' names, from their modules.
  static let names: [String] = {
    let files = (try? FileManager.default.contentsOfDirectory(at: folder, includingPropertiesForKeys: nil)) ?? []
    return files.filter { $0.pathExtension == "wasm" }.map { $0.deletingPathExtension().lastPathComponent }.sorted()
  }()

  /// The expected lines of a kernel: the small size's, then the full one's.
  static func expected(_ name: String) throws -> [String] {
    let text = try String(contentsOf: folder.appending(path: "expected.txt"), encoding: .utf8)
    return text.split(separator: "\n").map(String.init).filter { $0.hasPrefix(name + " ") }
  }

  @Test("There are a dozen kernels and more, each with its source and an expected output for each of two sizes")
  func completeness() throws {
    #expect(Self.names.count >= 12)
    for name in Self.names {
      #expect(FileManager.default.fileExists(atPath: Self.folder.appending(path: name + ".c").path), "\(name)")
      let sizes = try Self.expected(name).map { Int($0.split(separator: " ")[1]) ?? 0 }
      #expect(sizes.count == 2 && sizes[0] > 0 && sizes[0] < sizes[1], "\(name): \(sizes)")
    }
  }

  @Test("A kernel, compiled to a file and loaded from it, prints what its native build prints", arguments: names)
  func output(_ name: String) throws {
    try run(name, TextLayoutTesting())
  }

  @Test(
    "It does so with its functions out of one another's reach",
    arguments: ["dispatch", "interpreter", "json", "recursion", "sort", "tree"], FarLayout.allCases)
  func farOutput(_ name: String, _ layout: FarLayout) throws {
    try run(name, layout.testing)
  }

  private func run(_ name: String, _ layout: TextLayoutTesting) throws {
    let path = try RealPath()
    path.layout = layout
    let module = try path.module(wasm: Self.folder.appending(path: name + ".wasm"))
    let output = WASIOutputBuffer()
    var configuration = WASIConfiguration(arguments: [name, "small"])
    configuration.standardOutput = .buffer(output)
    #expect(try path.runCommand(module, configuration) == 0)
    #expect(try output.text == Self.expected(name).first.map { $0 + "\n" })
    #expect(try path.artifacts.allSatisfy(FarLayout.hasVeneers) == layout.isActive)
  }
}
