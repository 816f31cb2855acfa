// Symbols that no object defines: called, called in tail position, read as data, compared, and absent.
#include "corpus.h"

u64 call_host(u64 a, u64 b) { return host_mix(a, b) + 1; }

u64 tail_call_host(u64 a, u64 b) { return host_mix(b, a); }

double scale_by_host(double value, u64 exponent) { return host_scale(value, (i32)exponent) + 0.5; }

static u64 called_back(u64 x) { return x * 17 + host_mix(x, 1); }

u64 let_host_call_back(u64 x) { return host_call_back(called_back, x) ^ host_call_back(bump, 1); }

u64 read_host_table(u64 i) { return host_table[i & 3] + host_table[2]; }

u64 has_absent(u64 x) { return host_absent ? host_absent(x) : x + 4711; }

static u64 (*volatile host_pointer)(u64, u64) = host_mix;

u64 through_host_pointer(u64 a) { return host_pointer(a, a + 1) == host_mix(a, a + 1) && host_pointer == host_mix; }
