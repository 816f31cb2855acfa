// hello: what the load benchmarks and tests call a small module. Greets NAME, or each line of @FILE.
// Most of it is wasi-libc's formatted output, floating point included, as in any small program in C. Built by
// `make test-wasm`.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int greet_each(const char *path) {
  char line[256];
  FILE *file = fopen(path, "r");
  if (!file) {
    fprintf(stderr, "hello: %s: %s\n", path, strerror(errno));
    return 1;
  }
  while (fgets(line, sizeof line, file)) {
    line[strcspn(line, "\n")] = 0;
    printf("hello %s\n", line);
  }
  return fclose(file) != 0;
}

int main(int argc, char **argv) {
  const char *name = argc > 1 ? argv[1] : "world";
  if (name[0] == '@') return greet_each(name + 1);
  if (argc > 2) {
    double seconds = strtod(argv[2], NULL);
    printf("hello %s, for %.1f minutes\n", name, seconds / 60);
    return 0;
  }
  printf("hello %s\n", name);
  return 0;
}
