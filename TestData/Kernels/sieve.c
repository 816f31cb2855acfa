// Integer loops: the sieve of Eratosthenes, and the lengths of Collatz sequences.
//
// The sieve is stores with a stride and little else; the second part is a loop that carries one value, with a branch that
// nobody predicts and a counter. Nothing is called, so what is seen is how loops and their variables are compiled.

#include "kernel.h"

static uint8_t *composite;

// Marks the composite numbers below `limit`; the number of primes, with a checksum of the last of them.
static uint64_t sieve(uint32_t limit) {
  memset(composite, 0, limit);
  uint64_t checksum = 0;
  uint32_t count = 0, last = 0;
  for (uint32_t number = 2; number < limit; number++) {
    if (composite[number]) continue;
    count++;
    last = number;
    for (uint64_t multiple = (uint64_t)number * number; multiple < limit; multiple += number) composite[multiple] = 1;
  }
  checksum = mix(checksum, count);
  return mix(checksum, last);
}

// The number below `limit` with the longest Collatz sequence, with the length of that and the sum of all lengths.
static uint64_t collatz(uint32_t limit) {
  uint32_t longest = 0, best = 0;
  uint64_t total = 0;
  for (uint32_t start = 1; start < limit; start++) {
    uint64_t number = start;
    uint32_t steps = 0;
    while (number != 1) {
      number = number % 2 == 0 ? number / 2 : 3 * number + 1;
      steps++;
    }
    total += steps;
    if (steps > longest) {
      longest = steps;
      best = start;
    }
  }
  return mix(mix(mix(0, best), longest), total);
}

int main(int argc, char **argv) {
  uint64_t size = kernel_size(argc, argv, 1000000, 20000);
  composite = malloc(size * 8 + 1);
  if (composite == NULL) return 1;
  uint64_t checksum = 0;
  for (int round = 0; round < 5; round++) checksum = mix(checksum, sieve((uint32_t)size * 8));
  checksum = mix(checksum, collatz((uint32_t)size));
  return kernel_report("sieve", size, checksum);
}
