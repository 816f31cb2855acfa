// Activations: entries from the host into WebAssembly code.
//
// An *activation* lasts from `precast_enter` until the code it entered returns or traps. It holds
// the resume point that a trap goes back to, and it is linked, newest first, to the thread's other
// activations, so that a stack walk can go on through host frames. A thread enters and leaves
// activations strictly last-in first-out; code that switches stacks underneath (fibres) must not
// leave a stack that has an activation of its own for one that is entered from another.
//
// The first fields of both structures are read and written by generated code; `ContextLayout.swift`
// in the target Artifact is the other statement of these offsets.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct precast_activation;

/// The part of a store that generated code sees, and what entering it needs.
struct precast_store_context {
  /// Lowest stack pointer that wasm code may have; written by `precast_enter`.
  uint64_t stack_limit;
  /// Innermost activation of the store, or null; written by `precast_enter`.
  struct precast_activation *activation;
  /// Most bytes of stack that wasm (and the host functions it calls) may use in one thread,
  /// counted from the outermost entry; 0: as much as the thread's stack has.
  uint64_t max_wasm_stack;
  /// Owned by the runtime.
  void *opaque;
};

/// One frame of a stack walk.
struct precast_frame {
  /// Where the frame's function was: a trapping instruction, or the return address of a call.
  uint64_t pc;
  /// The frame's frame pointer.
  uint64_t frame_pointer;
  /// Whether `pc` is a return address: then the call is the instruction *before* it.
  bool is_return_address;
  /// 0 for the innermost activation, 1 for the one around it, ...
  uint32_t activation_depth;
};

/// One entry from the host into wasm. Lives on the host's stack; `precast_enter` fills it in, so
/// it need not be initialised.
struct precast_activation {
  /// Stack pointer, pc to continue at, and the entry trampoline's frame pointer; written by the
  /// entry trampoline, in this order. Before that, `precast_enter` writes the trampoline's own address as the
  /// pc, and 0 as the frame pointer: the activation is not set up yet.
  uint64_t resume_stack_pointer;
  uint64_t resume_program_counter;
  uint64_t entry_frame_pointer;
  /// Frame pointer of the exit trampoline while a host function runs; 0 before the first one.
  uint64_t exit_frame_pointer;

  // Host fields.

  /// The activation of this thread (of any store) that this one was entered from, or null.
  struct precast_activation *previous;
  /// The store that was entered, with what it held before.
  struct precast_store_context *store;
  struct precast_activation *saved_store_activation;
  uint64_t saved_stack_limit;
  /// The limit in force during this activation.
  uint64_t stack_limit;

  /// How it ended, when `precast_enter` returned 1: the trap code (`TrapCode`'s raw value), or 0
  /// when a host function or built-in reported an error of its own.
  uint32_t trap_code;
  /// The signal that reported the trap; 0 for a stack overflow found by `precast_enter` itself.
  int32_t trap_signal;
  uint64_t trap_pc;
  uint64_t trap_frame_pointer;
  /// The address that could not be accessed (SIGSEGV, SIGBUS), otherwise 0.
  uint64_t trap_fault_address;
  /// The stack at the trap, innermost frame first: up to `PRECAST_TRAP_FRAMES` frames, in a buffer
  /// of the thread that stays valid until the next trap on it. See `precast_stack_walk`.
  const struct precast_frame *trap_frames;
  uint32_t trap_frame_count;
  /// Whether there were more frames than that.
  bool trap_frames_truncated;
};

/// Most frames that are recorded for a trap.
#define PRECAST_TRAP_FRAMES 512

/// Stack below the limit that stays free for frames without a check, host functions and built-ins.
#define PRECAST_STACK_RESERVE (128 * 1024)

/// `TrapCode.stackOverflow`.
#define PRECAST_TRAP_STACK_OVERFLOW 10
/// `TrapCode.damagedArtifact`.
#define PRECAST_TRAP_DAMAGED 13

// The frame of an entry trampoline on x86-64, from its frame pointer: the C caller's registers, which
// the signal handler restores by itself where the trampoline's code is lost. `EntryFrameLayout` in
// ContextLayout.swift is the other statement of it. The trampoline begins with these two instructions,
//
//      push rbp            (PRECAST_ENTRY_PUSH_SIZE byte)
//      mov rbp, rsp
//
// pushes the rest, and changes no register that belongs to its caller before it has written `entry_frame_pointer`,
// after the two resume fields.
//
//      [rbp + 8]  return address        [rbp - 24]  r13
//      [rbp]      rbp                   [rbp - 32]  r14
//      [rbp - 8]  rbx                   [rbp - 40]  r15
//      [rbp - 16] r12                   [rbp - 48]  slots
#define PRECAST_ENTRY_FRAME_RBX (-8)
#define PRECAST_ENTRY_FRAME_R12 (-16)
#define PRECAST_ENTRY_FRAME_R13 (-24)
#define PRECAST_ENTRY_FRAME_R14 (-32)
#define PRECAST_ENTRY_FRAME_R15 (-40)
#define PRECAST_ENTRY_PUSH_SIZE 1

// The same on AArch64, from x29; `AArch64EntryFrameLayout` is the other statement of it. Compiled code leaves x19 to x25
// alone. The trampoline begins with these three instructions,
//
//      bti c                        in every artifact, with landing pads or without
//      stp x29, x30, [sp, #-16]!    (done at PRECAST_AARCH64_ENTRY_RECORD_SIZE bytes)
//      mov x29, sp                  (done at PRECAST_AARCH64_ENTRY_FRAME_SIZE bytes)
//
// and changes neither x30 nor any register that belongs to its caller, but x29 and sp, before it has written
// `entry_frame_pointer`. At its end it has put all of them back but x29 and x30 when it moves sp to x29.
//
//      [x29 + 8]  return address        [x29 - 48]  d8       [x29 - 80]  d12
//      [x29]      x29                   [x29 - 40]  d9       [x29 - 72]  d13
//      [x29 - 8]  x28                   [x29 - 64]  d10      [x29 - 96]  d14
//      [x29 - 16] x27                   [x29 - 56]  d11      [x29 - 88]  d15
//      [x29 - 24] x26
//      [x29 - 32] slots
#define PRECAST_AARCH64_ENTRY_FRAME_X28 (-8)
#define PRECAST_AARCH64_ENTRY_FRAME_X27 (-16)
#define PRECAST_AARCH64_ENTRY_FRAME_X26 (-24)
// d9 stands 8 bytes above d8, and so on.
#define PRECAST_AARCH64_ENTRY_FRAME_D8 (-48)
#define PRECAST_AARCH64_ENTRY_FRAME_D10 (-64)
#define PRECAST_AARCH64_ENTRY_FRAME_D12 (-80)
#define PRECAST_AARCH64_ENTRY_FRAME_D14 (-96)
#define PRECAST_AARCH64_ENTRY_RECORD_SIZE 8
#define PRECAST_AARCH64_ENTRY_FRAME_SIZE 12

/// An entry trampoline; `slots` is an array of 16-byte slots. Returns 0, or 1 after a trap or a
/// host error.
typedef uint64_t (*precast_entry)(void *context, const void *code, void *slots, struct precast_activation *activation);

/// Enters wasm: calls `code` with `context` through the trampoline `entry`.
///
/// The first entry on a thread gives it an alternate signal stack (see `precast_signals.h`), which
/// goes when the thread ends. Signal handlers must have been installed before.
///
/// The store's stack limit becomes the highest of: the current stack pointer less
/// `store->max_wasm_stack`; the low end of the thread's stack plus `PRECAST_STACK_RESERVE`; the
/// limit of the activation that this one is nested in. If the stack pointer is below it already,
/// nothing is entered and the activation ends with the trap *stack overflow*; its frames are then
/// those of the activations around it.
///
/// Returns 0 (results are in `slots`), or 1: see `activation->trap_code`.
uint64_t precast_enter(
    precast_entry entry, void *context, const void *code, void *slots, struct precast_store_context *store,
    struct precast_activation *activation);

/// The block behind a function reference; `FunctionReferenceLayout` in ContextLayout.swift is the other statement of it.
struct precast_function {
  const void *code;
  void *context;
  /// Canonical signature number.
  uint32_t signature;
  /// Slots that a call needs. Not looked at here.
  uint32_t slot_count;
  /// Null for host functions.
  precast_entry entry;
};

/// `precast_call`: the function has no entry trampoline, and nothing was entered.
#define PRECAST_NO_ENTRY 2

/// Enters a function as `precast_enter` does, with the activation in its own frame.
///
/// Returns 0 (results are in `slots`); 1: see `precast_call_failure`; or `PRECAST_NO_ENTRY`.
uint64_t precast_call(
    const struct precast_function *function, void *slots, struct precast_store_context *store);

/// How the calling thread's last `precast_call` that returned 1 ended: a copy of its activation, good until the next one
/// that does.
const struct precast_activation *precast_call_failure(void);

/// The calling thread's innermost activation, or null. Async-signal-safe.
struct precast_activation *precast_current_activation(void);

/// Walks the wasm frames of `activation` and those it is nested in, innermost first, into `frames`.
///
/// Starts at the trap when the activation has trapped *and this is called from the handler*,
/// otherwise at the exit trampoline of the host function that is running; so call it from a host
/// function. Trampoline frames are not reported. Frame pointers are followed only upward and only
/// as far as the entry trampoline, so that a damaged chain ends the walk and nothing else.
///
/// Returns the number of frames written, at most `capacity`; sets `truncated` when there are more.
/// Async-signal-safe.
size_t precast_stack_walk(
    const struct precast_activation *activation, struct precast_frame *frames, size_t capacity, bool *truncated);

/// The calling thread's stack, as far as it can be known: lowest and one past the highest address.
/// Both are 0 when the thread runs on a stack that is not its own.
void precast_thread_stack_bounds(uint64_t *low, uint64_t *high);

/// The stack pointer of the caller, roughly: an address in this function's own frame.
uint64_t precast_stack_pointer(void);

#ifndef __cplusplus
_Static_assert(offsetof(struct precast_store_context, stack_limit) == 0, "StoreContextLayout.stackLimit");
_Static_assert(offsetof(struct precast_store_context, activation) == 8, "StoreContextLayout.activation");
_Static_assert(offsetof(struct precast_function, code) == 0, "FunctionReferenceLayout.code");
_Static_assert(offsetof(struct precast_function, context) == 8, "FunctionReferenceLayout.context");
_Static_assert(offsetof(struct precast_function, signature) == 16, "FunctionReferenceLayout.signatureID");
_Static_assert(offsetof(struct precast_function, entry) == 24, "FunctionReferenceLayout.entryTrampoline");
_Static_assert(sizeof(struct precast_function) == 32, "FunctionReferenceLayout.size");
_Static_assert(offsetof(struct precast_activation, resume_stack_pointer) == 0, "ActivationLayout");
_Static_assert(offsetof(struct precast_activation, resume_program_counter) == 8, "ActivationLayout");
_Static_assert(offsetof(struct precast_activation, entry_frame_pointer) == 16, "ActivationLayout");
_Static_assert(offsetof(struct precast_activation, exit_frame_pointer) == 24, "ActivationLayout");
#endif

#ifdef __cplusplus
}
#endif
