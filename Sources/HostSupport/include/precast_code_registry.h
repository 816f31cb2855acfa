// The process's map from pc to loaded code.
//
// Lookups are lock-free and async-signal-safe, on any thread, while others add and remove; the
// cost of none of the three grows with the number of modules. `precast_code_registry.c` says how.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// A registered range of code.
struct precast_code {
  uint64_t text_start;
  /// One past the last byte.
  uint64_t text_end;
  /// The bytes of `.wasmtime.traps`; they must stay mapped while the code is registered.
  const uint8_t *traps;
  uint64_t traps_size;
  /// Whatever the one who registered it wants to find again.
  void *owner;
};

/// Adds code; ranges must not overlap. `release_owner(owner)` is called, on a thread that adds or
/// removes, once nobody can reach `owner` through the registry any more; it must not call the
/// registry. Returns 0, or a negative errno: ENOMEM, EINVAL (empty range, or addresses that no
/// user process has), EEXIST (overlap).
int precast_code_register(
    const struct precast_code *code, void (*release_owner)(void *owner), struct precast_code **registered);

/// Removes what `precast_code_register` returned. No thread may be executing the code.
void precast_code_unregister(struct precast_code *registered);

/// Looks up `pc` and copies what it finds. The copy's pointers are good as long as the caller knows
/// that the code stays registered (because it is on a stack, say). Async-signal-safe.
bool precast_code_find(uint64_t pc, struct precast_code *found);

/// The same for callers that do not know: what is found between `begin` and `end`, `owner`
/// included, stays valid until `end`. Keep it short; never add or remove in between.
/// Async-signal-safe.
uint32_t precast_code_read_begin(void);
const struct precast_code *precast_code_read_find(uint64_t pc);
void precast_code_read_end(uint32_t token);

/// How many ranges are registered, and how many removed ones still wait for readers to finish.
void precast_code_counts(size_t *registered, size_t *waiting);

#ifdef __cplusplus
}
#endif
