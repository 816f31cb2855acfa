// Machine code for the loader's tests, and scenarios that need a process of their own.
#pragma once

#include <precast_host.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// Labels in code.S, and their addresses for Swift, which does not import arrays of unknown length.
#define LT_LABELS(X) \
  X(lt_text_start) X(lt_text_end) X(lt_entry) X(lt_exit) X(lt_add) X(lt_unreachable) X(lt_clobber) X(lt_load) \
  X(lt_spin) X(lt_spin_site) X(lt_load_unlisted) X(lt_divide) X(lt_recurse) X(lt_call_host) X(lt_damage) X(lt_unreachable_site) \
  X(lt_clobber_site) X(lt_load_site) X(lt_divide_site) X(lt_recurse_overflow_site) X(lt_damage_site) \
  X(lt_recurse_return) X(lt_recurse_last_return) X(lt_call_host_return)
#define LT_DECLARE(label) \
  extern const char label[]; \
  extern const void *const label##_address;
LT_LABELS(LT_DECLARE)

/// The header of a context, as in ContextLayout.swift.
struct lt_context {
  uint64_t memory_base;
  struct precast_store_context *store;
  const void *builtins;
  const void *signatures;
  uint32_t kind, reserved;
  uint32_t (*host_callback)(void *host_context, void *caller_context, void *slots);
  void *opaque0;
  void *opaque1;
};

struct lt_slot {
  uint64_t low, high;
};

/// A store with an instance context and a host function context.
struct lt_store {
  struct precast_store_context store;
  struct lt_context instance;
  struct lt_context host_function;
  /// The entry trampoline: lt_entry, unless it was replaced by a loaded one.
  precast_entry entry;
};

void lt_store_init(struct lt_store *store);

/// Registers the code with the trap table in `traps`, once a process.
bool lt_register(const uint8_t *traps, size_t size);

/// The trap sites: text offset and code.
struct lt_site {
  uint32_t offset;
  uint32_t code;
};
size_t lt_sites(const struct lt_site **sites);

/// Enters `code` with two arguments. Returns what precast_enter returns.
uint64_t lt_enter(
    struct lt_store *store, const void *code, uint64_t a, uint64_t b, struct precast_activation *activation,
    uint64_t *result);

/// Runs this executable again as the scenario `name` (see scenarios.c), and returns its wait status.
int lt_run_scenario(const char *name);

/// The same for a scenario that needs the trap table: what `lt_register` gets.
int lt_run_scenario_with_traps(const char *name, const uint8_t *traps, size_t size);

/// The rights of the mapping at `address`, as in /proc/self/maps ("r-xp"); false where nothing is mapped.
bool lt_mapping_rights(uint64_t address, char rights[5]);

/// How many mappings of this process have `substring` in their line of /proc/self/maps.
size_t lt_count_mappings(const char *substring);

/// The pcs of the calling thread's stack, by the system's unwinder.
size_t lt_unwind(uint64_t *pcs, size_t capacity);

/// Enters `code` with known values in the callee-saved registers of C: 0x3333 in rbx, 0xCCCC, 0xDDDD, 0xEEEE and 0xFFFF in
/// r12 to r15. Returns what precast_enter returns.
uint64_t lt_enter_marked(struct lt_store *store, const void *code);
uint64_t lt_enter_plain(struct lt_store *store, const void *code);

/// What the system's unwinder finds in rbx and r12 to r15 when it comes to the caller `lt_enter_marked`; false when it does
/// not come there.
bool lt_unwind_to_marked(uint64_t registers[5]);

/// Whether `pc` is a return address in `precast_enter`.
bool lt_is_in_precast_enter(uint64_t pc);

#ifdef __cplusplus
}
#endif
