// libgcc and LLVM's libunwind both let a program add `.eh_frame` sections, under names that are the
// same and mean nearly the same. The symbols are weak: a host that links no unwinder (static, C
// only) loads artifacts all the same.
//
// libgcc's `__register_frame` looks at the first word of the section, to skip an empty one; that is
// a page fault, half a microsecond, for something that may never be unwound. Its sibling
// `__register_frame_table` takes a null-terminated list of sections and looks at none. Both put an
// object in a list (up to GCC 12), whatever the section's size; deregistering searches that list.
//
// From GCC 13 on both read every FDE at once, to find the range of code that the section is about,
// and put that into a lock-free tree. So with a newer libgcc, registering costs time in proportion
// to the number of functions, and touches the whole section: load is no longer flat. (LLVM's
// libunwind takes a single FDE under the first name, and learns nothing from a section.)
//
// The unwinder reads the section when it likes. Where its file was shortened meanwhile it finds zeros, which end the
// section (`precast_lost_page.c`).
#include "precast_unwind.h"

#include <stdlib.h>

extern void __register_frame(void *begin) __attribute__((weak));
extern void __deregister_frame(void *begin) __attribute__((weak));
extern void __register_frame_table(void *begin) __attribute__((weak));

struct precast_frames {
  const void *sections[2];
};

struct precast_frames *precast_register_frames(const void *eh_frame) {
  if (!__deregister_frame || (!__register_frame_table && !__register_frame)) return NULL;
  struct precast_frames *frames = malloc(sizeof *frames);
  if (!frames) return NULL;
  frames->sections[0] = eh_frame;
  frames->sections[1] = NULL;
  if (__register_frame_table) {
    __register_frame_table(frames->sections);
  } else {
    __register_frame((void *)eh_frame);
  }
  return frames;
}

void precast_deregister_frames(struct precast_frames *frames) {
  if (!frames) return;
  __deregister_frame(__register_frame_table ? (void *)frames->sections : (void *)frames->sections[0]);
  free(frames);
}
