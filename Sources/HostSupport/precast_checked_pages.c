// Finding damage on the page where it is, when the page is first read.
//
// An artifact's tables are read in place for as long as its module lives, and nothing of them is
// looked at when it is loaded. Checking all of them at load would read the whole file: 15 MB of tables
// for a large program, milliseconds for something that takes microseconds. Checking at each read would
// cost more than the read. So each page of 4 KiB has a CRC-32C in the section `.wasmtime.checksums`,
// and a bit in memory. A read tests the bit; where it is not set, the page is summed up once (half a
// microsecond, beside the page fault that its first read takes anyway) and the bit is set.
//
//                   text  | pages before the image      |  data image  | pages behind it
//      file         ......|  0  |  1  |  2  | .  .  .   |              | n+0 | n+1 | n+2 |
//      bits               |  1     0     1                 (all 1)        0     0     1
//                            base
//
// The table lies in one or some of those pages itself. Its own bytes count as zeros in their sums, so
// it can be filled in when all else stands; a wrong sum in it is found when the page it belongs to
// does not agree with it.
//
// Bits are allocated by the first reader that may allocate. A signal handler that comes before checks
// without remembering. Text and data image have no sums: they are used by the processor and by the
// guest, past any reader of ours, and the digest in the build-id covers them. Nor has writable data, which
// changes. Bits of these are set when asked for.
//
// What was checked can change after all: when the file is shortened, its last pages fault, and the
// handler of that fault puts a page of zeros there and calls `forget`. A thread that had summed up
// the page just before must not set its bit afterwards, so it looks at the count of forgotten pages
// before and after, and takes its bit back when that has moved.
#include "precast_checked_pages.h"

#include <stdlib.h>
#include <string.h>

#include "precast_crc32c.h"

enum {
  TABLE_MAGIC = 0x53435243,  // "CRCS"
  TABLE_HEADER = 16,
  PAGE = PRECAST_CHECKED_PAGE,
};

static uint32_t load32(const uint8_t *bytes) {
  uint32_t value;
  memcpy(&value, bytes, 4);
  return value;
}

void precast_checked_pages_init(
    struct precast_checked_pages *pages, const void *base, uint64_t size, uint64_t file_offset, uint64_t image_start,
    uint64_t image_end, uint64_t data_start, uint64_t table, uint64_t table_size) {
  if (data_start > size) data_start = size;
  bool has_image = image_start < image_end && image_end <= data_start;
  *pages = (struct precast_checked_pages){
      .base = (uintptr_t)base,
      .size = size,
      .count = size / PAGE + (size % PAGE != 0),
      .file_offset = file_offset,
      .data_start = data_start,
      .image_start = has_image ? image_start : data_start,
      .image_end = has_image ? image_end : data_start,
      .table = table,
      .table_size = table_size,
  };
}

void precast_checked_pages_destroy(struct precast_checked_pages *pages) {
  free(pages->good);
  pages->good = NULL;
}

static const uint8_t *bytes_of(const struct precast_checked_pages *pages) { return (const uint8_t *)pages->base; }

static uint64_t pages_before_image(const struct precast_checked_pages *pages) {
  return pages->image_start / PAGE + (pages->image_start % PAGE != 0);
}

static uint64_t pages_behind_image(const struct precast_checked_pages *pages) {
  uint64_t size = pages->data_start - pages->image_end;
  return size / PAGE + (size % PAGE != 0);
}

bool precast_checked_pages_table_is_sound(const struct precast_checked_pages *pages) {
  uint64_t before = pages_before_image(pages), behind = pages_behind_image(pages);
  if (pages->table > pages->size || pages->table_size > pages->size - pages->table) return false;
  if (pages->table_size != TABLE_HEADER + 4 * (before + behind)) return false;
  const uint8_t *table = bytes_of(pages) + pages->table;
  return load32(table) == TABLE_MAGIC && load32(table + 4) == PAGE && load32(table + 8) == before &&
         load32(table + 12) == behind;
}

static uint64_t smaller(uint64_t a, uint64_t b) { return a < b ? a : b; }
static uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

uint32_t precast_checked_pages_compute(const struct precast_checked_pages *pages, uint64_t offset) {
  uint64_t end = smaller(offset + PAGE, offset < pages->image_start ? pages->image_start : pages->data_start);
  // The part of the page that is the table; empty at the page's end where there is none.
  uint64_t zeros = smaller(larger(pages->table, offset), end);
  uint64_t zeros_end = larger(smaller(pages->table + pages->table_size, end), zeros);
  const uint8_t *bytes = bytes_of(pages);
  uint32_t crc = precast_crc32c(0, bytes + offset, zeros - offset);
  if (zeros == end) return crc;
  crc = precast_crc32c_zeros(crc, zeros_end - zeros);
  return precast_crc32c(crc, bytes + zeros_end, end - zeros_end);
}

static bool page_is_good(const struct precast_checked_pages *pages, uint64_t offset) {
  if (offset >= pages->image_start && offset < pages->image_end) return true;
  if (offset >= pages->data_start) return true;
  if (!precast_checked_pages_table_is_sound(pages)) return false;
  uint64_t position = offset < pages->image_start
                          ? offset / PAGE
                          : pages_before_image(pages) + (offset - pages->image_end) / PAGE;
  const uint8_t *sums = bytes_of(pages) + pages->table + TABLE_HEADER;
  return precast_checked_pages_compute(pages, offset) == load32(sums + 4 * position);
}

/// The bits, allocated now if that is allowed and has not been done; null where they cannot be had.
static uint64_t *bits_of(struct precast_checked_pages *pages, bool may_allocate) {
  uint64_t *good = __atomic_load_n(&pages->good, __ATOMIC_ACQUIRE);
  if (good || !may_allocate) return good;
  uint64_t *made = calloc(pages->count / 64 + 1, sizeof *made);
  if (!made) return NULL;
  if (__atomic_compare_exchange_n(&pages->good, &good, made, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) return made;
  free(made);
  return good;  // another thread was first
}

static uint64_t bit(uint64_t page) { return (uint64_t)1 << page % 64; }

uint64_t precast_checked_pages_first_bad(
    struct precast_checked_pages *pages, const void *address, size_t size, bool may_remember) {
  uint64_t offset = (uintptr_t)address - pages->base;
  if (size == 0) return UINT64_MAX;
  // Not ours to judge, and no reader reads there.
  if (offset >= pages->size || size > pages->size - offset) return offset / PAGE * PAGE;
  uint64_t *good = bits_of(pages, may_remember);
  for (uint64_t page = offset / PAGE; page <= (offset + size - 1) / PAGE; page++) {
    if (good && __atomic_load_n(&good[page / 64], __ATOMIC_ACQUIRE) & bit(page)) continue;
    uint64_t forgotten = __atomic_load_n(&pages->forgotten, __ATOMIC_SEQ_CST);
    if (!page_is_good(pages, page * PAGE)) return page * PAGE;
    if (!good) continue;
    __atomic_fetch_or(&good[page / 64], bit(page), __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&pages->forgotten, __ATOMIC_SEQ_CST) != forgotten) {
      __atomic_fetch_and(&good[page / 64], ~bit(page), __ATOMIC_SEQ_CST);
      page--;  // once more
    }
  }
  return UINT64_MAX;
}

void precast_checked_pages_forget(struct precast_checked_pages *pages, const void *address, uint64_t size) {
  uint64_t offset = (uintptr_t)address - pages->base;
  if (offset >= pages->size || size == 0) return;
  uint64_t end = smaller(size, pages->size - offset) + offset;
  __atomic_fetch_add(&pages->forgotten, 1, __ATOMIC_SEQ_CST);
  uint64_t *good = __atomic_load_n(&pages->good, __ATOMIC_SEQ_CST);
  if (!good) return;
  for (uint64_t page = offset / PAGE; page <= (end - 1) / PAGE; page++) {
    __atomic_fetch_and(&good[page / 64], ~bit(page), __ATOMIC_SEQ_CST);
  }
}
