// Point queries in `.wasmtime.traps`, from a signal handler.
//
// The format is described in Sources/Artifact/RunTable.swift, whose reader answers the same questions
// for everybody else; a test holds the two against each other. Here nothing may be called that is
// not async-signal-safe, and nothing is: the functions below read bytes and compute. The bytes come
// from a file and may be anything, so every read is checked against the section's size and the
// checksum of its page, and all loops are bounded by the section.
//
// A read that is refused gives zero and is remembered in the reader, so that the lookup itself can be
// written as if nothing could go wrong. What comes of it is then not used: the answer is "damaged".

#include "precast_trap_table.h"

#include <stdbool.h>
#include <string.h>

enum {
  TABLE_MAGIC = 0x534E5552,  // "RUNS"
  TABLE_KIND_TRAPS = 2,
  LIMITS = 48,
  BASES = 112,
  SHORT_CODES = 176,
  HEADER_SIZE = 1200,
  INDEX_ROW = 8,
  SYMBOL_ROW = 4,
  CHECKPOINT_ROW = 8,
  MAXIMUM_CODE_LENGTH = 16,
};

struct reader {
  const uint8_t *base;
  size_t size;
  struct precast_checked_pages *pages;
  /// Whether something did not fit, or stands on a bad page.
  bool damaged;
};

/// A part of the section: bytes from `start` to `end`.
struct part {
  uint64_t start;
  uint64_t end;
};

static bool may_read(struct reader *reader, uint64_t offset, size_t size) {
  if (offset > reader->size || size > reader->size - offset) {
    reader->damaged = true;
  } else if (
      reader->pages && !precast_checked_pages_are_good(reader->pages, reader->base + offset, size) &&
      precast_checked_pages_first_bad(reader->pages, reader->base + offset, size, false) != UINT64_MAX) {
    reader->damaged = true;
  }
  return !reader->damaged;
}

static uint32_t read8(struct reader *reader, uint64_t offset) {
  return may_read(reader, offset, 1) ? reader->base[offset] : 0;
}

static uint32_t read32(struct reader *reader, uint64_t offset) {
  uint32_t value = 0;
  if (may_read(reader, offset, 4)) memcpy(&value, reader->base + offset, 4);
  return value;
}

static struct part part(struct reader *reader, uint64_t start, uint64_t size) {
  if (start > reader->size || size > reader->size - start) {
    reader->damaged = true;
    return (struct part){0, 0};
  }
  return (struct part){start, start + size};
}

struct bits {
  struct reader *reader;
  struct part part;
  uint64_t offset;
};

// The next 64 bits, at least 57 of them good; zeros past the end.
static uint64_t window(const struct bits *bits) {
  uint64_t at = bits->part.start + (bits->offset >> 3);
  uint64_t word = 0;
  if (at < bits->part.end && bits->part.end - at >= 8) {
    if (may_read(bits->reader, at, 8)) memcpy(&word, bits->reader->base + at, 8);
    word = __builtin_bswap64(word);
  } else {
    for (uint64_t i = 0; i < 8; i++) word = word << 8 | (at + i < bits->part.end ? read8(bits->reader, at + i) : 0);
  }
  return word << (bits->offset & 7);
}

static uint32_t take(struct bits *bits, unsigned width) {
  if (width == 0) return 0;
  uint32_t value = (uint32_t)(window(bits) >> (64 - width));
  bits->offset += width;
  return value;
}

static uint32_t take_number(struct bits *bits) {
  unsigned width = take(bits, 6);
  if (width > 32) {
    bits->reader->damaged = true;
    return 0;
  }
  return take(bits, width);
}

/// The number of rows, of `row_size` bytes each from `start`, whose first word is below `limit`. Rows ascend.
static uint64_t rows_below(
    struct reader *reader, uint64_t start, uint64_t count, size_t row_size, uint64_t limit) {
  uint64_t low = 0, high = count;
  while (low < high) {
    uint64_t middle = (low + high) / 2;
    if (read32(reader, start + middle * row_size) < limit) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

/// The value of the entry at exactly `text_offset`, 0 where there is none; anything when the reader ends up damaged.
static uint32_t lookup(struct reader *reader, uint32_t text_offset) {
  if (read32(reader, 0) != TABLE_MAGIC || read32(reader, 4) != TABLE_KIND_TRAPS) goto damaged;
  uint32_t run_count = read32(reader, 8);
  uint32_t interval = read32(reader, 12);
  uint32_t symbol_count = read32(reader, 28);
  if (interval == 0 || interval > 65536) goto damaged;
  struct part index = part(reader, read32(reader, 24), ((uint64_t)run_count + 1) * INDEX_ROW);
  struct part symbols = part(reader, read32(reader, 32), (uint64_t)symbol_count * SYMBOL_ROW);
  struct part runs = part(reader, read32(reader, 36), read32(reader, 40));
  part(reader, 0, HEADER_SIZE);
  if (reader->damaged) return 0;

  // The last run that starts at or before the offset.
  uint64_t row = rows_below(reader, index.start, run_count, INDEX_ROW, (uint64_t)text_offset + 1);
  if (row == 0) return 0;
  uint64_t at = index.start + (row - 1) * INDEX_ROW;
  uint32_t target = text_offset - read32(reader, at);
  uint32_t start = read32(reader, at + 4), end = read32(reader, at + INDEX_ROW + 4);
  if (start > end || end > runs.end - runs.start) goto damaged;
  struct part run = {runs.start + start, runs.start + end};

  // LEB128 number of entries.
  uint64_t count = 0;
  at = run.start;
  for (unsigned shift = 0;; shift += 7) {
    if (shift >= 35 || at >= run.end) goto damaged;
    uint32_t byte = read8(reader, at++);
    count |= (uint64_t)(byte & 0x7F) << shift;
    if (byte < 0x80) break;
  }
  if (count > UINT32_MAX) goto damaged;
  if (count == 0) return 0;
  uint64_t checkpoint_count = (count - 1) / interval;
  if (checkpoint_count * CHECKPOINT_ROW > run.end - at) goto damaged;
  uint64_t checkpoints = at;
  struct bits bits = {reader, {at + checkpoint_count * CHECKPOINT_ROW, run.end}, 0};
  uint64_t bit_count = (bits.part.end - bits.part.start) * 8;
  if (count > bit_count) goto damaged;

  // The last checkpoint before the target.
  row = rows_below(reader, checkpoints, checkpoint_count, CHECKPOINT_ROW, target);
  uint32_t code_offset = UINT32_MAX;
  if (row > 0) {
    code_offset = read32(reader, checkpoints + (row - 1) * CHECKPOINT_ROW);
    bits.offset = read32(reader, checkpoints + (row - 1) * CHECKPOINT_ROW + 4);
  }
  for (uint64_t position = row * interval; position < count && !reader->damaged; position++) {
    if (bits.offset >= bit_count) goto damaged;
    uint32_t code = (uint32_t)(window(&bits) >> 48);
    uint32_t entry = read32(reader, SHORT_CODES + (code >> 8) * 4);
    uint32_t delta, value;
    if ((entry & 0xFF) != 0) {
      bits.offset += entry & 0xFF;
      delta = entry >> 8 & 0xFF;
      value = entry >> 16;
    } else {
      unsigned length = 1;
      while (code >= read32(reader, LIMITS + (length - 1) * 4)) {
        if (++length > MAXIMUM_CODE_LENGTH) goto damaged;
      }
      bits.offset += length;
      uint32_t symbol = read32(reader, BASES + (length - 1) * 4) + (code >> (MAXIMUM_CODE_LENGTH - length));
      if (symbol >= symbol_count) goto damaged;
      uint32_t pair = read32(reader, symbols.start + (uint64_t)symbol * SYMBOL_ROW);
      delta = pair & 0xFFFF;
      value = pair >> 16;
      if (delta == 0) {
        delta = take_number(&bits);
        value = take_number(&bits);
      }
    }
    code_offset += delta;
    if (code_offset == target) return value;
    if (code_offset > target) return 0;
  }
  return 0;

damaged:
  reader->damaged = true;
  return 0;
}

uint8_t precast_trap_lookup(
    const uint8_t *section, size_t size, uint64_t text_offset, struct precast_checked_pages *pages) {
  // An artifact without the section has no trap sites.
  if (section == NULL || size == 0 || text_offset >= UINT32_MAX) return 0;
  struct reader reader = {section, size, pages, false};
  uint32_t value = lookup(&reader, (uint32_t)text_offset);
  return reader.damaged || value > UINT8_MAX ? PRECAST_TRAP_DAMAGED : (uint8_t)value;
}
