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

import CUnicorn

/// The mappings of this process (proc_pid_maps(5)).
package enum HostMappings {
  /// The mapping that holds `address`, without the right to execute; nil if there is none or nobody may read it.
  package static func region(at address: UInt64) -> Region? {
    var found = precast_mapping()
    guard unsafe precast_find_mapping(address, &found) else { return nil }
    let access = Access(rawValue: found.access).intersection(.readWrite)
    return access.contains(.read) ? Region(start: found.start, end: found.end, access: access) : nil
  }
}
