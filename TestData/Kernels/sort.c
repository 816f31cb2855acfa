// Sorting: by quicksort, by merging, by heap and by digits, 32-bit and 64-bit numbers.
//
// Loads and stores with an index that is scaled, comparisons whose outcome nobody can predict, and inner loops of a few
// instructions.

#include "kernel.h"

// Quicksort with the middle of three as the pivot; short parts by insertion.
static void quick(uint32_t *items, int32_t low, int32_t high) {
  while (high - low > 16) {
    uint32_t a = items[low], b = items[low + (high - low) / 2], c = items[high];
    uint32_t pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
    int32_t left = low, right = high;
    while (left <= right) {
      while (items[left] < pivot) left++;
      while (items[right] > pivot) right--;
      if (left > right) break;
      uint32_t item = items[left];
      items[left++] = items[right];
      items[right--] = item;
    }
    // The shorter part by a call, the longer one by the loop: the stack stays short.
    if (right - low < high - left) {
      quick(items, low, right);
      low = left;
    } else {
      quick(items, left, high);
      high = right;
    }
  }
  for (int32_t i = low + 1; i <= high; i++) {
    uint32_t item = items[i];
    int32_t hole = i;
    for (; hole > low && items[hole - 1] > item; hole--) items[hole] = items[hole - 1];
    items[hole] = item;
  }
}

// Merges runs of 1, 2, 4, ... from one array into the other.
static uint64_t *merge(uint64_t *from, uint64_t *to, uint32_t count) {
  for (uint32_t run = 1; run < count; run *= 2) {
    for (uint32_t start = 0; start < count; start += 2 * run) {
      uint32_t left = start, middle = start + run < count ? start + run : count;
      uint32_t right = middle, end = start + 2 * run < count ? start + 2 * run : count;
      for (uint32_t i = start; i < end; i++) {
        to[i] = left < middle && (right >= end || from[left] <= from[right]) ? from[left++] : from[right++];
      }
    }
    uint64_t *other = from;
    from = to;
    to = other;
  }
  return from;
}

static void sink(uint32_t *items, uint32_t at, uint32_t count) {
  uint32_t item = items[at];
  for (uint32_t child; (child = 2 * at + 1) < count; at = child) {
    if (child + 1 < count && items[child + 1] > items[child]) child++;
    if (items[child] <= item) break;
    items[at] = items[child];
  }
  items[at] = item;
}

static void heap(uint32_t *items, uint32_t count) {
  for (uint32_t i = count / 2; i > 0; i--) sink(items, i - 1, count);
  for (uint32_t end = count; end > 1; end--) {
    uint32_t item = items[0];
    items[0] = items[end - 1];
    items[end - 1] = item;
    sink(items, 0, end - 1);
  }
}

// By digits of eight bits, the lowest first.
static void radix(uint32_t *items, uint32_t *space, uint32_t count) {
  for (int shift = 0; shift < 32; shift += 8) {
    uint32_t places[256] = {0}, sum = 0;
    for (uint32_t i = 0; i < count; i++) places[(items[i] >> shift) & 255]++;
    for (int digit = 0; digit < 256; digit++) {
      uint32_t number = places[digit];
      places[digit] = sum;
      sum += number;
    }
    for (uint32_t i = 0; i < count; i++) space[places[(items[i] >> shift) & 255]++] = items[i];
    uint32_t *other = items;
    items = space;
    space = other;
  }
}

static uint64_t check(uint64_t checksum, const uint32_t *items, uint32_t count) {
  uint64_t sum = 0;
  for (uint32_t i = 0; i < count; i++) sum += (uint64_t)items[i] * (i + 1);
  return mix(checksum, sum);
}

int main(int argc, char **argv) {
  uint64_t size = kernel_size(argc, argv, 1300000, 3000);
  uint32_t count = (uint32_t)size;
  uint32_t *words = malloc(count * 4), *copy = malloc(count * 4), *space = malloc(count * 4);
  uint64_t *longs = malloc(count * 8), *others = malloc(count * 8);
  if (words == NULL || copy == NULL || space == NULL || longs == NULL || others == NULL) return 1;
  uint64_t state = 5, checksum = 0;
  for (uint32_t i = 0; i < count; i++) {
    longs[i] = next_random(&state);
    words[i] = (uint32_t)(longs[i] >> 20);
  }
  memcpy(copy, words, count * 4);
  quick(copy, 0, (int32_t)count - 1);
  checksum = check(checksum, copy, count);
  quick(copy, 0, (int32_t)count - 1);
  uint64_t *merged = merge(longs, others, count);
  for (uint32_t i = 0; i < count; i++) checksum = mix(checksum, merged[i]);
  memcpy(copy, words, count * 4);
  heap(copy, count);
  checksum = check(checksum, copy, count);
  memcpy(copy, words, count * 4);
  radix(copy, space, count);
  checksum = check(checksum, copy, count);
  return kernel_report("sort", size, checksum);
}
