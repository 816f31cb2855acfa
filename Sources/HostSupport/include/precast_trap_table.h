// Point queries in `.wasmtime.traps`.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// The trap code of the trap site at exactly `text_offset` in the bytes of a `.wasmtime.traps`
/// section, or 0 when there is none. Async-signal-safe; reads nothing outside the section, whatever
/// it holds.
uint8_t precast_trap_lookup(const uint8_t *section, size_t size, uint64_t text_offset);

#ifdef __cplusplus
}
#endif
