// The engine and its hooks; what each function does stands in the header.
//
// How Unicorn 2.0.1 behaves, as found by trying it, and what that decides here:
//
// - On a fault no register has changed, but the address is told only to a hook, and the pc is that of the basic block
//   unless there is a hook for valid accesses, for which it is kept up to date. Hence the hook for invalid accesses,
//   which notes the first one (an access that is not aligned is tried byte by byte) and lets the run end, and one
//   that does nothing. Loads and stores cost 50 ns without it, 60 with it.
// - A fetch from memory that is not mapped ends a run as well, at a cost of 0.7 µs for stopping and starting again.
//   That is how a run ends on purpose: the reserved range is never mapped. Nothing runs inside a hook but hooks, so a
//   host function that enters emulated code again starts a run of its own on the same engine, one after the other.
// - Translations stay when the host changes the code underneath, and even when it is unmapped.
// - A hook holds for what is translated after it was added. So hooks for every instruction come and go with everything
//   that was translated.
// - Stopping at a number of instructions, or after a time, costs a hook for each instruction or a thread. The count
//   of basic blocks below slows a tight loop to a third.
#define _GNU_SOURCE
#include "precast_emulator.h"

#if __has_include(<unicorn/unicorn.h>)

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unicorn/unicorn.h>

#define FUNCTIONS(X) \
  X(uc_version) X(uc_open) X(uc_close) X(uc_ctl) X(uc_strerror) X(uc_mem_map_ptr) X(uc_mem_unmap) X(uc_reg_read) \
  X(uc_reg_write) X(uc_context_alloc) X(uc_context_save) X(uc_context_restore) X(uc_context_free) X(uc_emu_start) \
  X(uc_emu_stop) X(uc_hook_add) X(uc_hook_del)

static struct {
#define DECLARE(name) __typeof__(name) *name;
  FUNCTIONS(DECLARE)
#undef DECLARE
} library;

static const char *missing;

static void open_library(void) {
  void *handle = dlopen("libunicorn.so.2", RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    missing = "libunicorn.so.2 is not installed (Debian: libunicorn-dev)";
    return;
  }
#define FIND(name) \
  if (!(library.name = (__typeof__(name) *)dlsym(handle, #name))) missing = "libunicorn.so.2 lacks " #name;
  FUNCTIONS(FIND)
#undef FIND
}

const char *precast_emulator_missing(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, open_library);
  return missing;
}

uint32_t precast_emulator_library_version(void) {
  return precast_emulator_missing() ? 0 : library.uc_version(NULL, NULL);
}

struct precast_emulator {
  uc_engine *engine;
  uint64_t reserved, reserved_size;
  uint64_t executed, limit;
  // What hooks have noted about the run.
  struct precast_emulator_stop stop;
  bool has_stop;
  // Hook of each instruction, while there is one.
  bool has_instruction_hook;
  uc_hook instruction_hook;
  precast_emulator_callback callback;
  void *callback_context;
  uint64_t guarded, guarded_size;
  // PSTATE.BTYPE after the last instruction.
  uint32_t branch_type;
};

static inline bool is_in(uint64_t address, uint64_t start, uint64_t size) { return address - start < size; }

static uint64_t get(struct precast_emulator *emulator, int number) {
  uint64_t value = 0;
  library.uc_reg_read(emulator->engine, number, &value);
  return value;
}

/// Notes how the run ends; the first to say so is right.
static void end(struct precast_emulator *emulator, struct precast_emulator_stop stop) {
  if (emulator->has_stop) return;
  emulator->has_stop = true;
  emulator->stop = stop;
}

// ---- Hooks ----

static void on_block(uc_engine *engine, uint64_t address, uint32_t size, void *user) {
  struct precast_emulator *emulator = user;
  emulator->executed += size / 4;
  if (emulator->executed > emulator->limit) {
    end(emulator, (struct precast_emulator_stop){.end = PRECAST_EMULATOR_LIMIT, .pc = address});
    library.uc_emu_stop(engine);
  }
}

static bool on_invalid_access(
    uc_engine *engine, uc_mem_type type, uint64_t address, int size, int64_t value, void *user) {
  (void)engine, (void)value;
  struct precast_emulator *emulator = user;
  struct precast_emulator_stop stop = {
      .pc = get(emulator, UC_ARM64_REG_PC), .address = address, .size = size > 0 ? (uint32_t)size : 0};
  switch (type) {
    case UC_MEM_READ_UNMAPPED:
    case UC_MEM_READ_PROT: stop.end = PRECAST_EMULATOR_LOAD; break;
    case UC_MEM_WRITE_UNMAPPED:
    case UC_MEM_WRITE_PROT: stop.end = PRECAST_EMULATOR_STORE; break;
    default:
      stop.end = is_in(address, emulator->reserved, emulator->reserved_size) ? PRECAST_EMULATOR_RESERVED
                                                                              : PRECAST_EMULATOR_FETCH;
  }
  end(emulator, stop);
  return false;
}

/// Its being there keeps the pc exact.
static void on_access(uc_engine *engine, uc_mem_type type, uint64_t address, int size, int64_t value, void *user) {
  (void)engine, (void)type, (void)address, (void)size, (void)value, (void)user;
}

// QEMU's numbers of exceptions (target/arm/cpu.h).
enum { EXCEPTION_UNDEFINED = 1, EXCEPTION_SUPERVISOR_CALL = 2, EXCEPTION_BREAKPOINT = 7 };

static void on_exception(uc_engine *engine, uint32_t number, void *user) {
  struct precast_emulator *emulator = user;
  struct precast_emulator_stop stop = {.detail = number, .pc = get(emulator, UC_ARM64_REG_PC)};
  switch (number) {
    case EXCEPTION_UNDEFINED: stop.end = PRECAST_EMULATOR_UNDEFINED; break;
    case EXCEPTION_SUPERVISOR_CALL: stop.end = PRECAST_EMULATOR_SUPERVISOR_CALL; break;
    case EXCEPTION_BREAKPOINT: stop.end = PRECAST_EMULATOR_BREAKPOINT; break;
    default: stop.end = PRECAST_EMULATOR_EXCEPTION;
  }
  end(emulator, stop);
  library.uc_emu_stop(engine);
}

/// PSTATE.BTYPE as `instruction` leaves it: 0, but after an indirect branch.
static uint32_t branch_type_after(uint32_t instruction) {
  uint32_t target = instruction >> 5 & 31;
  if ((instruction & 0xFFFFFC1F) == 0xD63F0000 || (instruction & 0xFEFFF800) == 0xD63F0800) return 2;  // blr, blra..
  if ((instruction & 0xFFFFFC1F) == 0xD61F0000 || (instruction & 0xFEFFF800) == 0xD61F0800)            // br, bra..
    return target == 16 || target == 17 ? 1 : 3;
  return 0;
}

/// Whether `instruction` is a landing pad for a branch of this type.
static bool is_landing_pad(uint32_t instruction, uint32_t branch_type) {
  switch (instruction) {
    case 0xD503245F: return branch_type != 3;                     // bti c
    case 0xD503249F: return branch_type != 2;                     // bti j
    case 0xD50324DF: return true;                                 // bti jc
    case 0xD503233F: case 0xD503237F: return branch_type != 3;    // paciasp, pacibsp
    default: return (instruction & 0xFFA0001F) == 0xD4200000;     // brk, hlt: their own exception comes first
  }
}

static void on_instruction(uc_engine *engine, uint64_t address, uint32_t size, void *user) {
  (void)size;
  struct precast_emulator *emulator = user;
  if (emulator->has_stop) return;
  uint32_t instruction;
  memcpy(&instruction, (const void *)(uintptr_t)address, sizeof instruction);
  uint32_t type = emulator->branch_type;
  if (type != 0 && is_in(address, emulator->guarded, emulator->guarded_size) && !is_landing_pad(instruction, type)) {
    end(emulator, (struct precast_emulator_stop){.end = PRECAST_EMULATOR_BRANCH_TARGET, .detail = type, .pc = address});
    library.uc_emu_stop(engine);
    return;
  }
  emulator->branch_type = branch_type_after(instruction);
  if (emulator->callback && !emulator->callback(emulator->callback_context, address)) {
    end(emulator, (struct precast_emulator_stop){.end = PRECAST_EMULATOR_STOPPED, .pc = address});
    library.uc_emu_stop(engine);
  }
}

static void update_instruction_hook(struct precast_emulator *emulator) {
  bool is_wanted = emulator->callback || emulator->guarded_size != 0;
  if (is_wanted == emulator->has_instruction_hook) return;
  if (is_wanted) {
    library.uc_hook_add(
        emulator->engine, &emulator->instruction_hook, UC_HOOK_CODE, (void *)on_instruction, emulator, 1, 0);
  } else {
    library.uc_hook_del(emulator->engine, emulator->instruction_hook);
  }
  emulator->has_instruction_hook = is_wanted;
  emulator->branch_type = 0;
  // Costs seconds, and nothing has been translated before anything ran.
  if (emulator->executed != 0) precast_emulator_invalidate_all(emulator);
}

void precast_emulator_set_callback(
    struct precast_emulator *emulator, precast_emulator_callback callback, void *context) {
  emulator->callback = callback;
  emulator->callback_context = context;
  update_instruction_hook(emulator);
}

void precast_emulator_set_guarded(struct precast_emulator *emulator, uint64_t address, uint64_t size) {
  emulator->guarded = address;
  emulator->guarded_size = size;
  update_instruction_hook(emulator);
}

// ---- Making one ----

static int set_up(struct precast_emulator *emulator, enum precast_emulator_model model) {
  int error = library.uc_open(UC_ARCH_ARM64, UC_MODE_LITTLE_ENDIAN, &emulator->engine);
  if (error) return error;
  int cpu = model == PRECAST_EMULATOR_MAX ? UC_CPU_ARM64_MAX : UC_CPU_ARM64_A72;
  if ((error = library.uc_ctl(emulator->engine, UC_CTL_WRITE(UC_CTL_CPU_MODEL, 1), cpu))) return error;
  // Nothing traps floating point and vector instructions.
  uint64_t cpacr = 3 << 20;
  if ((error = library.uc_reg_write(emulator->engine, UC_ARM64_REG_CPACR_EL1, &cpacr))) return error;
  struct {
    int type;
    void *function;
  } hooks[] = {
      {UC_HOOK_BLOCK, (void *)on_block},
      {UC_HOOK_MEM_INVALID, (void *)on_invalid_access},
      {UC_HOOK_MEM_READ | UC_HOOK_MEM_WRITE, (void *)on_access},
      {UC_HOOK_INTR, (void *)on_exception},
  };
  for (size_t i = 0; i < sizeof hooks / sizeof *hooks; i++) {
    uc_hook hook;
    if ((error = library.uc_hook_add(emulator->engine, &hook, hooks[i].type, hooks[i].function, emulator, 1, 0)))
      return error;
  }
  return 0;
}

struct precast_emulator *precast_emulator_new(
    enum precast_emulator_model model, uint64_t reserved, uint64_t reserved_size, int *error) {
  // An engine is made when it is first used, with tables of the library that all share.
  static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  *error = UC_ERR_HANDLE;
  if (precast_emulator_missing()) return NULL;
  struct precast_emulator *emulator = calloc(1, sizeof *emulator);
  if (!emulator) return NULL;
  emulator->reserved = reserved;
  emulator->reserved_size = reserved_size;
  emulator->limit = UINT64_MAX;
  pthread_mutex_lock(&mutex);
  *error = set_up(emulator, model);
  pthread_mutex_unlock(&mutex);
  if (*error == 0) return emulator;
  precast_emulator_free(emulator);
  return NULL;
}

void precast_emulator_free(struct precast_emulator *emulator) {
  if (!emulator) return;
  if (emulator->engine) library.uc_close(emulator->engine);
  free(emulator);
}

const char *precast_emulator_error(int error) {
  return precast_emulator_missing() ? missing : library.uc_strerror((uc_err)error);
}

// ---- Memory ----

int precast_emulator_map(struct precast_emulator *emulator, uint64_t address, uint64_t size, uint32_t access) {
  _Static_assert(
      (int)PRECAST_EMULATOR_READ == (int)UC_PROT_READ && (int)PRECAST_EMULATOR_WRITE == (int)UC_PROT_WRITE &&
          (int)PRECAST_EMULATOR_EXECUTE == (int)UC_PROT_EXEC, "the library's numbers");
  return library.uc_mem_map_ptr(emulator->engine, address, size, access, (void *)(uintptr_t)address);
}

int precast_emulator_unmap(struct precast_emulator *emulator, uint64_t address, uint64_t size) {
  int error = precast_emulator_invalidate(emulator, address, size);
  return error ? error : library.uc_mem_unmap(emulator->engine, address, size);
}

int precast_emulator_invalidate(struct precast_emulator *emulator, uint64_t address, uint64_t size) {
  return library.uc_ctl(
      emulator->engine, UC_CTL_WRITE(UC_CTL_TB_REMOVE_CACHE, 2), address, address + size);
}

int precast_emulator_invalidate_all(struct precast_emulator *emulator) {
  return library.uc_ctl(emulator->engine, UC_CTL_WRITE(UC_CTL_TB_FLUSH, 0));
}

// ---- Registers ----

static int library_number(uint32_t number) {
  switch (number) {
    case 29: return UC_ARM64_REG_X29;
    case 30: return UC_ARM64_REG_X30;
    case PRECAST_EMULATOR_SP: return UC_ARM64_REG_SP;
    case PRECAST_EMULATOR_PC: return UC_ARM64_REG_PC;
    case PRECAST_EMULATOR_NZCV: return UC_ARM64_REG_NZCV;
    case PRECAST_EMULATOR_FPCR: return UC_ARM64_REG_FPCR;
    default: return number < 29 ? UC_ARM64_REG_X0 + (int)number : UC_ARM64_REG_INVALID;
  }
}

uint64_t precast_emulator_get(struct precast_emulator *emulator, uint32_t number) {
  return get(emulator, library_number(number));
}

void precast_emulator_set(struct precast_emulator *emulator, uint32_t number, uint64_t value) {
  library.uc_reg_write(emulator->engine, library_number(number), &value);
}

void precast_emulator_get_vector(struct precast_emulator *emulator, uint32_t number, uint64_t value[2]) {
  value[0] = value[1] = 0;
  library.uc_reg_read(emulator->engine, UC_ARM64_REG_Q0 + (int)(number & 31), value);
}

void precast_emulator_set_vector(struct precast_emulator *emulator, uint32_t number, const uint64_t value[2]) {
  library.uc_reg_write(emulator->engine, UC_ARM64_REG_Q0 + (int)(number & 31), value);
}

void *precast_emulator_save(struct precast_emulator *emulator) {
  uc_context *context = NULL;
  if (library.uc_context_alloc(emulator->engine, &context)) return NULL;
  library.uc_context_save(emulator->engine, context);
  return context;
}

void precast_emulator_restore(struct precast_emulator *emulator, void *saved) {
  library.uc_context_restore(emulator->engine, saved);
}

void precast_emulator_forget(void *saved) { library.uc_context_free(saved); }

// ---- Running ----

struct precast_emulator_stop precast_emulator_run(struct precast_emulator *emulator, uint64_t pc) {
  emulator->has_stop = false;
  // Whatever led out of the code before has arrived.
  emulator->branch_type = 0;
  // A run never ends by reaching an address: that would have to be known when code is translated. This one cannot be
  // one.
  uint64_t until = UINT64_MAX & ~(uint64_t)3;
  int error = library.uc_emu_start(emulator->engine, pc, until, 0, 0);
  if (emulator->has_stop) {
    // The block in which the limit was passed has been finished.
    if (emulator->stop.end == PRECAST_EMULATOR_LIMIT) emulator->stop.pc = get(emulator, UC_ARM64_REG_PC);
    return emulator->stop;
  }
  return (struct precast_emulator_stop){
      .end = PRECAST_EMULATOR_ERROR, .detail = (uint32_t)error, .pc = get(emulator, UC_ARM64_REG_PC)};
}

uint64_t precast_emulator_executed(const struct precast_emulator *emulator) { return emulator->executed; }

void precast_emulator_set_limit(struct precast_emulator *emulator, uint64_t limit) { emulator->limit = limit; }

#else

// Compiled where Unicorn's header was not to be found: there are no emulators.

const char *precast_emulator_missing(void) {
  return "unicorn/unicorn.h was not there when this was compiled (Debian: libunicorn-dev)";
}
uint32_t precast_emulator_library_version(void) { return 0; }
struct precast_emulator *precast_emulator_new(
    enum precast_emulator_model model, uint64_t reserved, uint64_t reserved_size, int *error) {
  (void)model, (void)reserved, (void)reserved_size, (void)error;
  return NULL;
}
void precast_emulator_free(struct precast_emulator *emulator) { (void)emulator; }
const char *precast_emulator_error(int error) { (void)error; return precast_emulator_missing(); }
int precast_emulator_map(struct precast_emulator *emulator, uint64_t address, uint64_t size, uint32_t access) {
  (void)emulator, (void)address, (void)size, (void)access;
  return -1;
}
int precast_emulator_unmap(struct precast_emulator *emulator, uint64_t address, uint64_t size) {
  (void)emulator, (void)address, (void)size;
  return -1;
}
int precast_emulator_invalidate(struct precast_emulator *emulator, uint64_t address, uint64_t size) {
  (void)emulator, (void)address, (void)size;
  return -1;
}
int precast_emulator_invalidate_all(struct precast_emulator *emulator) { (void)emulator; return -1; }
uint64_t precast_emulator_get(struct precast_emulator *emulator, uint32_t number) {
  (void)emulator, (void)number;
  return 0;
}
void precast_emulator_set(struct precast_emulator *emulator, uint32_t number, uint64_t value) {
  (void)emulator, (void)number, (void)value;
}
void precast_emulator_get_vector(struct precast_emulator *emulator, uint32_t number, uint64_t value[2]) {
  (void)emulator, (void)number;
  value[0] = value[1] = 0;
}
void precast_emulator_set_vector(struct precast_emulator *emulator, uint32_t number, const uint64_t value[2]) {
  (void)emulator, (void)number, (void)value;
}
void *precast_emulator_save(struct precast_emulator *emulator) { (void)emulator; return 0; }
void precast_emulator_restore(struct precast_emulator *emulator, void *saved) { (void)emulator, (void)saved; }
void precast_emulator_forget(void *saved) { (void)saved; }
struct precast_emulator_stop precast_emulator_run(struct precast_emulator *emulator, uint64_t pc) {
  (void)emulator;
  return (struct precast_emulator_stop){.end = PRECAST_EMULATOR_ERROR, .pc = pc};
}
uint64_t precast_emulator_executed(const struct precast_emulator *emulator) { (void)emulator; return 0; }
void precast_emulator_set_limit(struct precast_emulator *emulator, uint64_t limit) { (void)emulator, (void)limit; }
void precast_emulator_set_callback(
    struct precast_emulator *emulator, precast_emulator_callback callback, void *context) {
  (void)emulator, (void)callback, (void)context;
}
void precast_emulator_set_guarded(struct precast_emulator *emulator, uint64_t address, uint64_t size) {
  (void)emulator, (void)address, (void)size;
}

#endif
