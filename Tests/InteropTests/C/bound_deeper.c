// The other half of a recursion through two objects.
#include "bound.h"

u32 unwind_from(i64 backtrace, i64 get_ip, i64 sink, u32 levels);
u32 unwind_deeper(i64 backtrace, i64 get_ip, i64 sink, u32 levels) {
  volatile u32 more = 2;
  return unwind_from(backtrace, get_ip, sink, levels) + more;
}
