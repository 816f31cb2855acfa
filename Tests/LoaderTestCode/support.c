#define _GNU_SOURCE
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unwind.h>

#include "loader_test_code.h"

#define LT_DEFINE(label) const void *const label##_address = label;
LT_LABELS(LT_DEFINE)

void lt_store_init(struct lt_store *store) {
  memset(store, 0, sizeof *store);
  store->instance = (struct lt_context){
      .store = &store->store, .kind = 0x74736E69, .opaque0 = &store->host_function, .opaque1 = store};
  store->entry = (precast_entry)(uintptr_t)lt_entry;
  store->host_function = (struct lt_context){.store = &store->store, .kind = 0x74736F68, .opaque1 = store};
}

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static bool registered;

bool lt_register(const uint8_t *traps, size_t size) {
  pthread_mutex_lock(&mutex);
  if (!registered) {
    struct precast_code code = {
        .text_start = (uint64_t)(uintptr_t)lt_text_start,
        .text_end = (uint64_t)(uintptr_t)lt_text_end,
        .traps = traps,
        .traps_size = size,
        .file = -1};
    struct precast_code *handle;
    registered = precast_install_signal_handlers() == 0 && precast_code_register(&code, NULL, &handle) == 0;
  }
  bool result = registered;
  pthread_mutex_unlock(&mutex);
  return result;
}

size_t lt_sites(const struct lt_site **sites) {
  static struct lt_site list[7];
  pthread_mutex_lock(&mutex);
  const char *addresses[] = {lt_unreachable_site,      lt_clobber_site, lt_load_site, lt_spin_site, lt_divide_site,
                             lt_recurse_overflow_site, lt_damage_site};
  const uint32_t codes[] = {1, 1, 2, 2, 8, 10, 1};
  for (size_t i = 0; i < 7; i++) {
    list[i] = (struct lt_site){.offset = (uint32_t)(addresses[i] - lt_text_start), .code = codes[i]};
  }
  pthread_mutex_unlock(&mutex);
  *sites = list;
  return 7;
}

uint64_t lt_enter(
    struct lt_store *store, const void *code, uint64_t a, uint64_t b, struct precast_activation *activation,
    uint64_t *result) {
  struct lt_slot slots[2] = {{a, 0}, {b, 0}};
  uint64_t ended =
      precast_enter(store->entry, &store->instance, code, slots, &store->store, activation);
  if (result) *result = slots[0].low;
  return ended;
}

bool lt_mapping_rights(uint64_t address, char rights[5]) {
  FILE *maps = fopen("/proc/self/maps", "r");
  if (!maps) return false;
  char *line = NULL;
  size_t capacity = 0;
  bool found = false;
  unsigned long start, end;
  char text[5];
  while (!found && getline(&line, &capacity, maps) > 0) {
    found = sscanf(line, "%lx-%lx %4s", &start, &end, text) == 3 && address >= start && address < end;
  }
  if (found) memcpy(rights, text, 5);
  free(line);
  fclose(maps);
  return found;
}

size_t lt_count_mappings(const char *substring) {
  FILE *maps = fopen("/proc/self/maps", "r");
  char *line = NULL;
  size_t capacity = 0, count = 0;
  while (maps && getline(&line, &capacity, maps) > 0) count += strstr(line, substring) != NULL;
  free(line);
  if (maps) fclose(maps);
  return count;
}

struct unwinding {
  uint64_t *pcs;
  size_t capacity, count;
};

static _Unwind_Reason_Code note_frame(struct _Unwind_Context *context, void *argument) {
  struct unwinding *unwinding = argument;
  if (unwinding->count == unwinding->capacity) return _URC_END_OF_STACK;
  unwinding->pcs[unwinding->count++] = _Unwind_GetIP(context);
  return _URC_NO_REASON;
}

size_t lt_unwind(uint64_t *pcs, size_t capacity) {
  struct unwinding unwinding = {.pcs = pcs, .capacity = capacity};
  _Unwind_Backtrace(note_frame, &unwinding);
  return unwinding.count;
}

uint64_t lt_enter_plain(struct lt_store *store, const void *code) {
  struct precast_activation activation;
  return lt_enter(store, code, 0, 0, &activation, NULL);
}

extern const char lt_marked_return[];

static _Unwind_Reason_Code look_for_marked(struct _Unwind_Context *context, void *argument) {
  if (_Unwind_GetIP(context) != (uintptr_t)lt_marked_return) return _URC_NO_REASON;
  uint64_t *registers = argument;
  const int numbers[] = {3, 12, 13, 14, 15};
  for (int i = 0; i < 5; i++) registers[i] = _Unwind_GetGR(context, numbers[i]);
  return _URC_NORMAL_STOP;
}

bool lt_unwind_to_marked(uint64_t registers[5]) {
  memset(registers, 0, 5 * sizeof *registers);
  _Unwind_Backtrace(look_for_marked, registers);
  return registers[0] != 0;
}

bool lt_is_in_precast_enter(uint64_t pc) {
  return _Unwind_FindEnclosingFunction((void *)(uintptr_t)(pc - 1)) == (void *)(uintptr_t)precast_enter;
}
