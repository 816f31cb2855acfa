// A module in a file of its own that a test then spoils.

import Foundation
import Precast
import PrecastLoader

/// The artifact of a module, in a file that is gone with this object.
final class ChangedFile {
  let path = FileManager.default.temporaryDirectory.appendingPathComponent("precast-changed-\(UUID().uuidString).cwasm")
    .path
  private let engine: Engine

  init(_ text: String, engine: Engine = Engine()) throws {
    self.engine = engine
    try Module(engine: engine, wasm: try WAT.binary(text)).serialize(toFile: path)
  }

  deinit { unlink(path) }

  func load() throws -> Module { try Module(engine: engine, deserializeFile: path) }

  func store() -> Store { Store(engine: engine) }

  /// Takes away all bytes from `size` on.
  func truncate(to size: UInt64) { precondition(Glibc.truncate(path, off_t(size)) == 0) }

  /// A function whose code takes some pages: `x` many operations on a parameter.
  static func longFunction(_ name: String, operations: Int = 1500, body: String = "") -> String {
    var text = "(func $\(name) (export \"\(name)\") (param i32) (result i32)\n"
    for i in 0..<operations {
      text += "(local.set 0 (i32.xor (i32.mul (local.get 0) (i32.const \(i * 77 + 123_457))) (local.get 0)))\n"
    }
    return text + body + "(local.get 0))\n"
  }
}
