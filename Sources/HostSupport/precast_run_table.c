// Point queries in the tables about code.
//
// The format is described in Sources/Artifact/RunTable.swift, whose reader answers the same questions and more, step by step
// and with an error for each thing that can be wrong; a test holds the two against each other. Here is the way that queries
// take: from a signal handler, where nothing may be called that is not async-signal-safe (and nothing is: the functions below
// read bytes and compute), and from backtraces, which ask for each frame.
//
// The bytes come from a file and may be anything, so every read is checked against the section's size and the checksum of its
// page, and all loops are bounded by the section. A read that is refused gives zero and is remembered in the reader, so
// that the lookup can be written as if nothing could go wrong. What comes of it is then not used: the answer is "damaged".
//
// Most of the time goes into decoding, up to a checkpoint's interval of codes, each of which says where the next one starts.
// So what the decoder may read is checked once, before it begins: the part of the run that an interval can take at most, and
// the table of short codes. Then the bits are kept in a register and refilled every few codes, and the chain from one code to
// the next is a shift, a load from the table, and an addition.

#include "precast_run_table.h"

#include <string.h>

enum {
  TABLE_MAGIC = 0x534E5552,  // "RUNS"
  LIMITS = 48,
  BASES = 112,
  SHORT_CODES = 176,
  HEADER_SIZE = 1200,
  INDEX_ROW = 8,
  SYMBOL_ROW = 4,
  MAXIMUM_CODE_LENGTH = 16,
  /// A code of 16 bits for the escape, two widths of 6 bits, two numbers of 32.
  MAXIMUM_ENTRY_BITS = 92,
};

struct reader {
  const uint8_t *base;
  size_t size;
  struct precast_checked_pages *pages;
  bool may_remember;
  /// Whether something did not fit, or stands on a bad page.
  bool damaged;
};

/// A part of the section: bytes from `start` to `end`.
struct part {
  uint64_t start;
  uint64_t end;
};

/// The way of a read whose page is not known to be good yet, or that does not fit.
static __attribute__((noinline, cold)) bool may_read_after_check(struct reader *reader, uint64_t offset, size_t size) {
  if (offset > reader->size || size > reader->size - offset) {
    reader->damaged = true;
  } else if (
      reader->pages && size > 0 &&
      precast_checked_pages_first_bad(reader->pages, reader->base + offset, size, reader->may_remember) !=
          UINT64_MAX) {
    reader->damaged = true;
  }
  return !reader->damaged;
}

static inline bool may_read(struct reader *reader, uint64_t offset, size_t size) {
  bool fits = offset <= reader->size && size <= reader->size - offset;
  bool is_good = !reader->pages || precast_checked_pages_are_good(reader->pages, reader->base + offset, size);
  if (__builtin_expect(fits && size > 0 && is_good, 1)) return !reader->damaged;
  return may_read_after_check(reader, offset, size);
}

static uint32_t load32(const uint8_t *bytes) {
  uint32_t value;
  memcpy(&value, bytes, 4);
  return value;
}

static inline uint32_t read8(struct reader *reader, uint64_t offset) {
  return may_read(reader, offset, 1) ? reader->base[offset] : 0;
}

static inline uint32_t read32(struct reader *reader, uint64_t offset) {
  return may_read(reader, offset, 4) ? load32(reader->base + offset) : 0;
}

static struct part part(struct reader *reader, uint64_t start, uint64_t size) {
  if (start > reader->size || size > reader->size - start) {
    reader->damaged = true;
    return (struct part){0, 0};
  }
  return (struct part){start, start + size};
}

/// LEB128 of at most 32 bits; moves `at` behind it.
static uint32_t read_leb128(struct reader *reader, uint64_t *at, uint64_t end) {
  uint64_t value = 0;
  for (unsigned shift = 0; shift < 35; shift += 7) {
    if (*at >= end) break;
    uint32_t byte = read8(reader, (*at)++);
    value |= (uint64_t)(byte & 0x7F) << shift;
    if (byte < 0x80) {
      if (value > UINT32_MAX) break;
      return (uint32_t)value;
    }
  }
  reader->damaged = true;
  return 0;
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

/// The bits of a run, most significant first. Bytes up to `end` may be read; behind it are zeros.
struct bits {
  const uint8_t *base;
  uint64_t end;
  /// Of the next bit, from `base`.
  uint64_t offset;
};

/// The next 64 bits, at least 57 of them good.
static inline uint64_t window(const struct bits *bits) {
  uint64_t at = bits->offset >> 3;
  uint64_t word = 0;
  if (at + 8 <= bits->end) {
    memcpy(&word, bits->base + at, 8);
    word = __builtin_bswap64(word);
  } else {
    for (uint64_t i = 0; i < 8; i++) word = word << 8 | (at + i < bits->end ? bits->base[at + i] : 0);
  }
  return word << (bits->offset & 7);
}

static uint32_t take(struct bits *bits, unsigned width) {
  if (width == 0) return 0;
  uint32_t value = (uint32_t)(window(bits) >> (64 - width));
  bits->offset += width;
  return value;
}

static uint32_t take_number(struct reader *reader, struct bits *bits) {
  unsigned width = take(bits, 6);
  if (width <= 32) return take(bits, width);
  reader->damaged = true;
  return 0;
}

/// What one code adds.
struct step {
  uint32_t code_delta;
  /// The wasm delta, or the trap code.
  uint32_t value;
};

/// Decodes a code that the table of short codes does not have, or the escape.
static __attribute__((noinline)) struct step long_step(
    struct reader *reader, struct bits *bits, struct part symbols, enum precast_run_table_kind kind) {
  struct step step = {0, 0};
  uint32_t code = (uint32_t)(window(bits) >> 48);
  // The header was checked by the caller.
  unsigned length = 1;
  while (code >= load32(reader->base + LIMITS + (length - 1) * 4)) {
    if (++length > MAXIMUM_CODE_LENGTH) {
      reader->damaged = true;
      return step;
    }
  }
  bits->offset += length;
  uint64_t symbol =
      load32(reader->base + BASES + (length - 1) * 4) + (code >> (MAXIMUM_CODE_LENGTH - length));
  if ((symbol & UINT32_MAX) >= (symbols.end - symbols.start) / SYMBOL_ROW) {
    reader->damaged = true;
    return step;
  }
  uint32_t pair = read32(reader, symbols.start + (symbol & UINT32_MAX) * SYMBOL_ROW);
  step.code_delta = pair & 0xFFFF;
  step.value = pair >> 16;
  if (step.code_delta == 0) {
    step.code_delta = take_number(reader, bits);
    step.value = take_number(reader, bits);
    if (kind == PRECAST_RUN_ADDRESS_MAP) step.value = (step.value >> 1) ^ (0 - (step.value & 1));
  }
  return step;
}

/// The last entry at or before `target` among `count` from the decoder's state on; `entry` has the one before these. False when
/// there is none before either.
static bool decode(
    struct reader *reader, struct bits bits, uint64_t bit_count, struct part symbols, enum precast_run_table_kind kind,
    uint64_t count, bool has_entry, uint32_t target, struct precast_run_entry *entry) {
  const uint8_t *short_codes = reader->base + SHORT_CODES;
  // Zero in the trap table, where a value stands for itself.
  uint32_t carry = kind == PRECAST_RUN_ADDRESS_MAP ? UINT32_MAX : 0;
  uint32_t code_offset = entry->code_offset, value = entry->value;
  uint32_t last_offset = code_offset, last_value = value;
  uint64_t word = 0;
  unsigned left = 0;
  for (; count > 0; count--) {
    if (left < 8) {
      // Behind the last code there are zeros for less than a byte: a run that says it has more is damaged.
      if (bits.offset >= bit_count) {
        reader->damaged = true;
        return false;
      }
      word = window(&bits);
      left = 64 - (unsigned)(bits.offset & 7);
    }
    uint32_t found = load32(short_codes + (word >> 56) * 4);
    unsigned length = found & 0xFF;
    if (__builtin_expect(length != 0 && length <= left, 1)) {
      word <<= length;
      left -= length;
      bits.offset += length;
      code_offset += found >> 8 & 0xFF;
      value = (value & carry) + (found >> 16);
    } else {
      struct step step = long_step(reader, &bits, symbols, kind);
      if (reader->damaged) return false;
      left = 0;
      code_offset += step.code_delta;
      value = (value & carry) + step.value;
    }
    if (code_offset > target) break;
    last_offset = code_offset;
    last_value = value;
    has_entry = true;
  }
  entry->code_offset = last_offset;
  entry->value = last_value;
  return has_entry;
}

static enum precast_run_answer lookup(
    struct reader *reader, enum precast_run_table_kind kind, uint32_t text_offset, struct precast_run_entry *entry) {
  if (!may_read(reader, 0, HEADER_SIZE)) return PRECAST_RUN_DAMAGED;
  const uint8_t *header = reader->base;
  if (load32(header) != TABLE_MAGIC || load32(header + 4) != (uint32_t)kind) return PRECAST_RUN_DAMAGED;
  uint32_t run_count = load32(header + 8);
  uint32_t interval = load32(header + 12);
  if (interval == 0 || interval > 65536) return PRECAST_RUN_DAMAGED;
  struct part index = part(reader, load32(header + 24), ((uint64_t)run_count + 1) * INDEX_ROW);
  struct part symbols = part(reader, load32(header + 32), (uint64_t)load32(header + 28) * SYMBOL_ROW);
  struct part runs = part(reader, load32(header + 36), load32(header + 40));
  if (reader->damaged) return PRECAST_RUN_DAMAGED;

  // The last run that starts at or before the offset.
  uint64_t row = rows_below(reader, index.start, run_count, INDEX_ROW, (uint64_t)text_offset + 1);
  if (reader->damaged) return PRECAST_RUN_DAMAGED;
  if (row == 0) return PRECAST_RUN_NONE;
  uint64_t at = index.start + (row - 1) * INDEX_ROW;
  entry->function = read32(reader, at);
  uint32_t target = text_offset - entry->function;
  uint32_t start = read32(reader, at + 4), end = read32(reader, at + INDEX_ROW + 4);
  if (reader->damaged || start > end || end > runs.end - runs.start) return PRECAST_RUN_DAMAGED;
  struct part run = {runs.start + start, runs.start + end};

  at = run.start;
  uint64_t count = read_leb128(reader, &at, run.end);
  entry->code_offset = UINT32_MAX;
  entry->value = kind == PRECAST_RUN_ADDRESS_MAP ? read_leb128(reader, &at, run.end) : 0;
  if (reader->damaged) return PRECAST_RUN_DAMAGED;
  if (count == 0) return PRECAST_RUN_NONE;
  size_t checkpoint_row = kind == PRECAST_RUN_ADDRESS_MAP ? 12 : 8;
  uint64_t checkpoint_count = (count - 1) / interval;
  if (checkpoint_count * checkpoint_row > run.end - at) return PRECAST_RUN_DAMAGED;
  uint64_t codes = at + checkpoint_count * checkpoint_row;
  uint64_t bit_count = (run.end - codes) * 8;
  if (count > bit_count) return PRECAST_RUN_DAMAGED;

  // The last checkpoint before the target: strictly, since in the trap table it has no value for its entry.
  row = rows_below(reader, at, checkpoint_count, checkpoint_row, target);
  struct bits bits = {reader->base + codes, run.end - codes, 0};
  if (row > 0) {
    uint64_t checkpoint = at + (row - 1) * checkpoint_row;
    entry->code_offset = read32(reader, checkpoint);
    bits.offset = read32(reader, checkpoint + 4);
    if (kind == PRECAST_RUN_ADDRESS_MAP) entry->value = read32(reader, checkpoint + 8);
  }
  if (reader->damaged || bits.offset >= bit_count) return PRECAST_RUN_DAMAGED;
  uint64_t left = count - row * interval;
  if (left > interval) left = interval;
  // What the decoder may come to read, and whole words of it.
  uint64_t first = codes + (bits.offset >> 3);
  uint64_t most = (left * MAXIMUM_ENTRY_BITS + 7) / 8 + 8;
  if (most > run.end - first) most = run.end - first;
  if (!may_read(reader, first, (size_t)most)) return PRECAST_RUN_DAMAGED;
  bits.end = first + most - codes;
  bool found = decode(reader, bits, bit_count, symbols, kind, left, row > 0, target, entry);
  if (reader->damaged) return PRECAST_RUN_DAMAGED;
  return found ? PRECAST_RUN_FOUND : PRECAST_RUN_NONE;
}

enum precast_run_answer precast_run_lookup(
    const uint8_t *section, size_t size, enum precast_run_table_kind kind, uint32_t text_offset,
    struct precast_checked_pages *pages, bool may_remember, struct precast_run_entry *entry) {
  struct reader reader = {section, size, pages, may_remember, false};
  return lookup(&reader, kind, text_offset, entry);
}

uint8_t precast_trap_lookup(
    const uint8_t *section, size_t size, uint64_t text_offset, struct precast_checked_pages *pages) {
  // An artifact without the section has no trap sites.
  if (section == NULL || size == 0 || text_offset >= UINT32_MAX) return 0;
  struct precast_run_entry entry;
  switch (precast_run_lookup(section, size, PRECAST_RUN_TRAPS, (uint32_t)text_offset, pages, false, &entry)) {
    case PRECAST_RUN_NONE: return 0;
    case PRECAST_RUN_DAMAGED: return PRECAST_TRAP_DAMAGED;
    case PRECAST_RUN_FOUND: break;
  }
  if (entry.value > UINT8_MAX) return PRECAST_TRAP_DAMAGED;
  return entry.function + entry.code_offset == text_offset ? (uint8_t)entry.value : 0;
}
