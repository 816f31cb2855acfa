// What can only be seen in a fresh process: handlers that were installed before ours, and signals
// that end it. `lt_run_scenario` runs this executable again with an environment variable; a
// constructor sees it before anything else runs, plays the scenario and leaves.
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "loader_test_code.h"
#include "unwinding.h"

extern char **environ;

#define VARIABLE "PRECAST_LOADER_SCENARIO"
#define TRAPS "PRECAST_LOADER_TRAPS"

int lt_run_scenario_with_traps(const char *name, const uint8_t *traps, size_t size) {
  size_t count = 0;
  while (environ[count]) count++;
  char **environment = calloc(count + 3, sizeof *environment);
  memcpy(environment, environ, count * sizeof *environment);
  char *variable, *table;
  if (asprintf(&variable, VARIABLE "=%s", name) < 0) return -1;
  table = malloc(sizeof TRAPS + 1 + 2 * size);
  char *end = stpcpy(table, TRAPS "=");
  for (size_t i = 0; i < size; i++) end += sprintf(end, "%02x", traps[i]);
  environment[count] = variable;
  environment[count + 1] = table;
  pid_t child;
  char *arguments[] = {"scenario", NULL};
  int status = -1;
  if (posix_spawn(&child, "/proc/self/exe", NULL, NULL, arguments, environment) == 0) {
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
  }
  free(environment);
  free(variable);
  free(table);
  return status;
}

int lt_run_scenario(const char *name) { return lt_run_scenario_with_traps(name, NULL, 0); }

// What handlers of the scenarios leave behind.

static volatile sig_atomic_t calls;
static volatile sig_atomic_t was_blocked;
static void *volatile seen_address;
static sigjmp_buf back;

static void note_mask(int signal) {
  sigset_t mask;
  sigprocmask(SIG_BLOCK, NULL, &mask);
  was_blocked = sigismember(&mask, signal) && sigismember(&mask, SIGUSR1);
}

static void plain_handler(int signal) {
  calls++;
  note_mask(signal);
  siglongjmp(back, 1);
}

static void info_handler(int signal, siginfo_t *info, void *context) {
  (void)context;
  calls++;
  seen_address = info->si_addr;
  note_mask(signal);
  siglongjmp(back, 1);
}

static void counting_handler(int signal) {
  (void)signal;
  calls++;
}

static void install_plain(int signal, void (*handler)(int)) {
  struct sigaction action = {.sa_handler = handler};
  sigaddset(&action.sa_mask, SIGUSR1);
  sigaction(signal, &action, NULL);
}

static void install_info(int signal) {
  struct sigaction action = {.sa_sigaction = info_handler, .sa_flags = SA_SIGINFO};
  sigaddset(&action.sa_mask, SIGUSR1);
  sigaction(signal, &action, NULL);
}

static uint8_t trap_table[4096];
static size_t trap_table_size;
static struct lt_store store;

static void prepare(void) {
  const char *text = getenv(TRAPS);
  for (; text && text[0] && text[1] && trap_table_size < sizeof trap_table; text += 2) {
    char digits[3] = {text[0], text[1], 0};
    trap_table[trap_table_size++] = (uint8_t)strtoul(digits, NULL, 16);
  }
  if (!lt_register(trap_table, trap_table_size)) _exit(99);
  lt_store_init(&store);
}

// An address that faults.
static void *nowhere(void) { return (void *)(uintptr_t)0x6660; }

static void fault(void) { *(volatile int *)nowhere() = 1; }

static uint32_t faulting_host(void *host_context, void *caller_context, void *slots) {
  (void)host_context, (void)caller_context, (void)slots;
  fault();
  return 0;
}

static bool trap_works(void) {
  struct precast_activation activation;
  return lt_enter(&store, lt_unreachable, 0, 0, &activation, NULL) == 1 && activation.trap_code == 1;
}

static int count_mappings(void) {
  FILE *maps = fopen("/proc/self/maps", "r");
  int lines = 0;
  for (int c; maps && (c = fgetc(maps)) != EOF;) lines += c == '\n';
  if (maps) fclose(maps);
  return lines;
}

static void *enter_and_end(void *argument) {
  (void)argument;
  struct lt_store own;
  lt_store_init(&own);
  struct precast_activation activation;
  if (lt_enter(&own, lt_unreachable, 0, 0, &activation, NULL) != 1) _exit(98);
  stack_t stack;
  if (sigaltstack(NULL, &stack) != 0 || (stack.ss_flags & SS_DISABLE)) _exit(97);
  return NULL;
}

static void *enter_on_own_stack(void *argument) {
  (void)argument;
  static char adequate[256 * 1024];
  stack_t mine = {.ss_sp = adequate, .ss_size = sizeof adequate};
  sigaltstack(&mine, NULL);
  struct lt_store own;
  lt_store_init(&own);
  struct precast_activation activation;
  if (lt_enter(&own, lt_unreachable, 0, 0, &activation, NULL) != 1) _exit(98);
  stack_t stack;
  sigaltstack(NULL, &stack);
  return (void *)(uintptr_t)(stack.ss_sp == adequate);
}

static volatile int keep_spinning;

static void *spin(void *argument) {
  (void)argument;
  struct lt_store own;
  lt_store_init(&own);
  struct precast_activation activation;
  return (void *)(uintptr_t)lt_enter(&own, lt_spin, (uint64_t)(uintptr_t)&keep_spinning, 0, &activation, NULL);
}

__attribute__((noinline)) static int overflow_stack(volatile char *outer) {
  volatile char frame[4096];
  frame[0] = outer ? outer[0] : 1;
  return overflow_stack(frame) + frame[0];
}

// A file of the scenario's own: the test code as text, then a page of zeros, mapped as an artifact would be.

struct mapped {
  int file;
  char *text;
  size_t text_size, size;
  struct precast_code *code;
};

static bool map_code(struct mapped *m) {
  m->text_size = (size_t)(lt_text_end - lt_text_start + 4095) / 4096 * 4096;
  m->size = m->text_size + 2 * 4096;
  m->file = memfd_create("scenario", 0);
  if (m->file < 0 || ftruncate(m->file, (off_t)m->size) != 0) return false;
  if (pwrite(m->file, lt_text_start, (size_t)(lt_text_end - lt_text_start), 0) < 0) return false;
  if (pwrite(m->file, "tables", 6, (off_t)m->text_size) < 0) return false;
  uint64_t address = 0;
  struct precast_artifact_parts parts = {
      .file_size = m->size, .text_size = m->text_size, .data_start = m->size, .memory_size = m->size};
  if (precast_map_artifact(m->file, 0, &parts, &address) != 0) return false;
  m->text = (char *)(uintptr_t)address;
  struct precast_code code = {
      .text_start = address, .text_end = address + m->text_size, .mapping_end = address + m->size, .file = -1,
      .traps = trap_table, .traps_size = trap_table_size};
  return precast_code_register(&code, NULL, &m->code) == 0;
}

static uint64_t enter_mapped(
    struct mapped *m, const char *function, uint64_t a, struct precast_activation *activation) {
  store.entry = (precast_entry)(uintptr_t)(m->text + (lt_entry - lt_text_start));
  return lt_enter(&store, m->text + (function - lt_text_start), a, 0, activation, NULL);
}

static bool is_zero(volatile const char *byte) { return *byte == 0; }

static struct mapped victim;

/// Takes the text away, from within a host function.
static uint32_t shortening_host(void *host_context, void *caller_context, void *slots) {
  (void)host_context, (void)caller_context, (void)slots;
  return ftruncate(victim.file, 0) == 0 ? 0 : 1;
}

static uint32_t failing_host(void *host_context, void *caller_context, void *slots) {
  return shortening_host(host_context, caller_context, slots) + 1;
}

// Exit code 0: as it should be.
static int play(const char *name) {
  bool is = true;
  if (strcmp(name, "earlier handler without info") == 0) {
    install_plain(SIGSEGV, plain_handler);
    prepare();
    if (sigsetjmp(back, 1) == 0) fault();
    return calls == 1 && was_blocked && trap_works() ? 0 : 1;
  }
  if (strcmp(name, "earlier handler with info") == 0) {
    install_info(SIGSEGV);
    prepare();
    if (sigsetjmp(back, 1) == 0) fault();
    return calls == 1 && was_blocked && seen_address == nowhere() && trap_works() ? 0 : 1;
  }
  if (strcmp(name, "trap is ours alone") == 0) {
    install_info(SIGSEGV);
    install_info(SIGILL);
    install_info(SIGFPE);
    prepare();
    struct precast_activation activation;
    is = lt_enter(&store, lt_load, 0x6660, 0, &activation, NULL) == 1 && activation.trap_code == 2;
    is = is && lt_enter(&store, lt_divide, 1, 0, &activation, NULL) == 1 && activation.trap_code == 8;
    is = is && trap_works();
    sigset_t mask;
    sigprocmask(SIG_BLOCK, NULL, &mask);
    is = is && !sigismember(&mask, SIGSEGV) && !sigismember(&mask, SIGILL) && !sigismember(&mask, SIGFPE);
    return is && calls == 0 ? 0 : 1;
  }
  if (strcmp(name, "fault in host function") == 0) {
    install_info(SIGSEGV);
    prepare();
    store.host_function.host_callback = faulting_host;
    struct precast_activation activation;
    if (sigsetjmp(back, 1) == 0) lt_enter(&store, lt_call_host, 0, 0, &activation, NULL);
    return calls == 1 && seen_address == nowhere() ? 0 : 1;
  }
  if (strcmp(name, "fault without trap site") == 0) {
    install_info(SIGSEGV);
    prepare();
    struct precast_activation activation;
    if (sigsetjmp(back, 1) == 0) lt_enter(&store, lt_load_unlisted, 0x6660, 0, &activation, NULL);
    return calls == 1 && seen_address == nowhere() ? 0 : 1;
  }
  if (strcmp(name, "fault with default action") == 0) {
    prepare();
    fault();
    return 1;
  }
  if (strcmp(name, "ignored fault") == 0) {
    install_plain(SIGSEGV, SIG_IGN);
    prepare();
    fault();
    return 1;
  }
  if (strcmp(name, "ignored signal from a process") == 0) {
    install_plain(SIGFPE, SIG_IGN);
    prepare();
    kill(getpid(), SIGFPE);
    kill(getpid(), SIGFPE);
    return trap_works() ? 0 : 1;
  }
  if (strcmp(name, "default signal from a process") == 0) {
    prepare();
    kill(getpid(), SIGFPE);
    return 1;
  }
  if (strcmp(name, "handled signal from a process") == 0) {
    install_plain(SIGFPE, counting_handler);
    prepare();
    kill(getpid(), SIGFPE);
    kill(getpid(), SIGFPE);
    return calls == 2 ? 0 : 1;
  }
  if (strcmp(name, "signal from a process at a trap site") == 0) {
    install_plain(SIGSEGV, counting_handler);
    prepare();
    pthread_t thread;
    void *ended;
    if (pthread_create(&thread, NULL, spin, NULL) != 0) return 2;
    usleep(20000);  // most of these then find the thread in wasm, at the site or next to it
    for (int i = 0; i < 50; i++) {
      int before = calls;
      pthread_kill(thread, SIGSEGV);
      for (int wait = 0; wait < 100000 && calls == before; wait++) usleep(100);
      if (calls == before) return 3;
    }
    keep_spinning = 1;
    if (pthread_join(thread, &ended) != 0) return 2;
    return ended == NULL && calls == 50 ? 0 : 1;
  }
  if (strcmp(name, "host stack overflow") == 0) {
    install_info(SIGSEGV);
    prepare();
    if (!trap_works()) return 2;  // gives the thread its alternate stack
    if (sigsetjmp(back, 1) == 0) return overflow_stack(NULL);
    return calls == 1 ? 0 : 1;
  }
  if (strcmp(name, "threads give their mappings back") == 0) {
    prepare();
    pthread_t thread;
    int before = 0;
    for (int i = 0; i < 200; i++) {
      // The C library keeps some stacks of ended threads: measure once it has.
      if (i == 20) before = count_mappings();
      if (pthread_create(&thread, NULL, enter_and_end, NULL) != 0 || pthread_join(thread, NULL) != 0) return 2;
    }
    return count_mappings() <= before + 1 ? 0 : 1;
  }
  if (strcmp(name, "adequate alternate stack stays") == 0) {
    prepare();
    pthread_t thread;
    void *kept;
    if (pthread_create(&thread, NULL, enter_on_own_stack, NULL) != 0 || pthread_join(thread, &kept) != 0) return 2;
    return kept ? 0 : 1;
  }
  if (strcmp(name, "main thread's stack bounds") == 0) {
    uint64_t low, high;
    precast_thread_stack_bounds(&low, &high);
    pthread_attr_t attributes;
    void *address;
    size_t size;
    pthread_getattr_np(pthread_self(), &attributes);
    pthread_attr_getstack(&attributes, &address, &size);
    uint64_t true_high = (uint64_t)(uintptr_t)address + size;
    // Never below the true end. The C library leaves arguments and environment out at the top.
    uint64_t true_low = (uint64_t)(uintptr_t)address;
    return high >= true_high && high - true_high < 4 << 20 && low >= true_low && low - true_low < 65536 ? 0 : 1;
  }
  if (strcmp(name, "lost tables are zeros") == 0) {
    install_info(SIGBUS);
    prepare();
    if (!map_code(&victim)) return 2;
    const char *tables = victim.text + victim.text_size;
    if (tables[0] != 't' || precast_code_is_damaged(victim.code) || ftruncate(victim.file, 4096) != 0) return 3;
    is = is_zero(tables) && is_zero(tables + 4096) && precast_code_is_damaged(victim.code);
    char rights[5];
    is = is && lt_mapping_rights((uint64_t)(uintptr_t)tables, rights) && strcmp(rights, "r--p") == 0;
    // The code is there, and runs.
    struct precast_activation activation;
    is = is && enter_mapped(&victim, lt_add, 1, &activation) == 0;
    return is && calls == 0 ? 0 : 1;
  }
  if (strcmp(name, "lost text ends the activation") == 0) {
    install_info(SIGBUS);
    install_info(SIGSEGV);
    prepare();
    if (!map_code(&victim) || ftruncate(victim.file, 0) != 0) return 2;
    struct precast_activation activation;
    for (int i = 0; i < 3; i++) {
      is = is && enter_mapped(&victim, lt_add, 1, &activation) == 1 && activation.trap_code == PRECAST_TRAP_DAMAGED;
      is = is && activation.trap_signal == SIGBUS && activation.trap_frame_count == 0;
      is = is && precast_current_activation() == NULL && store.store.activation == NULL;
    }
    return is && calls == 0 ? 0 : 1;
  }
  if (strcmp(name, "lost text under a host function") == 0) {
    install_info(SIGBUS);
    install_info(SIGSEGV);
    prepare();
    struct precast_activation activation;
    // Returning into it, with a result and with an error.
    uint32_t (*hosts[])(void *, void *, void *) = {shortening_host, failing_host};
    for (int i = 0; i < 2; i++) {
      if (!map_code(&victim)) return 2;
      store.host_function.host_callback = hosts[i];
      is = is && enter_mapped(&victim, lt_call_host, 0, &activation) == 1;
      is = is && activation.trap_code == PRECAST_TRAP_DAMAGED;
    }
    return is && calls == 0 ? 0 : 1;
  }
  if (strcmp(name, "lost text that the host reads never runs") == 0) {
    install_info(SIGBUS);
    install_info(SIGSEGV);
    prepare();
    if (!map_code(&victim) || ftruncate(victim.file, 0) != 0) return 2;
    is = is_zero(victim.text) && precast_code_is_damaged(victim.code);
    char rights[5];
    for (size_t offset = 0; offset < victim.text_size; offset += 4096) {
      is = is && lt_mapping_rights((uint64_t)(uintptr_t)victim.text + offset, rights) && rights[2] == '-';
    }
    struct precast_activation activation;
    is = is && enter_mapped(&victim, lt_add, 1, &activation) == 1 && activation.trap_code == PRECAST_TRAP_DAMAGED;
    is = is && activation.trap_signal == SIGSEGV;
    return is && calls == 0 ? 0 : 1;
  }
  if (strcmp(name, "lost image") == 0) {
    install_info(SIGBUS);
    prepare();
    if (!map_code(&victim)) return 2;
    int file = memfd_create("image", 0);
    if (ftruncate(file, 3 * 4096) != 0) return 2;
    char *image = mmap(NULL, 3 * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE, file, 0);
    struct precast_image *registered;
    uint64_t start = (uint64_t)(uintptr_t)image;
    if (precast_image_register(start, start + 3 * 4096, victim.code, &registered) != 0) return 3;
    image[4096] = 'x';  // a private page, which goes with the file's all the same
    if (ftruncate(file, 0) != 0) return 2;
    // Wasm at a trap site: its trap has the right code, again and again.
    struct precast_activation activation;
    for (int i = 0; i < 3; i++) {
      is = is && enter_mapped(&victim, lt_load, start + 4096, &activation) == 1;
      is = is && activation.trap_code == PRECAST_TRAP_DAMAGED && activation.trap_fault_address == start + 4096;
      is = is && activation.trap_frame_count == 1;
    }
    // The host: zeros that it can write to.
    is = is && is_zero(image) && is_zero(image + 4096) && precast_code_is_damaged(victim.code);
    image[8192 + 5] = 'y';
    is = is && image[8192 + 5] == 'y' && is_zero(image + 8192);
    // Not registered any more: somebody else's.
    precast_image_unregister(registered);
    munmap(image, 3 * 4096);
    return is && calls == 0 ? 0 : 1;
  }
  if (strcmp(name, "a bus error of others") == 0) {
    install_info(SIGBUS);
    prepare();
    if (!map_code(&victim)) return 2;
    int file = memfd_create("other", 0);
    char *other = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);
    if (sigsetjmp(back, 1) == 0) is_zero(other + 7);
    return calls == 1 && seen_address == other + 7 && was_blocked && !precast_code_is_damaged(victim.code) ? 0 : 1;
  }
  if (strcmp(name, "a bus error sent by a process") == 0) {
    install_plain(SIGBUS, counting_handler);
    prepare();
    if (!map_code(&victim)) return 2;
    kill(getpid(), SIGBUS);
    return calls == 1 && !precast_code_is_damaged(victim.code) ? 0 : 1;
  }
  if (strcmp(name, "a fault in the trap table") == 0) {
    install_info(SIGBUS);
    install_info(SIGILL);
    prepare();
    if (!map_code(&victim)) return 2;
    // The trap table lies in the file, behind the text, and is lost: found out by the handler.
    victim.code->traps = (const uint8_t *)victim.text + victim.text_size;
    victim.code->traps_size = 2 * 4096;
    if (ftruncate(victim.file, (off_t)victim.text_size) != 0) return 2;
    struct precast_activation activation;
    is = enter_mapped(&victim, lt_unreachable, 0, &activation) == 1 && activation.trap_code == PRECAST_TRAP_DAMAGED;
    is = is && activation.trap_signal == SIGILL && activation.trap_frame_count == 1;
    return is && calls == 0 ? 0 : 1;
  }
  if (strcmp(name, "a file that is shorter by less than a page") == 0) {
    install_info(SIGILL);
    install_info(SIGSEGV);
    prepare();
    if (!map_code(&victim)) return 2;
    victim.code->traps = NULL;
    victim.code->file = victim.file;
    victim.code->file_size = victim.size;
    if (ftruncate(victim.file, (off_t)victim.size - 5) != 0) return 2;
    struct precast_activation activation;
    is = enter_mapped(&victim, lt_unreachable, 0, &activation) == 1 && activation.trap_code == PRECAST_TRAP_DAMAGED;
    if (!is || calls != 0) return 1;
    // As long as before, a fault without a trap site is a defect, and goes to the earlier handler (which jumps out of
    // the activation for good).
    if (!map_code(&victim)) return 2;
    victim.code->traps = NULL;
    victim.code->file = victim.file;
    victim.code->file_size = victim.size;
    if (sigsetjmp(back, 1) == 0) enter_mapped(&victim, lt_unreachable, 0, &activation);
    return calls == 1 && !precast_code_is_damaged(victim.code) ? 0 : 1;
  }
  if (strcmp(name, "handlers stay in place") == 0) {
    if (precast_signal_handlers_in_place()) return 1;
    prepare();
    if (!precast_signal_handlers_in_place() || precast_install_signal_handlers() != 0) return 2;
    install_plain(SIGILL, counting_handler);
    return precast_signal_handlers_in_place() ? 3 : 0;
  }
  return lt_play_unwinding(name);
}

__attribute__((constructor)) static void maybe_play(void) {
  const char *name = getenv(VARIABLE);
  if (!name) return;
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  // Test runners ask the Swift runtime for a backtrace at a crash, which is a handler of its own.
  const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
  for (int i = 0; i < 4; i++) signal(signals[i], SIG_DFL);
  stack_t no_stack = {.ss_flags = SS_DISABLE};
  sigaltstack(&no_stack, NULL);
  alarm(300);  // one that hangs is a failure, not a process that stays
  _exit(play(name));
}
