// What it costs to ask an artifact about an address.
//
// A trap asks three things of a pc: which module it is in, whether it is a trap site, and where in the wasm it is. The first
// is asked of the process's map of code, the others of tables that are read where they are mapped. Each is timed three ways:
//
//   fresh  on an artifact that was just loaded: page faults and checks of pages at their first use are in it
//   cold   at random places all over the text, with more of the tables touched than a cache holds
//   warm   at the same few places again and again
//
// The places are worked out before the clock starts, and times are taken around a batch, so that the clock's own cost is
// small; a figure is the median of the batches, per query.

import Glibc
import PrecastArtifact
import PrecastLoader

/// Places in an artifact's text, and the questions about them.
struct Lookups {
  /// Nanoseconds a query: median of the batches.
  struct Figures {
    var fresh = 0.0
    var cold = 0.0
    var warm = 0.0
  }

  /// The functions' own offsets and the offsets in them.
  private struct Place {
    var function: UInt32
    var code: UInt32
    var text: UInt32 { function + code }
  }

  private static let batch = 500
  private let path: String
  private let places: [Place]
  private let sites: [Place]

  /// Chooses places in the artifact at `path`.
  init(artifact path: String) throws(BenchmarkError) {
    self.path = path
    var places: [Place] = []
    var sites: [Place] = []
    do {
      let loaded = try LoadedArtifact(path: path)
      let info = try loaded.moduleInfo()
      let traps = try loaded.artifact.trapTable()
      var random = Random(seed: 7)
      var attempts = 0
      while places.count < 100_000, attempts < 1_000_000 {
        attempts += 1
        let offset = UInt32(truncatingIfNeeded: random.below(loaded.textSize))
        guard let index = try info.definedFunction(containing: offset) else { continue }
        let function = try info.definedFunction(index)
        places.append(Place(function: function.textOffset, code: offset - function.textOffset))
        let entries = sites.count < 50_000 ? try traps.entries(functionTextOffset: function.textOffset) : []
        guard !entries.isEmpty else { continue }
        sites.append(Place(function: function.textOffset, code: entries[random.below(entries.count)].codeOffset))
      }
    } catch {
      throw BenchmarkError("\(path): \(error)")
    }
    guard places.count >= Self.batch * 2, sites.count >= Self.batch * 2 else {
      throw BenchmarkError("\(path): too small to look up places in")
    }
    self.places = places
    self.sites = sites
  }

  /// Offset in a function to wasm offset, in the address map.
  func addressMap() throws(BenchmarkError) -> Figures {
    try measure(places) { loaded in
      let map = try loaded.artifact.addressMap()
      return { place in
        Int((try? map?.wasmOffset(functionTextOffset: place.function, codeOffset: place.code)) ?? 0)
      }
    }
  }

  /// Trap site to trap code, by what the signal handler calls.
  func trapTable() throws(BenchmarkError) -> Figures {
    try measure(sites) { loaded in
      let base = loaded.textBase
      return { place in Int(loaded.trapCode(at: base + UInt(place.text))) }
    }
  }

  /// Places that are no trap site, which the handler must tell just as fast.
  func noTrap() throws(BenchmarkError) -> Figures {
    try measure(places) { loaded in
      let base = loaded.textBase
      return { place in Int(loaded.trapCode(at: base + UInt(place.text))) }
    }
  }

  /// pc to function and wasm offset: what a frame of a backtrace takes.
  func location() throws(BenchmarkError) -> Figures {
    try measure(places) { loaded in
      let base = loaded.textBase
      return { place in
        loaded.location(of: base + UInt(place.text), isReturnAddress: false)?.wasmOffset ?? 0
      }
    }
  }

  private func measure(
    _ places: [Place], _ question: (LoadedArtifact) throws -> (Place) -> Int
  ) throws(BenchmarkError) -> Figures {
    do {
      var figures = Figures()
      var fresh: [Double] = []
      for round in 0..<20 {
        let loaded = try LoadedArtifact(path: path)
        let ask = try question(loaded)
        let start = round * 100 % (places.count - 100)
        // What answers reads what the artifact maps, and need not hold it.
        withExtendedLifetime(loaded) { fresh.append(time(places[start..<start + 100], ask)) }
      }
      figures.fresh = median(fresh)
      let loaded = try LoadedArtifact(path: path)
      let ask = try question(loaded)
      defer { withExtendedLifetime(loaded) {} }
      _ = time(places[...], ask)
      var cold: [Double] = []
      for start in stride(from: 0, to: places.count - Self.batch, by: Self.batch) {
        cold.append(time(places[start..<start + Self.batch], ask))
      }
      figures.cold = median(cold)
      var few = Array(places.prefix(16))
      few = (0..<Self.batch).map { few[$0 % few.count] }
      figures.warm = median((0..<200).map { _ in time(few[...], ask) })
      return figures
    } catch {
      throw BenchmarkError("\(path): \(error)")
    }
  }

  private func time(_ places: ArraySlice<Place>, _ ask: (Place) -> Int) -> Double {
    var sum = 0
    let start = now()
    for place in places { sum &+= ask(place) }
    let end = now()
    consume(sum)
    return Double(end - start) / Double(max(1, places.count))
  }
}

/// Nanoseconds to find the artifact that holds a pc, among those given; median of batches over random ones of them.
func timeToFindModules(_ loaded: [LoadedArtifact], batches count: Int = 100) -> Double {
  guard !loaded.isEmpty else { return 0 }
  var random = Random(seed: 3)
  var batches: [Double] = []
  for _ in 0..<count {
    let pcs = (0..<200).map { _ in
      let artifact = loaded[random.below(loaded.count)]
      return artifact.textBase + UInt(random.below(artifact.textSize))
    }
    var found = 0
    let start = now()
    for pc in pcs where LoadedArtifact.containing(pc: pc) != nil { found += 1 }
    batches.append(Double(now() - start) / Double(pcs.count))
    consume(found - pcs.count)
  }
  return median(batches)
}

/// A number that the optimiser must believe to be used.
@inline(never)
func consume(_ value: Int) {
  if value == Int.min { print("") }
}

/// SplitMix64: the same choices in every run.
struct Random {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  /// From 0 to `bound` - 1.
  mutating func below(_ bound: Int) -> Int {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ (value >> 30)) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ (value >> 27)) &* 0x94D0_49BB_1331_11EB
    return Int((value ^ (value >> 31)) % UInt64(max(1, bound)))
  }
}

extension Workbench {
  /// Questions about addresses, in `artifact` or in that of the largest program that is here.
  func lookup(_ report: inout Report, artifact: String?) throws(BenchmarkError) {
    var path = artifact
    var name = artifact ?? ""
    if path == nil {
      let subjects = try loadSubjects()
      guard let subject = subjects.first(where: { $0.name == "cc1" }) ?? subjects.last else { return }
      path = try self.artifact(of: subject)
      name = subject.name
    }
    let lookups = try Lookups(artifact: path ?? "")
    for (quantity, figures) in [
      ("address map", try lookups.addressMap()), ("trap table, a trap site", try lookups.trapTable()),
      ("trap table, no trap site", try lookups.noTrap()), ("pc to function and wasm offset", try lookups.location()),
    ] {
      report.rows.append(
        Row(
          benchmark: "lookup", subject: name, quantity: quantity, unit: .nanoseconds,
          figures: [("cold", figures.cold), ("warm", figures.warm), ("fresh", figures.fresh)]))
    }
  }

  /// Many artifacts at once.
  func scale(_ report: inout Report, count: Int) throws(BenchmarkError) {
    let artifact = "\(folder)/small.cwasm"
    _ = try Command(program: precast, arguments: ["compile", "TestData/Golden/linked.wasm", "-o", artifact]).run()
    try Scale(artifact: artifact, count: count).run(&report)
  }
}
