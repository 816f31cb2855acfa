// Which compiler made an entry.
//
// Name and version tell releases apart, and two programs that were built from one release (the command and a host, say) share
// entries. While a compiler is being worked on they tell nothing: yesterday's code would be served to whoever tests today's
// change. So anything but an optimised build of a tagged, unchanged commit (Package.swift looks, and defines
// `PRECAST_RELEASE`) adds the identity of the file that the running code was loaded from: device, inode, size, and time of
// last modification. A build changes the file, and with it every key.

import CPrecastHost

/// A compiler and its version; part of every key, and the name of the directory with its entries.
public struct CompilerIdentity: Encodable, Sendable, Hashable {
  /// The compiler's name, as artifacts have it.
  public let name: String
  /// Its version.
  public let version: String
  /// Version of the artifacts' format.
  public let formatVersion: UInt32
  /// Which file the running compiler was loaded from; empty in a release.
  public let build: String
  /// The name of the directory with this compiler's entries: letters, digits, `-`, `.` and `_` only. Follows from the others.
  public let directoryName: String

  /// The identity of a compiler in this program.
  ///
  /// - Parameter isRelease: whether name and version alone tell compilers apart.
  public init(name: String, version: String, formatVersion: UInt32, isRelease: Bool = CompilerIdentity.isReleaseBuild) {
    self.name = name
    self.version = version
    self.formatVersion = formatVersion
    build = isRelease ? "" : Self.object
    directoryName = Self.directoryName(name: name, version: version, formatVersion: formatVersion, build: build)
  }

  /// Whether this is an optimised build of a release.
  public static var isReleaseBuild: Bool {
    #if PRECAST_RELEASE && !DEBUG
      true
    #else
      false
    #endif
  }

  /// The identity of the file that this code was loaded from.
  private static let object: String = {
    var identity = precast_object_identity()
    unsafe precast_identify_object(&identity)
    return [identity.device, identity.inode, identity.size, identity.modified].map { String($0, radix: 16) }
      .joined(separator: "-")
  }()

  private static func directoryName(name: String, version: String, formatVersion: UInt32, build: String) -> String {
    var text = "\(name)-\(version)-format\(formatVersion)"
    if !build.isEmpty { text += "-" + String(Digest(of: Array(build.utf8)).description.prefix(12)) }
    let safe = text.utf8.map { byte -> UInt8 in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "."), UInt8(ascii: "-"):
        byte
      default: UInt8(ascii: "_")
      }
    }
    // Never a name that starts with a dot, nor one of those that the root has for other things.
    return prefix + String(decoding: safe.prefix(200), as: UTF8.self)
  }

  private static let prefix = "code-"

  /// Whether a directory in the root has entries of some compiler, this one or another.
  static func isDirectoryName(_ name: String) -> Bool { name.hasPrefix(prefix) }
}
