// Point queries in `.wasmtime.addrmap` and `.wasmtime.traps`, for the signal handler and for everybody else.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "precast_activation.h"
#include "precast_checked_pages.h"

#ifdef __cplusplus
extern "C" {
#endif

/// Which of the two tables: the second word of the section.
enum precast_run_table_kind { PRECAST_RUN_ADDRESS_MAP = 1, PRECAST_RUN_TRAPS = 2 };

/// An entry of a table.
struct precast_run_entry {
  /// Text offset of the function that it belongs to.
  uint32_t function;
  /// From the function's start.
  uint32_t code_offset;
  /// The wasm offset, or the trap code.
  uint32_t value;
};

/// What a query found.
enum precast_run_answer {
  PRECAST_RUN_NONE = 0,
  PRECAST_RUN_FOUND = 1,
  /// What would have to be read for the answer is no such table, or stands on a page with another checksum.
  PRECAST_RUN_DAMAGED = 2,
};

/// The last entry at or before `text_offset`, of the last function with entries that starts at or before it, in the bytes of a
/// section. `pages`, which may be null, are those of the file that the section lies in.
///
/// Reads nothing outside the section, whatever it holds. With `may_remember` false nothing is allocated, and the call is
/// async-signal-safe.
enum precast_run_answer precast_run_lookup(
    const uint8_t *section, size_t size, enum precast_run_table_kind kind, uint32_t text_offset,
    struct precast_checked_pages *pages, bool may_remember, struct precast_run_entry *entry);

/// The trap code of the trap site at exactly `text_offset` in the bytes of a `.wasmtime.traps`
/// section, 0 when there is none, or `PRECAST_TRAP_DAMAGED` (which no entry has). Async-signal-safe.
uint8_t precast_trap_lookup(
    const uint8_t *section, size_t size, uint64_t text_offset, struct precast_checked_pages *pages);

#ifdef __cplusplus
}
#endif
