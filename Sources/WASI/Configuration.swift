// What a guest is given.
//
// Nothing by default: no arguments, no environment, no directories, standard streams that are empty or
// lead nowhere. All that a guest can reach of the host is named here, by the host.

internal import Synchronization

/// What an instance of `WASI` gives to its guest: arguments, environment, directories and streams.
///
/// An empty configuration gives nothing.
public struct WASIConfiguration {
  /// The guest's `argv`, the program's name first.
  public var arguments: [String] = []
  /// The guest's environment, in this order.
  public var environment: [(name: String, value: String)] = []
  /// The directories that the guest finds open, from descriptor 3 on.
  public var preopens: [Preopen] = []
  /// Descriptor 0.
  public var standardInput: WASIInput = .null
  /// Descriptor 1.
  public var standardOutput: WASIOutput = .null
  /// Descriptor 2.
  public var standardError: WASIOutput = .null
  /// Whether the guest's writing to a pipe that nobody reads any more may raise SIGPIPE in the host, and so end the process
  /// as it would end a native program. Otherwise the guest gets `EPIPE`, and the host never hears of it.
  public var raisesBrokenPipes = false
  /// How many descriptors the guest may have open at a time; each costs the host one as well.
  public var maximumDescriptors = 1024

  /// A configuration that gives the guest nothing but its arguments.
  public init(arguments: [String] = []) {
    self.arguments = arguments
  }

  /// A directory of the host under a name of the guest.
  public struct Preopen: Sendable {
    /// The directory, resolved by the host when the `WASI` instance is made: links in this path are
    /// followed.
    public var hostPath: String
    /// What the guest calls it, for example `/` or `.`.
    public var guestPath: String
    /// Whether the guest may change anything in it.
    public var isReadOnly: Bool

    /// Gives the guest `hostPath` and everything beneath it, as `guestPath`.
    public init(hostPath: String, guestPath: String, isReadOnly: Bool = false) {
      self.hostPath = hostPath
      self.guestPath = guestPath
      self.isReadOnly = isReadOnly
    }
  }
}

/// Where a guest's standard input comes from.
public enum WASIInput {
  /// It is at its end.
  case null
  /// The host's own standard input.
  case inherit
  /// An open descriptor of the host, which stays the host's: it is not closed with the guest's.
  case descriptor(Int32)
  /// These bytes, then the end.
  case bytes([UInt8])
  /// A closure that fills a buffer (never an empty one) from its start and returns how many bytes it
  /// put there; 0 is the end.
  case source((inout MutableRawSpan) -> Int)
}

/// Where a guest's standard output or standard error goes.
public enum WASIOutput {
  /// It is dropped.
  case null
  /// The host's own standard output or standard error.
  case inherit
  /// An open descriptor of the host, which stays the host's: it is not closed with the guest's.
  case descriptor(Int32)
  /// Collected in memory.
  case buffer(WASIOutputBuffer)
  /// A closure that takes what is written, piece by piece.
  case sink((RawSpan) -> Void)
}

/// Collects what a guest writes.
public final class WASIOutputBuffer: Sendable {
  private let contents = Mutex<[UInt8]>([])

  /// An empty buffer.
  public init() {}

  /// What has been written so far.
  public var bytes: [UInt8] { contents.withLock { $0 } }

  /// What has been written so far, as text; bytes that are not UTF-8 are replaced.
  public var text: String { String(decoding: bytes, as: UTF8.self) }

  func append(_ span: RawSpan) {
    contents.withLock { bytes in
      unsafe span.withUnsafeBytes { unsafe bytes.append(contentsOf: $0) }
    }
  }
}

/// A configuration that cannot be carried out.
public struct WASIConfigurationError: Error, Equatable, CustomStringConvertible {
  /// What is wrong with it, in a sentence without a full stop.
  public let message: String

  init(_ message: String) { self.message = message }

  /// The message.
  public var description: String { message }
}

/// The guest called `proc_exit`: thrown out of the outermost call into the guest.
public struct WASIExit: Error, Equatable, CustomStringConvertible {
  /// The guest's exit status.
  public let code: UInt32

  /// An exit with a status.
  public init(code: UInt32) { self.code = code }

  /// The status in words.
  public var description: String { "the guest exited with status \(code)" }
}
