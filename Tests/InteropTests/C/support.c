// The two functions that every compiler may call for code that does not name them. Loops that must not become calls of
// themselves are volatile.
#include "corpus.h"

void *memcpy(void *to, const void *from, u64 count) {
  volatile u8 *out = to;
  const u8 *in = from;
  while (count--) *out++ = *in++;
  return to;
}

void *memset(void *to, int value, u64 count) {
  volatile u8 *out = to;
  while (count--) *out++ = (u8)value;
  return to;
}
