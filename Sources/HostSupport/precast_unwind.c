// libgcc and LLVM's libunwind both let a program add unwind tables, under names that are the same and do not mean the
// same:
//
//                              libgcc                            LLVM's libunwind
//      __register_frame        a section, up to its terminator   one description (FDE)
//      __register_frame_table  a list of sections, null last     not there
//      __unw_add_dynamic_fde   not there                         what __register_frame calls
//
// So whose `__register_frame` it is must be known. They are looked for in this order: what was linked in (weak symbols:
// a static program has them exactly when it has an unwinder at all), what the process has loaded meanwhile, and last
// libgcc_s, which is loaded for it: the C library itself loads that, by that name, when a thread is cancelled or
// `backtrace` is called, and would then stop at the first frame of wasm. A program that really has none registers nothing.
//
// libgcc's `__register_frame` looks at the first word of the section, to skip an empty one; that is
// a page fault, half a microsecond, for something that may never be unwound. Its sibling
// `__register_frame_table` takes a null-terminated list of sections and looks at none. Both put an
// object in a list (up to GCC 12), whatever the section's size; deregistering searches that list.
//
// From GCC 13 on both read every FDE at once, to find the range of code that the section is about,
// and put that into a lock-free tree. So with a newer libgcc, registering costs time in proportion
// to the number of functions, and touches the whole section; with LLVM's libunwind likewise: load is no longer flat. One
// entry for all code (Loader/CodeArena.swift) is free of that under all three.
//
// (LLVM's library has `__unw_add_dynamic_eh_frame_section` as well. It is not used: a terminator sends it round for ever.)
//
// libgcc up to GCC 12 and LLVM's library are told what goes by the address that was added, and read nothing then; libgcc from
// GCC 13 on reads the section again to find its range. So sections are deregistered before they are unmapped
// (`LoadedArtifact.deinit`).
//
// The unwinder reads the section when it likes. Where its file was shortened meanwhile it finds zeros, which end the
// section (`precast_lost_page.c`).
#define _GNU_SOURCE
#include "precast_unwind.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

typedef void frame_function(void *begin);

extern void __register_frame(void *begin) __attribute__((weak));
extern void __deregister_frame(void *begin) __attribute__((weak));
extern void __register_frame_table(void *begin) __attribute__((weak));
extern void __unw_add_dynamic_fde(uintptr_t fde) __attribute__((weak));

static struct {
  enum precast_unwinder kind;
  frame_function *add;
  frame_function *add_table;  // libgcc only, and perhaps null
  frame_function *remove;
} unwinder;

struct precast_frames {
  const void *sections[2];
  /// What was added one by one, for LLVM's.
  void **descriptions;
  size_t count;
};

static size_t registered;

/// Whether two functions come from the same library.
static bool are_neighbours(const void *a, const void *b) {
  Dl_info first, second;
  // In a static program there is only one library.
  if (!dladdr(a, &first) || !dladdr(b, &second)) return true;
  return first.dli_fbase == second.dli_fbase;
}

static void choose(frame_function *add, frame_function *add_table, frame_function *remove, const void *llvm) {
  if (!add || !remove) return;
  unwinder.add = add;
  unwinder.remove = remove;
  if (llvm && are_neighbours((const void *)(uintptr_t)add, llvm)) {
    unwinder.kind = PRECAST_UNWINDER_LLVM;
    return;
  }
  unwinder.kind = PRECAST_UNWINDER_LIBGCC;
  if (add_table) unwinder.add_table = add_table;
}

static void choose_from(void *library) {
  choose(
      (frame_function *)(uintptr_t)dlsym(library, "__register_frame"),
      (frame_function *)(uintptr_t)dlsym(library, "__register_frame_table"),
      (frame_function *)(uintptr_t)dlsym(library, "__deregister_frame"), dlsym(library, "__unw_add_dynamic_fde"));
}

static void find_unwinder(void) {
  choose(__register_frame, __register_frame_table, __deregister_frame, (const void *)(uintptr_t)__unw_add_dynamic_fde);
  if (!unwinder.kind) choose_from(RTLD_DEFAULT);
  if (unwinder.kind) return;
  // Never closed: what is registered with it may be needed until the end.
  void *library = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library) choose_from(library);
}

enum precast_unwinder precast_find_unwinder(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, find_unwinder);
  return unwinder.kind;
}

/// Notes the descriptions of a section, up to where it is damaged; false where memory is short.
///
/// They are taken back by this list, not by reading the section again: a file that became shorter meanwhile reads as zeros, and
/// what the unwinder was not told to forget it would look for in memory that is gone.
static bool list_descriptions(const void *section, size_t size, struct precast_frames *frames) {
  const char *bytes = section;
  size_t at = 0, room = 0;
  while (size - at >= 8) {
    uint32_t length, cie;
    memcpy(&length, bytes + at, 4);
    memcpy(&cie, bytes + at + 4, 4);
    // Neither the terminator, nor a length of 64 bits, nor one that leads out.
    if (length < 4 || length == UINT32_MAX || length > size - at - 4) return true;
    if (cie != 0) {
      if (frames->count == room) {
        room = room * 2 + 64;
        void **grown = realloc(frames->descriptions, room * sizeof *grown);
        if (!grown) return false;
        frames->descriptions = grown;
      }
      frames->descriptions[frames->count++] = (void *)(uintptr_t)(bytes + at);
    }
    at += 4 + (size_t)length;
  }
  return true;
}

static void forget(struct precast_frames *frames) {
  free(frames->descriptions);
  free(frames);
}

struct precast_frames *precast_register_frames(const void *eh_frame, size_t size) {
  enum precast_unwinder kind = precast_find_unwinder();
  if (kind == PRECAST_UNWINDER_NONE) return NULL;
  struct precast_frames *frames = malloc(sizeof *frames);
  if (!frames) return NULL;
  *frames = (struct precast_frames){.sections = {eh_frame, NULL}};
  if (kind == PRECAST_UNWINDER_LLVM) {
    if (!list_descriptions(eh_frame, size, frames)) {
      forget(frames);
      return NULL;
    }
    for (size_t i = 0; i < frames->count; i++) unwinder.add(frames->descriptions[i]);
  } else if (unwinder.add_table) {
    unwinder.add_table(frames->sections);
  } else {
    unwinder.add((void *)(uintptr_t)eh_frame);
  }
  __atomic_fetch_add(&registered, 1, __ATOMIC_RELAXED);
  return frames;
}

void precast_deregister_frames(struct precast_frames *frames) {
  if (!frames) return;
  void *section = (void *)(uintptr_t)frames->sections[0];
  if (unwinder.kind == PRECAST_UNWINDER_LLVM) {
    for (size_t i = 0; i < frames->count; i++) unwinder.remove(frames->descriptions[i]);
  } else {
    unwinder.remove(unwinder.add_table ? (void *)frames->sections : section);
  }
  __atomic_fetch_sub(&registered, 1, __ATOMIC_RELAXED);
  forget(frames);
}

size_t precast_registered_frames(void) { return __atomic_load_n(&registered, __ATOMIC_RELAXED); }
