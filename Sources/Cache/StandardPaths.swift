// Where caches and settings are kept by convention (XDG Base Directory Specification).

import Glibc

/// Places that follow from the environment.
public enum StandardPaths {
  /// The environment variable with the cache's directory, before everything else.
  public static let directoryVariable = "PRECAST_CACHE_DIR"
  /// The environment variable with the path of the settings file.
  public static let settingsVariable = "PRECAST_CACHE_CONFIG"

  /// `$PRECAST_CACHE_DIR`, `$XDG_CACHE_HOME/precast`, or `~/.cache/precast`. Nil where none can be made out.
  public static var cacheDirectory: String? {
    environment(directoryVariable) ?? absolute("XDG_CACHE_HOME").map { $0 + "/precast" }
      ?? home.map { $0 + "/.cache/precast" }
  }

  /// `$PRECAST_CACHE_CONFIG`, `$XDG_CONFIG_HOME/precast/cache.toml`, or `~/.config/precast/cache.toml`.
  public static var settingsFile: String? {
    environment(settingsVariable) ?? absolute("XDG_CONFIG_HOME").map { $0 + "/precast/cache.toml" }
      ?? home.map { $0 + "/.config/precast/cache.toml" }
  }

  /// Whether the cache's directory was named in the environment.
  public static var directoryIsNamed: Bool { environment(directoryVariable) != nil }

  /// Whether the settings file was named, and has to be there.
  public static var settingsFileIsNamed: Bool { environment(settingsVariable) != nil }

  private static func environment(_ name: String) -> String? {
    // Copied at once; nothing here changes the environment.
    guard let value = unsafe getenv(name) else { return nil }
    let text = unsafe String(cString: value)
    return text.isEmpty ? nil : text
  }

  /// The specification says to ignore what is not absolute.
  private static func absolute(_ name: String) -> String? { environment(name).flatMap { $0.hasPrefix("/") ? $0 : nil } }

  private static var home: String? {
    if let home = absolute("HOME") { return home }
    var entry = unsafe passwd()
    var result: UnsafeMutablePointer<passwd>?
    return unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 4096) { buffer in
      guard let start = buffer.baseAddress,
        unsafe getpwuid_r(getuid(), &entry, start, buffer.count, &result) == 0, unsafe result != nil,
        let directory = unsafe entry.pw_dir
      else { return nil }
      return unsafe String(cString: directory)
    }
  }
}
