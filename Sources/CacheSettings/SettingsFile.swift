// The settings file of the cache, in TOML.
//
// Its keys, units and defaults are those of wasmtime's cache, in a table `[cache]` as there, so that a file written for the
// one serves the other as far as both know the keys. An unknown key is an error, for it is a typing error more often than
// anything else, and so is a value that makes no sense; each error has the line's number.
//
// TOMLKit parses. It tells where a text is not TOML, but not where a key or value of the result came from; so the lines of
// keys are found by a second look at the text, which is TOML by then (KeyLines). This is a target of its own because
// TOMLKit brings parts of Foundation, which programs without a settings file need not carry.

import Glibc
public import PrecastCache
import TOMLKit

/// What is wrong with a settings file, and where.
public struct CacheSettingsError: Error, Sendable, Equatable, CustomStringConvertible {
  /// The file.
  public var path: String
  /// The line, from 1; 0 where the file could not be read.
  public var line: Int
  /// What is wrong, and what would be right.
  public var message: String

  /// `path:line: message`.
  public var description: String { line > 0 ? "\(path):\(line): \(message)" : "\(path): \(message)" }
}

/// Reads and writes settings files.
public enum CacheSettings {
  /// The table that the settings are in.
  static let table = "cache"
  /// No settings file is larger.
  private static let mostBytes = 1 << 20

  /// The settings of this user: of the file that `PRECAST_CACHE_CONFIG` names, of the one at the standard place if there is
  /// one, or the defaults. `PRECAST_CACHE_DIR` comes before a directory from a file.
  public static func standard() throws(CacheSettingsError) -> CacheConfiguration {
    guard let path = StandardPaths.settingsFile else { return CacheConfiguration() }
    let isThere = unsafe access(path, F_OK) == 0
    guard isThere || StandardPaths.settingsFileIsNamed else { return CacheConfiguration() }
    var configuration = try read(path)
    if StandardPaths.directoryIsNamed { configuration.directory = nil }
    return configuration
  }

  /// The settings in a file.
  public static func read(_ path: String) throws(CacheSettingsError) -> CacheConfiguration {
    func failure(_ number: Int32) -> CacheSettingsError {
      CacheSettingsError(path: path, line: 0, message: unsafe String(cString: strerror(number)))
    }
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw failure(errno) }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: mostBytes + 1)
    var count = 0
    while count < bytes.count {
      let result = unsafe bytes.withUnsafeMutableBytes { buffer in
        // In bounds: `count` is less than the buffer's.
        unsafe Glibc.read(descriptor, buffer.baseAddress.map { unsafe $0 + count }, buffer.count - count)
      }
      if result < 0 && errno == EINTR { continue }
      guard result >= 0 else { throw failure(errno) }
      if result == 0 { break }
      count += result
    }
    guard count <= mostBytes else { throw failure(EFBIG) }
    return try parse(Array(bytes[..<count]), path: path)
  }

  /// The settings in a text.
  static func parse(_ bytes: [UInt8], path: String) throws(CacheSettingsError) -> CacheConfiguration {
    if let end = bytes.firstIndex(of: 0) {
      let line = bytes[..<end].count { $0 == UInt8(ascii: "\n") } + 1
      throw CacheSettingsError(path: path, line: line, message: "a zero byte, which TOML does not have")
    }
    let text = String(decoding: bytes, as: UTF8.self)
    let document: TOMLTable
    do {
      document = try TOMLTable(string: text)
    } catch let error as TOMLParseError {
      throw CacheSettingsError(path: path, line: error.source.begin.line, message: error.description)
    } catch {
      throw CacheSettingsError(path: path, line: 1, message: "\(error)")
    }
    let lines = KeyLines(text)
    for key in document.keys.sorted() where key != table {
      throw CacheSettingsError(
        path: path, line: lines[[key]], message: "unknown key '\(key)'; all settings are in the table [\(table)]")
    }
    var configuration = CacheConfiguration()
    guard let found = document[table] else { return configuration }
    guard let settings = found.table else {
      throw CacheSettingsError(path: path, line: lines[[table]], message: "'\(table)' has to be a table: [\(table)]")
    }
    // In the order of the file, so that the first error is the first.
    for key in settings.keys.sorted(by: { (lines[[table, $0]], $0) < (lines[[table, $1]], $1) }) {
      let line = lines[[table, key]]
      guard let setting = CacheSetting.all.first(where: { $0.key == key }) else {
        throw CacheSettingsError(path: path, line: line, message: Self.unknown(key))
      }
      guard let value = settings[key].flatMap(SettingValue.init) else {
        throw CacheSettingsError(path: path, line: line, message: "\(key) takes \(setting.kind)")
      }
      do throws(SettingProblem) {
        try setting.apply(value, &configuration)
      } catch {
        throw CacheSettingsError(
          path: path, line: line,
          message: "\(key) takes \(setting.kind), not \(value)\(error.why.map { ": \($0)" } ?? "")")
      }
    }
    return configuration
  }

  private static func unknown(_ key: String) -> String {
    let known = CacheSetting.all.map(\.key)
    // The one with the most letters in common at its start and end.
    let similar = known.max { likeness($0, key) < likeness($1, key) }
    if let similar, likeness(similar, key) * 2 > key.utf8.count { return "unknown key '\(key)'; is it \(similar)?" }
    return "unknown key '\(key)'; known: \(known.joined(separator: ", "))"
  }

  private static func likeness(_ a: String, _ b: String) -> Int {
    let prefix = zip(a.utf8, b.utf8).prefix { $0 == $1 }.count
    let suffix = zip(a.utf8.reversed(), b.utf8.reversed()).prefix { $0 == $1 }.count
    return min(prefix + suffix, min(a.utf8.count, b.utf8.count))
  }

  /// A settings file with every key, its meaning and its default, all of it commented out.
  public static var defaultText: String {
    var text = """
      # Settings of precast's artifact cache. Everything here is optional; what is commented out is the default.
      # Sizes take K, M, G, T, P (thousands) and Ki, Mi, Gi, Ti, Pi (1024s); durations take s, m, h, d.

      [\(table)]

      """
    for setting in CacheSetting.all {
      text += "\n"
      for line in setting.comment.split(separator: "\n") { text += "# \(line)\n" }
      text += "# \(setting.key) = \(setting.defaultText)\n"
    }
    return text
  }
}
