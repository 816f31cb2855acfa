import CLoaderTestCode
import CPrecastHost
import Foundation
import PrecastArtifact
import PrecastLoader
import Testing

@Suite struct LoadTests {
  /// Loads the test artifact each way there is.
  func eachWay(_ body: (LoadedArtifact) throws -> Void) throws {
    try TestArtifact.withFile { path in
      try body(LoadedArtifact(path: path))
      let descriptor = open(path, O_RDONLY)
      defer { close(descriptor) }
      try body(LoadedArtifact(fileDescriptor: descriptor))
      let bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: path)))
      try body(LoadedArtifact(bytes: bytes.span.bytes))
    }
  }

  /// The address of a function's code in a loaded artifact, for the test's stores.
  func code(_ loaded: LoadedArtifact, _ name: String) -> UnsafeRawPointer {
    UnsafeRawPointer(bitPattern: loaded.functionAddress(TestArtifact.index(name))!)!
  }

  @Test func codeRunsFromThere() throws {
    try eachWay { loaded in
      let store = TestStore()
      store.raw.pointee.entry = unsafeBitCast(loaded.entryTrampoline(typeIndex: 0)!, to: precast_entry.self)
      #expect(store.enter(code(loaded, "add"), 40, 2) == .returned(42))
    }
  }

  @Test func trapsAreFoundInLoadedCode() throws {
    try eachWay { loaded in
      let store = TestStore()
      let ended = store.enter(code(loaded, "recurse"), 3, 64) { activation in
        let pc = UInt(activation.pointee.trap_pc)
        #expect(loaded.trapCode(at: pc) == TrapCode.memoryOutOfBounds.rawValue)
        #expect(loaded.trapCode(at: pc + 1) == 0)
        let locations = walk(activation).frames.map {
          loaded.location(of: UInt($0.pc), isReturnAddress: $0.is_return_address)
        }
        #expect(
          locations.map(\.?.functionIndex) == [TestArtifact.index("load")]
            + Array(repeating: TestArtifact.index("recurse"), count: 4))
        #expect(locations.map(\.?.wasmOffset) == [1003, 1007, 1007, 1007, 1007])
      }
      #expect(ended == .trapped(code: 2, signal: SIGSEGV))
      #expect(store.enter(code(loaded, "divide"), 1, 0) == .trapped(code: 8, signal: SIGFPE))
      #expect(store.enter(code(loaded, "unreachable")) == .trapped(code: 1, signal: SIGILL))
    }
  }

  @Test func addressesAreThoseOfTheTables() throws {
    try eachWay { loaded in
      let base = loaded.textBase
      #expect(loaded.functionAddress(0) == nil)  // imported
      #expect(loaded.functionAddress(TestArtifact.functions.count + 1) == nil)
      #expect(loaded.functionAddress(-1) == nil)
      #expect(loaded.entryTrampoline(typeIndex: 0) == base + UInt(TestArtifact.textOffset(Label.entry)))
      #expect(loaded.exitTrampoline(typeIndex: 0) == base + UInt(TestArtifact.textOffset(Label.exit)))
      #expect(loaded.entryTrampoline(typeIndex: 1) == nil)
      for (position, function) in TestArtifact.functions.enumerated() {
        let address = base + UInt(TestArtifact.textOffset(function.start))
        #expect(loaded.functionAddress(position + 1) == address)
        #expect(loaded.location(of: address, isReturnAddress: false)?.functionIndex == position + 1)
        #expect(loaded.location(of: address + 2, isReturnAddress: true)?.codeOffset == 1)
      }
      // A return address right behind a function belongs to the function.
      let next = loaded.functionAddress(TestArtifact.index("unreachable"))!
      #expect(loaded.location(of: next, isReturnAddress: true)?.functionIndex == TestArtifact.index("add"))
      let trampoline = loaded.location(of: loaded.entryTrampoline(typeIndex: 0)!, isReturnAddress: false)
      #expect(trampoline?.functionIndex == nil && trampoline?.textOffset == Int(TestArtifact.textOffset(Label.entry)))
      #expect(loaded.location(of: base - 1, isReturnAddress: false) == nil)
      #expect(loaded.location(of: base + UInt(loaded.textSize), isReturnAddress: false) == nil)
    }
  }

  @Test func aLoadedArtifactIsFoundByPCUntilItIsDropped() throws {
    try TestArtifact.withFile { path in
      var loaded: LoadedArtifact? = try LoadedArtifact(path: path)
      let base = loaded!.textBase
      let last = base + UInt(loaded!.textSize) - 1
      #expect(LoadedArtifact.containing(pc: base) === loaded)
      #expect(LoadedArtifact.containing(pc: last) === loaded)
      #expect(LoadedArtifact.containing(pc: base - 1) == nil)
      loaded = nil
      // Something else of this process may be loaded there by now, but not this one.
      let other = LoadedArtifact.containing(pc: base)
      #expect(other == nil || other!.textBase != base || other!.fileDescriptor >= 0)
    }
  }

  @Test func textIsExecutableAndNothingIsWritable() throws {
    try eachWay { loaded in
      func rights(_ address: UInt) -> String? {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: 5) { buffer in
          lt_mapping_rights(UInt64(address), buffer.baseAddress!) ? String(cString: buffer.baseAddress!) : nil
        }
      }
      let end = loaded.textBase + UInt(loaded.textSize)
      #expect(rights(loaded.textBase) == "r-xp")
      #expect(rights(end - 1) == "r-xp")
      #expect(rights(end) == "r--p")
      #expect(rights(loaded.textBase + UInt(loaded.header.fileSize - loaded.header.text.offset) - 1) == "r--p")
      #expect(rights(loaded.textBase - 1) != "r-xp" || LoadedArtifact.containing(pc: loaded.textBase - 1) != nil)
    }
  }

  @Test func theDataImageIsMappedCopyOnWrite() throws {
    try eachWay { loaded in
      let info = try loaded.moduleInfo()
      let extents = try info.memoryImage(0)
      #expect(extents.count == 1)
      let extent = try info.imageExtent(extents.lowerBound)
      for round in 0..<2 {
        let reservation = try AddressSpaceReservation(size: 128 * 1024)
        try reservation.commit(offset: 0, length: 128 * 1024)
        try loaded.mapImage(extent, into: reservation)
        let memory = UnsafeMutableRawPointer(bitPattern: reservation.base)!
        let found = UnsafeRawBufferPointer(start: memory + TestArtifact.dataOffset, count: TestArtifact.data.count)
        #expect(found.elementsEqual(TestArtifact.data), "round \(round)")
        #expect(memory.load(fromByteOffset: TestArtifact.dataOffset - 1, as: UInt8.self) == 0)
        memory.storeBytes(of: 0xFF, toByteOffset: TestArtifact.dataOffset, as: UInt8.self)
      }
    }
  }

  @Test func aFileThatIsReplacedOrDeletedAfterLoadingStaysLoaded() throws {
    try TestArtifact.withFile { path in
      let loaded = try LoadedArtifact(path: path)
      unlink(path)
      #expect(TestStore().enter(code(loaded, "add"), 1, 2) == .returned(3))
      let reservation = try AddressSpaceReservation(size: 128 * 1024)
      try loaded.mapImage(loaded.moduleInfo().imageExtent(0), into: reservation)
      let memory = UnsafeRawPointer(bitPattern: reservation.base)!
      #expect(memory.load(fromByteOffset: TestArtifact.dataOffset, as: UInt8.self) == TestArtifact.data[0])
    }
  }

  @Test func theCallersDescriptorStaysOpenAndItsPositionUnchanged() throws {
    try TestArtifact.withFile { path in
      let descriptor = open(path, O_RDONLY)
      defer { close(descriptor) }
      lseek(descriptor, 17, SEEK_SET)
      _ = try LoadedArtifact(fileDescriptor: descriptor)
      #expect(lseek(descriptor, 0, SEEK_CUR) == 17)
    }
  }

  @Test func anArtifactWithoutADataImageRuns() throws {
    try TestArtifact.withFile(data: []) { path in
      let loaded = try LoadedArtifact(path: path)
      #expect(TestStore().enter(code(loaded, "add"), 1, 2) == .returned(3))
    }
  }

  @Test func theSystemsUnwinderWalksThroughLoadedCode() throws {
    try eachWay { loaded in
      let store = TestStore()
      store.raw.pointee.entry = unsafeBitCast(loaded.entryTrampoline(typeIndex: 0)!, to: precast_entry.self)
      var pcs: [UInt64] = []
      store.hostFunction = { _, _ in
        pcs = [UInt64](unsafeUninitializedCapacity: 200) { buffer, count in
          count = lt_unwind(buffer.baseAddress!, buffer.count)
        }
        return true
      }
      #expect(store.enter(code(loaded, "call_host")) == .returned(0))
      let inText = pcs.filter {
        $0 >= UInt64(loaded.textBase) && $0 < UInt64(loaded.textBase) + UInt64(loaded.textSize)
      }
      let names = inText.map { loaded.location(of: UInt($0), isReturnAddress: true)?.functionIndex }
      // Exit trampoline, function, entry trampoline.
      #expect(names == [nil, TestArtifact.index("call_host"), nil])
      let position = try #require(pcs.firstIndex(of: inText.last ?? 0))
      #expect(lt_is_in_precast_enter(pcs[position + 1]))
      #expect(pcs.count > position + 5)
    }
  }

  @Test func whatIsDroppedIsGivenBack() throws {
    try TestArtifact.withFile { path in
      let name = (path as NSString).lastPathComponent
      func descriptors() throws -> Int {
        try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").filter {
          (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/" + $0))?.hasSuffix(name) == true
        }.count
      }
      var kept: [LoadedArtifact] = []
      for i in 0..<1000 {
        let loaded = try LoadedArtifact(path: path)
        if i % 100 == 0 { kept.append(loaded) }
      }
      // Text and rest, and one descriptor each.
      #expect(lt_count_mappings(name) == 20)
      #expect(try descriptors() == 10)
      kept = []
      #expect(lt_count_mappings(name) == 0)
      #expect(try descriptors() == 0)
    }
  }

  @Test func manyThreadsLoadRunAndDropTheSameFile() throws {
    try TestArtifact.withFile { path in
      let failures = Counter()
      DispatchQueue.concurrentPerform(iterations: 8) { _ in
        for i in 0..<100 {
          guard let loaded = try? LoadedArtifact(path: path) else {
            failures.increment()
            continue
          }
          let store = TestStore()
          if store.enter(code(loaded, "add"), UInt64(i), 1) != .returned(UInt64(i) + 1) { failures.increment() }
          if store.enter(code(loaded, "unreachable")) != .trapped(code: 1, signal: SIGILL) { failures.increment() }
          if LoadedArtifact.containing(pc: loaded.textBase + 5) !== loaded { failures.increment() }
        }
      }
      #expect(failures.value == 0)
    }
  }
}
