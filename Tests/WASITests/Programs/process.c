// Arguments, environment, standard streams, clocks, polling, exit code.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long long now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000ll + t.tv_nsec;
}

int main(int argc, char **argv) {
  for (int i = 0; i < argc; i++) printf("argument %d: '%s'\n", i, argv[i]);
  for (char **e = environ; *e; e++) printf("variable '%s'\n", *e);

  char line[100];
  int lines = 0;
  size_t bytes = 0;
  while (fgets(line, sizeof line, stdin)) {
    lines++;
    bytes += strlen(line);
  }
  printf("%d lines, %zu bytes, end %d\n", lines, bytes, feof(stdin) != 0);

  long long start = now();
  struct timespec pause = {0, 5000000};
  printf("nanosleep %d\n", nanosleep(&pause, NULL));
  printf("slept %d\n", now() - start >= 5000000);
  start = now();
  printf("usleep %d\n", usleep(2000));
  printf("slept %d\n", now() - start >= 2000000);
  start = now();
  printf("poll for nothing %d\n", poll(NULL, 0, 3));
  printf("waited %d\n", now() - start >= 3000000);

  int fd = open("/file", O_RDWR | O_CREAT, 0666);
  struct pollfd polls[2] = {{fd, POLLIN, 0}, {fd, POLLOUT, 0}};
  int ready = poll(polls, 2, 10000);
  printf("poll %d: %d %d\n", ready, polls[0].revents == POLLIN, polls[1].revents == POLLOUT);

  time_t t = time(NULL);
  printf("after 2020: %d\n", t > 1577836800);
  unsigned char random[64] = {0};
  printf("getentropy %d\n", getentropy(random, sizeof random));
  int zeros = 0;
  for (int i = 0; i < 64; i++) zeros += random[i] == 0;
  printf("random %d\n", zeros < 8);
  printf("isatty %d %d\n", isatty(0), isatty(fd));

  fprintf(stderr, "to standard error\n");
  fflush(stdout);
  exit(argc > 1 ? atoi(argv[1]) : 0);
}
