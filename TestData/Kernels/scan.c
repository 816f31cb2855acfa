// Byte scanning: is it UTF-8, how many lines and words, where is this byte, what is its checksum.
//
// Loads of one byte, comparisons with constants, and short branches; a table of classes; a search that looks at eight bytes
// at a time.

#include "kernel.h"

// Whether the bytes are UTF-8 (Unicode 15, table 3-7); the number of characters, or ~0 where they are not.
static __attribute__((noinline)) uint32_t characters(const uint8_t *text, size_t length) {
  uint32_t count = 0;
  size_t i = 0;
  while (i < length) {
    uint8_t lead = text[i++];
    count++;
    if (lead < 0x80) continue;
    uint8_t low = 0x80, high = 0xBF;
    int more;
    if (lead >= 0xC2 && lead <= 0xDF) {
      more = 1;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
      more = 2;
      if (lead == 0xE0) low = 0xA0;
      if (lead == 0xED) high = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
      more = 3;
      if (lead == 0xF0) low = 0x90;
      if (lead == 0xF4) high = 0x8F;
    } else {
      return ~0u;
    }
    for (; more > 0; more--) {
      if (i == length || text[i] < low || text[i] > high) return ~0u;
      i++;
      low = 0x80;
      high = 0xBF;
    }
  }
  return count;
}

enum { OTHER, BLANK, LINE, LETTER };
static uint8_t classes[256];

// Words and lines, as wc counts them.
static __attribute__((noinline)) uint64_t count_words(const uint8_t *text, size_t length) {
  uint32_t words = 0, lines = 0, letters = 0;
  int inside = 0;
  for (size_t i = 0; i < length; i++) {
    switch (classes[text[i]]) {
    case LINE: lines++; inside = 0; break;
    case BLANK: inside = 0; break;
    case LETTER: letters++; /* fall through */
    default: words += !inside; inside = 1;
    }
  }
  return mix(mix(words, lines), letters);
}

// The place of the first such byte at or behind `from`, or `length`: eight bytes at a time.
static __attribute__((noinline)) size_t find(const uint8_t *text, size_t from, size_t length, uint8_t byte) {
  const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
  uint64_t pattern = ones * byte;
  for (; from + 8 <= length; from += 8) {
    uint64_t word;
    memcpy(&word, text + from, 8);
    word ^= pattern;
    if ((word - ones) & ~word & tops) break;
  }
  while (from < length && text[from] != byte) from++;
  return from;
}

// Adler's checksum (RFC 1950, section 9).
static __attribute__((noinline)) uint32_t adler(const uint8_t *text, size_t length) {
  uint32_t a = 1, b = 0;
  while (length > 0) {
    size_t part = length < 5552 ? length : 5552;
    length -= part;
    while (part-- > 0) {
      a += *text++;
      b += a;
    }
    a %= 65521;
    b %= 65521;
  }
  return b << 16 | a;
}

// Text that is mostly ASCII, with words, lines and characters of two, three and four bytes.
static void fill(uint8_t *text, size_t length) {
  static const char *const pieces[] = {
    "the ", "quick ", "brown ", "fox\n", "\xC3\xA9t\xC3\xA9 ", "\xE6\x97\xA5\xE6\x9C\xAC ", "\xF0\x9F\xA6\x8A", "jumps, ",
    "over ", "a", "lazy-", "dog.\n", "\t", "0123456789 ", "ende; ", "x=1 ",
  };
  uint64_t state = 7;
  size_t at = 0;
  while (at + 16 < length) {
    const char *piece = pieces[next_random(&state) >> 60];
    while (*piece != 0) text[at++] = (uint8_t)*piece++;
  }
  while (at < length) text[at++] = ' ';
}

int main(int argc, char **argv) {
  uint64_t size = kernel_size(argc, argv, 300, 2);
  size_t length = 1 << 18;
  uint8_t *text = malloc(length);
  if (text == NULL) return 1;
  fill(text, length);
  for (int i = 0; i < 256; i++) classes[i] = (i | 32) >= 'a' && (i | 32) <= 'z' ? LETTER : OTHER;
  classes[' '] = classes['\t'] = BLANK;
  classes['\n'] = LINE;
  uint64_t checksum = 0, state = 3;
  for (uint64_t round = 0; round < size; round++) {
    checksum = mix(checksum, characters(text, length));
    checksum = mix(checksum, count_words(text, length));
    checksum = mix(checksum, adler(text, length));
    uint32_t found = 0;
    for (size_t at = find(text, 0, length, '\n'); at < length; at = find(text, at + 1, length, '\n')) found++;
    checksum = mix(mix(checksum, found), find(text, 0, length, 0xFF));
    text[next_random(&state) % length] = (uint8_t)('A' + round % 26);
  }
  free(text);
  return kernel_report("scan", size, checksum);
}
