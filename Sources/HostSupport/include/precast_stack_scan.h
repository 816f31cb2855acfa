// Reading stacks without knowing what is on them.
//
// The runtime finds references to host objects in the frames of compiled code by looking at every word between two
// addresses. The address sanitizer forbids reading between the variables of instrumented frames, which such a walk does
// on purpose; so it is here, in a function that is not instrumented.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Calls `found` with each aligned word in `[low, high)` whose bits under `mask` are those of `pattern`.
/// Every byte of the range must be readable.
void precast_scan_words(
    uint64_t low, uint64_t high, uint64_t mask, uint64_t pattern, void (*found)(void *state, uint64_t word),
    void *state);

#ifdef __cplusplus
}
#endif
