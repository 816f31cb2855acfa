// The signal handler. `precast_signals.h` says which signals are ours.
//
// A signal that is not ours is treated as it would have been without us:
//
//      earlier handler    called, with the signal mask that it asked for
//      SIG_DFL            put back; then the instruction runs again and faults for good, so that a
//                         core dump or a debugger sees it where it happened. Sent by a process, the
//                         signal is sent again instead
//      SIG_IGN            ignored, unless the kernel raised it: those cannot be ignored, and would
//                         come back for ever
//
// Handlers are installed with SA_ONSTACK (the stack may be exhausted) and SA_NODEFER (an earlier
// handler that itself faults must reach that fault's handler, and one that jumps out must not leave
// the signal blocked). Resuming after a trap is an ordinary return from the handler with changed
// registers; the kernel restores the signal mask.
#define _GNU_SOURCE
#include "precast_signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include "precast_code_registry.h"
#include "precast_thread.h"
#include "precast_trap_table.h"

static const int signals[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE};
#define SIGNALS (sizeof signals / sizeof signals[0])

static struct sigaction earlier[SIGNALS];

#if defined(__x86_64__)
static uint64_t context_pc(const ucontext_t *c) { return (uint64_t)c->uc_mcontext.gregs[REG_RIP]; }
static uint64_t context_sp(const ucontext_t *c) { return (uint64_t)c->uc_mcontext.gregs[REG_RSP]; }
static uint64_t context_fp(const ucontext_t *c) { return (uint64_t)c->uc_mcontext.gregs[REG_RBP]; }
static void context_resume(ucontext_t *c, uint64_t pc, uint64_t sp) {
  c->uc_mcontext.gregs[REG_RIP] = (greg_t)pc;
  c->uc_mcontext.gregs[REG_RSP] = (greg_t)sp;
}
#elif defined(__aarch64__)
static uint64_t context_pc(const ucontext_t *c) { return c->uc_mcontext.pc; }
static uint64_t context_sp(const ucontext_t *c) { return c->uc_mcontext.sp; }
static uint64_t context_fp(const ucontext_t *c) { return c->uc_mcontext.regs[29]; }
static void context_resume(ucontext_t *c, uint64_t pc, uint64_t sp) {
  c->uc_mcontext.pc = pc;
  c->uc_mcontext.sp = sp;
}
#else
#error "no register access for this architecture"
#endif

static bool is_memory_fault(int signal) { return signal == SIGSEGV || signal == SIGBUS; }

/// Turns the signal into a trap of the current activation, if it is one.
static bool trap(int signal, const siginfo_t *info, ucontext_t *context) {
  if (info->si_code <= 0) return false;  // sent by a process
  struct precast_thread *thread = &precast_thread;
  struct precast_activation *activation = thread->current;
  if (!activation) return false;

  uint64_t pc = context_pc(context);
  struct precast_code code;
  if (!precast_code_find(pc, &code)) return false;
  uint64_t address = is_memory_fault(signal) ? (uint64_t)(uintptr_t)info->si_addr : 0;
  // The text itself could not be read (its file shrank): not a trap, whatever stands there.
  if (is_memory_fault(signal) && address >= code.text_start && address < code.text_end) return false;
  uint8_t trap_code = precast_trap_lookup(code.traps, code.traps_size, pc - code.text_start);
  if (trap_code == 0) return false;

  activation->trap_code = trap_code;
  activation->trap_signal = signal;
  activation->trap_pc = pc;
  activation->trap_frame_pointer = context_fp(context);
  activation->trap_fault_address = address;
  activation->trap_frames = thread->trap_frames;
  activation->trap_frame_count = (uint32_t)precast_stack_walk_from(
      activation, pc, context_fp(context), context_sp(context), thread->trap_frames,
      thread->trap_frames ? PRECAST_TRAP_FRAMES : 0, &activation->trap_frames_truncated);
  context_resume(context, activation->resume_program_counter, activation->resume_stack_pointer);
  return true;
}

static void put_default_back(int signal) {
  struct sigaction standard;
  memset(&standard, 0, sizeof standard);
  standard.sa_handler = SIG_DFL;
  sigaction(signal, &standard, NULL);
}

static void pass_on(int signal, siginfo_t *info, void *context, struct sigaction *handler) {
  bool sent = info->si_code <= 0;
  if (!(handler->sa_flags & SA_SIGINFO)) {
    if (handler->sa_handler == SIG_IGN && sent) return;
    if (handler->sa_handler == SIG_DFL || handler->sa_handler == SIG_IGN) {
      put_default_back(signal);
      if (sent && syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), signal, info) != 0) raise(signal);
      return;
    }
  }
  sigset_t mask = handler->sa_mask;
  if (!(handler->sa_flags & SA_NODEFER)) sigaddset(&mask, signal);
  pthread_sigmask(SIG_BLOCK, &mask, NULL);  // our return, or its jump, restores the mask
  void (*with_info)(int, siginfo_t *, void *) = handler->sa_sigaction;
  void (*without_info)(int) = handler->sa_handler;
  bool takes_info = handler->sa_flags & SA_SIGINFO;
  if (handler->sa_flags & SA_RESETHAND) {
    handler->sa_flags = 0;
    handler->sa_handler = SIG_DFL;
  }
  if (takes_info) {
    with_info(signal, info, context);
  } else {
    without_info(signal);
  }
}

static void handle(int signal, siginfo_t *info, void *context) {
  int saved_errno = errno;
  if (!trap(signal, info, context)) {
    for (size_t i = 0; i < SIGNALS; i++) {
      if (signals[i] == signal) pass_on(signal, info, context, &earlier[i]);
    }
  }
  errno = saved_errno;
}

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int install_result;

static void install(void) {
  struct sigaction ours;
  memset(&ours, 0, sizeof ours);
  ours.sa_sigaction = handle;
  ours.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  sigemptyset(&ours.sa_mask);
  for (size_t i = 0; i < SIGNALS; i++) {
    // Known before ours is in place, since another thread's signal may arrive at once.
    if (sigaction(signals[i], NULL, &earlier[i]) != 0 || sigaction(signals[i], &ours, NULL) != 0) {
      install_result = -errno;
      return;
    }
  }
}

int precast_install_signal_handlers(void) {
  pthread_once(&once, install);
  return install_result;
}

bool precast_signal_handlers_in_place(void) {
  for (size_t i = 0; i < SIGNALS; i++) {
    struct sigaction current;
    if (sigaction(signals[i], NULL, &current) != 0) return false;
    if (!(current.sa_flags & SA_SIGINFO) || current.sa_sigaction != handle) return false;
  }
  return true;
}
