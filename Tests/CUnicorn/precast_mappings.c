// Kernels from 6.11 on answer the question for one address (PROCMAP_QUERY) in a microsecond. Older ones write all mappings as
// text, at about a microsecond a line, of which a process with a thousand modules has thousands; so reading it is in C.
#define _GNU_SOURCE
#include "precast_emulator.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

// As in <linux/fs.h> of kernels that have it.
struct query {
  uint64_t size, flags, address;
  uint64_t start, end, access, page_size, offset, inode;
  uint32_t device_major, device_minor, name_size, build_id_size;
  uint64_t name, build_id;
};
#define QUERY _IOWR('f', 17, struct query)

/// A line: `7f0a12000000-7f0a12021000 rw-p ...`. False if it is none.
static bool parse(const char *line, struct precast_mapping *mapping) {
  char *next;
  mapping->start = strtoull(line, &next, 16);
  if (*next != '-') return false;
  mapping->end = strtoull(next + 1, &next, 16);
  if (*next != ' ') return false;
  mapping->access = (next[1] == 'r' ? 1 : 0) | (next[2] == 'w' ? 2 : 0) | (next[3] == 'x' ? 4 : 0);
  return true;
}

static bool find_in_text(int file, uint64_t address, struct precast_mapping *mapping) {
  char line[128];
  size_t length = 0;
  char buffer[1 << 14];
  for (;;) {
    ssize_t count = read(file, buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) return false;
    for (ssize_t i = 0; i < count; i++) {
      if (buffer[i] != '\n') {
        // What follows the first columns is not wanted.
        if (length < sizeof line - 1) line[length++] = buffer[i];
        continue;
      }
      line[length] = 0;
      length = 0;
      if (!parse(line, mapping) || mapping->end <= address) continue;
      return mapping->start <= address;
    }
  }
}

bool precast_find_mapping(uint64_t address, struct precast_mapping *mapping) {
  int file = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
  if (file < 0) return false;
  struct query query = {.size = sizeof query, .address = address};
  bool found;
  if (ioctl(file, QUERY, &query) == 0) {
    *mapping =
        (struct precast_mapping){.start = query.start, .end = query.end, .access = (uint32_t)query.access & 7};
    found = true;
  } else {
    found = errno != ENOENT && find_in_text(file, address, mapping);
  }
  close(file);
  return found;
}

bool precast_map_code_twice(size_t size, uint64_t *written, uint64_t *executed) {
  int file = memfd_create("precast-test-code", MFD_CLOEXEC);
  if (file < 0) return false;
  void *first = MAP_FAILED, *second = MAP_FAILED;
  if (ftruncate(file, (off_t)size) == 0) {
    first = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    second = mmap(NULL, size, PROT_READ | PROT_EXEC, MAP_SHARED, file, 0);
  }
  close(file);
  if (first == MAP_FAILED || second == MAP_FAILED) return false;
  *written = (uint64_t)(uintptr_t)first;
  *executed = (uint64_t)(uintptr_t)second;
  return true;
}
