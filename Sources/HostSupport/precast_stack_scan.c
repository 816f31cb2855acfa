#include "precast_stack_scan.h"

__attribute__((no_sanitize("address"))) void precast_scan_words(
    uint64_t low, uint64_t high, uint64_t mask, uint64_t pattern, void (*found)(void *state, uint64_t word),
    void *state) {
  for (uint64_t address = (low + 7) & ~(uint64_t)7; address + 8 <= high && address >= low; address += 8) {
    uint64_t word = *(const volatile uint64_t *)address;
    if ((word & mask) == pattern) found(state, word);
  }
}
