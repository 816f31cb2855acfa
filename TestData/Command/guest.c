// guest: what the command's tests run. Each subcommand shows one thing about how `precast run` treats its guest.
// Built by `make test-wasm`.

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern char **environ;

static int (*volatile again)(int);

static int deeper(int n) { return again(n + 1) + 1; }

static int copy(FILE *from, FILE *to) {
  int c;
  while ((c = getc(from)) != EOF)
    if (putc(c, to) == EOF) break;
  return ferror(from) || ferror(to) || fflush(to);
}

int main(int argc, char **argv) {
  const char *verb = argc > 1 ? argv[1] : "";
  if (!strcmp(verb, "exit")) return atoi(argv[2]);
  if (!strcmp(verb, "environment")) {
    for (char **e = environ; *e; e++) puts(*e);
    return 0;
  }
  if (!strcmp(verb, "both")) {
    fputs("to standard output\n", stdout);
    fputs("to standard error\n", stderr);
    return 0;
  }
  if (!strcmp(verb, "copy")) return copy(stdin, stdout);
  if (!strcmp(verb, "read") || !strcmp(verb, "write")) {
    FILE *file = fopen(argv[2], *verb == 'r' ? "r" : "w");
    if (!file) {
      fprintf(stderr, "%s: %s\n", argv[2], strerror(errno));
      return 3;
    }
    return *verb == 'r' ? copy(file, stdout) : copy(stdin, file) || fclose(file);
  }
  if (!strcmp(verb, "trap")) {
    puts("before the trap");
    fflush(stdout);
    __builtin_trap();
  }
  if (!strcmp(verb, "recurse")) {
    again = deeper;
    return again(0);
  }
  if (!strcmp(verb, "endless")) {
    while (puts("y") != EOF) continue;
    return 1;
  }
  for (int i = 0; i < argc; i++) puts(argv[i]);
  return 0;
}
