// libgcc and libunwind both export `__register_frame`. The symbols are weak: a host that links no
// unwinder (static, C only) loads artifacts all the same.
//
// libgcc takes a whole section and, up to GCC 12, only puts it in a list, whatever its size;
// deregistration searches that list.
#include "precast_unwind.h"

extern void __register_frame(void *begin) __attribute__((weak));
extern void __deregister_frame(void *begin) __attribute__((weak));

void precast_register_frames(const void *eh_frame) {
  if (__register_frame && __deregister_frame) __register_frame((void *)eh_frame);
}

void precast_deregister_frames(const void *eh_frame) {
  if (__register_frame && __deregister_frame) __deregister_frame((void *)eh_frame);
}
