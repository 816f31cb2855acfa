// The corpus's host functions as closures that emulated code calls, and results as it leaves them.

import PrecastEmulator

extension Corpus {
  /// The host functions of the corpus for a processor, by name.
  static func hostFunctions(_ processor: AArch64Processor) -> [String: UInt64] {
    [
      "host_mix": processor.addHostFunction { $0.return(Corpus.mix($0.integer(0), $0.integer(1))) },
      "host_scale": processor.addHostFunction {
        $0.return($0.double(0) * Double(Int32(truncatingIfNeeded: $0.integer(0))))
      },
      "host_call_back": processor.addHostFunction {
        $0.return(try $0.processor.call($0.integer(0), .integer64($0.integer(1) &+ 1)).integer &+ 1)
      },
    ]
  }
}

extension CorpusCall {
  /// The bits of its result.
  func bits(of result: CallResult) -> UInt64 {
    switch self.result {
    case .integer64: result.integer
    case .integer32: result.integer & 0xFFFF_FFFF
    case .double: result.vector.low
    }
  }
}
