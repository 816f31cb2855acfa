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
// the signal blocked; and ours may itself come upon a lost page, in the trap table: the handler for
// that fault, one deeper, puts a zero page there, which cannot fault again). Resuming after a trap is
// an ordinary return from the handler with changed registers; the kernel restores the signal mask.
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
#include "precast_lost_page.h"
#include "precast_thread.h"
#include "precast_run_table.h"

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

static uint64_t word_at(uint64_t address) { return *(const uint64_t *)(uintptr_t)address; }

/// Returns 1 from the entry trampoline, without the trampoline: its page may be lost. `PRECAST_ENTRY_FRAME_*` says what
/// this relies on. The frame is on the live stack, above the stack pointer (or, at the trampoline's last
/// instruction, right below it, where only this thread's next push would write).
static bool context_leave(ucontext_t *c, const struct precast_activation *activation) {
  greg_t *r = c->uc_mcontext.gregs;
  uint64_t frame = activation->entry_frame_pointer;
  uint64_t return_address_at;
  if (frame != 0) {
    r[REG_RBX] = (greg_t)word_at(frame + PRECAST_ENTRY_FRAME_RBX);
    r[REG_R12] = (greg_t)word_at(frame + PRECAST_ENTRY_FRAME_R12);
    r[REG_R13] = (greg_t)word_at(frame + PRECAST_ENTRY_FRAME_R13);
    r[REG_R14] = (greg_t)word_at(frame + PRECAST_ENTRY_FRAME_R14);
    r[REG_R15] = (greg_t)word_at(frame + PRECAST_ENTRY_FRAME_R15);
    r[REG_RBP] = (greg_t)word_at(frame);
    return_address_at = frame + 8;
  } else {
    // In the prologue: until it has stored its frame pointer, the trampoline changes none of the host's registers but
    // rsp and rbp, and `precast_enter` has left its address where the resume point will be.
    uint64_t entry = activation->resume_program_counter;
    uint64_t pc = context_pc(c);
    if (pc == entry) {
      return_address_at = context_sp(c);
    } else if (pc == entry + PRECAST_ENTRY_PUSH_SIZE) {
      return_address_at = context_sp(c) + 8;
    } else {
      return_address_at = context_fp(c) + 8;
      r[REG_RBP] = (greg_t)word_at(context_fp(c));
    }
  }
  r[REG_RIP] = (greg_t)word_at(return_address_at);
  r[REG_RSP] = (greg_t)(return_address_at + 8);
  r[REG_RAX] = 1;
  r[REG_EFL] &= ~(greg_t)0x400;  // the direction flag, which C expects clear
  return true;
}
#elif defined(__aarch64__)
static uint64_t context_pc(const ucontext_t *c) { return c->uc_mcontext.pc; }
static uint64_t context_sp(const ucontext_t *c) { return c->uc_mcontext.sp; }
static uint64_t context_fp(const ucontext_t *c) { return c->uc_mcontext.regs[29]; }
static void context_resume(ucontext_t *c, uint64_t pc, uint64_t sp) {
  c->uc_mcontext.pc = pc;
  c->uc_mcontext.sp = sp;
  // PSTATE.BTYPE: where the fault was at the target of an indirect branch, the processor still waits for a landing pad.
  c->uc_mcontext.pstate &= ~(uint64_t)0xC00;
}

static uint64_t word_at(uint64_t address) { return *(const uint64_t *)(uintptr_t)address; }

// asm/sigcontext.h, under names of our own: the header is not the same everywhere.
#define VECTOR_RECORD 0x46508001
struct record_head {
  uint32_t magic;
  uint32_t size;
};
struct vector_record {
  struct record_head head;
  uint32_t fpsr;
  uint32_t fpcr;
  uint64_t registers[32][2];
};

/// The vector registers in a signal frame; null where it has none. They are in a chain of records with sizes, ended by one
/// without. The kernel always has this record in the first part of the chain, and restores the low 128 bits of each
/// register from it, whatever records of longer ones follow (Documentation/arch/arm64/sve.rst, 6).
static struct vector_record *context_vectors(ucontext_t *c) {
  unsigned char *records = c->uc_mcontext.__reserved;
  size_t offset = 0, end = sizeof c->uc_mcontext.__reserved;
  while (end - offset >= sizeof(struct record_head)) {
    struct record_head *head = (struct record_head *)(records + offset);
    if (head->magic == VECTOR_RECORD && head->size >= sizeof(struct vector_record) && head->size <= end - offset) {
      return (struct vector_record *)head;
    }
    if (head->magic == 0 || head->size < sizeof *head || head->size > end - offset || head->size % 16 != 0) break;
    offset += head->size;
  }
  return NULL;
}

/// Returns 1 from the entry trampoline, without the trampoline: its page may be lost. `PRECAST_AARCH64_ENTRY_*` says what
/// this relies on. x19 to x25 are whatever they are: `precast_enter` has kept them.
///
/// False when it cannot be done, because the kernel gives no vector registers; nothing is changed then.
static bool context_leave(ucontext_t *c, const struct precast_activation *activation) {
  unsigned long long *x = c->uc_mcontext.regs;
  uint64_t frame = activation->entry_frame_pointer, sp = context_sp(c);
  uint64_t return_address = x[30];
  if (frame != 0 && sp < frame) {
    struct vector_record *vectors = context_vectors(c);
    if (!vectors) return false;
    static const int pairs[] = {
        PRECAST_AARCH64_ENTRY_FRAME_D8, PRECAST_AARCH64_ENTRY_FRAME_D10, PRECAST_AARCH64_ENTRY_FRAME_D12,
        PRECAST_AARCH64_ENTRY_FRAME_D14};
    for (int i = 0; i < 8; i++) {
      vectors->registers[8 + i][0] = word_at(frame + (uint64_t)(int64_t)(pairs[i / 2] + i % 2 * 8));
    }
    x[26] = word_at(frame + PRECAST_AARCH64_ENTRY_FRAME_X26);
    x[27] = word_at(frame + PRECAST_AARCH64_ENTRY_FRAME_X27);
    x[28] = word_at(frame + PRECAST_AARCH64_ENTRY_FRAME_X28);
    x[29] = word_at(frame);
    return_address = word_at(frame + 8);
    sp = frame + 16;
  } else if (frame != 0) {
    // In the epilogue, which has put the other registers back, and given up the part of the frame where they were: there is
    // no red zone below the stack pointer, so a signal's frame may have been there since. The last load may still be to come.
    if (sp == frame) {
      x[29] = word_at(frame);
      return_address = word_at(frame + 8);
      sp = frame + 16;
    }
  } else {
    // In the prologue: until it has stored its frame pointer, the trampoline changes none of the caller's registers but sp
    // and x29, and `precast_enter` has left its address where the resume point will be.
    uint64_t done = context_pc(c) - activation->resume_program_counter;
    if (done >= PRECAST_AARCH64_ENTRY_FRAME_SIZE) {
      sp = x[29] + 16;
      x[29] = word_at(x[29]);
    } else if (done >= PRECAST_AARCH64_ENTRY_RECORD_SIZE) {
      sp += 16;
    }
  }
  x[0] = 1;
  context_resume(c, return_address, sp);
  return true;
}
#else
#error "no register access for this architecture"
#endif

static bool is_memory_fault(int signal) { return signal == SIGSEGV || signal == SIGBUS; }

/// Records how the thread's current activation ends.
static void record(uint32_t trap_code, const struct precast_fault *fault) {
  struct precast_thread *thread = &precast_thread;
  struct precast_activation *activation = thread->current;
  activation->trap_code = trap_code;
  activation->trap_signal = fault->signal;
  activation->trap_pc = fault->pc;
  activation->trap_frame_pointer = fault->frame_pointer;
  activation->trap_fault_address = fault->address;
  activation->trap_frames = thread->trap_frames;
  activation->trap_frame_count = (uint32_t)precast_stack_walk_from(
      activation, fault->pc, fault->frame_pointer, fault->stack_pointer, thread->trap_frames,
      thread->trap_frames ? PRECAST_TRAP_FRAMES : 0, &activation->trap_frames_truncated);
}

/// Whether the undefined instruction is a word of zeros, as a lost text reads. On AArch64 that is `udf #0`; the traps that
/// compiled code raises by `udf` have their code in it, which is not 0. (On x86-64 zeros are no undefined instruction.)
static bool is_blank(const struct precast_fault *fault) {
  return fault->signal == SIGILL && fault->pc % 4 == 0 && *(const uint32_t *)(uintptr_t)fault->pc == 0;
}

enum precast_fault_end precast_fault_resolve(const struct precast_fault *fault, struct precast_resumption *resumption) {
  struct precast_activation *activation = precast_thread.current;
  if (!activation) return PRECAST_FAULT_UNKNOWN;
  uint64_t pc = fault->pc;
  uint32_t token = precast_code_read_begin();
  const struct precast_code *code = precast_code_read_find(pc);
  struct precast_place place;
  // Where a lost text reads as zeros, which are instructions of two bytes, execution may leave it at its end.
  bool ran_off = !code && precast_code_read_find_address(pc, &place) && !place.is_image;
  if (ran_off) code = place.artifact;
  precast_code_read_end(token);  // this thread is executing the code, so it stays
  if (!code) return PRECAST_FAULT_UNKNOWN;
  if (ran_off) return precast_lost_some(code) ? PRECAST_FAULT_ABANDON : PRECAST_FAULT_UNKNOWN;
  // A fault at the text itself is no trap, whatever stands there.
  bool in_text = is_memory_fault(fault->signal) && fault->address >= code->text_start && fault->address < code->text_end;
  bool is_no_site = in_text || is_blank(fault);
  uint8_t trap_code =
      is_no_site ? 0 : precast_trap_lookup(code->traps, code->traps_size, pc - code->text_start, code->pages);
  // The table's checksums do not fit: nobody can say what this instruction was for.
  if (trap_code == PRECAST_TRAP_DAMAGED) return PRECAST_FAULT_ABANDON;
  if (trap_code == 0) {
    // A defect, in us or in the compiler: it goes to whoever handles crashes. But not where the code or the table is
    // not what was loaded: the text was taken away by `precast_lost_page`, the table reads as zeros, or the
    // file now ends in the middle of a page of text, whose rest reads as zeros and was executed.
    return precast_lost_some(code) ? PRECAST_FAULT_ABANDON : PRECAST_FAULT_UNKNOWN;
  }
  record(trap_code, fault);
  resumption->pc = activation->resume_program_counter;
  resumption->stack_pointer = activation->resume_stack_pointer;
  return PRECAST_FAULT_RESUME;
}

/// Ends the thread's current activation, whose code cannot go on because its artifact is damaged.
static bool abandon(const struct precast_fault *fault, ucontext_t *context) {
  struct precast_activation *activation = precast_thread.current;
  if (!activation) return false;
  // It may have ended already, and only its way out is lost: then it ends as it would have.
  bool has_ended = activation->trap_code != 0 ||
      (activation->entry_frame_pointer != 0 && fault->pc == activation->resume_program_counter);
  if (!has_ended) record(PRECAST_TRAP_DAMAGED, fault);
  return context_leave(context, activation);
}

/// Deals with the signal if it is about our code or our mappings.
static bool ours(int signal, const siginfo_t *info, ucontext_t *context) {
  if (info->si_code <= 0) return false;  // sent by a process
  struct precast_fault fault = {
      .signal = signal,
      .pc = context_pc(context),
      .frame_pointer = context_fp(context),
      .stack_pointer = context_sp(context),
      .address = is_memory_fault(signal) ? (uint64_t)(uintptr_t)info->si_addr : 0};
  if (signal == SIGBUS && info->si_code == BUS_ADRERR) {
    switch (precast_lost_page(fault.address, fault.pc)) {
      case PRECAST_PAGE_REPLACED: return true;
      case PRECAST_PAGE_NEEDED: return abandon(&fault, context);
      case PRECAST_PAGE_ELSEWHERE: break;
    }
  }
  struct precast_resumption resumption;
  switch (precast_fault_resolve(&fault, &resumption)) {
    case PRECAST_FAULT_RESUME: context_resume(context, resumption.pc, resumption.stack_pointer); return true;
    case PRECAST_FAULT_ABANDON: return abandon(&fault, context);
    case PRECAST_FAULT_UNKNOWN: break;
  }
  return false;
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
  if (!ours(signal, info, context)) {
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
