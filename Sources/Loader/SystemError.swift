// System call errors in words: what failed, why, and which limit to raise.
//
// "Out of memory" is what Linux says for four different limits, and the one that a host of thousands of modules meets
// first, the number of mappings, has nothing to do with memory. So when a call fails for want of something, the process
// is compared with its limits, and the message names the one it has reached, with its value and what to do. That takes
// milliseconds, and is done only then.

import CPrecastHost
import Glibc

extension LoadError {
  /// An error for a failed system call. `action` completes "could not ...". `requesting`: bytes of address space that
  /// the call asked for.
  static func system(_ number: Int32, _ action: String, path: String? = nil, requesting: Int = 0) -> LoadError {
    switch number {
    case EMFILE, ENFILE, ENOMEM:
      var limits = precast_limits()
      unsafe precast_find_limits(&limits)
      let reason =
        switch number {
        case EMFILE: tooManyDescriptors(limits)
        case ENFILE: tooManyFiles(limits)
        default: outOfMemory(limits, requesting: UInt64(max(0, requesting)))
        }
      return LoadError(kind: .outOfResources(errno: number), path: path, message: "could not \(action): \(reason)")
    case ESPIPE:
      return LoadError(
        kind: .cannotRead(errno: number), path: path,
        message: "could not \(action): it is a pipe, socket or device; an artifact is mapped from a regular file")
    case ENODEV:
      return LoadError(
        kind: .cannotRead(errno: number), path: path,
        message: "could not \(action): its file system does not support mapping; copy the file elsewhere")
    case EBADF:
      return LoadError(
        kind: .cannotRead(errno: number), path: path,
        message: "could not \(action): the descriptor is not open for reading")
    default:
      return LoadError(
        kind: .cannotRead(errno: number), path: path, message: "could not \(action): \(errorText(number))")
    }
  }

  private static func tooManyDescriptors(_ limits: precast_limits) -> String {
    // The soft limit was raised to the hard one before this error.
    "this process has as many open files as RLIMIT_NOFILE allows, \(limits.maximum_descriptors) "
      + "(the hard limit is \(limits.hard_maximum_descriptors)), and each loaded module needs one; "
      + "raise the hard limit (ulimit -Hn, LimitNOFILE=) or drop modules"
  }

  private static func tooManyFiles(_ limits: precast_limits) -> String {
    let value = limits.maximum_files == .max ? "" : ", \(limits.maximum_files)"
    return "the system has as many open files as fs.file-max allows\(value); raise it (sysctl fs.file-max)"
  }

  /// Which of the limits behind ENOMEM it was; see mmap(2), "ERRORS".
  private static func outOfMemory(_ limits: precast_limits, requesting: UInt64) -> String {
    // A mapping in the middle of another makes three of one.
    if limits.maximum_mappings != .max, limits.mappings != .max, limits.mappings + 3 >= limits.maximum_mappings {
      return "this process has \(limits.mappings) mappings, as many as vm.max_map_count allows "
        + "(\(limits.maximum_mappings)); raise it (sysctl vm.max_map_count) or drop modules, of which each needs two"
    }
    func exceeds(_ used: UInt64, _ maximum: UInt64) -> Bool {
      let (needed, overflow) = used.addingReportingOverflow(requesting)
      return used != .max && maximum != .max && (overflow || needed >= maximum)
    }
    let more = requesting > 0 ? " and \(requesting) more are needed" : ""
    if exceeds(limits.address_space, limits.maximum_address_space) {
      return "this process may have \(limits.maximum_address_space) bytes of address space (RLIMIT_AS), "
        + "of which \(limits.address_space) are in use\(more); raise the limit (ulimit -v) or lift it: memories reserve "
        + "address space, which costs nothing"
    }
    if exceeds(limits.data, limits.maximum_data) {
      return "this process may have \(limits.maximum_data) bytes of private memory (RLIMIT_DATA), "
        + "of which \(limits.data) are in use\(more); raise the limit (ulimit -d)"
    }
    let strict = limits.overcommit == 2 ? " (vm.overcommit_memory is 2, which counts memory that is only promised)" : ""
    return "the system is out of memory\(strict)"
  }

  /// The C library's words for an error number.
  static func errorText(_ number: Int32) -> String {
    // `strerror_r` writes into our buffer; `strerror` would share one among threads.
    unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
      guard let start = buffer.baseAddress else { return "error \(number)" }
      guard unsafe strerror_r(number, start, buffer.count) == 0 else { return "error \(number)" }
      return unsafe String(cString: start)
    }
  }
}
