// code.S as a loaded artifact, and calls of it that look at the registers; see subject.h.
#define _GNU_SOURCE
#include "subject.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int failures;

void fail(const char *what) {
  fprintf(stderr, "%s: %s\n", what, strerror(errno));
  exit(2);
}

// ---- Whole pages ----

// Linked with --wrap: what the kernel of a machine with larger pages would refuse, the emulator may allow.
static void check_pages(const char *call, const void *address, size_t size) {
  size_t page = precast_page_size();
  if ((uintptr_t)address % page == 0 && (size == 0 || size % page == 0)) return;
  fprintf(stderr, "%s: %p, %zu bytes, are no whole pages of %zu\n", call, address, size, page);
  failures++;
}

int __real_mprotect(void *address, size_t size, int protection);
int __wrap_mprotect(void *address, size_t size, int protection);
int __wrap_mprotect(void *address, size_t size, int protection) {
  check_pages("mprotect", address, 0);
  return __real_mprotect(address, size, protection);
}

void *__real_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
  check_pages("mmap", address, (size_t)offset);
  return __real_mmap(address, size, protection, flags, fd, offset);
}

int __real_munmap(void *address, size_t size);
int __wrap_munmap(void *address, size_t size);
int __wrap_munmap(void *address, size_t size) {
  check_pages("munmap", address, 0);
  return __real_munmap(address, size);
}

// ---- Code ----

struct site {
  uint32_t offset, code;
};

unsigned char *code_bytes;
size_t code_size, text_offset, text_size;
struct directory directory;
bool is_compiled, has_landing_pads;

// A trap table made here; or where it is in an artifact, from the start of the text.
static uint8_t made_traps[4096];
static size_t traps_offset, traps_size;

struct bit_writer {
  size_t bits;
};

static void put_bits(struct bit_writer *writer, uint8_t *bytes, uint64_t value, unsigned width) {
  while (width-- > 0) {
    if (value >> width & 1) bytes[writer->bits / 8] |= (uint8_t)(0x80 >> writer->bits % 8);
    writer->bits++;
  }
}

static unsigned width_of(uint32_t value) { return value == 0 ? 0 : 32 - (unsigned)__builtin_clz(value); }

/// A `.wasmtime.traps` section in which every entry is written out in full: one symbol, the escape, of one bit.
static void make_traps(void) {
  const struct site *sites = (const struct site *)(code_bytes + directory.sites);
  uint32_t *words = (uint32_t *)made_traps;
  enum { HEADER = 1200 };
  uint32_t index = HEADER, symbols = index + 16, runs = symbols + 4;
  words[0] = 0x534E5552;  // "RUNS"
  words[1] = PRECAST_RUN_TRAPS;
  words[2] = 1;        // runs
  words[3] = 65536;    // codes between checkpoints
  words[6] = index;
  words[7] = 1;        // symbols
  words[8] = symbols;
  words[9] = runs;
  words[12] = 0x10000;  // every code has one bit
  uint8_t *run = made_traps + runs;
  size_t count = 0;
  while (sites[count].offset != UINT32_MAX) count++;
  run[0] = (uint8_t)count;
  struct bit_writer writer = {8};
  uint32_t last = UINT32_MAX;
  for (uint32_t offset = 0; offset < text_size; offset++) {
    for (size_t i = 0; i < count; i++) {
      if (sites[i].offset != offset) continue;
      uint32_t delta = offset - last;
      put_bits(&writer, run, 0, 1);
      put_bits(&writer, run, width_of(delta), 6);
      put_bits(&writer, run, delta, width_of(delta));
      put_bits(&writer, run, width_of(sites[i].code), 6);
      put_bits(&writer, run, sites[i].code, width_of(sites[i].code));
      last = offset;
    }
  }
  uint32_t run_size = (uint32_t)((writer.bits + 7) / 8);
  words[10] = run_size;
  words[index / 4] = 0;  // the run's function starts with the text
  words[index / 4 + 1] = 0;
  words[index / 4 + 2] = (uint32_t)text_size;
  words[index / 4 + 3] = run_size;
  traps_size = runs + run_size;
}

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text), size = strlen(end);
  return length >= size && strcmp(text + length - size, end) == 0;
}

/// Finds sections and functions of an artifact, whose addresses are places in the file.
static void read_artifact(void) {
  static const char *const names[FUNCTIONS] = {
      "trampoline[0]::enter", "trampoline[0]::exit", "::increment", "::unreachable", "::inner",
      "::innermost",          "::load",              "::recurse",   "::out"};
  const Elf64_Ehdr *header = (const Elf64_Ehdr *)code_bytes;
  const Elf64_Shdr *sections = (const Elf64_Shdr *)(code_bytes + header->e_shoff);
  const char *section_names = (const char *)code_bytes + sections[header->e_shstrndx].sh_offset;
  is_compiled = true;
  for (int i = 0; i < header->e_shnum; i++) {
    if (strcmp(section_names + sections[i].sh_name, ".text") != 0) continue;
    text_offset = sections[i].sh_offset;
    text_size = sections[i].sh_size;
  }
  for (int i = 0; i < header->e_shnum; i++) {
    const Elf64_Shdr *section = &sections[i];
    const char *name = section_names + section->sh_name;
    if (strcmp(name, ".eh_frame") == 0) {
      directory.eh_frame = (uint32_t)(section->sh_offset - text_offset);
      directory.eh_frame_size = (uint32_t)section->sh_size;
    } else if (strcmp(name, ".wasmtime.traps") == 0) {
      traps_offset = section->sh_offset - text_offset;
      traps_size = section->sh_size;
    } else if (section->sh_type == SHT_SYMTAB) {
      const Elf64_Sym *symbols = (const Elf64_Sym *)(code_bytes + section->sh_offset);
      const char *strings = (const char *)code_bytes + sections[section->sh_link].sh_offset;
      for (size_t k = 0; k < section->sh_size / sizeof *symbols; k++) {
        if (ELF64_ST_TYPE(symbols[k].st_info) != STT_FUNC) continue;
        for (int function = 0; function <= OUT; function++) {
          if (!ends_with(strings + symbols[k].st_name, names[function])) continue;
          directory.functions[function].start = (uint32_t)(symbols[k].st_value - text_offset);
          directory.functions[function].size = (uint32_t)symbols[k].st_size;
        }
      }
    }
  }
  // `bti c` (the hint's number is 34) at the start of a function.
  uint32_t first;
  memcpy(&first, code_bytes + text_offset + directory.functions[INCREMENT].start, sizeof first);
  has_landing_pads = first == 0xD503245F;
  for (int function = 0; function <= OUT; function++) {
    if (directory.functions[function].size == 0) fail(names[function]);
  }
}

void read_code(const char *path) {
  int fd = open(path, O_RDONLY);
  struct stat status;
  if (fd < 0 || fstat(fd, &status) != 0) fail(path);
  code_size = (size_t)status.st_size;
  code_bytes = malloc(code_size);
  if (precast_read_exactly(fd, code_bytes, code_size, 0) != 0) fail(path);
  close(fd);
  if (memcmp(code_bytes, ELFMAG, SELFMAG) == 0) return read_artifact();
  // As code.ld has it.
  text_size = 0x10000;
  has_landing_pads = true;
  memcpy(&directory, code_bytes + 0x12000, sizeof directory);
  make_traps();
}

bool has_arena;
static uint64_t arena_next, arena_end;

struct artifact load_artifact(int file, uint32_t blank) {
  struct artifact artifact = {.file = file};
  if (file < 0) {
    unsigned char *bytes = malloc(code_size);
    memcpy(bytes, code_bytes, code_size);
    if (blank != UINT32_MAX) memset(bytes + text_offset + blank, 0, 4);
    artifact.file = precast_sealed_memfd("subject", bytes, code_size);
    free(bytes);
  }
  if (artifact.file < 0) fail("memfd");
  size_t page = precast_page_size(), size = code_size - text_offset;
  artifact.size = (size + page - 1) / page * page;
  struct precast_artifact_parts parts = {
      .file_size = size, .text_size = text_size, .data_start = size, .memory_size = artifact.size,
      .has_landing_pads = has_landing_pads};
  if (has_arena) {
    artifact.address = arena_next;
    arena_next += (artifact.size + 0xFFFF) & ~0xFFFFull;
    if (arena_next > arena_end) fail("the arena is full");
  }
  int result = precast_map_artifact(artifact.file, text_offset, &parts, &artifact.address);
  if (result != 0) {
    errno = -result;
    fail("map");
  }
  struct precast_code code = {
      .text_start = artifact.address,
      .text_end = artifact.address + text_size,
      .mapping_end = artifact.address + artifact.size,
      .traps = traps_offset ? (const uint8_t *)artifact.address + traps_offset : made_traps,
      .traps_size = traps_size,
      .file = artifact.file,
      .file_size = code_size + (blank != UINT32_MAX)};
  if (precast_code_register(&code, NULL, &artifact.code) != 0) fail("register");
  return artifact;
}

void unload(struct artifact *artifact) {
  precast_code_unregister(artifact->code);
  if (has_arena) {
    if (precast_decommit(artifact->address, artifact->size) != 0) fail("decommit");
  } else {
    if (precast_release(artifact->address, artifact->size) != 0) fail("release");
  }
  close(artifact->file);
}

uint64_t address_of(const struct artifact *artifact, int function) {
  return artifact->address + directory.functions[function].start;
}

bool is_in(const struct artifact *artifact, int function, uint64_t pc) {
  uint64_t start = address_of(artifact, function);
  return pc >= start && pc < start + directory.functions[function].size;
}

void reserve_arena(char **arguments) {
  int fd = open(arguments[0], O_RDONLY);
  struct stat status;
  if (fd < 0 || fstat(fd, &status) != 0) fail(arguments[0]);
  size_t table_size = (size_t)status.st_size;
  void *table = malloc(table_size);
  if (precast_read_exactly(fd, table, table_size, 0) != 0) fail(arguments[0]);
  has_arena = true;
  arena_next = strtoull(arguments[1], NULL, 0);
  size_t size = strtoull(arguments[2], NULL, 0);
  arena_end = arena_next + size;
  void *wanted = (void *)arena_next;
  if (mmap(wanted, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0) != wanted) {
    fail("arena");
  }
  CHECK(precast_register_frames(table, table_size) != NULL);
}

// ---- Calls ----

struct precast_store_context store;
struct context instance, host;

uint64_t call(const struct artifact *artifact, int function, uint64_t *value) {
  uint64_t slots[2] = {*value, 0};
  instance.store = host.store = &store;
  instance.memory_base = instance.memory;
  instance.memory_size = 65536;
  instance.import_code = address_of(artifact, EXIT);
  instance.import_context = &host;
  struct precast_function reference = {
      .code = (const void *)address_of(artifact, function),
      .context = &instance,
      .slot_count = 1,
      .entry = (precast_entry)address_of(artifact, ENTRY)};
  uint64_t seen[18];
  uint64_t result = checked_call(&reference, slots, &store, seen);
  for (int i = 0; i < 18; i++) {
    if (seen[i] == expected_registers[i]) continue;
    fprintf(
        stderr, "%c%d is %#llx after function %d\n", i < 10 ? 'x' : 'd', i < 10 ? 19 + i : i - 2,
        (unsigned long long)seen[i], function);
    failures++;
  }
  *value = slots[0];
  return result;
}
