// Stands in until the trap table's own lookup is linked: 8-byte entries (text offset, code).
#include <string.h>

#include "precast_trap_table.h"

__attribute__((weak)) uint8_t precast_trap_lookup(const uint8_t *section, size_t size, uint64_t text_offset) {
  for (size_t i = 0; i + 8 <= size; i += 8) {
    uint32_t entry[2];
    memcpy(entry, section + i, 8);
    if (entry[0] == text_offset) return (uint8_t)entry[1];
  }
  return 0;
}
