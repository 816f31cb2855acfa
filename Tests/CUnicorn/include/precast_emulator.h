// An AArch64 processor in this process: what the module PrecastEmulator needs of Unicorn, in C.
//
// Unicorn's interface has variadic functions and hooks that want a C function with the engine as its argument,
// neither of which Swift can call or be. And the hooks that run once a basic block must be C to be cheap. So this
// part owns the engine and its hooks, and reports how a run ended as one structure.
//
// The library is opened at run time: only tests need it, and everything builds and runs without it. Its header is
// looked for when this is compiled (Debian: libunicorn-dev); where it was not there, `precast_emulator_missing` says
// so.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct precast_emulator;

/// Why a run ended.
enum precast_emulator_end {
  /// An instruction was fetched from the reserved range (see `precast_emulator_new`).
  PRECAST_EMULATOR_RESERVED = 0,
  /// A load from, a store to, or a fetch from memory that is not mapped or does not allow it.
  PRECAST_EMULATOR_LOAD,
  PRECAST_EMULATOR_STORE,
  PRECAST_EMULATOR_FETCH,
  /// `brk`.
  PRECAST_EMULATOR_BREAKPOINT,
  /// `udf`, or an instruction that this processor does not have.
  PRECAST_EMULATOR_UNDEFINED,
  /// `svc`; the pc is that of the instruction *after* it.
  PRECAST_EMULATOR_SUPERVISOR_CALL,
  /// Any other exception of the processor; `detail` is its number in Unicorn.
  PRECAST_EMULATOR_EXCEPTION,
  /// More instructions were executed than allowed.
  PRECAST_EMULATOR_LIMIT,
  /// The instruction callback asked for it.
  PRECAST_EMULATOR_STOPPED,
  /// An indirect branch to a place in guarded code without a landing pad; `detail` is PSTATE.BTYPE.
  PRECAST_EMULATOR_BRANCH_TARGET,
  /// Unicorn reported an error of its own; `detail` is its number.
  PRECAST_EMULATOR_ERROR,
};

struct precast_emulator_stop {
  enum precast_emulator_end end;
  uint32_t detail;
  /// Where it happened: the instruction that has not been executed.
  uint64_t pc;
  /// Loads, stores and fetches: the first address that could not be accessed, and the size of the access.
  uint64_t address;
  uint32_t size;
};

/// Allowed accesses of a region.
enum { PRECAST_EMULATOR_READ = 1, PRECAST_EMULATOR_WRITE = 2, PRECAST_EMULATOR_EXECUTE = 4 };

/// What kind of processor.
enum precast_emulator_model {
  /// A Cortex-A72: Armv8.0-A with CRC32 and nothing else, so that code for the baseline proves that it is.
  PRECAST_EMULATOR_ARMV8_0,
  /// Everything that the emulator knows.
  PRECAST_EMULATOR_MAX,
};

/// Registers by number: 0 to 30 are x0 to x30.
enum { PRECAST_EMULATOR_SP = 31, PRECAST_EMULATOR_PC = 32, PRECAST_EMULATOR_NZCV = 33, PRECAST_EMULATOR_FPCR = 34 };

/// Null when emulators can be made, otherwise why not, for people.
const char *precast_emulator_missing(void);

/// The library's version as it reports it, 0 when there is none.
uint32_t precast_emulator_library_version(void);

/// A processor with no memory. Fetching from the `reserved_size` bytes at `reserved`, which must not be mapped, ends
/// a run with `PRECAST_EMULATOR_RESERVED`. Returns null, with Unicorn's error number in `error`.
struct precast_emulator *precast_emulator_new(
    enum precast_emulator_model model, uint64_t reserved, uint64_t reserved_size, int *error);
void precast_emulator_free(struct precast_emulator *emulator);

/// Unicorn's words for one of its error numbers.
const char *precast_emulator_error(int error);

/// Lets host memory be seen at its own address. Page-aligned; must not overlap what is mapped. Returns Unicorn's error
/// number, 0 if none.
int precast_emulator_map(struct precast_emulator *emulator, uint64_t address, uint64_t size, uint32_t access);
/// Takes away a whole region, as it was mapped.
int precast_emulator_unmap(struct precast_emulator *emulator, uint64_t address, uint64_t size);
/// Forgets translations of code in a range of addresses, as is necessary after the host changed it.
int precast_emulator_invalidate(struct precast_emulator *emulator, uint64_t address, uint64_t size);
/// Forgets all translations.
int precast_emulator_invalidate_all(struct precast_emulator *emulator);

uint64_t precast_emulator_get(struct precast_emulator *emulator, uint32_t number);
void precast_emulator_set(struct precast_emulator *emulator, uint32_t number, uint64_t value);
/// Vector register `number`, 0 to 31: low and high 64 bits.
void precast_emulator_get_vector(struct precast_emulator *emulator, uint32_t number, uint64_t value[2]);
void precast_emulator_set_vector(struct precast_emulator *emulator, uint32_t number, const uint64_t value[2]);

/// A copy of all registers. Freed with `precast_emulator_forget`.
void *precast_emulator_save(struct precast_emulator *emulator);
void precast_emulator_restore(struct precast_emulator *emulator, void *saved);
void precast_emulator_forget(void *saved);

/// Runs from `pc` until something ends it. Not to be called from a callback.
struct precast_emulator_stop precast_emulator_run(struct precast_emulator *emulator, uint64_t pc);

/// Instructions executed so far. Counted by basic blocks as they are begun: exact at each end of a block, too high by
/// the rest of the block when a fault ends it in its midst.
uint64_t precast_emulator_executed(const struct precast_emulator *emulator);
/// Ends runs at the end of the block in which that count passes `limit`.
void precast_emulator_set_limit(struct precast_emulator *emulator, uint64_t limit);

/// Called before each instruction; returns whether to go on. May read and write registers other than pc.
typedef bool (*precast_emulator_callback)(void *context, uint64_t pc);

/// Sets what is called before each instruction, or null.
void precast_emulator_set_callback(
    struct precast_emulator *emulator, precast_emulator_callback callback, void *context);

/// Code on pages marked as guarded: an indirect branch that lands there on anything but a landing pad of its kind
/// ends the run (Arm ARM, D8.4.4 "PSTATE.BTYPE", for SCTLR_EL1.BT = 0). Empty at first. Unicorn has no such pages
/// without page tables, so this is checked here, instruction by instruction, as long as the range is not empty.
void precast_emulator_set_guarded(struct precast_emulator *emulator, uint64_t address, uint64_t size);

// ---- The host's memory ----

/// A mapping of this process: its bounds, and what may be done with it (1 read, 2 write, 4 execute).
struct precast_mapping {
  uint64_t start;
  uint64_t end;
  uint32_t access;
};

/// Finds the mapping that holds `address`. False if there is none.
bool precast_find_mapping(uint64_t address, struct precast_mapping *mapping);

/// Maps `size` bytes of new memory twice: once to be written, once to be executed. Never given back.
bool precast_map_code_twice(size_t size, uint64_t *written, uint64_t *executed);

#ifdef __cplusplus
}
#endif
