// The list of announced files, and the function that a debugger stops at.
//
// Everything happens in the debugger, which stops the process at `__jit_debug_register_code` and reads its memory. So the
// function must exist, must be called, and must not be known to do nothing; and the list must be whole at each call.
#define _GNU_SOURCE
#include "precast_gdb_jit.h"

#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>

#include "precast_observers.h"

// GDB manual, "JIT Interface Declarations".
enum { JIT_NOACTION = 0, JIT_REGISTER_FN, JIT_UNREGISTER_FN };

struct jit_code_entry {
  struct jit_code_entry *next_entry;
  struct jit_code_entry *prev_entry;
  const char *symfile_addr;
  uint64_t symfile_size;
};

struct jit_descriptor {
  uint32_t version;
  uint32_t action_flag;
  struct jit_code_entry *relevant_entry;
  struct jit_code_entry *first_entry;
};

// External names: a debugger finds them by these.
__attribute__((weak, used, visibility("default"))) struct jit_descriptor __jit_debug_descriptor = {
    1, JIT_NOACTION, NULL, NULL};

__attribute__((weak, used, noinline, visibility("default"))) void __jit_debug_register_code(void);
void __jit_debug_register_code(void) { __asm__ volatile("" ::: "memory"); }

struct precast_gdb_entry {
  struct jit_code_entry entry;  // first: the list is of these
  struct precast_gdb_entry *next;
};

// Guarded by the observers' lock, like the list itself.
static struct precast_gdb_entry *own;

struct precast_gdb_entry *precast_gdb_announce(const void *image, size_t size) {
  struct precast_gdb_entry *added = malloc(sizeof *added + size);
  if (!added) return NULL;
  memcpy(added + 1, image, size);
  added->entry = (struct jit_code_entry){.symfile_addr = (const char *)(added + 1), .symfile_size = size};
  precast_observers_lock();
  added->next = own;
  own = added;
  added->entry.next_entry = __jit_debug_descriptor.first_entry;
  if (added->entry.next_entry) added->entry.next_entry->prev_entry = &added->entry;
  __jit_debug_descriptor.first_entry = &added->entry;
  __jit_debug_descriptor.relevant_entry = &added->entry;
  __jit_debug_descriptor.action_flag = JIT_REGISTER_FN;
  __jit_debug_register_code();
  __jit_debug_descriptor.action_flag = JIT_NOACTION;
  precast_observers_unlock();
  return added;
}

void precast_gdb_withdraw(struct precast_gdb_entry *entry) {
  if (!entry) return;
  precast_observers_lock();
  for (struct precast_gdb_entry **link = &own; *link; link = &(*link)->next) {
    if (*link != entry) continue;
    *link = entry->next;
    break;
  }
  struct jit_code_entry *code = &entry->entry;
  if (code->prev_entry) {
    code->prev_entry->next_entry = code->next_entry;
  } else {
    __jit_debug_descriptor.first_entry = code->next_entry;
  }
  if (code->next_entry) code->next_entry->prev_entry = code->prev_entry;
  __jit_debug_descriptor.relevant_entry = code;
  __jit_debug_descriptor.action_flag = JIT_UNREGISTER_FN;
  __jit_debug_register_code();
  __jit_debug_descriptor.action_flag = JIT_NOACTION;
  __jit_debug_descriptor.relevant_entry = NULL;
  precast_observers_unlock();
  free(entry);
}

size_t precast_gdb_count(void) {
  size_t count = 0;
  precast_observers_lock();
  for (struct precast_gdb_entry *entry = own; entry; entry = entry->next) count++;
  precast_observers_unlock();
  return count;
}

const void *precast_gdb_image(size_t index, size_t *size) {
  const void *image = NULL;
  *size = 0;
  precast_observers_lock();
  struct precast_gdb_entry *entry = own;
  while (entry && index-- > 0) entry = entry->next;
  if (entry) {
    image = entry->entry.symfile_addr;
    *size = entry->entry.symfile_size;
  }
  precast_observers_unlock();
  return image;
}

int32_t precast_thread_number(void) { return (int32_t)syscall(SYS_gettid); }
