// Compression: matches of earlier text found through a hash, the rest by an adaptive range coder; and back again.
//
// The first half is byte-wise copies and comparisons of different lengths, in the manner of LZ77; the second is
// 32-bit arithmetic in which each step needs the one before, over tables of small numbers.

#include "kernel.h"

#define WINDOW 65535
#define HASH_BITS 14

// ---- Matches: a byte of control for eight items; an item is a byte, or a distance (2 bytes) and a length less 4 (1) ----

static uint32_t hash(const uint8_t *at) {
  uint32_t word;
  memcpy(&word, at, 4);
  return word * 2654435761u >> (32 - HASH_BITS);
}

static size_t find_matches(const uint8_t *in, size_t length, uint8_t *out) {
  static uint32_t heads[1 << HASH_BITS];
  memset(heads, 0xFF, sizeof heads);
  size_t i = 0, o = 0, control = 0;
  for (int item = 0; i < length; item = (item + 1) & 7) {
    if (item == 0) out[control = o++] = 0;
    size_t best = 0, distance = 0;
    if (i + 4 <= length) {
      uint32_t *head = &heads[hash(in + i)];
      size_t candidate = *head;
      *head = (uint32_t)i;
      if (candidate < i && i - candidate <= WINDOW) {
        size_t most = length - i < 259 ? length - i : 259;
        while (best < most && in[candidate + best] == in[i + best]) best++;
        distance = i - candidate;
      }
    }
    if (best >= 4) {
      out[control] |= (uint8_t)(1 << item);
      out[o++] = (uint8_t)distance;
      out[o++] = (uint8_t)(distance >> 8);
      out[o++] = (uint8_t)(best - 4);
      i += best;
    } else {
      out[o++] = in[i++];
    }
  }
  return o;
}

static size_t expand_matches(const uint8_t *in, size_t length, uint8_t *out) {
  size_t i = 0, o = 0;
  while (i < length) {
    for (uint32_t control = in[i++] | 0x100; control > 1 && i < length; control >>= 1) {
      if (control & 1) {
        size_t distance = in[i] | (size_t)in[i + 1] << 8;
        size_t count = (size_t)in[i + 2] + 4;
        i += 3;
        for (; count > 0; count--, o++) out[o] = out[o - distance];
      } else {
        out[o++] = in[i++];
      }
    }
  }
  return o;
}

// ---- The range coder: each byte as eight bits, each bit with a probability that learns (as in LZMA) ----

static uint16_t model[256][256];

static void model_reset(void) {
  for (int i = 0; i < 256; i++) {
    for (int j = 0; j < 256; j++) model[i][j] = 1024;
  }
}

static size_t encode(const uint8_t *in, size_t length, uint8_t *out) {
  uint64_t low = 0;
  uint32_t range = 0xFFFFFFFF;
  uint8_t cache = 0, before = 0;
  size_t o = 0, pending = 1;
  model_reset();
  // Five bytes at the end push out what `low` still holds.
  for (size_t i = 0; i < length + 5; i++) {
    uint32_t node = 1;
    for (int bit = 7; bit >= 0; bit--) {
      if (i < length) {
        uint16_t *probability = &model[before][node];
        uint32_t bound = (range >> 11) * *probability;
        if ((in[i] >> bit & 1) == 0) {
          range = bound;
          *probability += (uint16_t)((2048 - *probability) >> 4);
          node *= 2;
        } else {
          low += bound;
          range -= bound;
          *probability -= *probability >> 4;
          node = node * 2 + 1;
        }
        if (range >= 1 << 24) continue;
        range <<= 8;
      } else if (bit != 0) {
        continue;
      }
      if ((uint32_t)low < 0xFF000000 || low >> 32 != 0) {
        for (uint8_t byte = cache; pending > 0; pending--, byte = 0xFF) out[o++] = (uint8_t)(byte + (low >> 32));
        cache = (uint8_t)(low >> 24);
      }
      pending++;
      low = (low & 0x00FFFFFF) << 8;
    }
    before = i < length ? in[i] : 0;
  }
  return o;
}

static void decode(const uint8_t *in, uint8_t *out, size_t length) {
  uint32_t code = 0, range = 0xFFFFFFFF;
  uint8_t before = 0;
  for (int i = 0; i < 5; i++) code = code << 8 | *in++;
  model_reset();
  for (size_t o = 0; o < length; o++) {
    uint32_t node = 1;
    while (node < 256) {
      uint16_t *probability = &model[before][node];
      uint32_t bound = (range >> 11) * *probability;
      if (code < bound) {
        range = bound;
        *probability += (uint16_t)((2048 - *probability) >> 4);
        node *= 2;
      } else {
        code -= bound;
        range -= bound;
        *probability -= *probability >> 4;
        node = node * 2 + 1;
      }
      if (range < 1 << 24) {
        range <<= 8;
        code = code << 8 | *in++;
      }
    }
    out[o] = before = (uint8_t)node;
  }
}

// Text of a few thousand words, some much more frequent than others.
static void fill(uint8_t *text, size_t length, uint64_t *state) {
  for (size_t at = 0; at < length;) {
    uint64_t random = next_random(state);
    uint64_t word = (random >> 20) % (1 + (random >> 50) % 4000) + 17;
    for (; word != 0 && at < length; word /= 3) text[at++] = (uint8_t)('a' + word * 7 % 26);
    if (at < length) text[at++] = random % 11 == 0 ? '\n' : ' ';
  }
}

int main(int argc, char **argv) {
  uint64_t size = kernel_size(argc, argv, 24, 1), state = 4711, checksum = 0;
  size_t length = size < 4 ? 20000 : 1 << 18;
  // Worst cases: a ninth more by the first half, an eighth more by the second.
  size_t room = length * 2 + 64;
  uint8_t *text = malloc(room), *matched = malloc(room), *coded = malloc(room), *back = malloc(room);
  if (text == NULL || matched == NULL || coded == NULL || back == NULL) return 1;
  for (uint64_t round = 0; round < size; round++) {
    fill(text, length, &state);
    size_t shorter = find_matches(text, length, matched);
    size_t shortest = encode(matched, shorter, coded);
    for (size_t i = 0; i < shortest; i++) checksum = mix(checksum, coded[i]);
    checksum = mix(mix(checksum, shorter), shortest);
    decode(coded, back, shorter);
    if (memcmp(back, matched, shorter) != 0) return 1;
    memset(text, 0, length);
    size_t whole = expand_matches(back, shorter, text);
    if (whole != length) return 1;
    for (size_t i = 0; i < length; i += 8) checksum = mix(checksum, text[i]);
  }
  return kernel_report("lz", size, checksum);
}
