// CRC-32C: the checksum of an artifact's pages.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// The CRC-32C (Castagnoli polynomial, reflected, as in RFC 3720, appendix B.4) of `size` bytes that
/// follow those of which `crc` is the checksum; 0 for none. Async-signal-safe.
uint32_t precast_crc32c(uint32_t crc, const void *bytes, size_t size);

/// The same for `size` bytes that are zero. Async-signal-safe.
uint32_t precast_crc32c_zeros(uint32_t crc, size_t size);

/// The same as `precast_crc32c` without the help of the processor; what it is on processors that have
/// no instruction for it, and what the instruction is held against in tests.
uint32_t precast_crc32c_portable(uint32_t crc, const void *bytes, size_t size);

#ifdef __cplusplus
}
#endif
