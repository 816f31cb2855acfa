// Point queries in `.wasmtime.traps`, from a signal handler.
//
// The format is described in Sources/Artifact/RunTable.swift, whose reader answers the same questions
// for everybody else; a test holds the two against each other. Here nothing may be called that is
// not async-signal-safe, and nothing is: the functions below read bytes and compute. The bytes come
// from a file and may be anything, so every read is checked against the section's size, all loops
// are bounded by it, and whatever does not fit is "no trap site".

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

struct bytes {
  const uint8_t *base;
  size_t size;
};

static uint32_t load32(const uint8_t *p) {
  uint32_t value;
  memcpy(&value, p, 4);
  return value;
}

static bool read32(struct bytes bytes, uint64_t offset, uint32_t *value) {
  if (bytes.size < 4 || offset > bytes.size - 4) return false;
  *value = load32(bytes.base + offset);
  return true;
}

static bool slice(struct bytes bytes, uint64_t offset, uint64_t size, struct bytes *part) {
  if (offset > bytes.size || size > bytes.size - offset) return false;
  part->base = bytes.base + offset;
  part->size = (size_t)size;
  return true;
}

struct bits {
  struct bytes bytes;
  uint64_t offset;
};

// The next 64 bits, at least 57 of them good; zeros past the end.
static uint64_t window(const struct bits *bits) {
  uint64_t at = bits->offset >> 3;
  uint64_t word = 0;
  if (bits->bytes.size >= 8 && at <= bits->bytes.size - 8) {
    memcpy(&word, bits->bytes.base + at, 8);
    word = __builtin_bswap64(word);
  } else {
    for (int i = 0; i < 8; i++) word = word << 8 | (at + i < bits->bytes.size ? bits->bytes.base[at + i] : 0);
  }
  return word << (bits->offset & 7);
}

static uint32_t take(struct bits *bits, unsigned width) {
  if (width == 0) return 0;
  uint32_t value = (uint32_t)(window(bits) >> (64 - width));
  bits->offset += width;
  return value;
}

static bool take_number(struct bits *bits, uint32_t *value) {
  unsigned width = take(bits, 6);
  if (width > 32) return false;
  *value = take(bits, width);
  return true;
}

uint8_t precast_trap_lookup(const uint8_t *section, size_t size, uint64_t text_offset) {
  struct bytes table = {section, size};
  if (section == NULL || size < HEADER_SIZE || text_offset >= UINT32_MAX) return 0;
  if (load32(section) != TABLE_MAGIC || load32(section + 4) != TABLE_KIND_TRAPS) return 0;
  uint32_t run_count = load32(section + 8);
  uint32_t interval = load32(section + 12);
  uint32_t symbol_count = load32(section + 28);
  struct bytes index, symbols, runs;
  if (interval == 0 || interval > 65536) return 0;
  if (!slice(table, load32(section + 24), ((uint64_t)run_count + 1) * INDEX_ROW, &index)) return 0;
  if (!slice(table, load32(section + 32), (uint64_t)symbol_count * SYMBOL_ROW, &symbols)) return 0;
  if (!slice(table, load32(section + 36), load32(section + 40), &runs)) return 0;

  // The last run that starts at or before the offset.
  uint64_t low = 0, high = run_count;
  while (low < high) {
    uint64_t middle = (low + high) / 2;
    if (load32(index.base + middle * INDEX_ROW) <= text_offset) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0) return 0;
  const uint8_t *row = index.base + (low - 1) * INDEX_ROW;
  uint32_t target = (uint32_t)text_offset - load32(row);
  uint32_t start = load32(row + 4), end = load32(row + INDEX_ROW + 4);
  struct bytes run;
  if (start > end || !slice(runs, start, end - start, &run)) return 0;

  // LEB128 number of entries.
  uint64_t count = 0;
  size_t at = 0;
  for (unsigned shift = 0;; shift += 7) {
    if (shift >= 35 || at >= run.size) return 0;
    uint8_t byte = run.base[at++];
    count |= (uint64_t)(byte & 0x7F) << shift;
    if (byte < 0x80) break;
  }
  if (count == 0 || count > UINT32_MAX) return 0;
  uint64_t checkpoint_count = (count - 1) / interval;
  struct bytes checkpoints;
  struct bits bits = {.offset = 0};
  if (!slice(run, at, checkpoint_count * CHECKPOINT_ROW, &checkpoints)) return 0;
  if (!slice(run, at + checkpoints.size, run.size - at - checkpoints.size, &bits.bytes)) return 0;
  if (count > (uint64_t)bits.bytes.size * 8) return 0;

  // The last checkpoint before the target.
  low = 0;
  high = checkpoint_count;
  while (low < high) {
    uint64_t middle = (low + high) / 2;
    if (load32(checkpoints.base + middle * CHECKPOINT_ROW) < target) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  uint32_t code_offset = UINT32_MAX;
  if (low > 0) {
    code_offset = load32(checkpoints.base + (low - 1) * CHECKPOINT_ROW);
    bits.offset = load32(checkpoints.base + (low - 1) * CHECKPOINT_ROW + 4);
  }
  for (uint64_t position = low * interval; position < count; position++) {
    if (bits.offset >= (uint64_t)bits.bytes.size * 8) return 0;
    uint32_t code = (uint32_t)(window(&bits) >> 48);
    uint32_t entry = load32(section + SHORT_CODES + (code >> 8) * 4);
    if ((entry & 0xFF) != 0) {
      bits.offset += entry & 0xFF;
      code_offset += entry >> 8 & 0xFF;
      if (code_offset == target) return entry >> 16 <= UINT8_MAX ? (uint8_t)(entry >> 16) : 0;
      if (code_offset > target) return 0;
      continue;
    }
    unsigned length = 1;
    while (code >= load32(section + LIMITS + (length - 1) * 4)) {
      if (++length > MAXIMUM_CODE_LENGTH) return 0;
    }
    bits.offset += length;
    uint32_t symbol = load32(section + BASES + (length - 1) * 4) + (code >> (MAXIMUM_CODE_LENGTH - length));
    uint32_t pair;
    if (symbol >= symbol_count || !read32(symbols, (uint64_t)symbol * SYMBOL_ROW, &pair)) return 0;
    uint32_t delta = pair & 0xFFFF, value = pair >> 16;
    if (delta == 0 && (!take_number(&bits, &delta) || !take_number(&bits, &value))) return 0;
    code_offset += delta;
    if (code_offset == target) return value <= UINT8_MAX ? (uint8_t)value : 0;
    if (code_offset > target) return 0;
  }
  return 0;
}
