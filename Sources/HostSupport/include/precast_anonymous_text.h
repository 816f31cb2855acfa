// Moving mapped code to anonymous memory, at the same address.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Replaces `size` bytes of executable code mapped at `address` (whole pages) by a copy in anonymous memory. Threads may be
/// executing it meanwhile. Nothing is writable and executable at any time. Returns 0, or a negative errno; then all is as it was.
int precast_make_text_anonymous(uint64_t address, size_t size);

#ifdef __cplusplus
}
#endif
