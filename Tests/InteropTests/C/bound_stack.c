// What C does to the stack: uses much of it, looks at it, leads back into the host and from there into wasm.
#include "bound.h"

// 96 KiB, of the 128 that there are for functions outside of wasm.
u32 wide(u32 x) {
  volatile u32 block[24 * 1024];
  block[0] = x;
  block[24 * 1024 - 1] = 1;
  return block[0] + block[24 * 1024 - 1];
}

// Calls a function of the host, which enters wasm again.
i64 through_host(i64 function, i64 x) { return ((i64 (*)(i64))function)(x) * 2 + 1; }

// What no signal handler of ours has an answer to.
u32 divide_in_c(u32 a, u32 b) { return a / b; }

// The frames that the system's unwinder sees, told to a function of the host one by one. The unwinder is what wasm says, so
// that a finished artifact can have it too.
struct report {
  u64 (*get_ip)(void *);
  void (*sink)(u64);
};
static i32 tell(void *context, void *argument) {
  struct report *report = argument;
  report->sink(report->get_ip(context));
  return 0;
}
u32 unwind(i64 backtrace, i64 get_ip, i64 sink) {
  struct report report = {(u64(*)(void *))get_ip, (void (*)(u64))sink};
  i32 outcome = ((i32(*)(i32(*)(void *, void *), void *))backtrace)(tell, &report);
  return (u32)outcome + 7;
}
u32 unwind_deeper(i64 backtrace, i64 get_ip, i64 sink, u32 levels);
u32 unwind_from(i64 backtrace, i64 get_ip, i64 sink, u32 levels) {
  volatile u32 more = 1;
  return (levels == 0 ? unwind(backtrace, get_ip, sink) : unwind_deeper(backtrace, get_ip, sink, levels - 1)) + more;
}
