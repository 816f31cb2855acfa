// Hashing: SipHash over short keys, and a table with open addressing that uses it.
//
// SipHash is 64-bit additions, rotations and exclusive ors with no memory between; the table is loads that miss the cache,
// comparisons, and short runs of probing.

#include "kernel.h"

static inline uint64_t rotate(uint64_t x, int by) { return x << by | x >> (64 - by); }

#define ROUND                                                                                                        \
  do {                                                                                                               \
    v0 += v1, v1 = rotate(v1, 13), v1 ^= v0, v0 = rotate(v0, 32);                                                    \
    v2 += v3, v3 = rotate(v3, 16), v3 ^= v2;                                                                         \
    v0 += v3, v3 = rotate(v3, 21), v3 ^= v0;                                                                         \
    v2 += v1, v1 = rotate(v1, 17), v1 ^= v2, v2 = rotate(v2, 32);                                                    \
  } while (0)

// SipHash-2-4 (Aumasson and Bernstein, 2012), with a fixed key.
static __attribute__((noinline)) uint64_t siphash(const uint8_t *bytes, size_t length) {
  const uint64_t k0 = 0x0706050403020100, k1 = 0x0F0E0D0C0B0A0908;
  uint64_t v0 = k0 ^ 0x736F6D6570736575, v1 = k1 ^ 0x646F72616E646F6D;
  uint64_t v2 = k0 ^ 0x6C7967656E657261, v3 = k1 ^ 0x7465646279746573;
  uint64_t last = (uint64_t)length << 56;
  for (; length >= 8; bytes += 8, length -= 8) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    v3 ^= word;
    ROUND;
    ROUND;
    v0 ^= word;
  }
  for (size_t i = 0; i < length; i++) last |= (uint64_t)bytes[i] << (8 * i);
  v3 ^= last;
  ROUND;
  ROUND;
  v0 ^= last;
  v2 ^= 0xFF;
  ROUND;
  ROUND;
  ROUND;
  ROUND;
  return v0 ^ v1 ^ v2 ^ v3;
}

struct entry {
  uint8_t key[24];
  uint32_t length;
  uint32_t count;  // 0: the place is free
};

struct table {
  struct entry *entries;
  uint32_t mask, used;
};

static struct table table_make(uint32_t places) {
  struct table table = {calloc(places, sizeof(struct entry)), places - 1, 0};
  if (table.entries == NULL) exit(1);
  return table;
}

// The place of a key, or the free one where it belongs.
static struct entry *table_find(const struct table *table, const uint8_t *key, uint32_t length) {
  uint32_t place = (uint32_t)siphash(key, length) & table->mask;
  for (;; place = (place + 1) & table->mask) {
    struct entry *entry = &table->entries[place];
    if (entry->count == 0 || (entry->length == length && memcmp(entry->key, key, length) == 0)) return entry;
  }
}

static void table_add(struct table *table, const uint8_t *key, uint32_t length, uint32_t count) {
  struct entry *entry = table_find(table, key, length);
  if (entry->count == 0) {
    memcpy(entry->key, key, length);
    entry->length = length;
    table->used++;
  }
  entry->count += count;
  if (table->used * 4 <= table->mask * 3) return;
  struct table larger = table_make(table->mask * 2 + 2);
  for (uint32_t i = 0; i <= table->mask; i++) {
    entry = &table->entries[i];
    if (entry->count != 0) table_add(&larger, entry->key, entry->length, entry->count);
  }
  free(table->entries);
  *table = larger;
}

int main(int argc, char **argv) {
  uint64_t size = kernel_size(argc, argv, 5000000, 5000);
  struct table table = table_make(16);
  uint64_t state = 99, checksum = 0;
  for (uint64_t round = 0; round < size; round++) {
    // Words of 4 to 23 letters; some twenty thousand different ones come up most of the time.
    uint64_t random = next_random(&state), word = (random >> 40) % 20000;
    if (random % 16 == 0) word += random % 200000;
    uint8_t key[24];
    uint32_t length = 4 + (uint32_t)(word % 20);
    uint64_t letters = word * 0x9E3779B97F4A7C15;
    for (uint32_t i = 0; i < length; i++) {
      key[i] = (uint8_t)('a' + (letters >> 60));
      letters = letters << 4 | letters >> 60;
    }
    if (random % 4 == 3) {
      checksum += table_find(&table, key, length)->count;
    } else {
      table_add(&table, key, length, 1);
    }
  }
  checksum = mix(checksum, table.used);
  for (uint32_t i = 0; i <= table.mask; i += 17) checksum = mix(checksum, table.entries[i].count);
  return kernel_report("hash", size, checksum);
}
