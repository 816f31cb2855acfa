// The digests of wasm files, remembered.
//
// A key needs the SHA-256 of the wasm; of 24 MB that takes 12 ms with the processor's own instructions and 70 without,
// where a hit takes 30 µs. So the digest of a file is remembered under the file's identity: device, inode, size, time of last
// modification and of last change. The kernel sets the last of these at every write and lets nobody choose it, so a file
// that was overwritten with another of the same size and given its old mtime back is seen. What is left is the clock's grain:
// the kernel stamps with the time of its last tick, 1 to 10 ms ago (on some file systems, whole seconds), so two changes in
// one tick have one stamp. As in git's index, a record is therefore not made when the stamps were, at the moment before the
// file was read, younger than a grain: any later change then has a later stamp. The file is simply hashed again next time.
// (A program that keeps a file mapped, and has it dirty, can change it without a new stamp. Nothing can see that.)
//
// Each record is a file of its own, named after device and inode, written whole and renamed. A table shared by mapping would
// save two system calls, and have to survive other processes' deaths in the middle of a change, truncation under its
// readers' feet, and growth.
//
//       0  magic "PRECIDX1"
//       8  device, inode, size                       UInt64 each
//      32  mtime seconds, nanoseconds; ctime seconds, nanoseconds     UInt64 each
//      64  SHA-256 of the file
//      96  SHA-256 of the 96 bytes before

import Glibc

/// What tells a file's contents from other contents, as far as the file system knows.
public struct FileIdentity: Hashable, Sendable {
  var device: UInt64
  var inode: UInt64
  var size: UInt64
  var modified: WallTime
  var changed: WallTime

  init(_ status: stat) {
    device = UInt64(truncatingIfNeeded: status.st_dev)
    inode = UInt64(truncatingIfNeeded: status.st_ino)
    size = UInt64(truncatingIfNeeded: status.st_size)
    modified = WallTime(status.st_mtim)
    changed = WallTime(status.st_ctim)
  }

  /// The identity of an open regular file; nil for anything else.
  public init?(fileDescriptor: Int32) {
    var status = stat()
    guard unsafe fstat(fileDescriptor, &status) == 0, status.st_mode & S_IFMT == S_IFREG else { return nil }
    self.init(status)
  }

  /// Whether both are the same file in the same state.
  public static func == (a: FileIdentity, b: FileIdentity) -> Bool {
    a.device == b.device && a.inode == b.inode && a.size == b.size && a.modified == b.modified && a.changed == b.changed
  }

  /// Inode and size will do.
  public func hash(into hasher: inout Hasher) {
    hasher.combine(inode)
    hasher.combine(size)
  }

  /// Whether any change after `moment` would have left another stamp: false in the grain of the clock, and for a file from
  /// the future.
  func isSettled(at moment: WallTime) -> Bool {
    // A stamp without nanoseconds comes from a file system that has none (FAT: two seconds), or is one in a million.
    let grain = modified.nanoseconds == 0 || changed.nanoseconds == 0 ? 2_100_000_000 : 20_000_000
    return moment.nanoseconds(since: modified) > grain && moment.nanoseconds(since: changed) > grain
  }
}

/// Digests of files by identity, in a directory of the cache.
enum FileIndex {
  static let directoryName = "index"
  static let recordSize = 128
  private static let magic: UInt64 = 0x3158_4449_4345_5250  // "PRECIDX1"

  /// The name of the record for a file.
  static func name(_ identity: FileIdentity) -> String {
    String(identity.device, radix: 16) + "-" + String(identity.inode, radix: 16)
  }

  /// Whether a name is one of a record.
  static func isName(_ name: String) -> Bool {
    let parts = name.split(separator: "-", omittingEmptySubsequences: false)
    return parts.count == 2
      && parts.allSatisfy { (1...16).contains($0.utf8.count) && UInt64($0, radix: 16) != nil && $0.first != "+" }
  }

  /// A record's bytes.
  static func record(_ identity: FileIdentity, _ digest: Digest) -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(recordSize)
    for word in [magic] + words(identity) + words(digest) { append(word, to: &bytes) }
    for word in words(Digest(of: bytes)) { append(word, to: &bytes) }
    return bytes
  }

  /// The digest in a record, if it is whole and for this very identity.
  static func digest(in bytes: UnsafeRawBufferPointer, for identity: FileIdentity) -> Digest? {
    guard bytes.count == recordSize else { return nil }
    // In bounds: 16 words in 128 bytes.
    func word(_ index: Int) -> UInt64 {
      UInt64(littleEndian: unsafe bytes.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self))
    }
    func digest(_ index: Int) -> Digest {
      Digest(words: (word(index), word(index + 1), word(index + 2), word(index + 3)))
    }
    guard word(0) == magic else { return nil }
    for (index, expected) in words(identity).enumerated() where word(index + 1) != expected { return nil }
    guard unsafe Digest(of: UnsafeRawBufferPointer(rebasing: bytes[0..<96])) == digest(12) else { return nil }
    return digest(8)
  }

  private static func words(_ identity: FileIdentity) -> [UInt64] {
    [
      identity.device, identity.inode, identity.size,
      UInt64(bitPattern: Int64(identity.modified.seconds)), UInt64(bitPattern: Int64(identity.modified.nanoseconds)),
      UInt64(bitPattern: Int64(identity.changed.seconds)), UInt64(bitPattern: Int64(identity.changed.nanoseconds)),
    ]
  }

  private static func words(_ digest: Digest) -> [UInt64] {
    [digest.words.0, digest.words.1, digest.words.2, digest.words.3]
  }

  private static func append(_ word: UInt64, to bytes: inout [UInt8]) {
    for shift in stride(from: UInt64(0), to: 64, by: 8) { bytes.append(UInt8(truncatingIfNeeded: word >> shift)) }
  }
}
