// What subject.c has to work with: checks, code.S as a loaded artifact, and calls that look at the registers.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "precast_host.h"

extern int failures;

#define CHECK(condition)                                                      \
  do {                                                                        \
    if (!(condition)) {                                                       \
      fprintf(stderr, "line %d: %s is not so\n", __LINE__, #condition);       \
      failures++;                                                             \
    }                                                                         \
  } while (0)

#define CHECK_EQUAL(a, b)                                                                                        \
  do {                                                                                                           \
    unsigned long long a_ = (unsigned long long)(a), b_ = (unsigned long long)(b);                               \
    if (a_ != b_) {                                                                                              \
      fprintf(stderr, "line %d: %s is %#llx, and %s is %#llx\n", __LINE__, #a, a_, #b, b_);                      \
      failures++;                                                                                                \
    }                                                                                                            \
  } while (0)

/// Ends the program for a reason that is not the subject's.
void fail(const char *what) __attribute__((noreturn));

// ---- Code ----

/// Functions of code.S. An artifact of a compiler has those up to OUT, by these names.
enum { ENTRY, EXIT, INCREMENT, UNREACHABLE, INNER, INNERMOST, LOAD, RECURSE, OUT, LOW, NATIVE, LOST, FUNCTIONS };

/// What there is to know of the code; places from the start of the text.
struct directory {
  uint32_t eh_frame, eh_frame_size, sites;
  struct {
    uint32_t start, size;
  } functions[FUNCTIONS];
};
extern struct directory directory;

/// The file's contents, where its text is in them, and how long it is.
extern unsigned char *code_bytes;
extern size_t code_size, text_offset, text_size;

/// Reads code.S as linked by code.ld, or an artifact (ELF).
void read_code(const char *path);

/// Whether the code is a compiler's; whether it has landing pads, so that its pages can be guarded.
extern bool is_compiled, has_landing_pads;

/// Code that is mapped and registered.
struct artifact {
  uint64_t address;
  size_t size;
  int file;
  struct precast_code *code;
};

/// Maps the code from `file`, or from one made for it where that is negative. With `blank` not UINT32_MAX the word at that
/// text offset is zeros, and the file is said to have had one byte more: so it is a damaged one for whoever looks.
struct artifact load_artifact(int file, uint32_t blank);

void unload(struct artifact *artifact);

/// Whether artifacts are loaded into an arena.
extern bool has_arena;

/// Reserves an arena and registers its unwind table: a file's name, the arena's start, its size.
void reserve_arena(char **arguments);

uint64_t address_of(const struct artifact *artifact, int function);
bool is_in(const struct artifact *artifact, int function, uint64_t pc);

// ---- Calls ----

struct context {
  uint64_t memory;
  struct precast_store_context *store;
  uint64_t unused[3];
  uint64_t (*callback)(struct context *context, struct context *caller, uint64_t *slots);
  uint64_t unused2[2];
  uint64_t memory_base, memory_size;
  uint64_t import_code;
  struct context *import_context;
};

extern struct precast_store_context store;
/// The module's instance, and the context of the function that it imports.
extern struct context instance, host;

uint64_t checked_call(
    const struct precast_function *function, void *slots, struct precast_store_context *store, uint64_t seen[18]);
extern const char checked_call_end[];
extern const uint64_t expected_registers[18];

/// Calls a function by `checked_call`, and checks the registers.
uint64_t call(const struct artifact *artifact, int function, uint64_t *value);
