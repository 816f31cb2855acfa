// Traps that the hardware finds arrive as signals: SIGSEGV, SIGBUS, SIGILL and SIGFPE.
//
// A signal is ours when the kernel raised it for the instruction that the thread was executing,
// the thread is in an activation, the pc is in registered code, and that code has a trap site at
// exactly that pc. Then the trap is recorded in the activation and the thread continues at the
// activation's resume point.
//
// A bus error is also ours when it is about a page of an artifact's file that cannot be had any more, in the
// artifact's mapping or in an image of its data; see `precast_lost_page.c`. Then the thread goes on with a
// zero page, or its activation ends with the trap `PRECAST_TRAP_DAMAGED`.
//
// Every other signal goes to whatever handled it before us, as if we were not there. The handler takes no lock,
// allocates nothing and touches only registered code's trap table and the thread's own memory.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Installs the four handlers, once a process; later calls do nothing. Thread-safe.
///
/// Whoever installs a handler after this must keep ours and pass on what is not theirs.
/// Returns 0, or a negative errno.
int precast_install_signal_handlers(void);

/// Whether all four handlers are still in place.
bool precast_signal_handlers_in_place(void);

/// What stopped a thread, and where, as numbers. The handler takes them from a signal's context; whoever runs code on a
/// processor that is not this machine's has them from there.
struct precast_fault {
  /// SIGSEGV, SIGBUS, SIGILL or SIGFPE.
  int signal;
  uint64_t pc;
  uint64_t frame_pointer;
  uint64_t stack_pointer;
  /// The address that could not be accessed (SIGSEGV, SIGBUS), otherwise 0.
  uint64_t address;
};

/// Where a thread goes on after a trap; it needs no other register.
struct precast_resumption {
  uint64_t pc;
  uint64_t stack_pointer;
};

/// What a fault was.
enum precast_fault_end {
  /// Not about our code, or a defect of it.
  PRECAST_FAULT_UNKNOWN = 0,
  /// A trap. It is recorded in the thread's current activation, and the thread goes on where is said.
  PRECAST_FAULT_RESUME,
  /// The artifact is damaged: the activation must end without any more of its code. Nothing is recorded.
  PRECAST_FAULT_ABANDON,
};

/// The part of the handler that knows nothing of registers: finds the trap site at the fault's pc and records the trap in
/// the calling thread's activation. Async-signal-safe.
enum precast_fault_end precast_fault_resolve(const struct precast_fault *fault, struct precast_resumption *resumption);

#ifdef __cplusplus
}
#endif
