// Copying files, and files that have no name yet. All functions return a negative errno on failure; calls
// interrupted by a signal are made again.
#pragma once

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Reads exactly `size` bytes from `offset`, whatever the file's position is. ENODATA: the file ends before.
int precast_read_exactly(int fd, void *buffer, size_t size, uint64_t offset);

/// Makes the empty file `to` a copy of the first `size` bytes of `from`: shares the blocks where the file system can,
/// lets the kernel copy otherwise, and copies by hand where it cannot either. Uses the position of `to` only. ENODATA:
/// `from` is shorter.
int precast_copy_file(int from, int to, uint64_t size);

/// A new file in `directory` that has no name (`O_TMPFILE`), so that nothing is left of it whatever ends the process.
/// Returns a descriptor; EOPNOTSUPP and others where the file system has no such files.
int precast_open_unnamed(const char *directory);

/// Gives a file without a name the name `path`, which must not exist (EEXIST).
int precast_name_unnamed(int fd, const char *path);

/// Maps a whole file for reading.
int precast_map_file(int fd, size_t size, uint64_t *address);

#ifdef __cplusplus
}
#endif
