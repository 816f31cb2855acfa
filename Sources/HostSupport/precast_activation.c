// Entering wasm, and walking the stack it leaves behind.
//
// Entering is on the path of every call from the host, so it does only what a trap will need: one
// read of thread-local data, the stack limit, and two links (the thread's chain, which handler and stack
// walk follow, and the store's, which generated code follows). The thread is prepared once.
//
// Wasm functions keep frame pointers, so a walk needs no tables:
//
//      entry trampoline   rbp = entry_frame_pointer: the walk ends when it gets there
//      wasm function      [rbp] = caller's rbp, [rbp + 8] = return address into the caller
//      wasm function      traps here (pc, rbp from the signal), or calls out through ...
//      exit trampoline    rbp = exit_frame_pointer: its return address is the first wasm frame
//      host frames        not walked: the activation entered from them links to this one
//
// (On AArch64 x29 is what rbp is here; frame records look the same.)
//
// Addresses of an activation's frames only rise, and stay between where the walk starts and the
// entry trampoline's frame. A chain that does not is damaged, and ends there; since nothing outside
// that part of the live stack is read, the walk itself cannot fault.
#define _GNU_SOURCE
#include "precast_thread.h"

#include <string.h>

/// What a stack whose end is unknown is trusted to have left.
#define UNKNOWN_STACK (256 * 1024)

_Thread_local struct precast_thread precast_thread __attribute__((tls_model("initial-exec"), visibility("hidden")));

static inline uint64_t larger(uint64_t a, uint64_t b) { return a > b ? a : b; }

static inline uint64_t less_or_zero(uint64_t a, uint64_t b) { return a > b ? a - b : 0; }

/// Where a walk puts what it finds.
struct sink {
  struct precast_frame *frames;
  size_t capacity;
  size_t count;
  bool truncated;
};

/// False when there is no room.
static bool put(struct sink *sink, uint64_t pc, uint64_t fp, bool is_return_address, uint32_t depth) {
  if (sink->count == sink->capacity) {
    sink->truncated = true;
    return false;
  }
  sink->frames[sink->count++] = (struct precast_frame){
      .pc = pc, .frame_pointer = fp, .is_return_address = is_return_address, .activation_depth = depth};
  return true;
}

/// Reports the callers of the frame at `fp`, which lies at or above `low`. False when there is no room.
static bool walk_callers(
    const struct precast_activation *activation, uint64_t fp, uint64_t low, uint32_t depth, struct sink *sink) {
  uint64_t end = activation->entry_frame_pointer;
  while (fp >= low && fp < end && end - fp >= 16 && fp % 8 == 0) {
    uint64_t frame[2];
    memcpy(frame, (const void *)(uintptr_t)fp, sizeof frame);
    if (frame[0] == end || frame[0] <= fp) break;  // called by the entry trampoline, or damaged
    if (frame[0] > end) break;
    if (!put(sink, frame[1], frame[0], true, depth)) return false;
    low = fp + 16;
    fp = frame[0];
  }
  return true;
}

static void walk_outer(const struct precast_activation *activation, uint32_t depth, struct sink *sink) {
  for (; activation; activation = activation->previous, depth++) {
    uint64_t fp = activation->exit_frame_pointer;
    if (fp != 0 && !walk_callers(activation, fp, fp, depth, sink)) return;
  }
}

extern const char boundary[] __asm__("precast_boundary") __attribute__((visibility("hidden")));

/// The trap of an entry for which there is no stack: its frames are those of the activations around it.
static __attribute__((noinline, cold)) void overflow(
    struct precast_thread *thread, struct precast_activation *activation) {
  struct sink sink = {.frames = thread->trap_frames, .capacity = thread->trap_frames ? PRECAST_TRAP_FRAMES : 0};
  // Linkers that drop unused sections (gold's --gc-sections) do not count what only unwind tables name as used.
  __asm__ volatile("" : : "r"(boundary));
  walk_outer(activation->previous, 1, &sink);
  activation->trap_code = PRECAST_TRAP_STACK_OVERFLOW;
  activation->trap_signal = 0;
  activation->trap_frames = thread->trap_frames;
  activation->trap_pc = 0;
  activation->trap_frame_pointer = 0;
  activation->trap_fault_address = 0;
  activation->trap_frame_count = (uint32_t)sink.count;
  activation->trap_frames_truncated = sink.truncated;
}

/// The least stack pointer that the thread's stack allows; `sp` is the current one, roughly.
static inline uint64_t thread_limit(const struct precast_thread *thread, uint64_t sp) {
  if (sp - thread->stack_low < thread->stack_size) return thread->stack_low + PRECAST_STACK_RESERVE;
  return less_or_zero(sp, UNKNOWN_STACK - PRECAST_STACK_RESERVE);
}

// Compiled wasm leaves x19 to x25 alone, so entry trampolines on AArch64 do not keep them. But where an artifact is lost
// in the middle of a C function that is linked into it, the signal handler leaves with that function's values in them. So they
// are saved with the other registers that are used here, before the call (hence twice), and nothing is in them during it.
#if defined(__aarch64__)
#define KEEP_REGISTERS() __asm__ volatile("" : : : "x19", "x20", "x21", "x22", "x23", "x24", "x25")
#else
#define KEEP_REGISTERS() ((void)0)
#endif

/// What all ways to enter have in common. What is needed behind the call is read again from the activation, so that
/// nothing has to be kept in registers that would have to be saved first: the trampoline saves them all a moment later.
static inline __attribute__((always_inline)) uint64_t enter(
    void *context, const void *code, void *slots, struct precast_activation *activation, precast_entry entry,
    struct precast_store_context *store, uint64_t sp, uint64_t limit) {
  // What an unwinder asks when it comes here: see precast_boundary.c. (0x1b: a distance of 32 bits.)
  __asm__ volatile(".cfi_personality 0x1b, precast_boundary");
  struct precast_activation *outer = precast_thread.current;
  if (store->max_wasm_stack != 0) limit = larger(limit, less_or_zero(sp, store->max_wasm_stack));
  if (outer) limit = larger(limit, outer->stack_limit);

  activation->resume_program_counter = (uint64_t)(uintptr_t)entry;
  activation->entry_frame_pointer = 0;
  activation->exit_frame_pointer = 0;
  activation->previous = outer;
  activation->store = store;
  activation->saved_store_activation = store->activation;
  activation->saved_stack_limit = store->stack_limit;
  activation->stack_limit = limit;
  activation->trap_code = 0;
  if (__builtin_expect(sp < limit, 0)) {
    overflow(&precast_thread, activation);
    return 1;
  }
  store->stack_limit = limit;
  store->activation = activation;
  precast_thread.current = activation;
  KEEP_REGISTERS();
  uint64_t result = entry(context, code, slots, activation);
  KEEP_REGISTERS();
  store = activation->store;
  precast_thread.current = activation->previous;
  store->activation = activation->saved_store_activation;
  store->stack_limit = activation->saved_stack_limit;
  return result;
}

/// An activation that ended without a trap has no frames, and no fields that say so yet.
static void complete(struct precast_activation *activation) {
  if (activation->trap_code != 0) return;
  activation->trap_signal = 0;
  activation->trap_pc = 0;
  activation->trap_frame_pointer = 0;
  activation->trap_fault_address = 0;
  activation->trap_frames = NULL;
  activation->trap_frame_count = 0;
  activation->trap_frames_truncated = false;
}

uint64_t precast_enter(
    precast_entry entry, void *context, const void *code, void *slots, struct precast_store_context *store,
    struct precast_activation *activation) {
  if (__builtin_expect(!precast_thread.ready, 0)) precast_thread_prepare(&precast_thread);
  uint64_t sp = (uint64_t)(uintptr_t)__builtin_frame_address(0);
  uint64_t limit = thread_limit(&precast_thread, sp);
  uint64_t result = enter(context, code, slots, activation, entry, store, sp, limit);
  if (__builtin_expect(result != 0, 0)) complete(activation);
  return result;
}

static __attribute__((noinline, cold)) uint64_t keep_failure(struct precast_activation *activation) {
  complete(activation);
  precast_thread.failure = *activation;
  return 1;
}

/// `precast_call` where the thread is new, or runs on a stack that is not its own; or without a trampoline.
static __attribute__((noinline, cold)) uint64_t uncommon_call(
    const struct precast_function *function, void *slots, struct precast_store_context *store) {
  struct precast_activation activation;
  if (!function->entry) return PRECAST_NO_ENTRY;
  uint64_t result = precast_enter(
      function->entry, function->context, function->code, slots, store, &activation);
  return result ? keep_failure(&activation) : 0;
}

uint64_t precast_call(
    const struct precast_function *function, void *slots, struct precast_store_context *store) {
  struct precast_activation activation;
  // The activation is at the end of this frame. (A frame pointer would be one more register to save.)
  uint64_t sp = (uint64_t)(uintptr_t)&activation;
  uint64_t low = precast_thread.stack_low;
  if (__builtin_expect(sp - low >= precast_thread.stack_size || !function->entry, 0)) {
    return uncommon_call(function, slots, store);
  }
  uint64_t result = enter(
      function->context, function->code, slots, &activation, function->entry, store, sp, low + PRECAST_STACK_RESERVE);
  if (__builtin_expect(result != 0, 0)) return keep_failure(&activation);
  return 0;
}

const struct precast_activation *precast_call_failure(void) { return &precast_thread.failure; }

struct precast_activation *precast_current_activation(void) { return precast_thread.current; }

void precast_thread_stack_bounds(uint64_t *low, uint64_t *high) {
  struct precast_thread *thread = &precast_thread;
  if (!thread->ready) precast_thread_prepare(thread);
  uint64_t sp = (uint64_t)(uintptr_t)__builtin_frame_address(0);
  bool known = sp >= thread->stack_low && sp < thread->stack_high;
  *low = known ? thread->stack_low : 0;
  *high = known ? thread->stack_high : 0;
}

uint64_t precast_stack_pointer(void) { return (uint64_t)(uintptr_t)__builtin_frame_address(0); }

size_t precast_stack_walk(
    const struct precast_activation *activation, struct precast_frame *frames, size_t capacity, bool *truncated) {
  struct sink sink = {.frames = frames, .capacity = capacity};
  if (activation && activation->trap_code != 0) {
    // It is over; what was on the stack is gone, but for what the handler recorded.
    size_t count = activation->trap_frame_count < capacity ? activation->trap_frame_count : capacity;
    if (count) memcpy(frames, activation->trap_frames, count * sizeof *frames);
    *truncated = activation->trap_frames_truncated || count < activation->trap_frame_count;
    return count;
  }
  walk_outer(activation, 0, &sink);
  *truncated = sink.truncated;
  return sink.count;
}

size_t precast_stack_walk_from(
    const struct precast_activation *activation, uint64_t pc, uint64_t frame_pointer, uint64_t stack_pointer,
    struct precast_frame *frames, size_t capacity, bool *truncated) {
  struct sink sink = {.frames = frames, .capacity = capacity};
  if (frame_pointer >= activation->entry_frame_pointer) {
    // In the entry trampoline, which is no frame of wasm.
    walk_outer(activation->previous, 1, &sink);
  } else if (put(&sink, pc, frame_pointer, false, 0) &&
      walk_callers(activation, frame_pointer, stack_pointer, 0, &sink)) {
    walk_outer(activation->previous, 1, &sink);
  }
  *truncated = sink.truncated;
  return sink.count;
}
