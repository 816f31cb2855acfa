// A trap of each kind that C can make, each in a function of its own that may be inlined, called from an export. The tests look
// for the line behind which `TRAP kind` stands.
#define EXPORT(name) __attribute__((export_name(#name))) int name
#define INLINE static inline

typedef int function(int);
__attribute__((import_module("host"), import_name("call"))) int host_call(int);

static volatile int sink;

INLINE int reach(int a) {
  if (a) __builtin_trap();  // TRAP unreachable
  return a;
}
EXPORT(unreachable)(int a) { return reach(a) + 1; }

INLINE int divide(int a, int b) {
  return a / b;  // TRAP divide
}
EXPORT(divide_by)(int a) { return divide(sink, a) + 1; }

EXPORT(overflow)(int a) {
  return divide(-2147483647 - 1, a) + 1;
}

INLINE int load(int a) {
  return *(volatile int *)a;  // TRAP load
}
EXPORT(load_at)(int a) { return load(a) + 1; }

INLINE int call(function *f, int a) {
  return f(a);  // TRAP call
}
EXPORT(call_at)(int a) { return call((function *)a, 1) + 1; }

static double other(double a) { return a + sink; }
EXPORT(call_other)(int a) {
  double (*volatile f)(double) = other;
  return call((function *)(void *)f, a) + 1;
}

INLINE int convert(float a) {
  return __builtin_wasm_trunc_s_i32_f32(a);  // TRAP convert
}
EXPORT(convert_from)(int a) { return convert((float)a / 0.0f) + 1; }

INLINE void fill(int a) {
  __builtin_memset((char *)a, 1, 70000);  // TRAP fill
}
EXPORT(fill_at)(int a) {
  fill(a);
  return 1;
}

__attribute__((noinline)) int recurse(int a) {
  sink = a;
  return recurse(a + 1) + sink;  // TRAP recurse
}
EXPORT(recurse_from)(int a) { return recurse(a) + 1; }

INLINE int ask(int a) {
  return host_call(a);  // TRAP ask
}
EXPORT(ask_host)(int a) { return ask(a) + 1; }

// For profilers.
EXPORT(spin)(int a) {
  unsigned value = 1;
  for (int i = 0; i < a; i++) {
    value = value * 1664525u + 1013904223u + (value >> 7);  // TIME spin
  }
  return (int)value;
}
