#pragma once
#include <gelf.h>
#include <libelf.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>

// What the artifact writer needs besides libelf and Swift's view of the C library hides, since it is
// a GNU extension: files in memory, and making them final.

/// `memfd_create(2)` with close-on-exec, sealing allowed; -1 and `errno` on failure.
static inline int precast_memory_file(const char *name) { return (int)syscall(SYS_memfd_create, name, 3u); }

/// Adds all seals (seal, shrink, grow, write) to a memory file; -1 and `errno` on failure.
static inline int precast_seal_memory_file(int fd) { return fcntl(fd, 1024 + 9, 15); }
