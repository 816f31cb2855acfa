// A script of the specification's test suite, as `wasm-tools json-from-wast` writes it.
//
// One `.wast` file becomes a list of commands in JSON and one binary for each module. (A module that the suite has as quoted
// text has a binary as well, where the text can be parsed at all.)

import Foundation
import TestSupport

/// A value, or a pattern for values, of the suite's notation.
struct SpecValue: Decodable {
  /// `i32` … `externref`, `either`, or one of the reference patterns.
  var type: String
  /// Numbers in decimal: of floats the bits; a pattern such as `nan:canonical`; `null`; nothing where any value will do.
  var text: String?
  /// The possible ones of `either`.
  var alternatives: [SpecValue]

  private enum Key: String, CodingKey { case type, value, values }

  init(from decoder: any Decoder) throws {
    let container = try decoder.container(keyedBy: Key.self)
    type = try container.decode(String.self, forKey: .type)
    // The lanes of a vector stand in a list; no module that takes or returns one gets as far as being called.
    text = try? container.decodeIfPresent(String.self, forKey: .value)
    alternatives = try container.decodeIfPresent([SpecValue].self, forKey: .values) ?? []
  }
}

/// A call of an exported function, or the reading of an exported global.
struct SpecAction: Decodable {
  var type: String
  var module: String?
  var field: String
  var args: [SpecValue]?
}

/// One directive of a script.
struct SpecCommand: Decodable {
  var type: String
  var line: Int
  var name: String?
  var filename: String?
  var binaryFilename: String?
  var moduleType: String?
  var text: String?
  var `as`: String?
  var action: SpecAction?
  var expected: [SpecValue]?
  var module: String?
  var instance: String?

  /// The file with the module's binary; nil for text that has none.
  var binary: String? {
    if let binaryFilename { return binaryFilename }
    return moduleType == "binary" ? filename : nil
  }
}

struct SpecScript: Decodable {
  var commands: [SpecCommand]

  /// Reads a converted script.
  init(json: URL) throws {
    let decoder = JSONDecoder()
    decoder.keyDecodingStrategy = .convertFromSnakeCase
    self = try decoder.decode(SpecScript.self, from: Data(contentsOf: json))
  }

  /// Converts a `.wast` file. The result is kept in `.build`, under a name that changes with the file and the converter.
  static func load(_ wast: URL, converter: URL, converterVersion: String) throws -> (script: SpecScript, folder: URL) {
    let manager = FileManager.default
    let name = wast.deletingPathExtension().lastPathComponent
    let key = String(digest(try Data(contentsOf: wast), converterVersion), radix: 16)
    let folder = Repository.root.appending(path: ".build/spec-suite/\(name)-\(key)")
    let json = folder.appending(path: "script.json")
    if !manager.fileExists(atPath: json.path) {
      // Made elsewhere and moved into place, so that whoever finds the folder finds it complete.
      let part = Repository.root.appending(path: ".build/spec-suite/\(name)-\(UUID().uuidString).part")
      try manager.createDirectory(at: part, withIntermediateDirectories: true)
      let result = try run(
        converter,
        ["json-from-wast", wast.path, "--output", part.appending(path: "script.json").path, "--wasm-dir", part.path])
      guard result.status == 0 else {
        try? manager.removeItem(at: part)
        throw SpecError("json-from-wast \(name): \(result.errorText)")
      }
      do {
        try manager.moveItem(at: part, to: folder)
      } catch {
        try? manager.removeItem(at: part)
        guard manager.fileExists(atPath: json.path) else { throw error }
      }
    }
    return (try SpecScript(json: json), folder)
  }

  /// FNV-1a: enough to tell versions of a file apart.
  private static func digest(_ data: Data, _ version: String) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for byte in version.utf8 + Array(data) { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
    return hash
  }
}

struct SpecError: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}
