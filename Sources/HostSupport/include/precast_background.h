#pragma once
#include <stdint.h>

// What a library's background thread needs and Swift cannot call, and which program this is.

/// Makes the calling thread give way to everybody else: no signals are delivered to it, and it runs when a processor
/// has nothing better to do (`SCHED_IDLE`, and the lowest priority for its disk accesses). Nothing is an error: a system that
/// does not know one of these runs the thread as any other.
void precast_enter_background(void);

/// Device, inode, size, and time of last modification in nanoseconds, of the file (program or shared library) that this
/// code was loaded from. All zero where that cannot be found out.
struct precast_object_identity {
  uint64_t device, inode, size, modified;
};

/// Fills in `identity`. Not async-signal-safe.
void precast_identify_object(struct precast_object_identity *identity);
