// Indirect calls: objects with a table of methods, and a sort with a comparison that the caller chooses.
//
// Every call goes through a function pointer, which is wasm's call_indirect: an index into a table, its bound, its type.
// Both the methods and the comparisons are short, so the way to them is most of the work.

#include "kernel.h"

#define OBJECTS 1024

struct shape;

struct methods {
  uint32_t (*area)(const struct shape *);
  uint32_t (*outline)(const struct shape *);
  void (*grow)(struct shape *, uint32_t);
};

struct shape {
  const struct methods *methods;
  uint32_t width, height, id;
};

static uint32_t square_area(const struct shape *shape) { return shape->width * shape->width; }
static uint32_t square_outline(const struct shape *shape) { return 4 * shape->width; }
static void square_grow(struct shape *shape, uint32_t by) { shape->width = (shape->width + by) & 0xFFFF; }

static uint32_t oblong_area(const struct shape *shape) { return shape->width * shape->height; }
static uint32_t oblong_outline(const struct shape *shape) { return 2 * (shape->width + shape->height); }
static void oblong_grow(struct shape *shape, uint32_t by) {
  shape->width = (shape->width + by) & 0xFFFF;
  shape->height = (shape->height ^ by) & 0xFFFF;
}

static uint32_t triangle_area(const struct shape *shape) { return shape->width * shape->height / 2; }
static uint32_t triangle_outline(const struct shape *shape) { return shape->width + 2 * shape->height; }
static void triangle_grow(struct shape *shape, uint32_t by) { shape->height = (shape->height + 3 * by) & 0xFFFF; }

static const struct methods kinds[] = {
  {square_area, square_outline, square_grow},
  {oblong_area, oblong_outline, oblong_grow},
  {triangle_area, triangle_outline, triangle_grow},
};

static struct shape shapes[OBJECTS];

typedef int (*comparison)(const struct shape *, const struct shape *);

// Of equal shapes the one with the smaller number comes first, so that every way of sorting gives the same.
static int tell_apart(uint32_t a, uint32_t b, const struct shape *left, const struct shape *right) {
  if (a != b) return a < b ? -1 : 1;
  return left->id < right->id ? -1 : left->id > right->id;
}
static int by_width(const struct shape *a, const struct shape *b) { return tell_apart(a->width, b->width, a, b); }
static int by_height(const struct shape *a, const struct shape *b) { return tell_apart(a->height, b->height, a, b); }
static int by_area(const struct shape *a, const struct shape *b) {
  return tell_apart(a->methods->area(a), b->methods->area(b), a, b);
}

static comparison comparisons[] = {by_width, by_height, by_area};

// Shell's sort of pointers to shapes.
static __attribute__((noinline)) void sort(struct shape **items, uint32_t count, comparison compare) {
  for (uint32_t gap = count / 2; gap > 0; gap = gap == 2 ? 1 : gap * 5 / 11) {
    for (uint32_t i = gap; i < count; i++) {
      struct shape *item = items[i];
      uint32_t hole = i;
      for (; hole >= gap && compare(items[hole - gap], item) > 0; hole -= gap) items[hole] = items[hole - gap];
      items[hole] = item;
    }
  }
}

int main(int argc, char **argv) {
  uint64_t size = kernel_size(argc, argv, 800, 4);
  uint64_t state = 88172645463325252, checksum = 0;
  struct shape *order[OBJECTS];
  for (uint32_t i = 0; i < OBJECTS; i++) {
    uint64_t random = next_random(&state);
    shapes[i] = (struct shape){&kinds[random % 3], (random >> 8) & 0xFFFF, (random >> 24) & 0xFFFF, i};
    order[i] = &shapes[i];
  }
  for (uint64_t round = 0; round < size; round++) {
    uint32_t sum = 0;
    for (int pass = 0; pass < 16; pass++) {
      for (uint32_t i = 0; i < OBJECTS; i++) {
        struct shape *shape = order[i];
        sum += shape->methods->area(shape) ^ shape->methods->outline(shape);
        shape->methods->grow(shape, sum & 15);
      }
    }
    sort(order, OBJECTS, comparisons[round % 3]);
    checksum = mix(checksum, sum);
    for (uint32_t i = 0; i < OBJECTS; i += 64) checksum = mix(checksum, order[i]->id);
  }
  return kernel_report("dispatch", size, checksum);
}
