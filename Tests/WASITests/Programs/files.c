// Files and directories as an ordinary program uses them. Prints what it sees, and no times or inodes, so
// that the output is the same wherever it runs. Its directory is "/" and empty at the start.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <unistd.h>

static void result(const char *what, int status) {
  printf("%-28s %s\n", what, status < 0 ? strerror(errno) : "ok");
}

static void show(const char *path) {
  char text[256] = {0};
  int fd = open(path, O_RDONLY);
  if (fd < 0) {
    printf("%-28s %s\n", path, strerror(errno));
    return;
  }
  ssize_t n = read(fd, text, sizeof text - 1);
  struct stat st;
  fstat(fd, &st);
  printf("%-28s %zd bytes of %lld, links %d: '%s'\n", path, n, (long long)st.st_size, (int)st.st_nlink, text);
  close(fd);
}

static void create(const char *path, const char *text) {
  FILE *f = fopen(path, "w");
  if (!f) {
    printf("create %s: %s\n", path, strerror(errno));
    return;
  }
  fputs(text, f);
  fclose(f);
}

static int compare(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void list(const char *path, int print) {
  DIR *d = opendir(path);
  if (!d) {
    printf("opendir %s: %s\n", path, strerror(errno));
    return;
  }
  static char *names[8192];
  int count = 0;
  unsigned long hash = 0;
  for (struct dirent *e; (e = readdir(d));) names[count++] = strdup(e->d_name);
  qsort(names, count, sizeof *names, compare);
  for (int i = 0; i < count; i++) {
    for (char *p = names[i]; *p; p++) hash = hash * 31 + (unsigned char)*p;
    if (print) printf("  %s\n", names[i]);
    free(names[i]);
  }
  printf("%s: %d entries, hash %lx\n", path, count, hash);
  closedir(d);
}

int main(void) {
  result("mkdir", mkdir("/work", 0777));
  result("mkdir again", mkdir("/work", 0777));
  result("chdir", chdir("/work"));
  create("one", "first file");
  create("sub-less", "x");
  result("mkdir sub", mkdir("sub", 0777));
  create("sub/two", "second file");
  show("one");
  show("sub/two");
  show("sub/../one");
  show("missing");

  result("rename", rename("one", "sub/renamed"));
  show("sub/renamed");
  show("one");
  result("rename onto a directory", rename("sub/renamed", "sub"));
  result("rename directory", rename("sub", "moved"));
  show("moved/renamed");
  result("rename into itself", rename("moved", "moved/inner"));

  result("link", link("moved/two", "hard"));
  show("hard");
  result("unlink", unlink("moved/two"));
  show("hard");
  result("symlink", symlink("moved/renamed", "soft"));
  show("soft");
  char target[64];
  ssize_t n = readlink("soft", target, sizeof target);
  printf("readlink: %.*s\n", (int)n, target);
  result("symlink over it", symlink("x", "soft"));
  struct stat st;
  lstat("soft", &st);
  printf("lstat: link %d size %d\n", S_ISLNK(st.st_mode), (int)st.st_size);
  stat("soft", &st);
  printf("stat: file %d size %d\n", S_ISREG(st.st_mode), (int)st.st_size);

  int fd = open("data", O_RDWR | O_CREAT | O_EXCL, 0666);
  result("create exclusively", fd);
  result("create exclusively again", open("data", O_RDWR | O_CREAT | O_EXCL, 0666));
  char block[1000];
  for (int i = 0; i < 100; i++) {
    memset(block, 'a' + i % 26, sizeof block);
    if (write(fd, block, sizeof block) != sizeof block) printf("short write\n");
  }
  printf("seek end: %lld\n", (long long)lseek(fd, 0, SEEK_END));
  printf("seek: %lld\n", (long long)lseek(fd, -50000, SEEK_CUR));
  printf("read %zd: %c\n", read(fd, block, 10), block[0]);
  printf("pread %zd: %c\n", pread(fd, block, 10, 3000), block[0]);
  printf("pwrite %zd\n", pwrite(fd, "PWRITE", 6, 200000));
  fstat(fd, &st);
  printf("size %lld\n", (long long)st.st_size);
  result("ftruncate", ftruncate(fd, 1234));
  fstat(fd, &st);
  printf("size %lld, position %lld\n", (long long)st.st_size, (long long)lseek(fd, 0, SEEK_CUR));
  printf("read at the end: %zd\n", read(fd, block, 10));
  struct iovec parts[3] = {{"abc", 3}, {"", 0}, {"defg", 4}};
  lseek(fd, 0, SEEK_SET);
  printf("writev %zd\n", writev(fd, parts, 3));
  char left[2], right[5] = {0};
  struct iovec into[2] = {{left, 2}, {right, 4}};
  lseek(fd, 0, SEEK_SET);
  ssize_t got = readv(fd, into, 2);
  printf("readv %zd: %.2s|%s\n", got, left, right);
  struct timespec times[2] = {{1000, 5}, {2000, 7}};
  result("futimens", futimens(fd, times));
  fstat(fd, &st);
  printf("times %lld.%ld %lld.%ld\n", (long long)st.st_atim.tv_sec, st.st_atim.tv_nsec, (long long)st.st_mtim.tv_sec,
         st.st_mtim.tv_nsec);
  result("fsync", fsync(fd));
  result("close", close(fd));
  result("close again", close(fd));

  fd = open("log", O_WRONLY | O_CREAT | O_APPEND, 0666);
  write(fd, "1", 1);
  lseek(fd, 0, SEEK_SET);
  write(fd, "2", 1);
  close(fd);
  show("log");
  fd = open("log", O_WRONLY | O_TRUNC);
  close(fd);
  show("log");

  result("open a directory to write", open("moved", O_RDWR));
  result("open a file as directory", open("hard", O_RDONLY | O_DIRECTORY));
  result("open a link, no follow", open("soft", O_RDONLY | O_NOFOLLOW));
  result("open through a file", open("hard/x", O_RDONLY));
  result("rmdir, not empty", rmdir("moved"));
  result("unlink a directory", unlink("moved"));
  result("rmdir a file", rmdir("hard"));
  result("access", access("hard", R_OK));
  result("access of nothing", access("nothing", F_OK));

  result("mkdir many", mkdir("many", 0777));
  for (int i = 0; i < 2500; i++) {
    char name[300];
    int length = snprintf(name, sizeof name, "many/%d-", i);
    memset(name + length, 'n', i % 200);
    name[length + i % 200] = 0;
    create(name, "");
  }
  list("many", 0);
  DIR *d = opendir("many");
  int removed = 0;
  for (struct dirent *e; (e = readdir(d));) {
    if (e->d_name[0] == '.') continue;
    if (unlinkat(dirfd(d), e->d_name, 0) == 0) removed++;
  }
  rewinddir(d);
  int left_over = 0;
  while (readdir(d)) left_over++;
  closedir(d);
  printf("removed %d, left %d\n", removed, left_over);
  result("rmdir many", rmdir("many"));
  list("/work", 1);
  list("/work/moved/", 1);
  return 0;
}
