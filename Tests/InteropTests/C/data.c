// Data: initialised, zero, aligned, addresses of data and of functions in data, with addends.
#include "corpus.h"

u64 counter = 1000;
const i32 primes[16] = {2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37, 41, 43, 47, 53};
u8 buffer[70000];
u64 *const counter_address = &counter;
static const i32 *tail = &primes[10];
static u8 *middle = buffer + 35000;
static u64 zero_start;
static u64 aligned_block[8] __attribute__((aligned(64))) = {1, 2, 3, 4, 5, 6, 7, 8};
static u64 aligned_zero[8] __attribute__((aligned(128)));

u64 bump(u64 by) {
  static u64 calls;
  calls++;
  counter += by;
  return counter * 100 + calls;
}

static u64 hash_of_size(u64 x) { return x + sizeof(void *); }
static u64 triple(u64 x) { return x * 3; }

struct node nodes[4] = {
    {"first", &nodes[1], bump},
    {"second", &nodes[2], triple},
    {"third", &nodes[3], 0},
    {"fourth", 0, hash_of_size},
};

u64 walk_nodes(u64 x) {
  u64 result = x;
  for (struct node *n = nodes; n; n = n->next) {
    result = result * 31 + hash_of(n->name);
    if (n->function) result ^= n->function(result);
  }
  return result;
}

u64 data_reads(u64 i) {
  return (u64)tail[i & 3] * 1000 + (u64)primes[i & 15] + aligned_block[i & 7] * 100000 + ((u64)aligned_block & 63)
      + ((u64)aligned_zero & 127) + *counter_address;
}

// Everything that is zero at first, and stays where it was put.
u64 zero_data(u64 i) {
  u64 before = zero_start + buffer[i % 70000] + middle[i % 35000] + aligned_zero[i & 7];
  buffer[i % 70000] = (u8)(i + 1);
  middle[i % 35000] = (u8)(i + 2);
  aligned_zero[i & 7] += i;
  zero_start += 3;
  return before * 1000 + buffer[35000 + i % 35000];
}
