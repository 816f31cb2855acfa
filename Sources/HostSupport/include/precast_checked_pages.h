// Pages of a mapped artifact that are checked when they are first read.
//
// `precast_checked_pages.c` says how. Everything here may be called by any number of threads at once.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Size of a checked page in bytes; the format's, not the machine's.
#define PRECAST_CHECKED_PAGE 4096

/// The pages of a file behind its text, and which of them are known to be good.
///
/// Filled in by `precast_checked_pages_init`, which allocates nothing. It stays at one address until
/// `precast_checked_pages_destroy`, and the bytes stay mapped as long.
struct precast_checked_pages {
  /// Address of the first byte behind the text, and bytes from there to the end of the file.
  uintptr_t base;
  uint64_t size;
  /// Pages in that range; the last one may be short.
  uint64_t count;
  /// Where `base` is in the file; for messages.
  uint64_t file_offset;
  /// Where writable data starts, which has no checksums and reaches to the end: a page, from `base`; where there is none,
  /// `size`.
  uint64_t data_start;
  /// The data image, which has no checksums: whole pages, from `base`; where there is none, both are
  /// `data_start`.
  uint64_t image_start;
  uint64_t image_end;
  /// The section `.wasmtime.checksums`, from `base`.
  uint64_t table;
  uint64_t table_size;
  /// One bit a page, 1 for a good one; null until the first page has been checked.
  uint64_t *good;
  /// Counts `precast_checked_pages_forget`.
  uint64_t forgotten;
};

/// Prepares for a file whose bytes behind the text, from `file_offset` on, are at `base`; the rest are
/// offsets from there. Nothing is read.
void precast_checked_pages_init(
    struct precast_checked_pages *pages, const void *base, uint64_t size, uint64_t file_offset, uint64_t image_start,
    uint64_t image_end, uint64_t data_start, uint64_t table, uint64_t table_size);

/// Gives back what was allocated. Nobody may be using `pages` any more.
void precast_checked_pages_destroy(struct precast_checked_pages *pages);

/// Checks the pages of `size` bytes at `address` that are not known to be good. Returns the offset
/// (from `base`) of the first bad one, or UINT64_MAX when all are good.
///
/// With `may_remember` false nothing is allocated, and the call is async-signal-safe.
uint64_t precast_checked_pages_first_bad(
    struct precast_checked_pages *pages, const void *address, size_t size, bool may_remember);

/// Whether all `size` bytes at `address` are on pages that are known to be good: the way that nearly
/// all reads take. When not, ask `precast_checked_pages_first_bad`. Async-signal-safe.
static inline bool precast_checked_pages_are_good(
    const struct precast_checked_pages *pages, const void *address, size_t size) {
  const uint64_t *good = __atomic_load_n(&pages->good, __ATOMIC_ACQUIRE);
  uint64_t offset = (uintptr_t)address - pages->base;
  uint64_t first = offset / PRECAST_CHECKED_PAGE;
  uint64_t last = (offset + size - 1) / PRECAST_CHECKED_PAGE;
  if (!good || last >= pages->count) return false;
  if (!(__atomic_load_n(&good[first / 64], __ATOMIC_RELAXED) >> first % 64 & 1)) return false;
  return first == last ||
         (first + 1 == last && __atomic_load_n(&good[last / 64], __ATOMIC_RELAXED) >> last % 64 & 1);
}

/// Takes back that the pages of `size` bytes at `address` are good: each is checked again when it is next
/// read. For pages whose bytes are no longer those that were checked; what lies outside is ignored.
/// Async-signal-safe.
void precast_checked_pages_forget(struct precast_checked_pages *pages, const void *address, uint64_t size);

/// How often pages were forgotten. Who finds the same number before and after reading has read what was checked.
static inline uint64_t precast_checked_pages_forgotten(const struct precast_checked_pages *pages) {
  return __atomic_load_n(&pages->forgotten, __ATOMIC_SEQ_CST);
}

/// Whether the table of checksums starts with what has to stand there. Async-signal-safe.
bool precast_checked_pages_table_is_sound(const struct precast_checked_pages *pages);

/// The checksum of the page at `offset` (from `base`, whole pages, outside the image and the data) as its bytes
/// are now; those of the table count as zeros. This is what the writer puts into the table.
/// Async-signal-safe.
uint32_t precast_checked_pages_compute(const struct precast_checked_pages *pages, uint64_t offset);

#ifdef __cplusplus
}
#endif
