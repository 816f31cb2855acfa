#define _GNU_SOURCE
#include "precast_limits.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static ssize_t read_some(int fd, char *buffer, size_t capacity) {
  ssize_t count;
  do count = read(fd, buffer, capacity);
  while (count < 0 && errno == EINTR);
  return count;
}

static uint64_t number_in(const char *path) {
  char text[64];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return UINT64_MAX;
  ssize_t count = read_some(fd, text, sizeof text - 1);
  close(fd);
  if (count <= 0) return UINT64_MAX;
  text[count] = 0;
  return strtoull(text, NULL, 10);
}

static uint64_t lines_in(const char *path) {
  char buffer[4096];
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return UINT64_MAX;
  uint64_t lines = 0;
  ssize_t count;
  while ((count = read_some(fd, buffer, sizeof buffer)) > 0) {
    for (ssize_t i = 0; i < count; i++) lines += buffer[i] == '\n';
  }
  close(fd);
  return lines;
}

/// The value of a line like `VmSize:     1234 kB` of /proc/self/status, in bytes.
static uint64_t kilobytes_after(const char *status, const char *name) {
  const char *line = strstr(status, name);
  return line ? strtoull(line + strlen(name), NULL, 10) * 1024 : UINT64_MAX;
}

static uint64_t soft_limit(int resource) {
  struct rlimit limit;
  if (getrlimit(resource, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return UINT64_MAX;
  return limit.rlim_cur;
}

void precast_find_limits(struct precast_limits *limits) {
  memset(limits, 0xFF, sizeof *limits);
  limits->mappings = lines_in("/proc/self/maps");
  limits->maximum_mappings = number_in("/proc/sys/vm/max_map_count");
  char status[4096];
  int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    ssize_t count = read_some(fd, status, sizeof status - 1);
    close(fd);
    if (count > 0) {
      status[count] = 0;
      limits->address_space = kilobytes_after(status, "VmSize:");
      limits->data = kilobytes_after(status, "VmData:");
    }
  }
  limits->maximum_address_space = soft_limit(RLIMIT_AS);
  limits->maximum_data = soft_limit(RLIMIT_DATA);
  struct rlimit descriptors;
  if (getrlimit(RLIMIT_NOFILE, &descriptors) == 0) {
    limits->maximum_descriptors = descriptors.rlim_cur;
    limits->hard_maximum_descriptors = descriptors.rlim_max;
  }
  limits->maximum_files = number_in("/proc/sys/fs/file-max");
  limits->overcommit = number_in("/proc/sys/vm/overcommit_memory");
}
