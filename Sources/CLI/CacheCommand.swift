// `precast cache`: what is in the cache of compiled modules, and what can be done about it.

import ArgumentParser
import Glibc
import Precast
import PrecastArtifact
import PrecastCacheSettings
import PrecastWasm

/// A subcommand of `precast cache`.
protocol CacheSubcommand: ParsableCommand {}

extension CacheSubcommand {
  /// Does something with the cache; its errors end the command.
  func withCache<R>(_ body: (ArtifactCache) throws(CacheError) -> R) throws -> R {
    guard let cache = try CacheFront.open() else { throw Failure("\(CacheError.noDirectory)") }
    do throws(CacheError) { return try body(cache) } catch { throw Failure("\(error)") }
  }

  /// Writes JSON to standard output.
  func write(_ body: (inout JSONWriter) -> Void) throws {
    var json = JSONWriter()
    body(&json)
    try Terminal.write(json.text + "\n")
  }
}

struct CacheCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "cache",
    abstract: "Look at the cache of compiled modules, and clean it up.",
    discussion: """
      `precast run` keeps what it compiles in \(StandardPaths.cacheDirectory ?? "a cache"), or where \
      \(StandardPaths.directoryVariable) says, and finds it there the next time. Entries are made for one version of the \
      compiler and one set of settings, and are dropped when there are too many.
      """,
    subcommands: [
      CacheStatsCommand.self, CacheListCommand.self, CacheVerifyCommand.self, CachePruneCommand.self,
      CacheClearCommand.self, CacheConfigCommand.self, CachePathCommand.self,
    ])
}

struct CacheStatsCommand: CacheSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "stats", abstract: "Show how many entries there are, and how often they were of use.")

  @Flag(help: "The same as JSON.")
  var json = false

  func run() throws {
    let statistics = try withCache { cache throws(CacheError) in try cache.statistics(for: CompiledModule.compiler) }
    let now = Int(time(nil))
    if json {
      return try write { json in
        json.object { json in
          json.value("directory", statistics.directory)
          json.value("entries", statistics.entries)
          json.value("compressed_entries", statistics.compressedEntries)
          json.value("entries_of_other_compilers", statistics.foreignEntries)
          json.value("index_records", statistics.indexRecords)
          json.value("files", statistics.files)
          json.value("bytes", statistics.size)
          json.value("oldest_use_age_seconds", statistics.lastUses.map { now - $0.lowerBound } ?? 0)
          json.value("latest_use_age_seconds", statistics.lastUses.map { now - $0.upperBound } ?? 0)
          json.object("counts") { json in
            for (name, value) in statistics.counts.named { json.value(name, value) }
          }
        }
      }
    }
    let counts = statistics.counts
    let asked = counts.hits + counts.misses
    var rows: [(String, String)] = [
      ("directory", statistics.directory.printable),
      (
        "entries",
        "\(statistics.entries) (\(statistics.compressedEntries) compressed, \(statistics.foreignEntries) of other compilers)"
      ),
      ("wasm files known", "\(statistics.indexRecords)"),
      ("size", "\(Human.size(statistics.size)) in \(statistics.files) files"),
    ]
    if let uses = statistics.lastUses {
      rows.append(("last used", "\(Human.age(now - uses.upperBound)) to \(Human.age(now - uses.lowerBound)) ago"))
    }
    rows += [
      ("hits", asked == 0 ? "0" : "\(counts.hits) of \(asked) (\(counts.hits * 100 / asked) %)"),
      ("misses", "\(counts.misses)"),
      ("written", "\(counts.stored)" + (counts.notStored > 0 ? ", \(counts.notStored) could not be" : "")),
      ("evicted", "\(counts.evicted)"),
      ("found damaged", "\(counts.damaged)"),
      ("compressed", "\(counts.compressed), unpacked again \(counts.unpacked)"),
      ("maintenance", "\(counts.rounds) rounds" + (counts.dropped > 0 ? ", \(counts.dropped) events dropped" : "")),
    ]
    let width = rows.map(\.0.count).max() ?? 0
    try Terminal.write(
      rows.map { $0.0 + String(repeating: " ", count: width - $0.0.count + 2) + $0.1 + "\n" }.joined())
  }
}

struct CacheListCommand: CacheSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "list", abstract: "List the entries, those used last first.")

  @Flag(help: "The same as JSON, with whole keys.")
  var json = false

  func run() throws {
    let entries = try withCache { cache throws(CacheError) in try cache.entries() }
    let now = Int(time(nil))
    if json {
      return try write { json in
        json.array { json in
          for entry in entries {
            json.object { json in
              json.value("key", entry.key)
              json.value("compiler", entry.compiler)
              json.value("bytes", entry.size)
              json.value("compressed", entry.isCompressed)
              json.value("uses", entry.uses)
              json.value("last_use_age_seconds", now - entry.lastUse)
            }
          }
        }
      }
    }
    if entries.isEmpty { return }
    var text = "key               size        uses  last used  state\n"
    for entry in entries {
      text += entry.key.prefix(16) + "  " + Human.pad(Human.size(entry.size), 10) + "  "
      text += Human.pad("\(entry.uses)", -4) + "  " + Human.pad(Human.age(now - entry.lastUse), 9) + "  "
      text += entry.isCompressed ? "compressed" : "ready"
      if entry.compiler != CompiledModule.compiler.directoryName { text += ", of another compiler" }
      text += "\n"
    }
    try Terminal.write(text)
  }
}

struct CacheVerifyCommand: CacheSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "verify", abstract: "Check all of every entry, and remove those that are damaged.",
    discussion: "Exit code 1 if any was.")

  @Flag(help: "The same as JSON.")
  var json = false

  func run() throws {
    var all: [(CacheEntry, String?)] = []
    let damaged = try withCache { cache throws(CacheError) in try cache.verify { all.append(($0, $1)) } }
    if json {
      try write { json in
        json.object { json in
          json.value("entries", all.count)
          json.array("damaged") { json in
            for case (let entry, let problem?) in all {
              json.object { json in
                json.value("key", entry.key)
                json.value("problem", problem)
              }
            }
          }
        }
      }
    } else {
      for case (let entry, let problem?) in all {
        try Terminal.write("\(entry.key.prefix(16)): \(problem.printable); removed\n")
      }
      try Terminal.write("\(all.count) entries, \(damaged) damaged\n")
    }
    if damaged > 0 { throw Failure("") }
  }
}

struct CachePruneCommand: CacheSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "prune",
    abstract: "Do now what is otherwise done at intervals: keep the limits, compress, collect leftovers.")

  @Flag(help: "The same as JSON.")
  var json = false

  func run() throws {
    let (before, after) = try withCache { cache throws(CacheError) in
      let before = try cache.statistics(for: CompiledModule.compiler)
      try cache.prune()
      return (before, try cache.statistics(for: CompiledModule.compiler))
    }
    if json {
      return try write { json in
        json.object { json in
          json.value("entries_before", before.entries)
          json.value("entries", after.entries)
          json.value("bytes_before", before.size)
          json.value("bytes", after.size)
          json.value("evicted", after.counts.evicted &- before.counts.evicted)
          json.value("compressed", after.counts.compressed &- before.counts.compressed)
        }
      }
    }
    try Terminal.write(
      "\(after.entries) of \(before.entries) entries stay, \(Human.size(after.size)) of \(Human.size(before.size))\n")
  }
}

struct CacheClearCommand: CacheSubcommand {
  static let configuration = CommandConfiguration(commandName: "clear", abstract: "Remove all entries.")

  @Flag(help: "The same as JSON.")
  var json = false

  func run() throws {
    let count = try withCache { cache throws(CacheError) in try cache.clear() }
    if json { return try write { json in json.object { $0.value("removed", count) } } }
    try Terminal.write("\(count) entries removed\n")
  }
}

struct CacheConfigCommand: CacheSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "config", abstract: "Write a settings file with every setting, its meaning and its default.",
    discussion: """
      Without PATH the file is \(StandardPaths.settingsFile ?? "cache.toml"), where it is looked for; \
      \(StandardPaths.settingsVariable) names another. An existing file is not replaced.
      """)

  @Argument(help: ArgumentHelp("Where to write it; - for standard output.", valueName: "path"))
  var path: String?

  @Flag(help: "Print where it was written as JSON.")
  var json = false

  func run() throws {
    guard let path = path ?? StandardPaths.settingsFile else {
      throw Failure("there is no place for a settings file: neither XDG_CONFIG_HOME nor HOME is set; give a path")
    }
    if path == "-" { return try Terminal.write(CacheSettings.defaultText) }
    try Self.makeDirectories(above: path)
    let descriptor = unsafe open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else {
      throw errno == EEXIST ? Failure("\(path): is there already, and is not replaced") : Failure.system(errno, path)
    }
    defer { close(descriptor) }
    let bytes = Array(CacheSettings.defaultText.utf8)
    let written = unsafe bytes.withUnsafeBytes { unsafe Glibc.write(descriptor, $0.baseAddress, $0.count) }
    guard written == bytes.count else {
      let number = written < 0 ? errno : ENOSPC
      unsafe unlink(path)
      throw Failure.system(number, path)
    }
    if json { return try write { json in json.object { $0.value("path", path) } } }
    try Terminal.write("\(path.printable)\n")
  }

  private static func makeDirectories(above path: String) throws(Failure) {
    var missing: [String] = []
    var parent = path[...]
    while let slash = parent.lastIndex(of: "/"), slash != parent.startIndex {
      parent = parent[..<slash]
      if unsafe access(String(parent), F_OK) == 0 { break }
      missing.append(String(parent))
    }
    for directory in missing.reversed() where unsafe mkdir(directory, 0o700) != 0 && errno != EEXIST {
      throw .system(errno, directory)
    }
  }
}

struct CachePathCommand: CacheSubcommand {
  static let configuration = CommandConfiguration(
    commandName: "path", abstract: "Print the cache's directory, and with --settings the settings file.")

  @Flag(help: "Print where the settings file is looked for instead.")
  var settings = false

  @Flag(help: "Both, as JSON.")
  var json = false

  func run() throws {
    let directory = try withCache { $0.directory }
    if json {
      return try write { json in
        json.object { json in
          json.value("directory", directory)
          json.value("settings", StandardPaths.settingsFile)
        }
      }
    }
    try Terminal.write((settings ? StandardPaths.settingsFile ?? "" : directory).printable + "\n")
  }
}

/// Numbers for people.
private enum Human {
  /// `873 B`, `12.3 KiB`, `512 MiB`.
  static func size(_ bytes: Int) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] where bytes >= 1 << shift {
      let tenths = bytes / ((1 << shift) / 10 + 1)
      return tenths >= 1000 ? "\(bytes >> shift) \(unit)" : "\(tenths / 10).\(tenths % 10) \(unit)"
    }
    return "\(bytes) B"
  }

  /// `12 s`, `3 min`, `5 h`, `17 d`.
  static func age(_ seconds: Int) -> String {
    for (size, unit) in [(86400, "d"), (3600, "h"), (60, "min")] where seconds >= size * 2 {
      return "\(seconds / size) \(unit)"
    }
    return "\(max(0, seconds)) s"
  }

  /// At least so wide: text to the left for a positive width, to the right for a negative one.
  static func pad(_ text: String, _ width: Int) -> String {
    let fill = String(repeating: " ", count: max(0, Int(width.magnitude) - text.count))
    return width < 0 ? fill + text : text + fill
  }
}
