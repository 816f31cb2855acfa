// Telling a debugger of code that was loaded: the GDB JIT interface.
//
// A debugger that knows the interface (gdb, lldb) looks for the two symbols in the programs and libraries of a process. It puts
// a breakpoint on the function, and when that is reached, looks at the descriptor: which entry came or goes. An entry points to
// an ELF file in memory, with symbols and DWARF at absolute addresses. (GDB manual, "JIT Compilation Interface")
//
// The two names are the interface, so other libraries in the process may define them as well (LLVM does). They are weak here:
// where they are linked together, one pair serves all, and entries of others in its list are left as they are. The other
// library has a lock of its own, though; the interface has none to share.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#ifdef __cplusplus
extern "C" {
#endif

struct precast_gdb_entry;

/// Announces an ELF file in memory: `size` bytes at `image`, which are copied. Returns what takes it back, or null where no
/// memory is left. Any thread.
struct precast_gdb_entry *precast_gdb_announce(const void *image, size_t size);

/// Takes an announcement back; null is allowed. Any thread.
void precast_gdb_withdraw(struct precast_gdb_entry *entry);

/// How many announcements there are: of this function's, not of other libraries'.
size_t precast_gdb_count(void);

/// The files that are announced, for tests: the image of the announcement at `index`, newest first; null past the last. Good
/// until one is taken back.
const void *precast_gdb_image(size_t index, size_t *size);

/// The calling thread's number, as the kernel's tools show it.
int32_t precast_thread_number(void);

#ifdef __cplusplus
}
#endif
