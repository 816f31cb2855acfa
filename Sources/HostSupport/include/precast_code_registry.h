// The process's map of artifacts: from a pc to loaded code, and from an address that faulted to the
// artifact whose file was mapped there.
//
// Two kinds of ranges are in it:
//
//   artifact   the whole mapping of a loaded artifact: its text, and the tables behind it. A pc is
//              code only below `text_end`; a fault anywhere in the mapping is the artifact's
//   image      where a memory's initial contents are mapped, copy-on-write, from an artifact's file
//
// Lookups are lock-free and async-signal-safe, on any thread, while others add and remove; the
// cost of none of the three grows with the number of modules. `precast_code_registry.c` says how.
//
// Images, for whoever maps them. A page of an image faults (SIGBUS) when its file has been made
// shorter, or cannot be read. The signal handler must then know whose memory that is: without an
// entry here, the process ends.
//
//   - Call `precast_image_register` when an image is mapped into a slot, and
//     `precast_image_unregister` before something else is mapped there or the address space is given
//     back. Resetting the pages (MADV_DONTNEED) needs neither call: do it once a mapping, not once an
//     instance. A third of a microsecond, and 8 bytes for each MiB of the range.
//   - A range may have holes (extents of one memory can share one range), but may not overlap with
//     others. Everything in it that is mapped from a file is mapped from the artifact's.
//   - An image may outlive its artifact's registration: it keeps what it needs.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct precast_checked_pages;

/// A registered artifact.
struct precast_code {
  uint64_t text_start;
  /// One past the last byte of the text.
  uint64_t text_end;
  /// One past the last byte of the mapping, which begins with the text; 0 when nothing follows it.
  uint64_t mapping_end;
  /// The first address of writable data, which is at the end of the mapping; 0 when there is none.
  uint64_t data_start;
  /// The bytes of `.wasmtime.traps`; they must stay mapped while the code is registered.
  const uint8_t *traps;
  uint64_t traps_size;
  /// The pages that hold them, checked when they are first read; null where nothing has checksums.
  struct precast_checked_pages *pages;
  /// A descriptor of the file that is mapped, open while the code is registered, with the size that
  /// the file had; -1 when there is none. The signal handler looks whether the file is still as long.
  int32_t file;
  uint64_t file_size;
  /// Not 0 once a part of the file was found lost. Written by signal handlers: use the functions below.
  uint32_t damaged;
  /// Whatever the one who registered it wants to find again.
  void *owner;
};

/// Whether a part of the artifact's file was found lost while it was loaded. For what
/// `precast_code_register` returned. Async-signal-safe.
static inline bool precast_code_is_damaged(const struct precast_code *code) {
  return __atomic_load_n(&code->damaged, __ATOMIC_ACQUIRE) != 0;
}

/// Notes that a part of the file is lost. Async-signal-safe.
static inline void precast_code_set_damaged(const struct precast_code *code) {
  __atomic_store_n((uint32_t *)&code->damaged, 1, __ATOMIC_RELEASE);
}

/// Adds an artifact; ranges must not overlap. `release_owner(owner)` is called, on a thread that adds or
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

/// What an address belongs to.
struct precast_place {
  /// The artifact, as it was registered.
  const struct precast_code *artifact;
  /// Whether the address is in an image of it; otherwise it is in the artifact's own mapping.
  bool is_image;
  /// The range it is in: an image's, or the artifact's mapping.
  uint64_t start, end;
};

/// Looks up the artifact that is mapped at `address`, between `begin` and `end`. Async-signal-safe.
bool precast_code_read_find_address(uint64_t address, struct precast_place *place);

struct precast_image;

/// Adds an image of a registered artifact: memory from `start` to `end` (exclusive) whose initial contents are
/// mapped from its file. Returns 0, or a negative errno as above.
int precast_image_register(
    uint64_t start, uint64_t end, struct precast_code *artifact, struct precast_image **registered);

/// Removes what `precast_image_register` returned; null is allowed. The range may be mapped anew afterwards.
void precast_image_unregister(struct precast_image *registered);

/// How many ranges of both kinds are registered, and how many removed ones still wait for readers to finish.
void precast_code_counts(size_t *registered, size_t *waiting);

#ifdef __cplusplus
}
#endif
