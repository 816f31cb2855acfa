// Names as their authors wrote them.
//
// Each language has its own way to put a name with its types into a symbol, and each is long; so the libraries that made the
// names take them apart again: the C++ runtime's `__cxa_demangle`, which knows Rust's older scheme as well, since that was made to
// look like C++'s, and the Swift runtime's `swift_demangle`. Both are in every process that runs this, or a `dlsym` away.
// Nothing here knows a grammar. (Rust's newer scheme, `_R...`, no library at hand knows: such names stay as they are.)

import Glibc

/// Takes mangled names apart.
public enum Demangler {
  private typealias CXXFunction =
    @convention(c) (
      UnsafePointer<CChar>, UnsafeMutablePointer<CChar>?, UnsafeMutablePointer<Int>?, UnsafeMutablePointer<Int32>?
    ) -> UnsafeMutablePointer<CChar>?
  private typealias SwiftFunction =
    @convention(c) (
      UnsafePointer<CChar>, Int, UnsafeMutablePointer<CChar>?, UnsafeMutablePointer<Int>?, UInt32
    ) -> UnsafeMutablePointer<CChar>?

  // Longer names are nobody's, and take the libraries' time.
  private static let longest = 1 << 14
  // What a name may come to. Names refer to parts of themselves, so they can be exponentially longer than they look: 200
  // bytes stand for a hundred million.
  private static let longestResult = 1 << 22

  /// Whether a name cannot come to more than is good for anybody, by its length, references to earlier parts, and patterns that
  /// are repeated for each element of a list.
  ///
  /// With r references at a level to the level below, n levels multiply the length by r to the n; of all ways to spend so many
  /// references, three a level is the worst.
  private static func isBounded(_ length: Int, references: Int, repetitions: Int) -> Bool {
    var size = length
    for _ in 0..<(references + 2) / 3 {
      size *= 3
      if size > longestResult { return false }
    }
    for _ in 0..<repetitions {
      size *= length
      if size > longestResult { return false }
    }
    return true
  }

  /// The Itanium ABI's references are `S_`, `S0_`, `T_`, `T0_`, ...; `Dp` repeats.
  private static func isBoundedCXX(_ name: String) -> Bool {
    var (references, repetitions) = (0, 0)
    var previous: UInt8 = 0
    var isReference = false
    for byte in name.utf8 {
      if byte == UInt8(ascii: "p") && previous == UInt8(ascii: "D") { repetitions += 1 }
      if byte == UInt8(ascii: "S") || byte == UInt8(ascii: "T") {
        isReference = true
      } else if byte == UInt8(ascii: "_") {
        if isReference { references += 1 }
        isReference = false
      } else if !(0x30...0x39).contains(byte) && !(0x41...0x5A).contains(byte) {
        isReference = false
      }
      previous = byte
    }
    return isBounded(name.utf8.count, references: references, repetitions: repetitions)
  }

  /// Swift's are an `A` with letters, before each of which the number may stand of times that it counts; `S` with a number
  /// repeats a type of the library. Identifiers have their length before them and are passed over; where a number could be
  /// something else they are not, so some names are refused that need not be (some 3 in 100 of this program's own).
  private static func isBoundedSwift(_ name: String) -> Bool {
    let bytes = Array(name.utf8)
    var references = 0
    var size = bytes.count
    var isReference = false
    var isRepetition = false
    var number = 0
    var index = 0
    while index < bytes.count {
      let byte = bytes[index]
      if isDigit(byte) {
        let start = index
        number = 0
        while index < bytes.count, isDigit(bytes[index]) {
          number = min(longest, number * 10 + Int(bytes[index] - 0x30))
          index += 1
        }
        if !isReference && !isRepetition {
          // Not the number of a pass (`Tf4`), nor an index (`q3_`).
          let isLength = index < bytes.count && bytes[index] != UInt8(ascii: "_")
          let isOfPass = start >= 2 && bytes[start - 2] == UInt8(ascii: "T")
          if isLength && !isOfPass || isDiscriminator(bytes[index...], number) {
            index = min(bytes.count, index + number)
          }
          number = 0
        }
        continue
      }
      if isReference, (0x61...0x7A).contains(byte) || (0x41...0x5A).contains(byte) { references += max(1, number) }
      if isRepetition { size += 32 * number }
      // A capital is the last.
      isReference = byte == UInt8(ascii: "A") || isReference && byte >= 0x61
      isRepetition = byte == UInt8(ascii: "S")
      number = 0
      index += 1
    }
    return isBounded(size, references: references, repetitions: 0)
  }

  private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

  /// What private names have in them: `33`, an underscore, and 32 digits in hexadecimal.
  private static func isDiscriminator(_ rest: ArraySlice<UInt8>, _ number: Int) -> Bool {
    number == 33 && rest.count >= 33 && rest.first == UInt8(ascii: "_")
      && rest.dropFirst().prefix(32).allSatisfy { isDigit($0) || (0x41...0x46).contains($0) }
  }

  private static func find(_ symbol: String, in libraries: [String]) -> UnsafeMutableRawPointer? {
    // The program itself first. What is opened stays open.
    if let own = unsafe dlopen(nil, RTLD_NOW), let found = unsafe dlsym(own, symbol) { return unsafe found }
    for library in libraries {
      if let handle = unsafe dlopen(library, RTLD_NOW | RTLD_LOCAL), let found = unsafe dlsym(handle, symbol) {
        return unsafe found
      }
    }
    return nil
  }

  // Itanium C++ ABI, 3.4, "Demangler API".
  private static let cxx: CXXFunction? = unsafe find("__cxa_demangle", in: ["libstdc++.so.6", "libc++abi.so.1"]).map {
    unsafe unsafeBitCast($0, to: CXXFunction.self)
  }

  // swift/Runtime/...: `swift_demangle(mangledName, length, outputBuffer, outputBufferSize, flags)`.
  private static let swift: SwiftFunction? = unsafe find("swift_demangle", in: ["libswiftCore.so"]).map {
    unsafe unsafeBitCast($0, to: SwiftFunction.self)
  }

  /// The name as its author wrote it; the name itself where it is not mangled, or nobody here can tell.
  public static func demangle(_ name: String) -> String {
    guard name.utf8.count < longest, !name.utf8.contains(0) else { return name }
    if name.hasPrefix("_Z") || name.hasPrefix("__Z") {
      guard isBoundedCXX(name), let cxx = unsafe cxx else { return name }
      var status: Int32 = -1
      // The result is malloc's.
      guard let text = unsafe cxx(name.hasPrefix("__Z") ? String(name.dropFirst()) : name, nil, nil, &status) else {
        return name
      }
      defer { unsafe free(text) }
      return status == 0 ? unsafe withoutHash(String(cString: text), isRust: name.hasSuffix("E")) : name
    }
    if name.hasPrefix("$s") || name.hasPrefix("$S") || name.hasPrefix("_$s") || name.hasPrefix("$e") {
      guard isBoundedSwift(name), let swift = unsafe swift, let text = unsafe swift(name, name.utf8.count, nil, nil, 0)
      else { return name }
      defer { unsafe free(text) }
      return unsafe String(cString: text)
    }
    return name
  }

  /// Rust's older names end in a hash of 16 digits, `::h0123456789abcdef`, which is no part of what was written.
  private static func withoutHash(_ name: String, isRust: Bool) -> String {
    let tail = Array(name.utf8.suffix(19))
    guard isRust, tail.count == 19, name.utf8.count > 19, tail[0] == 0x3A, tail[1] == 0x3A, tail[2] == 0x68,
      tail[3...].allSatisfy({ (0x30...0x39).contains($0) || (0x61...0x66).contains($0) })
    else { return name }
    return String(decoding: name.utf8.dropLast(19), as: UTF8.self)
  }
}
