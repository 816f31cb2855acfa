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

#ifdef __cplusplus
}
#endif
