#pragma once
#include <stddef.h>
#include <stdint.h>
#include <poll.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>

// System calls that Swift cannot make: glibc declares them only under `_GNU_SOURCE`, or they need
// more than one call to be safe. All return the negated errno on failure. Calls interrupted by a
// signal are made again.

/// `getdents64(2)`: `struct linux_dirent64` records into `buffer`; 0 at the end.
ssize_t precast_getdents64(int fd, void *buffer, size_t size);

/// Fills the whole of `buffer` from `getrandom(2)`, whatever its size.
int precast_getrandom(void *buffer, size_t size);

/// `ppoll(2)` for at most `nanoseconds` (UINT64_MAX: without end), measured on the monotonic clock.
int precast_poll(struct pollfd *fds, size_t count, uint64_t nanoseconds);

/// `fallocate(2)` with mode 0.
int precast_fallocate(int fd, int64_t offset, int64_t length);

/// `accept4(2)` with `SOCK_CLOEXEC`.
int precast_accept(int fd, int nonblocking);

/// `readv(2)`, or `preadv(2)` where `offset` is not negative.
ssize_t precast_readv(int fd, const struct iovec *vectors, int count, int64_t offset);

/// `writev(2)`, or `pwritev(2)` where `offset` is not negative.
ssize_t precast_writev(int fd, const struct iovec *vectors, int count, int64_t offset);

/// `writev(2)` to what may be a broken pipe: fails with EPIPE but never raises SIGPIPE, whatever
/// the process does with that signal.
ssize_t precast_writev_quietly(int fd, const struct iovec *vectors, int count);

/// Whether SIGPIPE is ignored in this process, so that plain writes are quiet.
int precast_ignores_sigpipe(void);

/// `utimensat(2)` on `name` in `dirfd`, not following a link; on `dirfd` itself (which may be an
/// `O_PATH` descriptor) where `name` is null. Each time is in nanoseconds, or one of the two below.
int precast_set_times(int dirfd, const char *name, uint64_t access, uint64_t modification);
/// For `precast_set_times`: leave this time as it is.
#define PRECAST_TIME_OMIT UINT64_MAX
/// For `precast_set_times`: now.
#define PRECAST_TIME_NOW (UINT64_MAX - 1)

/// Bytes that can be read at once (`FIONREAD`), or 0 where that is unknown.
uint32_t precast_readable_bytes(int fd);

/// `linkat(2)` of an open file (which may be an `O_PATH` descriptor) as `name` in `dirfd`. Goes through
/// the file's link in procfs, because `AT_EMPTY_PATH` asks for a capability.
int precast_link_descriptor(int fd, int dirfd, const char *name);
