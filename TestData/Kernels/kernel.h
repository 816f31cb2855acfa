// What the kernels share: how they take their size, make their input and print their result.
//
// A kernel is one file and one function of its size. It takes no input: what it works on comes from next_random, so that
// every run, on every machine and under every compiler, does the same work. It prints one line, its name, its size and a
// checksum over all that it computed: a compiler can leave nothing out, and a wrong result shows.

#ifndef KERNEL_H
#define KERNEL_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

// The size to work at: `full` (half a second's work or so), of the argument `small` the size of a quick test, of a number
// that number.
static uint64_t kernel_size(int argc, char **argv, uint64_t full, uint64_t small) {
  if (argc < 2) return full;
  if (strcmp(argv[1], "small") == 0) return small;
  uint64_t size = 0;
  for (const char *digit = argv[1]; *digit >= '0' && *digit <= '9'; digit++) size = size * 10 + (uint64_t)(*digit - '0');
  return size;
}

// Prints `name size checksum`, and gives main's result. No printf: it would be most of the module.
static int kernel_report(const char *name, uint64_t size, uint64_t checksum) {
  char line[80], digits[20];
  size_t length = 0, count = 0;
  while (*name != 0 && length < 32) line[length++] = *name++;
  line[length++] = ' ';
  do digits[count++] = (char)('0' + size % 10);
  while ((size /= 10) != 0);
  while (count > 0) line[length++] = digits[--count];
  line[length++] = ' ';
  for (int shift = 60; shift >= 0; shift -= 4) line[length++] = "0123456789abcdef"[(checksum >> shift) & 15];
  line[length++] = '\n';
  return write(1, line, length) == (ssize_t)length ? 0 : 1;
}

// The next of a sequence of numbers that look random (xorshift64*, Vigna 2016). The state must not be zero.
static inline uint64_t next_random(uint64_t *state) {
  uint64_t x = *state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  *state = x;
  return x * 0x2545F4914F6CDD1D;
}

// A checksum with one more value in it.
static inline uint64_t mix(uint64_t checksum, uint64_t value) {
  checksum = (checksum ^ value) * 0x9E3779B97F4A7C15;
  return checksum ^ (checksum >> 32);
}

// A checksum with the bits of a double in it: a result must be right to the last one.
static inline uint64_t mix_double(uint64_t checksum, double value) {
  uint64_t bits;
  memcpy(&bits, &value, sizeof bits);
  return mix(checksum, bits);
}

#endif
