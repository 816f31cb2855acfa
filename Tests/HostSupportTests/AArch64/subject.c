// The parts of the loader that only an AArch64 machine runs, run: a program for AArch64 Linux that is made of all C sources of
// CPrecastHost and maps code as the loader does. Every check that fails is a line on standard error, and
// an exit status of 1.
//
//     subject SCENARIO CODE [TABLE START SIZE]
//
// CODE is code.S as linked by code.ld, or an artifact of the compiler with functions that do the same. TABLE is a file with the
// unwind table of an arena at START, of SIZE bytes.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <unwind.h>

#include "subject.h"

static struct artifact plain(void) { return load_artifact(-1, UINT32_MAX); }

static void call_and_return(void) {
  struct artifact artifact = plain();
  for (uint64_t i = 0; i < 3; i++) {
    uint64_t value = i;
    CHECK_EQUAL(call(&artifact, INCREMENT, &value), 0);
    CHECK_EQUAL(value, i + 1);
  }
  CHECK(precast_current_activation() == NULL);
  CHECK(store.activation == NULL);
  unload(&artifact);
}

static void undefined_instruction(void) {
  struct artifact artifact = plain();
  uint64_t value = 5;
  CHECK_EQUAL(call(&artifact, UNREACHABLE, &value), 1);
  const struct precast_activation *end = precast_call_failure();
  CHECK_EQUAL(end->trap_code, 1);
  CHECK_EQUAL(end->trap_signal, SIGILL);
  CHECK_EQUAL(end->trap_frame_count, 3);
  CHECK(is_in(&artifact, INNERMOST, end->trap_frames[0].pc));
  CHECK_EQUAL(end->trap_frames[0].pc, end->trap_pc);
  CHECK(!end->trap_frames[0].is_return_address);
  CHECK(is_in(&artifact, INNER, end->trap_frames[1].pc - 4));
  CHECK(is_in(&artifact, UNREACHABLE, end->trap_frames[2].pc - 4));
  CHECK(end->trap_frames[2].is_return_address);
  CHECK_EQUAL(call(&artifact, INCREMENT, &value), 0);
  unload(&artifact);
}

static void memory_fault(void) {
  struct artifact artifact = plain();
  uint64_t page = precast_page_size(), memory;
  CHECK_EQUAL(precast_reserve(4 * 65536, &memory), 0);
  CHECK_EQUAL(precast_commit(memory, 65536), 0);
  instance.memory = memory;
  *(uint64_t *)(memory + 65528) = 77;
  uint64_t value = 65528;
  CHECK_EQUAL(call(&artifact, LOAD, &value), 0);
  CHECK_EQUAL(value, 77);
  for (uint64_t offset = 65536; offset < 4 * 65536; offset += page) {
    value = offset;
    CHECK_EQUAL(call(&artifact, LOAD, &value), 1);
    const struct precast_activation *end = precast_call_failure();
    CHECK_EQUAL(end->trap_code, 2);
    CHECK_EQUAL(end->trap_signal, SIGSEGV);
    CHECK_EQUAL(end->trap_fault_address, memory + offset);
    CHECK_EQUAL(end->trap_frame_count, 1);
  }
  // Growing, shrinking, and a reset.
  CHECK_EQUAL(precast_commit(memory + 65536, 65536), 0);
  value = 65536;
  CHECK_EQUAL(call(&artifact, LOAD, &value), 0);
  CHECK_EQUAL(value, 0);
  CHECK_EQUAL(precast_decommit(memory + 65536, 65536), 0);
  value = 65536;
  CHECK_EQUAL(call(&artifact, LOAD, &value), 1);
  CHECK_EQUAL(precast_reset(memory, 65536), 0);
  value = 65528;
  CHECK_EQUAL(call(&artifact, LOAD, &value), 0);
  CHECK_EQUAL(value, 0);
  CHECK_EQUAL(precast_release(memory, 4 * 65536), 0);
  instance.memory = 0;
  unload(&artifact);
}

static void *overflow_on_thread(void *argument) {
  const struct artifact *artifact = argument;
  uint64_t value = 0;
  CHECK_EQUAL(call(artifact, RECURSE, &value), 1);
  const struct precast_activation *end = precast_call_failure();
  CHECK_EQUAL(end->trap_code, PRECAST_TRAP_STACK_OVERFLOW);
  CHECK_EQUAL(end->trap_frame_count, PRECAST_TRAP_FRAMES);
  CHECK(end->trap_frames_truncated);
  // With 256 bytes left, no signal's frame fits on this stack.
  uint64_t low, high;
  precast_thread_stack_bounds(&low, &high);
  CHECK(low != 0);
  if (!is_compiled) {
    value = low + 256;
    CHECK_EQUAL(call(artifact, LOW, &value), 1);
    CHECK_EQUAL(precast_call_failure()->trap_code, 1);
  }
  stack_t alternate;
  CHECK_EQUAL(sigaltstack(NULL, &alternate), 0);
  CHECK(!(alternate.ss_flags & SS_DISABLE));
  size_t frame = getauxval(AT_MINSIGSTKSZ);
  CHECK(alternate.ss_size >= (frame ? frame : 5120) + 65536);
  CHECK_EQUAL((uint64_t)(uintptr_t)alternate.ss_sp % precast_page_size(), 0);
  return NULL;
}

static void stack_overflow(void) {
  struct artifact artifact = plain();
  for (int i = 0; i < 4; i++) {
    pthread_t thread;
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 1 << 20);
    pthread_attr_setguardsize(&attributes, 65536);
    if (pthread_create(&thread, &attributes, overflow_on_thread, &artifact) != 0) fail("thread");
    pthread_join(thread, NULL);
  }
  // On the main thread's stack too, whose bounds are found otherwise.
  uint64_t value = 0;
  CHECK_EQUAL(call(&artifact, RECURSE, &value), 1);
  CHECK_EQUAL(precast_call_failure()->trap_code, PRECAST_TRAP_STACK_OVERFLOW);
  unload(&artifact);
}

/// Each instruction in turn is zeros, as in a file that was cut off. The activation must end, or not come there, and in each
/// case everything that belongs to the host be as it was.
static void damaged_text(void) {
  static const int called[] = {INCREMENT, UNREACHABLE, NATIVE};
  static const int damaged[][4] = {
      {ENTRY, INCREMENT, -1}, {ENTRY, UNREACHABLE, INNER, INNERMOST}, {ENTRY, NATIVE, LOST, -1}};
  for (int i = 0; i < (is_compiled ? 2 : 3); i++) {
    int ends = 0;
    for (int j = 0; j < 4 && damaged[i][j] >= 0; j++) {
      uint32_t start = directory.functions[damaged[i][j]].start, size = directory.functions[damaged[i][j]].size;
      for (uint32_t offset = start; offset < start + size; offset += 4) {
        struct artifact artifact = load_artifact(-1, offset);
        uint64_t value = 1;
        uint64_t result = call(&artifact, called[i], &value);
        if (result == 0) {
          CHECK(called[i] != UNREACHABLE);
          if (called[i] == INCREMENT) CHECK_EQUAL(value, 2);
        } else {
          const struct precast_activation *end = precast_call_failure();
          // On its way out after a trap it ends with that.
          CHECK(end->trap_code == PRECAST_TRAP_DAMAGED || (called[i] == UNREACHABLE && end->trap_code == 1));
          ends += end->trap_code == PRECAST_TRAP_DAMAGED;
        }
        CHECK(precast_current_activation() == NULL);
        CHECK(store.activation == NULL);
        unload(&artifact);
        if (failures > 20) return;
      }
    }
    // Everything but what follows a trap, or precedes the normal way out, was executed.
    printf("%d of function %d ended\n", ends, called[i]);
    CHECK(ends > 20);
  }
}

/// The file's pages are gone: bus errors, of the fetch and of the host's reading.
static void lost_file(void) {
  char path[] = "/tmp/precast-subject-XXXXXX";
  int file = mkstemp(path);
  if (file < 0) fail("temporary file");
  unlink(path);
  if (write(file, code_bytes, code_size) != (ssize_t)code_size) fail("write");
  struct artifact artifact = load_artifact(file, UINT32_MAX);
  uint64_t page = precast_page_size();
  // Behind the text, at the file's end.
  size_t end = code_size - 4;
  if (ftruncate(file, (off_t)(end / page * page)) != 0) fail("truncate");
  const volatile uint32_t *table = (const uint32_t *)(artifact.address + end / 4 * 4 - text_offset);
  CHECK_EQUAL(*table, 0);
  CHECK(precast_code_is_damaged(artifact.code));
  uint64_t value = 1;
  CHECK_EQUAL(call(&artifact, INCREMENT, &value), 0);
  unload(&artifact);

  file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
  if (file < 0) fail("temporary file");
  if (write(file, code_bytes, code_size) != (ssize_t)code_size) fail("write");
  artifact = load_artifact(file, UINT32_MAX);
  if (ftruncate(file, 0) != 0) fail("truncate");
  value = 1;
  CHECK_EQUAL(call(&artifact, INCREMENT, &value), 1);
  CHECK_EQUAL(precast_call_failure()->trap_code, PRECAST_TRAP_DAMAGED);
  CHECK_EQUAL(precast_call_failure()->trap_signal, SIGBUS);
  unload(&artifact);
}

// ---- Calls out ----

static struct artifact current;
static struct precast_frame frames[64];
static size_t frame_count;
static int depth;

static uint64_t walk(struct context *context, struct context *caller, uint64_t *slots) {
  CHECK(context == &host);
  CHECK(caller == &instance);
  if (depth-- > 0) {
    uint64_t value = slots[0] + 1;
    uint64_t result = call(&current, OUT, &value);
    slots[0] = value;
    return result;
  }
  bool truncated;
  frame_count = precast_stack_walk(precast_current_activation(), frames, 64, &truncated);
  CHECK(!truncated);
  slots[0] += 100;
  return slots[0] % 2;  // an error when it is odd
}

static void calls_out(void) {
  current = plain();
  host.callback = walk;
  uint64_t value = 10;
  depth = 2;
  CHECK_EQUAL(call(&current, OUT, &value), 0);
  CHECK_EQUAL(value, 3112);
  CHECK_EQUAL(frame_count, 3);
  for (size_t i = 0; i < frame_count; i++) {
    CHECK(is_in(&current, OUT, frames[i].pc - 4));
    CHECK(frames[i].is_return_address);
    CHECK_EQUAL(frames[i].activation_depth, i);
  }
  // A host function's error ends its activation, and each around it.
  value = 11;
  depth = 2;
  CHECK_EQUAL(call(&current, OUT, &value), 1);
  CHECK_EQUAL(precast_call_failure()->trap_code, 0);
  CHECK(precast_current_activation() == NULL);
  unload(&current);
}

// ---- Unwinding ----

static uint64_t unwound[64];
static size_t unwound_count;
static uint64_t checked_frame_registers[18];
static int checked_frames;

static _Unwind_Reason_Code visit(struct _Unwind_Context *context, void *unused) {
  (void)unused;
  uint64_t pc = _Unwind_GetIP(context);
  if (unwound_count < 64) unwound[unwound_count++] = pc;
  if (pc > (uint64_t)(uintptr_t)checked_call && pc < (uint64_t)(uintptr_t)checked_call_end) {
    checked_frames++;
    for (int i = 0; i < 18; i++) checked_frame_registers[i] = _Unwind_GetGR(context, i < 10 ? 19 + i : 62 + i);
    for (int i = 0; i < 18; i++) CHECK_EQUAL(checked_frame_registers[i], expected_registers[i]);
  }
  return _URC_NO_REASON;
}

static uint64_t backtrace_here(struct context *context, struct context *caller, uint64_t *slots) {
  (void)context, (void)caller;
  if (depth-- > 0) {
    uint64_t value = slots[0];
    return call(&current, OUT, &value);
  }
  unwound_count = 0;
  checked_frames = 0;
  _Unwind_Backtrace(visit, NULL);
  return 0;
}

/// From a host function, through wasm, to wasm around it, with the registers of the host's functions in between.
static void unwind(void) {
  host.callback = backtrace_here;
  depth = 1;
  uint64_t value = 0;
  CHECK_EQUAL(call(&current, OUT, &value), 0);
  static const int expected[] = {EXIT, OUT, ENTRY, EXIT, OUT, ENTRY};
  size_t found = 0;
  for (size_t i = 0; i < unwound_count && found < 6; i++) {
    if (is_in(&current, expected[found], unwound[i] - 1)) found++;
  }
  CHECK_EQUAL(found, 6);
  CHECK_EQUAL(checked_frames, 2);
}

static void unwind_per_module(void) {
  current = plain();
  CHECK_EQUAL(precast_find_unwinder(), PRECAST_UNWINDER_LIBGCC);
  struct precast_frames *registered =
      precast_register_frames((const void *)(current.address + directory.eh_frame), directory.eh_frame_size);
  CHECK(registered != NULL);
  unwind();
  precast_deregister_frames(registered);
  CHECK_EQUAL(precast_registered_frames(), 0);
  unload(&current);
}

static void unwind_shared(void) {
  for (int i = 0; i < 3; i++) {
    current = plain();
    unwind();
    unload(&current);
  }
}

static bool cleaned;
static void clean(void *unused) {
  (void)unused;
  cleaned = true;
}

static uint64_t leave_thread(struct context *context, struct context *caller, uint64_t *slots) {
  (void)context, (void)caller, (void)slots;
  pthread_exit(NULL);
}

static void *thread_that_leaves(void *unused) {
  (void)unused;
  pthread_cleanup_push(clean, NULL);
  uint64_t value = 0;
  call(&current, OUT, &value);
  pthread_cleanup_pop(0);
  return NULL;
}

/// A forced unwinding goes through wasm and takes the activation off its chains.
static void thread_exit(void) {
  current = plain();
  struct precast_frames *registered = NULL;
  if (!has_arena) {
    registered = precast_register_frames((const void *)(current.address + directory.eh_frame), directory.eh_frame_size);
  }
  host.callback = leave_thread;
  pthread_t thread;
  if (pthread_create(&thread, NULL, thread_that_leaves, NULL) != 0) fail("thread");
  pthread_join(thread, NULL);
  CHECK(cleaned);
  CHECK(store.activation == NULL);
  precast_deregister_frames(registered);
  unload(&current);
}

#ifdef HAS_CXX
uint64_t catches(struct context *context, struct context *caller, uint64_t *slots);
uint64_t throws(struct context *context, struct context *caller, uint64_t *slots);

/// An exception that a host function catches is its own; one that would leave it ends the process.
static void exceptions(void) {
  current = plain();
  struct precast_frames *registered = NULL;
  if (!has_arena) {
    registered = precast_register_frames((const void *)(current.address + directory.eh_frame), directory.eh_frame_size);
  }
  host.callback = catches;
  uint64_t value = 1;
  CHECK_EQUAL(call(&current, OUT, &value), 0);
  CHECK_EQUAL(value, 1043);
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    host.callback = throws;
    call(&current, OUT, &value);
    _exit(0);
  }
  int status;
  waitpid(child, &status, 0);
  CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
  precast_deregister_frames(registered);
  unload(&current);
}
#endif

// ---- Signals ----

static volatile int earlier_signals;
static volatile uint64_t earlier_pc;

static void earlier_handler(int signal, siginfo_t *info, void *context) {
  (void)signal, (void)info;
  ucontext_t *c = context;
  earlier_signals++;
  earlier_pc = c->uc_mcontext.pc;
  c->uc_mcontext.pc += 4;
}

/// A fault that is not about our code goes to the handler that was there before.
static void other_signals(void) {
  uint64_t before = (uint64_t)earlier_signals;
  __asm__ volatile("udf #7");
  CHECK_EQUAL(earlier_signals, before + 1);
  // In our text, where there is no trap site: a defect, and not ours to hide.
  struct artifact artifact = load_artifact(-1, UINT32_MAX);
  uint64_t value = 0x10;
  instance.memory = 0;
  CHECK_EQUAL(call(&artifact, LOAD, &value), 1);
  CHECK_EQUAL(precast_call_failure()->trap_fault_address, 0x10);
  CHECK(precast_signal_handlers_in_place());
  unload(&artifact);
}

/// Where the text has landing pads, an indirect call past one is stopped by the processor; without them it is a call.
static void guarded_text(void) {
  fflush(NULL);
  pid_t child = fork();
  if (child == 0) {
    struct sigaction standard = {.sa_handler = SIG_DFL};
    sigaction(SIGILL, &standard, NULL);
    struct artifact artifact = plain();
    uint64_t slots[2] = {1, 0};
    instance.store = &store;
    struct precast_function reference = {
        .code = (const void *)(address_of(&artifact, INCREMENT) + (has_landing_pads ? 4 : 0)),
        .context = &instance,
        .slot_count = 1,
        .entry = (precast_entry)address_of(&artifact, ENTRY)};
    _exit((int)precast_call(&reference, slots, &store));
  }
  int status;
  waitpid(child, &status, 0);
  CHECK(has_landing_pads ? WIFSIGNALED(status) && WTERMSIG(status) == SIGILL : status == 0);
}

// ---- The rest ----

static void checksums(void) {
  static uint8_t bytes[5000];
  for (size_t i = 0; i < sizeof bytes; i++) bytes[i] = (uint8_t)(i * 7 + i / 256);
  CHECK_EQUAL(precast_crc32c(0, "123456789", 9), 0xE3069283);
  for (size_t size = 0; size < sizeof bytes; size += 1 + size / 3) {
    CHECK_EQUAL(precast_crc32c(0, bytes + 1, size), precast_crc32c_portable(0, bytes + 1, size));
  }
}

static void processor(void) {
  unsigned long first = getauxval(AT_HWCAP), second = getauxval(AT_HWCAP2);
  uint32_t features = precast_cpu_features();
  CHECK_EQUAL((features & PRECAST_CPU_LSE) != 0, (first & HWCAP_ATOMICS) != 0);
  CHECK_EQUAL((features & PRECAST_CPU_FP16) != 0, (first & HWCAP_FPHP) != 0);
  CHECK_EQUAL((features & PRECAST_CPU_BTI) != 0, (second & HWCAP2_BTI) != 0);
  printf("page %zu features %#x\n", precast_page_size(), features);
  CHECK_EQUAL(precast_page_size(), getauxval(AT_PAGESZ));
}

static void anonymous_text(void) {
  struct artifact artifact = plain();
  uint64_t value = 1;
  CHECK_EQUAL(call(&artifact, INCREMENT, &value), 0);
  CHECK_EQUAL(precast_make_text_anonymous(artifact.address, text_size), 0);
  CHECK_EQUAL(call(&artifact, INCREMENT, &value), 0);
  CHECK_EQUAL(value, 3);
  CHECK_EQUAL(call(&artifact, UNREACHABLE, &value), 1);
  unload(&artifact);
}

static const struct {
  const char *name;
  void (*run)(void);
} scenarios[] = {
    {"call", call_and_return},
    {"undefined", undefined_instruction},
    {"fault", memory_fault},
    {"overflow", stack_overflow},
    {"damaged", damaged_text},
    {"lost", lost_file},
    {"out", calls_out},
    {"unwind", unwind_per_module},
    {"unwind-shared", unwind_shared},
    {"thread-exit", thread_exit},
#ifdef HAS_CXX
    {"exceptions", exceptions},
#endif
    {"signals", other_signals},
    {"guarded", guarded_text},
    {"checksums", checksums},
    {"processor", processor},
    {"anonymous", anonymous_text},
};

int main(int count, char **arguments) {
  if (count < 3) return 2;
  struct sigaction action = {.sa_sigaction = earlier_handler, .sa_flags = SA_SIGINFO};
  sigaction(SIGILL, &action, NULL);
  read_code(arguments[2]);
  if (precast_install_signal_handlers() != 0) fail("handlers");
  if (count >= 6) reserve_arena(arguments + 3);
  for (size_t i = 0; i < sizeof scenarios / sizeof scenarios[0]; i++) {
    if (strcmp(scenarios[i].name, arguments[1]) != 0) continue;
    scenarios[i].run();
    if (failures == 0) printf("ok\n");
    return failures != 0;
  }
  fprintf(stderr, "no scenario %s\n", arguments[1]);
  return 2;
}
