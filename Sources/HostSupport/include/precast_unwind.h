// Registration of `.eh_frame` with the unwinder that is linked in, if there is one.
#pragma once

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct precast_frames;

/// Tells the unwinder of an `.eh_frame` section, which must end in a zero terminator and stay
/// mapped. Returns a handle for taking it back; null where no unwinder is linked in, or no memory is
/// left.
struct precast_frames *precast_register_frames(const void *eh_frame);

/// Takes it back; null is allowed.
void precast_deregister_frames(struct precast_frames *frames);

#ifdef __cplusplus
}
#endif
