#pragma once
#include <gelf.h>
#include <libelf.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

// What the artifact writer needs besides libelf and Swift's view of the C library hides, since these are
// GNU extensions: files in memory, making them final, and files on disk that have no name yet.

/// `memfd_create(2)` with close-on-exec, sealing allowed; -1 and `errno` on failure.
static inline int precast_memory_file(const char *name) { return (int)syscall(SYS_memfd_create, name, 3u); }

/// Adds all seals (seal, shrink, grow, write) to a memory file; -1 and `errno` on failure.
static inline int precast_seal_memory_file(int fd) { return fcntl(fd, 1024 + 9, 15); }

/// A new file in `directory` that has no name, so that nothing is left of it if the process ends: `open(2)` with
/// `O_TMPFILE`; -1 and `errno` on failure, `EOPNOTSUPP` among them where the file system has no such files.
static inline int precast_unnamed_file(const char *directory) {
  return open(directory, 020000000 | O_DIRECTORY | O_RDWR | O_CLOEXEC, 0666);
}

/// Gives a file without a name the name `path`, which must not exist; -1 and `errno` on failure.
static inline int precast_name_file(int fd, const char *path) {
  char source[32];
  snprintf(source, sizeof source, "/proc/self/fd/%d", fd);
  return linkat(AT_FDCWD, source, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}
