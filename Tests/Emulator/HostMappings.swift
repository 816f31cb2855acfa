// Finding the host memory behind an address.
//
// Code that runs natively simply has all of its process's memory. Emulated code that is to share contexts, tables,
// activations and memories with the host has to be given it, and telling the emulator of every allocation would put
// calls for the tests' sake all over the runtime. Instead a processor may look for what it lacks when it is first
// touched: the kernel's list of mappings says what is there, how far it reaches and what may be done with it. One
// mapping becomes one region, a guard (which nobody may access) stays a fault, and a memory that has grown since
// faults once.
//
// No mapping becomes executable in this way: the host's own code is for another machine.

import Glibc

/// The mappings of this process, as `/proc/self/maps` lists them (proc_pid_maps(5)).
package enum HostMappings {
  /// The mapping that holds `address`, without the right to execute; nil if there is none or nobody may read it.
  package static func region(at address: UInt64) -> Region? {
    guard let file = unsafe fopen("/proc/self/maps", "re") else { return nil }
    defer { unsafe _ = fclose(file) }
    var line: UnsafeMutablePointer<CChar>?
    var capacity = 0
    defer { unsafe free(line) }
    // `getline` allocates the buffer that `line` points to, and ends each line with a zero.
    while unsafe getline(&line, &capacity, file) > 0, let text = unsafe line {
      guard let region = region(in: unsafe String(cString: text)) else { continue }
      if region.start > address { return nil }
      if address < region.end { return region.access.contains(.read) ? region : nil }
    }
    return nil
  }

  /// A line: `7f0a12000000-7f0a12021000 rw-p ...`.
  static func region(in line: String) -> Region? {
    let fields = line.split(separator: " ", maxSplits: 2)
    guard fields.count >= 2 else { return nil }
    let bounds = fields[0].split(separator: "-")
    guard bounds.count == 2, let start = UInt64(bounds[0], radix: 16), let end = UInt64(bounds[1], radix: 16) else {
      return nil
    }
    var access: Access = []
    if fields[1].hasPrefix("r") { access.insert(.read) }
    if fields[1].dropFirst().hasPrefix("w") { access.insert(.write) }
    return Region(start: start, end: end, access: access)
  }
}
