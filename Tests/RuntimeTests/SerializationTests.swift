// Modules out of the process and back in.

import Foundation
import Precast
import PrecastLoader
import Testing

@Suite(.enabled(if: WAT.isAvailable)) struct Serialization {
  static let text = """
    (module (memory (export "memory") 1) (data (i32.const 100) "image")
      (func (export "answer") (result i32) (i32.const 42)))
    """

  func answer(_ module: Module) throws -> [Value] {
    let instance = try module.instantiate(store: Store(engine: module.engine))
    #expect(try instance.exports[memory: "memory"]?.readString(at: 100, count: 5) == "image")
    return try instance.call("answer")
  }

  func contents(_ path: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: URL(fileURLWithPath: path))) }

  /// A new folder, gone afterwards.
  func withFolder(_ body: (String) throws -> Void) throws {
    let path = NSTemporaryDirectory() + "/precast-serialize-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: path) }
    try body(path)
  }

  func names(_ folder: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: folder).sorted()
  }

  @Test func bytesAreThoseOfTheFileByEveryWay() throws {
    let file = try ChangedFile(Self.text)
    let bytes = try contents(file.path)
    let module = try file.load()
    #expect(module.serializedByteCount == bytes.count)
    #expect(try module.serialize() == bytes)
    #expect(try module.withSerializedBytes { $0.withUnsafeBytes { [UInt8]($0) } } == bytes)
    let again = try Module(engine: module.engine, deserialize: bytes)
    #expect(try answer(again) == [.i32(42)])
    // From sealed memory they come as well.
    #expect(try again.serialize() == bytes)
    #expect(try again.withSerializedBytes { $0.withUnsafeBytes { [UInt8]($0) } } == bytes)
    try withFolder { folder in
      for (index, module) in [module, again].enumerated() {
        try module.serialize(toFile: folder + "/\(index)", durable: index == 0)
        #expect(try contents(folder + "/\(index)") == bytes)
      }
      #expect(try names(folder) == ["0", "1"])
    }
  }

  @Test func aReplacedOrDeletedFileIsSerialisedAsItWasLoaded() throws {
    for text in [Self.text, "(module (func (export \"answer\") (result i32) (i32.const 42)))"] {
      let file = try ChangedFile(text)
      let bytes = try contents(file.path)
      let module = try file.load()
      let other = try ChangedFile("(module)")
      rename(other.path, file.path)
      #expect(try module.serialize() == bytes)
      unlink(file.path)
      #expect(try module.serialize() == bytes)
      #expect(try module.withSerializedBytes { $0.byteCount } == bytes.count)
      try withFolder { folder in
        try module.serialize(toFile: folder + "/copy")
        #expect(try contents(folder + "/copy") == bytes)
      }
    }
  }

  @Test func aFileIsReplacedWholeAndKeepsItsModeAndItsLink() throws {
    try withFolder { folder in
      let module = try ChangedFile(Self.text).load()
      let bytes = try module.serialize()
      try Data("old".utf8).write(to: URL(fileURLWithPath: folder + "/target"))
      chmod(folder + "/target", 0o640)
      symlink("target", folder + "/link")
      let old = open(folder + "/target", O_RDONLY)
      defer { close(old) }
      try module.serialize(toFile: folder + "/link")
      #expect(try contents(folder + "/target") == bytes)
      var status = stat()
      #expect(stat(folder + "/target", &status) == 0 && status.st_mode & 0o777 == 0o640)
      #expect(try FileManager.default.destinationOfSymbolicLink(atPath: folder + "/link") == "target")
      // Whoever has the old file open still has it.
      #expect(lseek(old, 0, SEEK_END) == 3)
      #expect(try names(folder) == ["link", "target"])
      // Onto the file that it was loaded from.
      let itself = try Module(engine: module.engine, deserializeFile: folder + "/target")
      try itself.serialize(toFile: folder + "/target")
      #expect(try contents(folder + "/target") == bytes)
      #expect(try answer(itself) == [.i32(42)])
    }
  }

  @Test func whatCannotBeWrittenLeavesNothing() throws {
    try withFolder { folder in
      let module = try ChangedFile(Self.text).load()
      func error(_ path: String) -> LoadError? {
        do throws(LoadError) {
          try module.serialize(toFile: path)
          return nil
        } catch {
          return error
        }
      }
      #expect(error(folder + "/absent/file")?.kind == .cannotRead(errno: ENOENT))
      #expect(error(folder + "/absent/file")?.path == folder + "/absent/file")
      #expect(error(folder)?.kind == .cannotRead(errno: EEXIST))
      #expect(error(folder + "/a\0b")?.kind == .cannotRead(errno: ENOENT))
      #expect(error("") != nil)
      #expect(error(folder + "/" + String(repeating: "x", count: 300))?.kind == .cannotRead(errno: ENAMETOOLONG))
      mkfifo(folder + "/pipe", 0o600)
      #expect(error(folder + "/pipe")?.kind == .cannotRead(errno: EEXIST))
      #expect(try names(folder) == ["pipe"])
    }
  }

  @Test func aDescriptorStaysTheCallersAndItsPositionWhereItWas() throws {
    let file = try ChangedFile(Self.text)
    let bytes = try contents(file.path)
    let descriptor = open(file.path, O_RDONLY)
    lseek(descriptor, 33, SEEK_SET)
    let module = try Module(engine: Engine(), deserializeFile: descriptor)
    #expect(lseek(descriptor, 0, SEEK_CUR) == 33)
    #expect(try module.serialize() == bytes)
    #expect(lseek(descriptor, 0, SEEK_CUR) == 33)
    // Neither the name nor the descriptor is needed any more.
    unlink(file.path)
    close(descriptor)
    #expect(try answer(module) == [.i32(42)])
    #expect(try module.serialize() == bytes)
  }

  @Test func anythingThatIsARegularFileCanBeGiven() throws {
    let file = try ChangedFile(Self.text)
    let bytes = try contents(file.path)
    let deleted = open(file.path, O_RDWR)
    unlink(file.path)
    // Sealed memory.
    let fromBytes = try Module(engine: Engine(), deserialize: bytes)
    let memory = dup(fromBytes.artifact.fileDescriptor)
    #expect(memory >= 0)
    for descriptor in [deleted, memory] {
      let module = try Module(engine: Engine(), deserializeFile: descriptor)
      #expect(try answer(module) == [.i32(42)])
      #expect(try module.serialize() == bytes)
      close(descriptor)
      #expect(try answer(module) == [.i32(42)])
    }
  }

  @Test func whatIsNoRegularFileIsRefusedByName() throws {
    func message(_ descriptor: Int32) -> String? {
      do throws(LoadError) {
        _ = try Module(engine: Engine(), deserializeFile: descriptor)
        return nil
      } catch {
        return error.message
      }
    }
    var ends: [Int32] = [0, 0]
    #expect(pipe(&ends) == 0)
    let device = open("/dev/zero", O_RDONLY)
    let directory = open("/", O_RDONLY)
    defer { for descriptor in ends + [device, directory] { close(descriptor) } }
    #expect(message(ends[0])?.contains("pipe, socket or device") == true)
    #expect(message(device)?.contains("pipe, socket or device") == true)
    #expect(message(directory)?.contains("directory") == true)
    #expect(message(-1)?.contains("descriptor") == true)
  }

  @Test func aFileThatChangesWhileItIsLentIsAnError() throws {
    let file = try ChangedFile(Self.text)
    let module = try file.load()
    #expect(throws: LoadError.self) {
      try module.withSerializedBytes { bytes in
        file.truncate(to: 4096)
        return bytes.withUnsafeBytes { $0.reduce(0) { $0 &+ Int($1) } }
      }
    }
    #expect(module.artifact.isDamaged)
  }

  @Test func aFileThatWasOverwrittenIsNotTheOneThatWasLoaded() throws {
    for way in 0..<3 {
      let file = try ChangedFile(Self.text)
      let module = try file.load()
      var other = try ChangedFile("(module (memory 1) (data (i32.const 100) \"other\"))").load().serialize()
      other.removeLast(max(0, other.count - module.serializedByteCount))
      let descriptor = open(file.path, O_WRONLY)
      _ = other.withUnsafeBytes { pwrite(descriptor, $0.baseAddress, $0.count, 0) }
      close(descriptor)
      do throws(LoadError) {
        switch way {
        case 0: _ = try module.serialize()
        case 1: try module.serialize(toFile: file.path + ".copy")
        default: do { try module.withSerializedBytes { _ in } } catch { throw error as! LoadError }
        }
        Issue.record("way \(way) gave other bytes")
      } catch {
        #expect(error.kind == .damaged)
        #expect(error.message.contains("was changed while it was loaded"))
      }
      #expect(module.artifact.isDamaged)
      #expect(access(file.path + ".copy", F_OK) != 0)
    }
  }
}
