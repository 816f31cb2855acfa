// Where things are: the checkout that the tests were built from, the specification's test suite.

import Foundation
import TestSupport

enum Repository {
  /// The top folder of the checkout.
  static var root: URL { repositoryRoot }

  static var testData: URL { root.appending(path: "TestData") }
  static var corpus: URL { testData.appending(path: "Corpus") }
  static var tools: URL { root.appending(path: "Tests/Tools") }

  /// The environment's value for a name, if it has one that is not empty.
  static func environment(_ name: String) -> String? {
    guard let value = ProcessInfo.processInfo.environment[name], !value.isEmpty else { return nil }
    return value
  }

  /// The specification's test suite: `PRECAST_TESTSUITE`, or `../shared/testsuite` beside the checkout. Nil where there is
  /// none.
  static let testSuite: URL? = {
    let url =
      environment("PRECAST_TESTSUITE").map { URL(fileURLWithPath: $0) }
      ?? root.deletingLastPathComponent().appending(path: "shared/testsuite")
    let isThere = FileManager.default.fileExists(atPath: url.appending(path: "i32.wast").path)
    return isThere ? url : nil
  }()

  static let wasmTools = findTool("wasm-tools")
  static let wasmtime = findTool("wasmtime")
  static let python = findTool("python3")
}
