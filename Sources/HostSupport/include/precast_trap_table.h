// Point queries in `.wasmtime.traps`.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "precast_activation.h"
#include "precast_checked_pages.h"

#ifdef __cplusplus
extern "C" {
#endif

/// The trap code of the trap site at exactly `text_offset` in the bytes of a `.wasmtime.traps`
/// section, 0 when there is none, or `PRECAST_TRAP_DAMAGED` (which no entry has) when what would have to be read for the
/// answer is no such table, or stands on a page with another checksum. `pages`, which may be null,
/// are those of the file that the section lies in.
///
/// Async-signal-safe; reads nothing outside the section, whatever it holds.
uint8_t precast_trap_lookup(
    const uint8_t *section, size_t size, uint64_t text_offset, struct precast_checked_pages *pages);

#ifdef __cplusplus
}
#endif
