// Registration of `.eh_frame` with the process's unwinder, and the boundary that unwinding stops at.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Whose functions `__register_frame` and its like are, in this process.
enum precast_unwinder {
  /// Nobody's: nothing can be registered.
  PRECAST_UNWINDER_NONE,
  /// libgcc's (libgcc_s, or libgcc_eh in a static program): sections are registered whole.
  PRECAST_UNWINDER_LIBGCC,
  /// LLVM's libunwind: each description is registered by itself.
  PRECAST_UNWINDER_LLVM,
};

/// The process's unwinder, found at the first call.
enum precast_unwinder precast_find_unwinder(void);

struct precast_frames;

/// Tells the unwinder of an `.eh_frame` section of `size` bytes, which must end in a zero terminator and stay
/// mapped. Returns a handle for taking it back; null where there is no unwinder, or no memory is left.
///
/// Under libgcc up to GCC 12 nothing is read; under later ones, and LLVM's libunwind, all of it is.
struct precast_frames *precast_register_frames(const void *eh_frame, size_t size);

/// Takes it back; null is allowed.
void precast_deregister_frames(struct precast_frames *frames);

/// How many sections are registered now.
size_t precast_registered_frames(void);

#ifdef __cplusplus
}
#endif
