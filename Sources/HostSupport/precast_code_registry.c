// A radix table over address granules.
//
// Ranges (mapped artifacts, and images of their data in memories) are found by address in signal
// handlers and in stack walks, while other threads load and drop modules, ten thousand of them and
// more. A sorted array makes adding linear; a balanced tree is a dozen dependent loads and a good
// deal of code. But ranges do not overlap and are rarely tiny, so address space itself can be the
// index:
//
//      address   47 ............ 33 | 32 ............ 20 | 19 ........... 0
//                 top[32768]           leaf[8192]           granule of 1 MiB
//
// A leaf's slot says what lies in its granule: nothing (0), one range (a pointer with bit 0 set),
// or several (a pointer to a *group*, an immutable sorted array). A range fills every slot between
// its first granule and its last; only these two can hold other ranges as well. So adding or
// removing costs at most two group copies, and a store a MiB; a lookup is three loads, and a binary
// search where modules are small. Leaves are never freed: at most one for each 8 GiB of address
// space that ever held code.
//
// Readers against writers. Writers exclude one another by a mutex. They never change what readers
// can reach: they publish a new slot value and *retire* the old group or range. A reader counts
// itself in, in one of a few counters (its *stripe*, so that threads do not share a cache line),
// looks up, and counts itself out:
//
//      reader                                writer
//      (1) stripe += 1                       (a) slot = new value (release)
//      (2) fence, seq_cst                    (b) fence, seq_cst
//      (3) value = slot (acquire)            (c) read each stripe (acquire)
//      (4) ... use what value points to
//      (5) stripe -= 1 (release)
//
// If (c) reads a stripe as 0, then for each reader of that stripe one of two holds. Its (1) comes
// before (c) reads, and so does its (5): (4) is over, and (5)-(c) orders it before the freeing. Or
// its (1) comes after: then by the two fences (3) reads the value of (a) or a later one, and cannot
// reach what was retired. So what was retired before (b) may be freed once each stripe has been
// seen at 0 *at some time* after (b): not all at one time. Writers look whenever they come by and
// never wait; what readers still hold stays for the next writer. Retired things form a batch with
// the set of stripes still to be seen at 0; what is retired meanwhile forms the next batch. Thus
// steady readers cannot put freeing off for ever, unless one stripe is busy each time.
#define _GNU_SOURCE
#include "precast_code_registry.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "precast_thread.h"

/// Under the leak sanitizer: what is reachable from a mapping is not lost.
extern void __lsan_register_root_region(const void *begin, size_t size) __attribute__((weak));

#define ADDRESS_BITS 48
#define GRANULE_BITS 20
#define LEAF_BITS 13
#define TOP_BITS (ADDRESS_BITS - GRANULE_BITS - LEAF_BITS)
#define STRIPES 32

/// What can be retired begins with this.
struct retired {
  struct retired *next;
  void (*release_owner)(void *owner);  // null for groups
  void *owner;
};

struct range {
  struct retired retired;
  uint64_t start, end;
  /// The artifact that the range belongs to: the range itself when `is_image` is false.
  struct artifact *artifact;
  bool is_image;
};

/// What `struct precast_code *` points into, once registered.
struct artifact {
  struct range range;
  struct precast_code code;
  /// Registered images, and whether the artifact itself was removed: it is retired when it was and has none.
  size_t images;
  bool removed;
};

struct precast_image {
  struct range range;
};

struct group {
  struct retired retired;
  size_t count;  // at least 2
  struct range *ranges[];
};

typedef _Atomic(uintptr_t) slot;

struct leaf {
  slot slots[1 << LEAF_BITS];
};

struct stripe {
  _Alignas(64) atomic_uint readers;
};

static _Atomic(struct leaf *) top[1 << TOP_BITS];
static struct stripe stripes[STRIPES];
static atomic_uint next_stripe;

// Guarded by the mutex.
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct retired *open_batch;
static struct retired *closed_batch;
static uint32_t unseen_stripes;  // bits of stripes not seen at 0 since the batch was closed
static size_t registered_count;
static size_t waiting_count;

// Reading.

uint32_t precast_code_read_begin(void) {
  struct precast_thread *thread = &precast_thread;
  if (__builtin_expect(thread->reader_stripe == 0, 0)) {
    thread->reader_stripe = 1 + atomic_fetch_add_explicit(&next_stripe, 1, memory_order_relaxed) % STRIPES;
  }
  uint32_t token = thread->reader_stripe - 1;
  atomic_fetch_add_explicit(&stripes[token].readers, 1, memory_order_seq_cst);
  atomic_thread_fence(memory_order_seq_cst);
  return token;
}

void precast_code_read_end(uint32_t token) {
  atomic_fetch_sub_explicit(&stripes[token % STRIPES].readers, 1, memory_order_release);
}

/// The range that holds an address, or null.
static const struct range *find(uint64_t address) {
  if (address >> ADDRESS_BITS) return NULL;
  struct leaf *leaf = atomic_load_explicit(&top[address >> (GRANULE_BITS + LEAF_BITS)], memory_order_acquire);
  if (!leaf) return NULL;
  size_t index = (address >> GRANULE_BITS) & ((1 << LEAF_BITS) - 1);
  uintptr_t value = atomic_load_explicit(&leaf->slots[index], memory_order_acquire);
  if (value == 0) return NULL;
  const struct range *range;
  if (value & 1) {
    range = (const struct range *)(value - 1);
  } else {
    // The last range that starts at or before the address.
    const struct group *group = (const struct group *)value;
    size_t low = 0, high = group->count;
    while (low < high) {
      size_t middle = low + (high - low) / 2;
      if (group->ranges[middle]->start <= address) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    if (low == 0) return NULL;
    range = group->ranges[low - 1];
  }
  return range->start <= address && address < range->end ? range : NULL;
}

const struct precast_code *precast_code_read_find(uint64_t pc) {
  const struct range *range = find(pc);
  if (!range || range->is_image || pc >= range->artifact->code.text_end) return NULL;
  return &range->artifact->code;
}

bool precast_code_read_find_address(uint64_t address, struct precast_place *place) {
  const struct range *range = find(address);
  if (!range) return false;
  *place = (struct precast_place){
      .artifact = &range->artifact->code, .is_image = range->is_image, .start = range->start, .end = range->end};
  return true;
}

bool precast_code_find(uint64_t pc, struct precast_code *found) {
  uint32_t token = precast_code_read_begin();
  const struct precast_code *code = precast_code_read_find(pc);
  if (code) *found = *code;
  precast_code_read_end(token);
  return code != NULL;
}

// Writing: all with the mutex held.

static void retire(struct retired *retired) {
  retired->next = open_batch;
  open_batch = retired;
  waiting_count++;
}

/// Takes what nobody can reach any more.
static struct retired *reclaim(void) {
  atomic_thread_fence(memory_order_seq_cst);
  struct retired *free_now = NULL;
  for (int round = 0; round < 2; round++) {
    if (!closed_batch) {
      if (!open_batch) break;
      closed_batch = open_batch;
      open_batch = NULL;
      unseen_stripes = UINT32_MAX;
    }
    for (uint32_t i = 0; i < STRIPES; i++) {
      if (!(unseen_stripes >> i & 1)) continue;
      if (atomic_load_explicit(&stripes[i].readers, memory_order_acquire) == 0) unseen_stripes &= ~(UINT32_C(1) << i);
    }
    if (unseen_stripes != 0) break;
    struct retired *last = closed_batch;
    size_t count = 1;
    for (; last->next; last = last->next) count++;
    waiting_count -= count;
    last->next = free_now;
    free_now = closed_batch;
    closed_batch = NULL;
  }
  return free_now;
}

/// Without the mutex.
static void free_all(struct retired *retired) {
  while (retired) {
    struct retired *next = retired->next;
    if (retired->release_owner) retired->release_owner(retired->owner);
    free(retired);
    retired = next;
  }
}

/// The slot of a granule (an address shifted); null when its leaf is missing.
static slot *slot_of(uint64_t granule) {
  struct leaf *leaf = atomic_load_explicit(&top[granule >> LEAF_BITS], memory_order_relaxed);
  return leaf ? &leaf->slots[granule & ((1 << LEAF_BITS) - 1)] : NULL;
}

static bool make_leaves(uint64_t first, uint64_t last) {
  for (uint64_t i = first >> LEAF_BITS; i <= last >> LEAF_BITS; i++) {
    if (atomic_load_explicit(&top[i], memory_order_relaxed)) continue;
    // Mapped, not allocated: most of its pages are never touched, and need not be cleared.
    struct leaf *leaf = mmap(NULL, sizeof *leaf, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (leaf == MAP_FAILED) return false;
    if (__lsan_register_root_region) __lsan_register_root_region(leaf, sizeof *leaf);
    atomic_store_explicit(&top[i], leaf, memory_order_release);
  }
  return true;
}

/// What a slot holds: up to two words of scratch avoid a special case for a single range.
static size_t entries(uintptr_t value, struct range **single, struct range ***ranges) {
  if (value == 0) return 0;
  if (value & 1) {
    *single = (struct range *)(value - 1);
    *ranges = single;
    return 1;
  }
  struct group *group = (struct group *)value;
  *ranges = group->ranges;
  return group->count;
}

static bool overlaps(uintptr_t value, const struct range *range) {
  struct range *single, **ranges;
  size_t count = entries(value, &single, &ranges);
  for (size_t i = 0; i < count; i++) {
    if (ranges[i]->start < range->end && range->start < ranges[i]->end) return true;
  }
  return false;
}

static struct group *new_group(size_t count) {
  struct group *group = malloc(sizeof *group + count * sizeof group->ranges[0]);
  if (group) *group = (struct group){.count = count};
  return group;
}

/// The value of a slot with `range` added; 0 when memory is short.
static uintptr_t value_with(uintptr_t old, struct range *range) {
  if (old == 0) return (uintptr_t)range | 1;
  struct range *single, **ranges;
  size_t count = entries(old, &single, &ranges);
  struct group *group = new_group(count + 1);
  if (!group) return 0;
  size_t i = 0;
  for (; i < count && ranges[i]->start < range->start; i++) group->ranges[i] = ranges[i];
  group->ranges[i] = range;
  for (; i < count; i++) group->ranges[i + 1] = ranges[i];
  return (uintptr_t)group;
}

/// The value of a slot with `range` taken out; false when memory is short.
static bool value_without(uintptr_t old, struct range *range, uintptr_t *value) {
  struct range *single, **ranges;
  size_t count = entries(old, &single, &ranges);
  *value = 0;
  if (count <= 1) return true;
  if (count == 2) {
    *value = (uintptr_t)ranges[ranges[0] == range ? 1 : 0] | 1;
    return true;
  }
  struct group *group = new_group(count - 1);
  if (!group) return false;
  size_t kept = 0;
  for (size_t i = 0; i < count; i++) {
    if (ranges[i] != range && kept < count - 1) group->ranges[kept++] = ranges[i];
  }
  *value = (uintptr_t)group;
  return true;
}

static void publish(slot *slot, uintptr_t value) {
  uintptr_t old = atomic_load_explicit(slot, memory_order_relaxed);
  atomic_store_explicit(slot, value, memory_order_release);
  if (old != 0 && !(old & 1)) retire(&((struct group *)old)->retired);
}

static void free_unpublished(uintptr_t value) {
  if (value != 0 && !(value & 1)) free((void *)value);
}

static int add(struct range *range) {
  uint64_t first = range->start >> GRANULE_BITS, last = (range->end - 1) >> GRANULE_BITS;
  if (!make_leaves(first, last)) return -ENOMEM;
  for (uint64_t granule = first; granule <= last; granule++) {
    if (overlaps(atomic_load_explicit(slot_of(granule), memory_order_relaxed), range)) return -EEXIST;
  }
  // Everything that can fail comes first.
  slot *first_slot = slot_of(first), *last_slot = slot_of(last);
  uintptr_t first_value = value_with(atomic_load_explicit(first_slot, memory_order_relaxed), range);
  uintptr_t last_value = first == last ? 0 : value_with(atomic_load_explicit(last_slot, memory_order_relaxed), range);
  if (first_value == 0 || (first != last && last_value == 0)) {
    free_unpublished(first_value);
    free_unpublished(last_value);
    return -ENOMEM;
  }
  publish(first_slot, first_value);
  for (uint64_t granule = first + 1; granule < last; granule++) publish(slot_of(granule), (uintptr_t)range | 1);
  if (first != last) publish(last_slot, last_value);
  registered_count++;
  return 0;
}

/// False when memory is short, and a group keeps pointing to the range: then it matches no address any more, and
/// stays for ever. (A reader may see the old end once more; that is as if it had come earlier.)
static bool remove_range(struct range *range) {
  uint64_t first = range->start >> GRANULE_BITS, last = (range->end - 1) >> GRANULE_BITS;
  bool gone = true;
  for (uint64_t granule = first; granule <= last; granule++) {
    slot *slot = slot_of(granule);
    uintptr_t value;
    if (value_without(atomic_load_explicit(slot, memory_order_relaxed), range, &value)) {
      publish(slot, value);
    } else {
      gone = false;
    }
  }
  registered_count--;
  if (!gone) __atomic_store_n(&range->end, range->start, __ATOMIC_RELAXED);
  return gone;
}

/// Enters a range of which the addresses are set; false addresses and shortage of memory are errors.
static int enter(struct range *range) {
  if (range->start >= range->end || (range->end - 1) >> ADDRESS_BITS) return -EINVAL;
  pthread_mutex_lock(&mutex);
  int result = add(range);
  if (result == 0 && range->is_image) range->artifact->images++;
  struct retired *free_now = reclaim();
  pthread_mutex_unlock(&mutex);
  free_all(free_now);
  return result;
}

int precast_code_register(
    const struct precast_code *code, void (*release_owner)(void *owner), struct precast_code **registered) {
  if (code->text_start >= code->text_end) return -EINVAL;
  if (code->mapping_end != 0 && code->mapping_end < code->text_end) return -EINVAL;
  struct artifact *artifact = malloc(sizeof *artifact);
  if (!artifact) return -ENOMEM;
  *artifact = (struct artifact){
      .range =
          {.retired = {.release_owner = release_owner, .owner = code->owner},
           .start = code->text_start,
           .end = code->mapping_end ? code->mapping_end : code->text_end,
           .artifact = artifact},
      .code = *code};
  int result = enter(&artifact->range);
  if (result != 0) {
    free(artifact);
    return result;
  }
  *registered = &artifact->code;
  return 0;
}

static struct artifact *artifact_of(struct precast_code *code) {
  return (struct artifact *)((char *)code - offsetof(struct artifact, code));
}

void precast_code_unregister(struct precast_code *registered) {
  struct artifact *artifact = artifact_of(registered);
  pthread_mutex_lock(&mutex);
  bool gone = remove_range(&artifact->range);
  artifact->removed = gone;
  if (gone && artifact->images == 0) retire(&artifact->range.retired);
  struct retired *free_now = reclaim();
  pthread_mutex_unlock(&mutex);
  free_all(free_now);
}

int precast_image_register(
    uint64_t start, uint64_t end, struct precast_code *artifact, struct precast_image **registered) {
  struct precast_image *image = malloc(sizeof *image);
  if (!image) return -ENOMEM;
  *image = (struct precast_image){
      .range = {.start = start, .end = end, .artifact = artifact_of(artifact), .is_image = true}};
  int result = enter(&image->range);
  if (result != 0) {
    free(image);
    return result;
  }
  *registered = image;
  return 0;
}

void precast_image_unregister(struct precast_image *image) {
  if (!image) return;
  struct artifact *artifact = image->range.artifact;
  pthread_mutex_lock(&mutex);
  if (remove_range(&image->range)) {
    // The image first: readers that found it may be looking at the artifact, which goes no earlier.
    retire(&image->range.retired);
    artifact->images--;
    if (artifact->removed && artifact->images == 0) retire(&artifact->range.retired);
  }
  struct retired *free_now = reclaim();
  pthread_mutex_unlock(&mutex);
  free_all(free_now);
}

void precast_code_counts(size_t *registered, size_t *waiting) {
  pthread_mutex_lock(&mutex);
  *registered = registered_count;
  *waiting = waiting_count;
  pthread_mutex_unlock(&mutex);
}
