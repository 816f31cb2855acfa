// Loads, instantiates and drops an artifact in a peer, wasmtime, through its C API, and says how long that took.
//
//     wasmtime-load LIBRARY compile MODULE.wasm ARTIFACT
//     wasmtime-load LIBRARY load ARTIFACT RUNS [pooling]
//     wasmtime-load LIBRARY call ARTIFACT BATCHES
//     wasmtime-load LIBRARY cache MODULE.wasm RUNS CONFIG
//
// LIBRARY is libwasmtime.so, such as the one inside the PyPI package `wasmtime`. `load` prints the same four lines as
// `precast-bench load`; `pooling` instantiates with the pooling allocator in place of the default, on-demand one. Imports are
// functions that trap, resolved before the clock starts (an `instance_pre`), which is the fastest way that the API has. `call` prints what
// `precast-bench call` does, for TestData/Load/calls.wasm, by the calls of the API that check and convert nothing.
//
// `cache` makes a module of wasm again and again, with the library's own cache as CONFIG sets it up, from the file (which it
// reads first) and from its bytes in memory. All but the first time the cache has it.
//
// The prototypes are those of wasmtime's headers (wasmtime/module.h, linker.h, ...), of which only these few are needed.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct wasm_config config;
typedef struct wasm_engine engine;
typedef struct wasmtime_module module;
typedef struct wasmtime_store store;
typedef struct wasmtime_context context;
typedef struct wasmtime_linker linker;
typedef struct wasmtime_instance_pre instance_pre;
typedef struct wasmtime_error error;
typedef struct wasm_trap trap;
typedef struct wasmtime_pooling_allocation_config pooling_config;
typedef struct {
  size_t size;
  char *data;
} byte_vec;
/// A `wasmtime_instance_t` is smaller than this.
typedef struct {
  uint64_t words[8];
} instance;

/// `wasmtime_func_t`, `wasmtime_val_raw_t`, `wasmtime_extern_t` (of which `kind` 0 is a function).
typedef struct {
  uint64_t store;
  void *function;
} function;
typedef union {
  int32_t i32;
  uint64_t words[2];
} raw_value;
typedef struct {
  uint8_t kind;
  union {
    function function;
    uint64_t words[3];
  } of;
} external;
typedef struct wasm_functype function_type;
typedef struct wasm_valtype value_type;
typedef struct {
  size_t size;
  value_type **data;
} type_vec;

static void *library;

static void *symbol(const char *name) {
  void *address = dlsym(library, name);
  if (!address) {
    fprintf(stderr, "wasmtime-load: the library has no %s\n", name);
    exit(2);
  }
  return address;
}

#define FUNCTION(result, name, ...) result (*name)(__VA_ARGS__) = (result(*)(__VA_ARGS__))symbol(#name)

static void check(error *failure, const char *what) {
  if (!failure) return;
  FUNCTION(void, wasmtime_error_message, const error *, byte_vec *);
  byte_vec message;
  wasmtime_error_message(failure, &message);
  fprintf(stderr, "wasmtime-load: %s: %.*s\n", what, (int)message.size, message.data);
  exit(1);
}

static uint64_t now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static int ascending(const void *left, const void *right) {
  uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
  return (a > b) - (a < b);
}

static void report(const char *name, uint64_t *times, size_t count) {
  qsort(times, count, sizeof *times, ascending);
  double median = (times[(count - 1) / 2] + times[count / 2]) / 2.0;
  printf("%s_us min %.2f median %.2f\n", name, times[0] / 1e3, median / 1e3);
}

static engine *make_engine(bool pooling, const char *cache) {
  FUNCTION(config *, wasm_config_new, void);
  FUNCTION(engine *, wasm_engine_new_with_config, config *);
  config *settings = wasm_config_new();
  if (cache) {
    FUNCTION(error *, wasmtime_config_cache_config_load, config *, const char *);
    check(wasmtime_config_cache_config_load(settings, cache), cache);
  }
  if (pooling) {
    FUNCTION(pooling_config *, wasmtime_pooling_allocation_config_new, void);
    FUNCTION(void, wasmtime_pooling_allocation_strategy_set, config *, const pooling_config *);
    FUNCTION(void, wasmtime_pooling_allocation_config_max_core_instance_size_set, pooling_config *, size_t);
    FUNCTION(void, wasmtime_pooling_allocation_config_table_elements_set, pooling_config *, size_t);
    FUNCTION(void, wasmtime_pooling_allocation_config_total_memories_set, pooling_config *, uint32_t);
    FUNCTION(void, wasmtime_pooling_allocation_config_total_tables_set, pooling_config *, uint32_t);
    FUNCTION(void, wasmtime_pooling_allocation_config_total_core_instances_set, pooling_config *, uint32_t);
    pooling_config *pool = wasmtime_pooling_allocation_config_new();
    // Room for the large modules; few slots, since one is used at a time.
    wasmtime_pooling_allocation_config_max_core_instance_size_set(pool, 64 << 20);
    wasmtime_pooling_allocation_config_table_elements_set(pool, 1 << 20);
    wasmtime_pooling_allocation_config_total_memories_set(pool, 16);
    wasmtime_pooling_allocation_config_total_tables_set(pool, 16);
    wasmtime_pooling_allocation_config_total_core_instances_set(pool, 16);
    wasmtime_pooling_allocation_strategy_set(settings, pool);
  }
  engine *made = wasm_engine_new_with_config(settings);
  if (!made) {
    fprintf(stderr, "wasmtime-load: no engine\n");
    exit(1);
  }
  return made;
}

static uint8_t *read_file(const char *path, size_t *size) {
  FILE *file = fopen(path, "rb");
  if (!file || fseek(file, 0, SEEK_END) != 0) {
    perror(path);
    exit(1);
  }
  *size = (size_t)ftell(file);
  uint8_t *bytes = malloc(*size);
  rewind(file);
  if (!bytes || fread(bytes, 1, *size, file) != *size) {
    perror(path);
    exit(1);
  }
  fclose(file);
  return bytes;
}

static int cache(const char *path, size_t runs, const char *settings) {
  FUNCTION(error *, wasmtime_module_new, engine *, const uint8_t *, size_t, module **);
  FUNCTION(void, wasmtime_module_delete, module *);
  engine *engine = make_engine(false, settings);
  uint64_t *times[2];
  for (int i = 0; i < 2; i++) {
    times[i] = calloc(runs, sizeof *times[i]);
    if (!times[i]) return 1;
  }
  const size_t warm = runs / 10 + 3;
  for (size_t i = 0; i < warm + runs; i++) {
    module *made;
    size_t size;
    uint64_t start = now();
    uint8_t *bytes = read_file(path, &size);
    uint64_t read = now();
    check(wasmtime_module_new(engine, bytes, size, &made), path);
    uint64_t end = now();
    wasmtime_module_delete(made);
    free(bytes);
    if (i < warm) continue;
    times[0][i - warm] = end - start;
    times[1][i - warm] = end - read;
  }
  report("file", times[0], runs);
  report("bytes", times[1], runs);
  return 0;
}

static int compile(const char *path, const char *artifact) {
  FUNCTION(error *, wasmtime_module_new, engine *, const uint8_t *, size_t, module **);
  FUNCTION(error *, wasmtime_module_serialize, module *, byte_vec *);
  size_t size;
  uint8_t *bytes = read_file(path, &size);
  FILE *file;
  module *made;
  check(wasmtime_module_new(make_engine(false, NULL), bytes, size, &made), path);
  byte_vec image;
  check(wasmtime_module_serialize(made, &image), artifact);
  file = fopen(artifact, "wb");
  if (!file || fwrite(image.data, 1, image.size, file) != image.size || fclose(file) != 0) {
    perror(artifact);
    return 1;
  }
  return 0;
}

static int load(const char *artifact, size_t runs, bool pooling) {
  FUNCTION(error *, wasmtime_module_deserialize_file, engine *, const char *, module **);
  FUNCTION(void, wasmtime_module_delete, module *);
  FUNCTION(linker *, wasmtime_linker_new, engine *);
  FUNCTION(error *, wasmtime_linker_define_unknown_imports_as_traps, linker *, module *);
  FUNCTION(error *, wasmtime_linker_instantiate_pre, const linker *, const module *, instance_pre **);
  FUNCTION(store *, wasmtime_store_new, engine *, void *, void (*)(void *));
  FUNCTION(context *, wasmtime_store_context, store *);
  FUNCTION(void, wasmtime_store_delete, store *);
  FUNCTION(error *, wasmtime_instance_pre_instantiate, const instance_pre *, context *, instance *, trap **);

  engine *engine = make_engine(pooling, NULL);
  uint64_t *times[4];
  for (int i = 0; i < 4; i++) {
    times[i] = calloc(runs, sizeof *times[i]);
    if (!times[i]) return 1;
  }
  const size_t warm = runs / 10 + 3;
  for (size_t i = 0; i < warm + runs; i++) {
    module *made;
    uint64_t start = now();
    error *failure = wasmtime_module_deserialize_file(engine, artifact, &made);
    uint64_t loaded = now();
    check(failure, artifact);
    uint64_t loaded_again = now();
    wasmtime_module_delete(made);
    uint64_t dropped = now();
    if (i < warm) continue;
    times[0][i - warm] = loaded - start;
    times[1][i - warm] = dropped - loaded_again;
  }
  module *made;
  check(wasmtime_module_deserialize_file(engine, artifact, &made), artifact);
  linker *linker = wasmtime_linker_new(engine);
  check(wasmtime_linker_define_unknown_imports_as_traps(linker, made), "define imports");
  instance_pre *ready;
  check(wasmtime_linker_instantiate_pre(linker, made, &ready), "resolve imports");
  for (size_t i = 0; i < warm + runs; i++) {
    instance instance;
    trap *trap = NULL;
    uint64_t start = now();
    store *store = wasmtime_store_new(engine, NULL, NULL);
    context *context = wasmtime_store_context(store);
    uint64_t before = now();
    error *failure = wasmtime_instance_pre_instantiate(ready, context, &instance, &trap);
    uint64_t after = now();
    wasmtime_store_delete(store);
    uint64_t end = now();
    check(failure, "instantiate");
    if (trap) {
      fprintf(stderr, "wasmtime-load: the start function trapped\n");
      return 1;
    }
    if (i < warm) continue;
    times[2][i - warm] = after - before;
    times[3][i - warm] = end - start;
  }
  report("load", times[0], runs);
  report("drop", times[1], runs);
  report("instantiate", times[2], runs);
  report("instantiate_cycle", times[3], runs);
  return 0;
}

static trap *host_add(void *state, void *caller, raw_value *slots, size_t count) {
  slots[0].i32 += slots[1].i32;
  return NULL;
}

static void report_call(const char *name, double *times, size_t count) {
  for (size_t i = 1; i < count; i++) {
    for (size_t k = i; k > 0 && times[k - 1] > times[k]; k--) {
      double greater = times[k - 1];
      times[k - 1] = times[k];
      times[k] = greater;
    }
  }
  printf("%s: min %.2f median %.2f ns\n", name, times[0], (times[(count - 1) / 2] + times[count / 2]) / 2);
}

static int call(const char *artifact, size_t batches) {
  FUNCTION(error *, wasmtime_module_deserialize_file, engine *, const char *, module **);
  FUNCTION(store *, wasmtime_store_new, engine *, void *, void (*)(void *));
  FUNCTION(context *, wasmtime_store_context, store *);
  FUNCTION(error *, wasmtime_instance_new, context *, module *, const external *, size_t, instance *, trap **);
  FUNCTION(bool, wasmtime_instance_export_get, context *, const instance *, const char *, size_t, external *);
  FUNCTION(void, wasmtime_func_new_unchecked, context *, const function_type *,
           trap *(*)(void *, void *, raw_value *, size_t), void *, void (*)(void *), function *);
  FUNCTION(error *, wasmtime_func_call_unchecked, context *, const function *, raw_value *, size_t, trap **);
  FUNCTION(function_type *, wasm_functype_new, type_vec *, type_vec *);
  FUNCTION(value_type *, wasm_valtype_new, uint8_t);
  FUNCTION(void, wasm_valtype_vec_new, type_vec *, size_t, value_type *const *);

  engine *engine = make_engine(false, NULL);
  module *made;
  check(wasmtime_module_deserialize_file(engine, artifact, &made), artifact);
  context *context = wasmtime_store_context(wasmtime_store_new(engine, NULL, NULL));
  value_type *types[3] = {wasm_valtype_new(0), wasm_valtype_new(0), wasm_valtype_new(0)};
  type_vec parameters, results;
  wasm_valtype_vec_new(&parameters, 2, types);
  wasm_valtype_vec_new(&results, 1, types + 2);
  external imports[2] = {{0}, {0}};
  wasmtime_func_new_unchecked(
      context, wasm_functype_new(&parameters, &results), host_add, NULL, NULL, &imports[0].of.function);
  imports[1] = imports[0];
  instance instances[2];
  trap *trap = NULL;
  external add;
  for (int i = 0; i < 2; i++) {
    check(wasmtime_instance_new(context, made, imports, 2, &instances[i], &trap), "instantiate");
    if (trap || !wasmtime_instance_export_get(context, &instances[i], "add", 3, &add)) return 1;
    if (i == 0) imports[1] = add;
  }
  double *times = calloc(batches, sizeof *times), least = 0;
  if (!times) return 1;

  const uint32_t calls = 10000;
  for (int with_arguments = 0; with_arguments < 2; with_arguments++) {
    external callee = add;
    if (!with_arguments && !wasmtime_instance_export_get(context, &instances[1], "nothing", 7, &callee)) return 1;
    const size_t slots = with_arguments ? 2 : 0;
    int32_t sum = 0;
    for (size_t i = 0; i < batches + 1; i++) {
      uint64_t start = now();
      for (uint32_t k = 0; k < calls; k++) {
        raw_value values[2];
        if (with_arguments) {
          values[0].i32 = sum;
          values[1].i32 = (int32_t)k;
        }
        error *failure = wasmtime_func_call_unchecked(context, &callee.of.function, values, slots, &trap);
        if (failure || trap) return 1;
        if (with_arguments) sum = values[0].i32;
      }
      if (i > 0) times[i - 1] = (double)(now() - start) / calls;
    }
    report_call(with_arguments ? "enter, raw, (i32 i32) -> i32" : "enter, raw, ()", times, batches);
  }

  const struct {
    const char *name, *export;
    int32_t element;
  } loops[] = {
      {"", "empty", -1},
      {"host function, raw", "host", -1},
      {"direct call", "direct", -1},
      {"imported function", "imported", -1},
      {"call_indirect, same instance", "indirect", 0},
      {"call_indirect, other instance", "indirect", 1},
  };
  const int32_t rounds = 100000;
  for (size_t loop = 0; loop < sizeof loops / sizeof *loops; loop++) {
    external callee;
    const char *name = loops[loop].export;
    if (!wasmtime_instance_export_get(context, &instances[1], name, strlen(name), &callee)) return 1;
    for (size_t i = 0; i < batches + 2; i++) {
      raw_value values[2];
      values[0].i32 = rounds;
      values[1].i32 = loops[loop].element;
      uint64_t start = now();
      error *failure =
          wasmtime_func_call_unchecked(context, &callee.of.function, values, loops[loop].element < 0 ? 1 : 2, &trap);
      uint64_t end = now();
      if (failure || trap) return 1;
      if (i >= 2) times[i - 2] = (double)(end - start) / rounds - least;
      if (i >= 2 && times[i - 2] < 0) times[i - 2] = 0;
    }
    if (loop == 0) {
      least = times[0];
      for (size_t i = 1; i < batches; i++) least = times[i] < least ? times[i] : least;
    } else {
      report_call(loops[loop].name, times, batches);
    }
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc >= 5 && (library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL))) {
    if (strcmp(argv[2], "compile") == 0) return compile(argv[3], argv[4]);
    long runs = atol(argv[4]);
    if (strcmp(argv[2], "load") == 0 && runs > 0) {
      return load(argv[3], (size_t)runs, argc > 5 && strcmp(argv[5], "pooling") == 0);
    }
    if (strcmp(argv[2], "call") == 0 && runs > 0) return call(argv[3], (size_t)runs);
    if (strcmp(argv[2], "cache") == 0 && runs > 0 && argc > 5) return cache(argv[3], (size_t)runs, argv[5]);
  } else if (argc >= 5) {
    fprintf(stderr, "wasmtime-load: %s\n", dlerror());
    return 2;
  }
  fprintf(stderr, "usage: wasmtime-load LIBRARY compile MODULE.wasm ARTIFACT\n"
                  "       wasmtime-load LIBRARY load ARTIFACT RUNS [pooling]\n"
                  "       wasmtime-load LIBRARY call ARTIFACT BATCHES\n"
                  "       wasmtime-load LIBRARY cache MODULE.wasm RUNS CONFIG\n");
  return 2;
}
