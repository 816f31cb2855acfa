// Profilers that read a perf map look into it for code in anonymous memory only; code that came from bytes is mapped from a
// sealed file in memory, which to them is a file that they cannot find.
//
// This is the one place where instructions are stored by the process itself, so it is the one where it has to see to
// it that the processor fetches what was stored. On AArch64 instruction and data caches need not agree (Arm ARM,
// "Synchronization and coherency issues between data and instruction accesses"): what was stored is cleaned from the
// data cache to where both meet, and taken out of the instruction cache, before it can be executed. At both addresses: an
// instruction cache may be looked up by virtual address (CTR_EL0.L1Ip: VIPT), and then invalidating by one
// says nothing of the other. Another thread that is executing the text needs no
// barrier: old and new instructions are the same. On x86-64 nothing is done.
//
// All other code comes from files, among them sealed files in memory for linked objects. What write(2) has put there
// is the kernel's to make coherent when it makes a page of it executable, as it is for every program and library.
//
// The copy is made elsewhere and moved over the original in one call, under the kernel's lock of the address space: another
// thread sees the one or the other. It arrives without the right to be read and gets that afterwards, because perf is told of
// mappings when they are made or change their protection, not when they move.
#define _GNU_SOURCE
#include "precast_anonymous_text.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int precast_make_text_anonymous(uint64_t address, size_t size) {
  void *text = (void *)(uintptr_t)address;
  void *copy = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (copy == MAP_FAILED) return -errno;
  memcpy(copy, text, size);
  // While it is readable here: on AArch64 the cache instructions may not name an address that may not be read.
  __builtin___clear_cache(copy, (char *)copy + size);
  if (mprotect(copy, size, PROT_EXEC) != 0 ||
      mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, text) == MAP_FAILED) {
    int error = errno;
    munmap(copy, size);
    return -error;
  }
  if (mprotect(text, size, PROT_READ | PROT_EXEC) != 0) return -errno;
  __builtin___clear_cache(text, (char *)text + size);
  return 0;
}
