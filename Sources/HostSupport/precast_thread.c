// What a thread gets at its first entry into wasm, and gives back when it ends.
//
// The handler must not need the stack that wasm (or the host below it) may have used up, so each
// thread has an alternate signal stack; one that somebody else installed stays if it is large
// enough. A buffer for the frames of a trap lies in the same mapping:
//
//      | guard page | alternate stack | frames |
//
// A thread that cannot have all this still runs: its handler works on the ordinary stack, below
// whose limit a reserve is kept free, and its traps have no frames.
//
// The bounds of a thread's stack come from pthread_getattr_np. For the main thread that call reads
// and parses /proc/self/maps, milliseconds when thousands of modules are mapped; there the bounds
// follow from where the kernel puts the program's name, at the very top of the stack, and from the
// limit on the stack's size.
#define _GNU_SOURCE
#include "precast_thread.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "precast_memory.h"

#ifndef AT_MINSIGSTKSZ
#define AT_MINSIGSTKSZ 51
#endif

/// What a signal frame is taken for where the kernel does not say (before Linux 4.18 on AArch64, 5.14 on x86-64). On AArch64
/// it has room for vector registers of any length, of which those kernels do not tell.
#if defined(__aarch64__)
#define UNKNOWN_SIGNAL_FRAME (16 * 1024)
#else
#define UNKNOWN_SIGNAL_FRAME 4096
#endif
/// What the handler, and one that it passes a signal on to, may want beside the signal frame.
#define HANDLER_STACK (64 * 1024)
/// Somebody else's alternate stack is good enough with this much beside the signal frame.
#define ADEQUATE_STACK (16 * 1024)

/// Where the kernel lets the main thread's stack grow without limit, we do not.
#define UNLIMITED_STACK ((uint64_t)256 << 20)

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t key;
static bool have_key;

static void thread_ended(void *argument) {
  struct precast_thread *thread = argument;
  stack_t current;
  if (thread->alternate_stack && sigaltstack(NULL, &current) == 0 && current.ss_sp == thread->alternate_stack) {
    stack_t none = {.ss_flags = SS_DISABLE};
    // Fails if we run on it, which no thread does at its end; then it must stay mapped.
    if (sigaltstack(&none, NULL) != 0) return;
  }
  void *mapping = thread->mapping;
  size_t size = thread->mapping_size;
  thread->trap_frames = NULL;
  thread->alternate_stack = NULL;
  thread->mapping = NULL;
  // A destructor that runs after this one and enters wasm prepares the thread again.
  thread->ready = false;
  thread->stack_size = 0;
  if (mapping) munmap(mapping, size);
}

static void make_key(void) { have_key = pthread_key_create(&key, thread_ended) == 0; }

static size_t round_to_pages(size_t size) {
  size_t page = precast_page_size();
  return (size + page - 1) / page * page;
}

static bool main_thread_bounds(uint64_t sp, uint64_t *low, uint64_t *high) {
  if (syscall(SYS_gettid) != getpid()) return false;
  const char *name = (const char *)getauxval(AT_EXECFN);
  struct rlimit limit;
  if (!name || getrlimit(RLIMIT_STACK, &limit) != 0) return false;
  // The name ends 8 bytes below the top; the kernel counts the limit from there.
  uint64_t top = (uint64_t)round_to_pages((uintptr_t)name + strlen(name) + 1 + 8);
  // (Infinity is the largest number.)
  uint64_t size = limit.rlim_cur > UNLIMITED_STACK ? UNLIMITED_STACK : limit.rlim_cur;
  if (sp >= top || top - sp >= size || size > top) return false;
  *low = top - size;
  *high = top;
  return true;
}

static void find_bounds(struct precast_thread *thread) {
  uint64_t sp = (uint64_t)(uintptr_t)__builtin_frame_address(0);
  if (main_thread_bounds(sp, &thread->stack_low, &thread->stack_high)) return;
  thread->stack_low = thread->stack_high = 0;
  pthread_attr_t attributes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
  void *address;
  size_t size, guard;
  if (pthread_attr_getstack(&attributes, &address, &size) == 0 &&
      pthread_attr_getguardsize(&attributes, &guard) == 0 && guard < size) {
    // C libraries disagree whether the guard is part of the size, so it is left out of it.
    thread->stack_low = (uint64_t)(uintptr_t)address + guard;
    thread->stack_high = (uint64_t)(uintptr_t)address + size;
  }
  pthread_attr_destroy(&attributes);
}

void precast_thread_prepare(struct precast_thread *thread) {
  thread->ready = true;
  find_bounds(thread);
  thread->stack_size = thread->stack_high - thread->stack_low;
  pthread_once(&once, make_key);
  if (!have_key) return;

  size_t signal_frame = (size_t)getauxval(AT_MINSIGSTKSZ);
  if (signal_frame == 0) signal_frame = UNKNOWN_SIGNAL_FRAME;
  stack_t current;
  bool keep = sigaltstack(NULL, &current) != 0 || (current.ss_flags & SS_ONSTACK) ||
              (!(current.ss_flags & SS_DISABLE) && current.ss_size >= signal_frame + ADEQUATE_STACK);

  size_t guard_size = keep ? 0 : precast_page_size();
  size_t stack_size = keep ? 0 : round_to_pages(signal_frame + HANDLER_STACK);
  size_t frames_size = round_to_pages(PRECAST_TRAP_FRAMES * sizeof(struct precast_frame));
  size_t size = guard_size + stack_size + frames_size;
  char *mapping = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapping == MAP_FAILED) return;
  if ((guard_size && mprotect(mapping, guard_size, PROT_NONE) != 0) || pthread_setspecific(key, thread) != 0) {
    munmap(mapping, size);
    return;
  }
  thread->mapping = mapping;
  thread->mapping_size = size;
  thread->trap_frames = (struct precast_frame *)(mapping + guard_size + stack_size);
  if (!keep) {
    stack_t ours = {.ss_sp = mapping + guard_size, .ss_size = stack_size};
    if (sigaltstack(&ours, NULL) == 0) thread->alternate_stack = ours.ss_sp;
  }
}
