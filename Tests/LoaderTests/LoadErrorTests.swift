import CPrecastHost
import Foundation
import PrecastArtifact
import PrecastLoader
import TestSupport
import Testing

@Suite struct LoadErrorTests {
  /// The error of loading; nil when it loads.
  func error(_ bytes: [UInt8], host: CompilerSettings = HostSettings.current) -> LoadError? {
    do throws(LoadError) {
      _ = try LoadedArtifact(bytes: bytes.span.bytes, host: host)
      return nil
    } catch {
      return error
    }
  }

  func error(path: String) -> LoadError? {
    do throws(LoadError) {
      _ = try LoadedArtifact(path: path)
      return nil
    } catch {
      return error
    }
  }

  /// A new directory, gone afterwards.
  func withDirectory(_ body: (String) throws -> Void) throws {
    let path = NSTemporaryDirectory() + "/precast-loader-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: path) }
    try body(path)
  }

  @Test func whatIsNoReadableFileIsNamed() throws {
    try withDirectory { directory in
      #expect(error(path: directory + "/absent")?.kind == .cannotRead(errno: ENOENT))
      #expect(error(path: directory + "/absent")?.description.hasPrefix("\(directory)/absent: could not open") == true)
      #expect(error(path: directory)?.kind == .cannotRead(errno: EISDIR))
      #expect(error(path: "")?.kind == .cannotRead(errno: ENOENT))
      #expect(error(path: directory + "/a\0b")?.kind == .cannotRead(errno: ENOENT))
      #expect(error(path: "/dev/null")?.kind == .cannotRead(errno: ESPIPE))
      #expect(
        error(path: directory + "/" + String(repeating: "x", count: 5000))?.kind == .cannotRead(errno: ENAMETOOLONG))
      // Nobody writes to it: opening must not wait.
      mkfifo(directory + "/pipe", 0o600)
      #expect(error(path: directory + "/pipe")?.kind == .cannotRead(errno: ESPIPE))
      symlink(directory + "/loop", directory + "/loop")
      #expect(error(path: directory + "/loop")?.kind == .cannotRead(errno: ELOOP))
    }
  }

  @Test func aDescriptorThatCannotBeReadIsAnError() throws {
    #expect(throws: LoadError.self) { try LoadedArtifact(fileDescriptor: -1) }
    let directory = open("/", O_RDONLY)
    defer { close(directory) }
    #expect(throws: LoadError.self) { try LoadedArtifact(fileDescriptor: directory) }
    try TestArtifact.withFile { path in
      let descriptor = open(path, O_WRONLY)
      defer { close(descriptor) }
      #expect(throws: LoadError.self) { try LoadedArtifact(fileDescriptor: descriptor) }
    }
  }

  @Test func whatIsNoArtifactIsSaidToBeNone() throws {
    for bytes in [[], [0x7F], Array("\u{7F}ELF".utf8), TestArtifact.wasm(), Array(repeating: 0xFF, count: 10_000)] {
      #expect(error(bytes)?.kind == .notAnArtifact)
    }
    #expect(error(path: "/proc/self/exe")?.kind == .notAnArtifact)
  }

  @Test func everyTruncationIsAnError() throws {
    let bytes = try TestArtifact.make()
    var loadable = 0
    for length in 0..<bytes.count where length < 5000 || length % 97 == 0 || length > bytes.count - 200 {
      if error(Array(bytes[..<length])) == nil { loadable += 1 }
    }
    #expect(loadable == 0)
    #expect(error(bytes + [0])?.kind == .damaged)
    #expect(error(bytes) == nil)
  }

  @Test func unwindTablesElsewhereThanBehindTheTextAreNoneToRegister() throws {
    let bytes = try TestArtifact.make()
    let header = try bytes.withUnsafeBytes {
      try ArtifactHeader(ByteRegion(base: $0.baseAddress!, count: 4096), fileSize: UInt64(bytes.count))
    }
    // The directory's row of the section: its offset, found by its value.
    let offset = header.extent(of: .ehFrame).offset
    let places = (0..<4088).filter { place in
      (0..<8).allSatisfy { bytes[place + $0] == UInt8(truncatingIfNeeded: offset >> UInt64($0 * 8)) }
    }
    #expect(!places.isEmpty)
    for place in places {
      var damaged = bytes
      damaged[place] ^= 8
      #expect(error(damaged)?.kind == .damaged)
    }
  }

  @Test func noFlippedBitInTheFirstPageDoesHarm() throws {
    let bytes = try TestArtifact.make()
    // Whether it still loads depends on the bit (padding, the build-id); what matters is that loading
    // and asking end in an answer or an error.
    var errors = 0
    for position in 0..<4096 where bytes[position] != 0 || position < 1024 {
      for bit in [0, 3, 7] {
        var damaged = bytes
        damaged[position] ^= 1 << bit
        do throws(LoadError) {
          let loaded = try LoadedArtifact(bytes: damaged.span.bytes)
          _ = loaded.location(of: loaded.textBase + 64, isReturnAddress: false)
          _ = loaded.functionAddress(1)
        } catch {
          errors += 1
        }
      }
    }
    #expect(errors > 500)
  }

  @Test func damagedTablesGiveNoAddressOutsideTheText() throws {
    let bytes = try TestArtifact.make()
    let header = try bytes.withUnsafeBytes {
      try ArtifactHeader(ByteRegion(base: $0.baseAddress!, count: 4096), fileSize: UInt64(bytes.count))
    }
    var generator = Random(seed: 3)
    let info = header.extent(of: .info)
    var outside = 0
    for _ in 0..<2000 {
      var damaged = bytes
      for _ in 0..<3 {
        damaged[Int(info.offset + generator.next() % info.size)] = UInt8(truncatingIfNeeded: generator.next())
      }
      guard let loaded = try? LoadedArtifact(bytes: damaged.span.bytes) else { continue }
      for index in 0...TestArtifact.functions.count + 1 {
        for address in [
          loaded.functionAddress(index), loaded.entryTrampoline(typeIndex: index),
          loaded.exitTrampoline(typeIndex: index),
        ] {
          if let address, address < loaded.textBase || address >= loaded.textBase + UInt(loaded.textSize) {
            outside += 1
          }
        }
      }
      for offset in stride(from: UInt(0), to: UInt(loaded.textSize), by: 61) {
        _ = loaded.location(of: loaded.textBase + offset, isReturnAddress: true)
      }
    }
    #expect(outside == 0)
  }

  @Test func damagedTablesAboutCodeGiveAnAnswer() throws {
    let bytes = try TestArtifact.make()
    let header = try bytes.withUnsafeBytes {
      try ArtifactHeader(ByteRegion(base: $0.baseAddress!, count: 4096), fileSize: UInt64(bytes.count))
    }
    var generator = Random(seed: 4)
    for kind in [SectionKind.traps, .addressMap] {
      let section = header.extent(of: kind)
      for _ in 0..<1000 {
        var damaged = bytes
        for _ in 0..<3 {
          damaged[Int(section.offset + generator.next() % section.size)] = UInt8(truncatingIfNeeded: generator.next())
        }
        let loaded = try LoadedArtifact(bytes: damaged.span.bytes)
        for offset in stride(from: UInt(0), to: 1024, by: 13) {
          _ = loaded.trapCode(at: loaded.textBase + offset)
          _ = loaded.location(of: loaded.textBase + offset, isReturnAddress: false)
        }
      }
    }
  }

  @Test func anArtifactForAnotherHostNamesWhatDiffers() throws {
    var settings = CompilerSettings()
    settings.cpuFeatures = [.lse]
    let bytes = try TestArtifact.make(settings: settings)
    let found = try #require(error(bytes))
    #expect(found.kind == .incompatible)
    #expect(found.mismatches.map(\.field) == ["cpu_features"])
    #expect(found.description.contains("lse"))
    var host = HostSettings.current
    host.cpuFeatures = [.lse]
    #expect(error(bytes, host: host) == nil)
    host.memoryGuardSize = 1 << 20
    #expect(error(bytes, host: host)?.mismatches.map(\.field) == ["memory_guard_size"])
  }

  @Test func thisMachineHasWhatItsProcessorSays() throws {
    let flags = try String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8).split(separator: "\n")
      .first { $0.hasPrefix("flags") }!.split(separator: " ")
    for (feature, flag) in [
      (CPUFeatures.lzcnt, "abm"), (.bmi1, "bmi1"), (.bmi2, "bmi2"), (.avx, "avx"), (.avx2, "avx2"), (.fma, "fma"),
    ] {
      #expect(HostSettings.cpuFeatures.contains(feature) == flags.contains(Substring(flag)), "\(flag)")
    }
  }
}
