// What the kernel takes to let go of one loaded module among many: the floor of a drop.
//
//     mapping-floor [COUNT]
//
// Does what loading and dropping do with the kernel, and nothing else: opens a file, maps 32 KiB of it, makes 8 KiB of that
// executable; later takes the mapping away and closes the file. First 300 times one after the other, then with COUNT (10,000) at
// once, dropped in random order. Four variants: anywhere, by `munmap`; in a reservation, replaced by an inaccessible mapping, as
// with one registration of unwind tables for all; the same without room between modules; and with one mapping a module,
// executable as a whole, which is no option.
//
// Prints medians in microseconds: of a drop alone, and in the first and the last tenth of all drops. Files are made in a new
// directory under /tmp and removed.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

enum { SIZE = 32 << 10, TEXT = 8 << 10, BLOCK = 64 << 10, ALONE = 300 };

struct variant {
  const char *name;
  bool in_reservation;
  size_t step;
  bool is_one;
};

struct module {
  void *start;
  int fd;
};

static char directory[] = "/tmp/mapping-floor-XXXXXX";

static void fail(const char *what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static int compare(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static double median(double *values, size_t count) {
  qsort(values, count, sizeof *values, compare);
  return values[count / 2];
}

static struct module load(const struct variant *variant, char *reservation, size_t index) {
  char path[64];
  snprintf(path, sizeof path, "%s/%zu", directory, index);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) fail(path);
  char *place = variant->in_reservation ? reservation + index * variant->step : NULL;
  int rights = variant->is_one ? PROT_READ | PROT_EXEC : PROT_READ;
  char *start = mmap(place, SIZE, rights, MAP_PRIVATE | (place ? MAP_FIXED : 0), fd, 0);
  if (start == MAP_FAILED || (!variant->is_one && mprotect(start, TEXT, PROT_READ | PROT_EXEC) != 0)) fail("mmap");
  return (struct module){start, fd};
}

static double drop(const struct variant *variant, struct module module) {
  double start = now();
  if (variant->in_reservation) {
    mmap(module.start, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  } else {
    munmap(module.start, SIZE);
  }
  close(module.fd);
  return now() - start;
}

int main(int argc, char **argv) {
  size_t count = argc > 1 ? strtoul(argv[1], NULL, 10) : 10000;
  if (count < 10 || count > 1000000) return 64;
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
  if (!mkdtemp(directory)) fail(directory);
  char contents[SIZE], path[64];
  memset(contents, 1, SIZE);
  for (size_t i = 0; i < count; i++) {
    snprintf(path, sizeof path, "%s/%zu", directory, i);
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, contents, SIZE) != SIZE) fail(path);
    close(fd);
  }
  const struct variant variants[] = {
      {"anywhere", false, 0, false},
      {"reserved", true, BLOCK, false},
      {"reserved, no room between", true, SIZE, false},
      {"reserved, one mapping", true, BLOCK, true},
  };
  struct module *modules = calloc(count, sizeof *modules);
  size_t *order = calloc(count, sizeof *order);
  double *times = calloc(count > ALONE ? count : ALONE, sizeof *times);
  if (!modules || !order || !times) fail("memory");
  char *reservation = mmap(
      NULL, count * BLOCK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reservation == MAP_FAILED) fail("reserve");
  for (size_t k = 0; k < sizeof variants / sizeof *variants; k++) {
    const struct variant *variant = &variants[k];
    for (size_t i = 0; i < ALONE; i++) times[i] = drop(variant, load(variant, reservation, 0));
    printf("%-26s alone %5.2f", variant->name, median(times, ALONE));
    for (size_t i = 0; i < count; i++) {
      modules[i] = load(variant, reservation, i);
      order[i] = i;
    }
    srand(7);
    for (size_t i = count; i-- > 1;) {
      size_t j = (size_t)rand() % (i + 1), other = order[i];
      order[i] = order[j];
      order[j] = other;
    }
    for (size_t i = 0; i < count; i++) times[i] = drop(variant, modules[order[i]]);
    double first = median(times, count / 10);
    printf("  among %zu: first tenth %5.2f, last %5.2f\n", count, first, median(times + count - count / 10, count / 10));
  }
  for (size_t i = 0; i < count; i++) {
    snprintf(path, sizeof path, "%s/%zu", directory, i);
    unlink(path);
  }
  rmdir(directory);
  return 0;
}
