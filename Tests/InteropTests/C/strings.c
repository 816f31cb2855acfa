// Strings, merged and not, and tables of their addresses.
#include "corpus.h"

static const char *const names[] = {
    "", "one", "two", "three", "a name that is longer than the others by some margin, so that it is copied by parts",
    "six", "zero", "one",
};
static const char inside[] = "inline\0text";

const char *name_of(u32 number) { return number < 8 ? names[number] : &inside[7]; }

u64 hash_of(const char *text) {
  u64 hash = 0xCBF29CE484222325;
  while (*text) hash = (hash ^ (u8)*text++) * 0x100000001B3;
  return hash;
}

u64 hash_of_name(u32 number) { return hash_of(name_of(number)); }

// A string on the stack, initialised from read-only data.
u64 reversed_hash(u64 seed) {
  char text[] = "hello, world: this is long enough for a call of memcpy or for several vector registers, one hopes";
  u64 length = sizeof text - 1;
  for (u64 i = 0; i < length / 2; i++) {
    char c = text[i];
    text[i] = text[length - 1 - i];
    text[length - 1 - i] = c;
  }
  text[seed % length] ^= 1;
  return hash_of(text);
}
