// Mapping helpers with the flags Swift cannot see (`MAP_FIXED_NOREPLACE`, `MFD_*`, `F_ADD_SEALS`),
// and errors as negative errno values instead of a thread-local.
//
// Addresses are integers here: a reservation is address space, not memory that may be read.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Is told of address space that changes hands: before it is given back or loses its contents, and when it is newly
/// reserved or mapped. Called on the thread that does so.
typedef void (*precast_mapping_observer)(uint64_t address, size_t size);

/// Sets the observer of all mappings made with the functions below; null, as at first: nobody. For tests that keep book of
/// memory.
void precast_set_mapping_observer(precast_mapping_observer observer);

/// The size of a page.
size_t precast_page_size(void);

/// Reserves address space that cannot be accessed and costs no memory. `*address` is page-aligned.
int precast_reserve(size_t size, uint64_t *address);

// The same below 2 GiB, where addresses fit into 32 bits, signed or not. Linux has that on x86-64 only.
int precast_reserve_low(size_t size, uint64_t *address);

/// Makes a range of a reservation readable and writable; new pages read as zero.
int precast_commit(uint64_t address, size_t size);

/// Makes a range inaccessible again and gives its pages back; it stays reserved.
int precast_decommit(uint64_t address, size_t size);

/// Maps part of a file copy-on-write over a range of a reservation, readable and writable.
int precast_map_image(uint64_t address, size_t size, int fd, uint64_t offset);

/// Puts zero pages (new, private, readable and writable) over a range of a reservation.
int precast_map_zero(uint64_t address, size_t size);

/// Drops a range's private pages: it then reads as first mapped (zero, or the image's file). The
/// range may cover several mappings, and inaccessible parts between them.
int precast_reset(uint64_t address, size_t size);

/// Maps zero pages, private, readable and writable; pages that nobody touches cost nothing.
int precast_map(size_t size, uint64_t *address);

/// Makes what `precast_map` gave larger or smaller, where it is or elsewhere; new pages are zero. On
/// failure it stays as it was.
int precast_remap(uint64_t old_address, size_t old_size, size_t size, uint64_t *address);

/// Gives address space back.
int precast_release(uint64_t address, size_t size);

/// What an artifact is in memory, from the start of its text on; sizes in bytes, parts from the start.
struct precast_artifact_parts {
  /// Bytes of the file, to its end.
  size_t file_size;
  /// Whole pages, at the start: readable and executable.
  size_t text_size;
  /// Where writable data starts, on a page, up to the end of the file; `file_size` where the file has none.
  size_t data_start;
  /// Bytes in memory: what is beyond the file is writable too, and zero at first. At least `file_size`.
  size_t memory_size;
  /// Whether every target of an indirect branch in the text has a landing pad. Then the processor, where it can (AArch64 with
  /// FEAT_BTI), is told to let such branches go nowhere else.
  bool has_landing_pads;
};

/// Maps an artifact from `offset` in its file, where its text starts: text readable and executable, writable data
/// copy-on-write, the rest readable. Nothing is ever writable and executable, or was before.
///
/// With `*address` not 0, it is mapped there, over a reservation that the caller has made; after a failure the
/// reservation's contents are whatever they are.
int precast_map_artifact(int fd, uint64_t offset, const struct precast_artifact_parts *parts, uint64_t *address);

/// Opens a file for reading: close-on-exec, and without waiting for somebody at the other end of a
/// pipe. Returns a descriptor or a negative errno.
int precast_open_for_reading(const char *path);

/// Reads up to `capacity` bytes from the start of a regular file. Returns how many, or a negative
/// errno (EISDIR for a directory, ESPIPE for anything else that is no regular file); sets `file_size`.
int64_t precast_read_start(int fd, void *buffer, size_t capacity, uint64_t *file_size);

/// An anonymous file with a copy of `size` bytes, sealed against any change. Returns its
/// descriptor (close-on-exec) or a negative errno.
int precast_sealed_memfd(const char *name, const void *bytes, size_t size);

// The same in two steps, for whoever writes the bytes itself: a new file in memory (its descriptor, or -errno), and making
// what it holds final (0 or -errno). No writable mapping of it may be left.
int precast_new_memfd(const char *name);
int precast_seal_memfd(int fd);

/// Raises the soft limit on descriptors to the hard one. Returns 1 when that made room, otherwise 0.
int precast_raise_descriptor_limit(void);

#ifdef __cplusplus
}
#endif
