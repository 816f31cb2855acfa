#pragma once
#include <stdint.h>

/// Opens `path` beneath the directory `dirfd` and nowhere else, by `openat2(2)` with
/// `RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS`: an absolute path, a `..` above `dirfd`, a symbolic
/// link that leads out of it or is absolute, and a magic link of procfs all fail, and a directory
/// that is moved while the path is walked cannot make them succeed.
///
/// `O_CLOEXEC | O_NOCTTY` are added (not `O_NOCTTY` to `O_PATH`, which takes few flags).
/// Returns a file descriptor, or the negated errno: `-EXDEV` where the path leaves `dirfd`,
/// `-ENOSYS` on a kernel before 5.6. There is no fallback: without the kernel there is no sandbox.
int precast_openat2(int dirfd, const char *path, uint64_t flags, uint64_t mode);

/// `O_PATH`, which glibc shows only to `_GNU_SOURCE`.
extern const uint64_t precast_o_path;
