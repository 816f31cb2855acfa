// Profilers that read a perf map look into it for code in anonymous memory only; code that came from bytes is mapped from a
// sealed file in memory, which to them is a file that they cannot find.
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
  if (mprotect(copy, size, PROT_EXEC) != 0 ||
      mremap(copy, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, text) == MAP_FAILED) {
    int error = errno;
    munmap(copy, size);
    return -error;
  }
  return mprotect(text, size, PROT_READ | PROT_EXEC) == 0 ? 0 : -errno;
}
