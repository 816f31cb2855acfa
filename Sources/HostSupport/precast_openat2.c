// Path resolution that cannot leave a directory.
//
// To look at the path's text (counting `..`, resolving links by hand) is a race that the guest can
// win: it may replace a directory by a link between the look and the use. So the kernel does it, in
// one call, and it alone. glibc has no wrapper for the call, hence `syscall`.
#define _GNU_SOURCE
#include "precast_openat2.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/syscall.h>
#include <unistd.h>

const uint64_t precast_o_path = O_PATH;

int precast_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode) {
  struct open_how how = {
      .flags = flags | O_CLOEXEC | (flags & O_PATH ? 0 : O_NOCTTY),
      .mode = flags & O_CREAT ? mode : 0,
      .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
  };
  // EAGAIN: something was renamed anywhere in the system while `..` was resolved, and the kernel
  // cannot tell whether the walk stayed inside. That passes; but somebody who renames in a loop on
  // another thread must not hold us here for ever, so in the end the caller gets the EAGAIN.
  for (int attempt = 0; attempt < 256; attempt++) {
    long fd = syscall(SYS_openat2, dirfd, path, &how, sizeof how);
    if (fd >= 0) return (int)fd;
    if (errno != EAGAIN && errno != EINTR) return -errno;
  }
  return -EAGAIN;
}
