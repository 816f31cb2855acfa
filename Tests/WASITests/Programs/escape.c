// Tries to get out of its directory "/", by every path that it is given on the command line, in every way
// that takes a path. Prints a line for each that is not refused.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wasi/api.h>

static const char *path;
static int refused, allowed;

// The calls of preview 1 themselves: wasi-libc looks at paths before it passes them on.
static void result(const char *what, __wasi_errno_t error) {
  if (error) {
    refused++;
  } else {
    allowed++;
    printf("%s '%s' succeeded\n", what, path);
  }
}

int main(int argc, char **argv) {
  __wasi_fd_t root = 3, fd;
  __wasi_filestat_t st;
  __wasi_size_t size;
  unsigned char buffer[256];
  for (int i = 1; i < argc; i++) {
    path = argv[i];
    for (int follow = 0; follow < 2; follow++) {
      result("open", __wasi_path_open(root, follow, path, 0, __WASI_RIGHTS_FD_READ, 0, 0, &fd));
      result("create", __wasi_path_open(root, follow, path, __WASI_OFLAGS_CREAT, __WASI_RIGHTS_FD_WRITE, 0, 0, &fd));
      result("truncate", __wasi_path_open(root, follow, path, __WASI_OFLAGS_TRUNC, __WASI_RIGHTS_FD_WRITE, 0, 0, &fd));
      result("open directory", __wasi_path_open(root, follow, path, __WASI_OFLAGS_DIRECTORY, 0, 0, 0, &fd));
      result("stat", __wasi_path_filestat_get(root, follow, path, &st));
      result("times", __wasi_path_filestat_set_times(root, follow, path, 0, 0, __WASI_FSTFLAGS_MTIM));
      result("link from", __wasi_path_link(root, follow, path, root, "stolen"));
      result("link to", __wasi_path_link(root, follow, "file", root, path));
    }
    result("mkdir", __wasi_path_create_directory(root, path));
    result("readlink", __wasi_path_readlink(root, path, buffer, sizeof buffer, &size));
    result("rmdir", __wasi_path_remove_directory(root, path));
    result("unlink", __wasi_path_unlink_file(root, path));
    result("rename from", __wasi_path_rename(root, path, root, "stolen"));
    result("rename to", __wasi_path_rename(root, "file", root, path));
    result("symlink", __wasi_path_symlink("x", root, path));
  }
  printf("%d refused, %d allowed\n", refused, allowed);
  return allowed != 0;
}
