// Thin shims over system calls, for code in Swift; see the header for why each is here.
#define _GNU_SOURCE
#include "precast_system.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#define RETRY(type, expression)                 \
  ({                                            \
    type result_;                               \
    do                                          \
      result_ = (expression);                   \
    while (result_ < 0 && errno == EINTR);      \
    result_ < 0 ? (type) - errno : result_;     \
  })

ssize_t precast_getdents64(int fd, void *buffer, size_t size) {
  return RETRY(ssize_t, getdents64(fd, buffer, size));
}

int precast_getrandom(void *buffer, size_t size) {
  unsigned char *p = buffer;
  while (size > 0) {
    ssize_t n = RETRY(ssize_t, getrandom(p, size, 0));
    if (n < 0) return (int)n;
    p += n;
    size -= (size_t)n;
  }
  return 0;
}

static uint64_t monotonic_now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int precast_poll(struct pollfd *fds, size_t count, uint64_t nanoseconds) {
  if (nanoseconds == UINT64_MAX) return RETRY(int, ppoll(fds, count, NULL, NULL));
  uint64_t now = monotonic_now(), end;
  if (__builtin_add_overflow(now, nanoseconds, &end) || end > INT64_MAX) end = INT64_MAX;
  for (;;) {
    uint64_t left = end > now ? end - now : 0;
    struct timespec t = {.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
    int n = ppoll(fds, count, &t, NULL);
    if (n >= 0) return n;
    if (errno != EINTR) return -errno;
    now = monotonic_now();
  }
}

int precast_fallocate(int fd, int64_t offset, int64_t length) {
  return RETRY(int, fallocate(fd, 0, offset, length));
}

int precast_accept(int fd, int nonblocking) {
  return RETRY(int, accept4(fd, NULL, NULL, SOCK_CLOEXEC | (nonblocking ? SOCK_NONBLOCK : 0)));
}

ssize_t precast_readv(int fd, const struct iovec *vectors, int count, int64_t offset) {
  if (offset < 0) return RETRY(ssize_t, readv(fd, vectors, count));
  return RETRY(ssize_t, preadv(fd, vectors, count, offset));
}

ssize_t precast_writev(int fd, const struct iovec *vectors, int count, int64_t offset) {
  if (offset < 0) return RETRY(ssize_t, writev(fd, vectors, count));
  return RETRY(ssize_t, pwritev(fd, vectors, count, offset));
}

// A signal raised by write(2) goes to the writing thread. It is blocked there for the call, and
// taken out of the pending set again if it was this call that put it there.
ssize_t precast_writev_quietly(int fd, const struct iovec *vectors, int count) {
  sigset_t pipe_signal, before, pending;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  sigpending(&pending);
  int was_pending = sigismember(&pending, SIGPIPE) == 1;
  ssize_t result = RETRY(ssize_t, writev(fd, vectors, count));
  if (result == -EPIPE && !was_pending) {
    struct timespec zero = {0, 0};
    while (sigtimedwait(&pipe_signal, NULL, &zero) < 0 && errno == EINTR) {}
  }
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return result;
}

int precast_ignores_sigpipe(void) {
  struct sigaction action;
  return sigaction(SIGPIPE, NULL, &action) == 0 && !(action.sa_flags & SA_SIGINFO) &&
         action.sa_handler == SIG_IGN;
}

static struct timespec time_from(uint64_t nanoseconds) {
  if (nanoseconds == PRECAST_TIME_OMIT) return (struct timespec){0, UTIME_OMIT};
  if (nanoseconds == PRECAST_TIME_NOW) return (struct timespec){0, UTIME_NOW};
  return (struct timespec){(time_t)(nanoseconds / 1000000000u), (long)(nanoseconds % 1000000000u)};
}

int precast_set_times(int dirfd, const char *name, uint64_t access, uint64_t modification) {
  struct timespec times[2] = {time_from(access), time_from(modification)};
  if (name) return utimensat(dirfd, name, times, AT_SYMLINK_NOFOLLOW) < 0 ? -errno : 0;
  if (utimensat(dirfd, "", times, AT_EMPTY_PATH) == 0) return 0;
  if (errno != EINVAL) return -errno;
  // Before Linux 5.8 there is no AT_EMPTY_PATH here; the link in procfs names the same file.
  char self[64];
  snprintf(self, sizeof self, "/proc/self/fd/%d", dirfd);
  return utimensat(AT_FDCWD, self, times, 0) < 0 ? -errno : 0;
}

uint32_t precast_readable_bytes(int fd) {
  int n = 0;
  return ioctl(fd, FIONREAD, &n) == 0 && n > 0 ? (uint32_t)n : 0;
}

int precast_link_descriptor(int fd, int dirfd, const char *name) {
  char self[64];
  snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
  return linkat(AT_FDCWD, self, dirfd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}
