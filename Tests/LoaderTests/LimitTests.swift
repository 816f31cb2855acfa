// Limits of the system, each reached in a process of its own, and ten thousand artifacts at once.

import CLoaderTestCode
import CPrecastHost
import Foundation
import PrecastArtifact
import PrecastLoader
import TestSupport
import Testing

/// The test artifact in a file that stays until the process ends.
private func artifactFile() throws -> String {
  let path = FileManager.default.temporaryDirectory.appendingPathComponent("precast-limits-\(getpid()).cwasm").path
  try Data(TestArtifact.make()).write(to: URL(fileURLWithPath: path))
  return path
}

/// Loads until that fails.
private func loadUntilError(_ path: String, keep: inout [LoadedArtifact]) -> LoadError {
  while true {
    do throws(LoadError) { keep.append(try LoadedArtifact(path: path)) } catch { return error }
  }
}

private func descriptors() -> Int { (try? FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").count) ?? 0 }

/// Ends a child process with a failure that says where.
private func require(_ condition: Bool, _ what: @autoclosure () -> String, line: UInt = #line) {
  if condition { return }
  FileHandle.standardError.write(Data("LimitTests.swift:\(line): \(what())\n".utf8))
  exit(1)
}

@Suite(.serialized) struct LimitTests {
  @Test func tenThousandArtifactsComeAndGo() async {
    await #expect(processExitsWith: .success) {
      let path = try artifactFile()
      defer { unlink(path) }
      let bytes = try [UInt8](Data(contentsOf: URL(fileURLWithPath: path)))
      _ = precast_raise_descriptor_limit()
      var limit = rlimit()
      getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      let count = min(10_000, Int(limit.rlim_cur) - 200)
      // What is made once, by the first, is not counted.
      _ = try LoadedArtifact(path: path)
      let before = (mappings: lt_count_mappings(""), descriptors: descriptors())
      let all = Shelf(count: count)
      DispatchQueue.concurrentPerform(iterations: 8) { thread in
        for index in stride(from: thread, to: count, by: 8) {
          // Some from sealed memory.
          all[index] =
            index % 10 == 0
            ? try? LoadedArtifact(bytes: bytes.span.bytes) : try? LoadedArtifact(path: path)
        }
      }
      require((0..<count).allSatisfy { all[$0] != nil }, "not all could be loaded")
      require(lt_count_mappings("") >= before.mappings + 2 * count, "they are not all mapped")
      // Each thread drops its share in random order; meanwhile, lookups find what is there.
      let wrong = Counter()
      DispatchQueue.concurrentPerform(iterations: 8) { thread in
        var generator = Random(seed: UInt64(thread))
        let order = stride(from: thread, to: count, by: 8).shuffled(using: &generator)
        for (position, index) in order.enumerated() {
          guard let artifact = all[index] else { continue }
          let pc = artifact.textBase + UInt(generator.next() % UInt64(artifact.textSize))
          if LoadedArtifact.containing(pc: pc) !== artifact { wrong.increment() }
          if let other = all[order[order.count - 1 - position / 2]], order.count - 1 - position / 2 > position,
            LoadedArtifact.containing(pc: other.textBase) !== other
          {
            wrong.increment()
          }
          all[index] = nil
        }
      }
      require(wrong.value == 0, "\(wrong.value) lookups were wrong")
      require(descriptors() == before.descriptors, "\(descriptors()) descriptors, \(before.descriptors) before")
      // The allocator's arenas and the threads' stacks are a few; the registry's leaves too.
      let after = lt_count_mappings("")
      require(after <= before.mappings + 150, "\(after) mappings, \(before.mappings) before")
      require(lt_count_mappings("precast-limits") == 0, "the file is still mapped")
      require(lt_count_mappings("precast-artifact") == 0, "memory files are still mapped")
      var registered = 0
      var waiting = 0
      precast_code_counts(&registered, &waiting)
      require(registered == 0, "\(registered) are still registered")
    }
  }

  @Test func theLimitOnDescriptorsIsRaisedAndThenNamed() async {
    await #expect(processExitsWith: .success) {
      let path = try artifactFile()
      defer { unlink(path) }
      var limit = rlimit(rlim_cur: 64, rlim_max: 200)
      setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      var loaded: [LoadedArtifact] = []
      let error = loadUntilError(path, keep: &loaded)
      require(loaded.count > 100, "only \(loaded.count) loaded")
      require(error.kind == .outOfResources(errno: EMFILE), "\(error)")
      for part in [path, "RLIMIT_NOFILE", "200", "ulimit -Hn"] {
        require(error.description.contains(part), "no \(part) in: \(error)")
      }
      // Dropping one makes room for one.
      loaded.removeLast()
      require((try? LoadedArtifact(path: path)) != nil, "no room was made")
    }
  }

  @Test func theLimitOnAddressSpaceIsNamed() async {
    await #expect(processExitsWith: .success) {
      var limits = precast_limits()
      precast_find_limits(&limits)
      var limit = rlimit()
      getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
      limit.rlim_cur = rlim_t(limits.address_space + (512 << 20))
      setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
      do throws(LoadError) {
        _ = try AddressSpaceReservation(size: 6 << 30)
        require(false, "6 GiB could be reserved")
      } catch {
        require(error.kind == .outOfResources(errno: ENOMEM), "\(error)")
        for part in ["RLIMIT_AS", "\(limit.rlim_cur)", "\(6 << 30) more", "ulimit -v"] {
          require(error.description.contains(part), "no \(part) in: \(error)")
        }
      }
    }
  }

  @Test func theLimitOnMappingsIsNamed() async {
    await #expect(processExitsWith: .success) {
      let path = try artifactFile()
      defer { unlink(path) }
      var limits = precast_limits()
      precast_find_limits(&limits)
      guard limits.maximum_mappings <= 1 << 20 else { return }  // would take too long
      // Nearly all of them: pages of one mapping, every other one with other rights.
      let page = precast_page_size()
      let count = Int(limits.maximum_mappings - limits.mappings) - 40
      let area = mmap(nil, count * page, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)!
      for index in stride(from: 1, to: count, by: 2) { mprotect(area + index * page, page, PROT_NONE) }
      var loaded: [LoadedArtifact] = []
      let error = loadUntilError(path, keep: &loaded)
      require(loaded.count > 3 && loaded.count < 100, "\(loaded.count) loaded")
      require(error.kind == .outOfResources(errno: ENOMEM), "\(error)")
      for part in [path, "vm.max_map_count", "\(limits.maximum_mappings)", "sysctl"] {
        require(error.description.contains(part), "no \(part) in: \(error)")
      }
      // What is loaded still works.
      require(loaded.allSatisfy { LoadedArtifact.containing(pc: $0.textBase) === $0 }, "lookups are wrong")
    }
  }
}

/// Loaded artifacts that several threads put there and take away, each its own.
private final class Shelf: @unchecked Sendable {
  private let lock = NSLock()
  private var contents: [LoadedArtifact?]
  init(count: Int) { contents = Array(repeating: nil, count: count) }
  subscript(index: Int) -> LoadedArtifact? {
    get { lock.withLock { contents[index] } }
    set {
      // Dropped outside of the lock.
      var old: LoadedArtifact?
      lock.withLock { (old, contents[index]) = (contents[index], newValue) }
      _ = old
      old = nil
    }
  }
}
