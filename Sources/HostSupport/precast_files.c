#define _GNU_SOURCE
#include "precast_files.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int precast_read_exactly(int fd, void *buffer, size_t size, uint64_t offset) {
  size_t done = 0;
  while (done < size) {
    ssize_t count = pread(fd, (char *)buffer + done, size - done, (off_t)(offset + done));
    if (count < 0) {
      if (errno == EINTR) continue;
      return -errno;
    }
    if (count == 0) return -ENODATA;
    done += (size_t)count;
  }
  return 0;
}

static int write_all(int fd, const char *bytes, size_t size) {
  while (size > 0) {
    ssize_t count = write(fd, bytes, size);
    if (count < 0) {
      if (errno == EINTR) continue;
      return -errno;
    }
    bytes += count;
    size -= (size_t)count;
  }
  return 0;
}

int precast_copy_file(int from, int to, uint64_t size) {
  struct stat status;
  if (fstat(from, &status) != 0) return -errno;
  if ((uint64_t)status.st_size < size) return -ENODATA;
  if ((uint64_t)status.st_size == size && ioctl(to, FICLONE, from) == 0) {
    // It may have changed between the two calls.
    if (fstat(to, &status) != 0) return -errno;
    return (uint64_t)status.st_size == size ? 0 : -ENODATA;
  }
  uint64_t done = 0;
  while (done < size) {
    off_t offset = (off_t)done;
    ssize_t count = copy_file_range(from, &offset, to, NULL, size - done, 0);
    if (count < 0) {
      if (errno == EINTR) continue;
      break;  // between file systems, sealed memory, old kernels: by hand
    }
    if (count == 0) break;  // the end, or a file system that pretends so
    done += (uint64_t)count;
  }
  char buffer[64 * 1024];
  while (done < size) {
    size_t part = size - done < sizeof buffer ? (size_t)(size - done) : sizeof buffer;
    int result = precast_read_exactly(from, buffer, part, done);
    if (result == 0) result = write_all(to, buffer, part);
    if (result != 0) return result;
    done += part;
  }
  return 0;
}

int precast_open_unnamed(const char *directory) {
  for (;;) {
    int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0666);
    if (fd >= 0) return fd;
    if (errno != EINTR) return -errno;
  }
}

int precast_name_unnamed(int fd, const char *path) {
  // Through the link in procfs, because AT_EMPTY_PATH asks for a capability.
  char source[32];
  snprintf(source, sizeof source, "/proc/self/fd/%d", fd);
  return linkat(AT_FDCWD, source, AT_FDCWD, path, AT_SYMLINK_FOLLOW) == 0 ? 0 : -errno;
}

int precast_map_file(int fd, size_t size, uint64_t *address) {
  void *p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
  if (p == MAP_FAILED) return -errno;
  *address = (uint64_t)(uintptr_t)p;
  return 0;
}
