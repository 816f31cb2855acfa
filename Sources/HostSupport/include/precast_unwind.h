// Registration of `.eh_frame` with the unwinder that is linked in, if there is one.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

/// Tells the unwinder of an `.eh_frame` section, which must end in a zero terminator and stay
/// mapped. Does nothing where no unwinder is linked in.
void precast_register_frames(const void *eh_frame);

/// Takes the same back.
void precast_deregister_frames(const void *eh_frame);

#ifdef __cplusplus
}
#endif
