// The command line of `run`, split at FILE.
//
// What stands before FILE is ours, what stands after it is the guest's, and neither may see the other's: `precast run
// --dir . app.wasm --help` asks the guest for help. So the split happens here, before any general parser sees the
// words, and it needs to know one thing about the options: which of them take a value.
//
// A plain command line, with known options and well-formed values, is parsed here entirely: swift-argument-parser takes
// 0.9 ms to come to the same result, a third of what a whole run of a small program takes. Everything else (a request
// for help, an unknown option, a missing value) goes to it, for it words such things well.

import Precast

/// What `run` was asked to do.
struct RunOptions: Equatable {
  /// A directory of the host's and the name by which the guest knows it.
  struct Directory: Equatable {
    var host: String
    var guest: String

    /// `HOST` or `HOST::GUEST`; nil where either is empty.
    init?(argument: String) {
      let (host, guest) = argument.split(atFirst: "::") ?? (argument, argument)
      if host.isEmpty || guest.isEmpty { return nil }
      self.host = host
      self.guest = guest
    }
  }

  var directories: [Directory] = []
  /// `NAME=VALUE`, in the order given.
  var environment: [String] = []
  var invoke: String?
  var cpuFeatures: String?
  var allowPrecompiled = false
  /// Whether an artifact is verified in full before it runs.
  var verify = false
  var timings = false
  /// Whether debuggers are told of the guest's code.
  var debug = false
  /// What is written for profilers.
  var profile: ProfilingStrategy?
  /// Whether compiled modules are looked for in the cache, and kept there.
  var usesCache = true
  var file = ""
  /// What the guest gets after its own name.
  var arguments: [String] = []

  /// The options that take a value; the next word is theirs, whatever it looks like.
  static let optionsWithValue: Set<String> = ["--dir", "--env", "--invoke", "--cpu-features", "--profile"]
  /// The options that stand alone.
  static let flags: Set<String> = ["--allow-precompiled", "--no-cache", "--verify", "--timings", "-g", "--debug"]

  /// The words before FILE, FILE, and the words after it. No FILE: all words are before it.
  static func split(_ words: ArraySlice<String>) -> (own: [String], file: String?, guest: [String]) {
    var index = words.startIndex
    while index < words.endIndex {
      let word = words[index]
      if word == "--" {
        let file = words.dropFirst(index + 1 - words.startIndex)
        return (Array(words[..<index]), file.first, Array(file.dropFirst()))
      }
      if !word.hasPrefix("-") || word == "-" {
        return (Array(words[..<index]), word, Array(words[(index + 1)...]))
      }
      index += optionsWithValue.contains(word) && index + 1 < words.endIndex ? 2 : 1
    }
    return (Array(words), nil, [])
  }

  /// Parses the words after `run`; nil for what swift-argument-parser had better word.
  init?(plain words: ArraySlice<String>) {
    let (own, file, guest) = Self.split(words)
    guard let file else { return nil }
    self.file = file
    arguments = guest
    var rest = own[...]
    while let word = rest.popFirst() {
      if let equals = word.split(atFirst: "="), Self.optionsWithValue.contains(equals.0) {
        guard accept(equals.0, equals.1) else { return nil }
      } else if Self.optionsWithValue.contains(word) {
        guard let value = rest.popFirst(), accept(word, value) else { return nil }
      } else if word == "--allow-precompiled" {
        allowPrecompiled = true
      } else if word == "--no-cache" {
        usesCache = false
      } else if word == "--verify" {
        verify = true
      } else if word == "--timings" {
        timings = true
      } else if word == "-g" || word == "--debug" {
        debug = true
      } else {
        return nil
      }
    }
  }

  /// Makes options that a parser has found, for it to fill in.
  init() {}

  private mutating func accept(_ option: String, _ value: String) -> Bool {
    switch option {
    case "--dir":
      guard let directory = Directory(argument: value) else { return false }
      directories.append(directory)
    case "--env":
      guard Self.isEnvironment(value) else { return false }
      environment.append(value)
    case "--invoke":
      invoke = value
    case "--cpu-features":
      guard (try? CPUFeatureOption.parse(value)) != nil else { return false }
      cpuFeatures = value
    case "--profile":
      guard let strategy = ProfilingStrategy(name: value) else { return false }
      profile = strategy
    default:
      return false
    }
    return true
  }

  /// Whether a text is `NAME=VALUE`.
  static func isEnvironment(_ text: String) -> Bool {
    guard let (name, _) = text.split(atFirst: "=") else { return false }
    return !name.isEmpty
  }
}

extension String {
  /// What is before and what is after the first occurrence of a separator; nil where there is none.
  func split(atFirst separator: String) -> (String, String)? {
    let bytes = Array(utf8)
    let pattern = Array(separator.utf8)
    guard !pattern.isEmpty, bytes.count >= pattern.count else { return nil }
    for start in 0...bytes.count - pattern.count where bytes[start..<start + pattern.count].elementsEqual(pattern) {
      return (
        String(decoding: bytes[..<start], as: UTF8.self),
        String(decoding: bytes[(start + pattern.count)...], as: UTF8.self)
      )
    }
    return nil
  }
}
