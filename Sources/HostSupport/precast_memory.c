#define _GNU_SOURCE
#include "precast_memory.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "precast_cpu.h"

#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x08
#endif

static void *pointer(uint64_t address) { return (void *)(uintptr_t)address; }

static precast_mapping_observer observer;

void precast_set_mapping_observer(precast_mapping_observer new_observer) {
  __atomic_store_n(&observer, new_observer, __ATOMIC_RELEASE);
}

static void tell(uint64_t address, size_t size) {
  precast_mapping_observer told = __atomic_load_n(&observer, __ATOMIC_ACQUIRE);
  if (told) told(address, size);
}

size_t precast_page_size(void) {
  static size_t size;  // every thread would write the same value
  size_t known = __atomic_load_n(&size, __ATOMIC_RELAXED);
  if (known == 0) {
    known = (size_t)sysconf(_SC_PAGESIZE);
    __atomic_store_n(&size, known, __ATOMIC_RELAXED);
  }
  return known;
}

int precast_reserve(size_t size, uint64_t *address) {
  void *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return -errno;
  tell((uint64_t)(uintptr_t)p, size);
  *address = (uint64_t)(uintptr_t)p;
  return 0;
}

int precast_reserve_low(size_t size, uint64_t *address) {
#ifdef MAP_32BIT
  void *p = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_32BIT, -1, 0);
  if (p == MAP_FAILED) return -errno;
  tell((uint64_t)(uintptr_t)p, size);
  *address = (uint64_t)(uintptr_t)p;
  return 0;
#else
  (void)size, (void)address;
  return -ENOTSUP;
#endif
}

int precast_commit(uint64_t address, size_t size) {
  return mprotect(pointer(address), size, PROT_READ | PROT_WRITE) == 0 ? 0 : -errno;
}

int precast_decommit(uint64_t address, size_t size) {
  // A new mapping instead of mprotect and madvise: one call, and an image that was mapped here
  // does not come back.
  tell(address, size);
  void *p = mmap(
      pointer(address), size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  return p == MAP_FAILED ? -errno : 0;
}

int precast_map_image(uint64_t address, size_t size, int fd, uint64_t offset) {
  void *p = mmap(
      pointer(address), size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE | MAP_FIXED, fd, (off_t)offset);
  return p == MAP_FAILED ? -errno : 0;
}

int precast_map_zero(uint64_t address, size_t size) {
  void *p = mmap(
      pointer(address), size, PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  return p == MAP_FAILED ? -errno : 0;
}

int precast_reset(uint64_t address, size_t size) {
  return madvise(pointer(address), size, MADV_DONTNEED) == 0 ? 0 : -errno;
}

int precast_map(size_t size, uint64_t *address) {
  void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return -errno;
  *address = (uint64_t)(uintptr_t)p;
  return 0;
}

int precast_remap(uint64_t old_address, size_t old_size, size_t size, uint64_t *address) {
  tell(old_address, old_size);
  void *p = mremap(pointer(old_address), old_size, size, MREMAP_MAYMOVE);
  if (p == MAP_FAILED) return -errno;
  *address = (uint64_t)(uintptr_t)p;
  return 0;
}

int precast_release(uint64_t address, size_t size) {
  tell(address, size);
  return munmap(pointer(address), size) == 0 ? 0 : -errno;
}

/// What text may be used for. (PROT_BTI, asm/mman.h, which the kernel knows where the processor has the feature.)
static int text_protection(const struct precast_artifact_parts *parts) {
#if defined(__aarch64__)
  if (parts->has_landing_pads && (precast_cpu_features() & PRECAST_CPU_BTI)) return PROT_READ | PROT_EXEC | 0x10;
#endif
  (void)parts;
  return PROT_READ | PROT_EXEC;
}

static int protect_parts(char *p, const struct precast_artifact_parts *parts) {
  if (mprotect(p, parts->text_size, text_protection(parts)) != 0) return -errno;
  size_t page = precast_page_size();
  if (parts->data_start < parts->file_size &&
      mprotect(p + parts->data_start, parts->file_size - parts->data_start, PROT_READ | PROT_WRITE) != 0) {
    return -errno;
  }
  // The file's last page ends in zeros, and the first of what follows are there.
  size_t end = (parts->file_size + page - 1) & ~(page - 1);
  if (parts->memory_size <= end) return 0;
  return precast_map_zero((uint64_t)(uintptr_t)p + end, parts->memory_size - end);
}

int precast_map_artifact(int fd, uint64_t offset, const struct precast_artifact_parts *parts, uint64_t *address) {
  // Two calls where nothing is writable: all of it, then the text's protection. Reserving first and mapping text and
  // rest separately would take three, and mapping executable first and taking the right away from the rest would
  // leave metadata executable for a moment. What lies behind the file's end is mapped with it, to have the
  // addresses, and replaced.
  bool is_fixed = *address != 0;
  char *p = mmap(
      pointer(*address), parts->memory_size, PROT_READ, MAP_PRIVATE | (is_fixed ? MAP_FIXED : 0), fd, (off_t)offset);
  if (p == MAP_FAILED) return -errno;
  int result = protect_parts(p, parts);
  if (result == 0) {
    *address = (uint64_t)(uintptr_t)p;
    tell(*address, parts->memory_size);
  } else if (!is_fixed) {
    munmap(p, parts->memory_size);
  }
  return result;
}

int precast_open_for_reading(const char *path) {
  for (;;) {
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd >= 0) return fd;
    if (errno != EINTR) return -errno;
  }
}

int64_t precast_read_start(int fd, void *buffer, size_t capacity, uint64_t *file_size) {
  struct stat status;
  if (fstat(fd, &status) != 0) return -errno;
  if (S_ISDIR(status.st_mode)) return -EISDIR;
  if (!S_ISREG(status.st_mode)) return -ESPIPE;
  *file_size = (uint64_t)status.st_size;
  size_t done = 0;
  while (done < capacity) {
    ssize_t count = pread(fd, (char *)buffer + done, capacity - done, (off_t)done);
    if (count < 0) {
      if (errno == EINTR) continue;
      return -errno;
    }
    if (count == 0) break;
    done += (size_t)count;
  }
  return (int64_t)done;
}

int precast_new_memfd(const char *name) {
  // Kernels since 6.3 want to be told whether it may be *run* as a program, and can be set up to
  // refuse that (vm.memfd_noexec); mapping it executable is another matter. Older ones do not know
  // the flag.
  int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_NOEXEC_SEAL);
  if (fd < 0 && errno == EINVAL) fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
  return fd < 0 ? -errno : fd;
}

int precast_seal_memfd(int fd) {
  return fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) == 0 ? 0 : -errno;
}

int precast_sealed_memfd(const char *name, const void *bytes, size_t size) {
  int fd = precast_new_memfd(name);
  if (fd < 0) return fd;
  int error = 0;
  const char *next = bytes;
  while (size != 0 && error == 0) {
    ssize_t written = write(fd, next, size);
    if (written < 0) {
      if (errno != EINTR) error = -errno;
      continue;
    }
    next += written;
    size -= (size_t)written;
  }
  if (error == 0) error = precast_seal_memfd(fd);
  if (error == 0) return fd;
  close(fd);
  return error;
}

int precast_raise_descriptor_limit(void) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return 0;
  limit.rlim_cur = limit.rlim_max;
  return setrlimit(RLIMIT_NOFILE, &limit) == 0;
}
