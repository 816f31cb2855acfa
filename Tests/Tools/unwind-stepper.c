// Steps through compiled wasm one instruction at a time, and at each asks libdw, which knows nothing but the artifact's
// `.eh_frame`, where the caller is.
//
//     unwind-stepper ARTIFACT PROGRAM ARGUMENT...
//
// PROGRAM is run with ARGUMENTs, as a tracee. It has to load ARTIFACT, raise SIGSTOP, call into it as it likes, and raise
// SIGSTOP again. Between the two every instruction in the artifact's text is stepped through. The host's own code runs at
// full speed, between breakpoints where it enters wasm (the trampolines' first instructions) and where it returns to wasm
// (the return addresses of calls out of it); only signal handlers are stepped through as well.
//
// What is true is known from watching, by a shadow stack: at the first instruction of a function that was called, the
// return address is on top of the stack, the CFA is above it, and all registers are the caller's. A frame is over when the
// stack pointer is at its CFA or above.
//
// At each instruction the whole chain of wasm frames is unwound, from the instruction to the host. Each frame's CFA, return
// address and the caller's frame pointer must be those on the shadow stack; and where a frame's caller is the host, also
// rbx and r12 to r15. An exit trampoline that leaves after an error has given its own frame up while its stack pointer still
// is in it: there the entry trampoline's frame is as right an answer, and is counted apart.
//
// Prints `steps N`, `frames N`, `abandoned N`, then `at OFFSET` for each text offset that was stepped through, in
// hexadecimal. What is wrong goes to standard error. Exit status 0: nothing was; 1: something; 2: it could not be done.
#define _GNU_SOURCE
#include <dwarf.h>
#include <elfutils/libdw.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#define REGISTERS 17  // by DWARF's numbers; 16 is the pc

static void fail(const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "unwind-stepper: ");
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\n");
  exit(2);
}

// ---- The artifact ----

static Dwarf_CFI *cfi;
static uint64_t text_start, text_size;  // in the file
static uint64_t load_bias;              // address in the process less offset in the file

struct function {
  uint64_t start, size;
  const char *name;
};
static struct function *functions;
static size_t function_count;

static bool ends_with(const char *text, const char *end) {
  size_t length = strlen(text);
  return length >= strlen(end) && strcmp(text + length - strlen(end), end) == 0;
}

static void open_artifact(const char *path) {
  elf_version(EV_CURRENT);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  Elf *elf = fd < 0 ? NULL : elf_begin(fd, ELF_C_READ_MMAP, NULL);
  if (!elf) fail("%s: cannot be read", path);
  size_t names;
  elf_getshdrstrndx(elf, &names);
  for (Elf_Scn *section = NULL; (section = elf_nextscn(elf, section));) {
    GElf_Shdr header;
    gelf_getshdr(section, &header);
    const char *name = elf_strptr(elf, names, header.sh_name);
    if (strcmp(name, ".text") == 0) {
      text_start = header.sh_addr;
      text_size = header.sh_size;
    }
    if (header.sh_type != SHT_SYMTAB) continue;
    Elf_Data *data = elf_getdata(section, NULL);
    size_t count = header.sh_size / header.sh_entsize;
    functions = calloc(count, sizeof *functions);
    for (size_t i = 0; i < count; i++) {
      GElf_Sym symbol;
      gelf_getsym(data, (int)i, &symbol);
      if (GELF_ST_TYPE(symbol.st_info) != STT_FUNC) continue;
      functions[function_count++] = (struct function){
          symbol.st_value, symbol.st_size, elf_strptr(elf, header.sh_link, symbol.st_name)};
    }
  }
  cfi = dwarf_getcfi_elf(elf);
  if (!cfi || !text_size || !function_count) fail("%s: no text, no symbols or no .eh_frame", path);
}

static const struct function *function_at(uint64_t file_address) {
  for (size_t i = 0; i < function_count; i++) {
    if (file_address - functions[i].start < functions[i].size) return &functions[i];
  }
  return NULL;
}

static const char *name_at(uint64_t file_address) {
  const struct function *function = function_at(file_address);
  return function ? function->name : "?";
}

// ---- The process ----

static pid_t child;

static bool is_text(uint64_t pc) { return pc - load_bias - text_start < text_size; }

static uint64_t peek(uint64_t address) {
  uint64_t value;
  struct iovec here = {&value, 8}, there = {(void *)(uintptr_t)address, 8};
  if (process_vm_readv(child, &here, 1, &there, 1, 0) != 8) fail("cannot read at %lx", address);
  return value;
}

static uint8_t swap_byte(uint64_t address, uint8_t byte) {
  errno = 0;
  long word = ptrace(PTRACE_PEEKTEXT, child, (void *)(uintptr_t)address, NULL);
  if (errno) fail("cannot read text at %lx", address);
  uint8_t old = (uint8_t)word;
  word = (word & ~0xFFL) | byte;
  if (ptrace(PTRACE_POKETEXT, child, (void *)(uintptr_t)address, (void *)word) != 0) fail("cannot set a breakpoint");
  return old;
}

struct breakpoint {
  uint64_t address;
  uint8_t old;
  bool is_set;
};
static struct breakpoint *entries;
static size_t entry_count;

static void set(struct breakpoint *b) {
  if (!b->is_set) b->old = swap_byte(b->address, 0xCC);
  b->is_set = true;
}

static void clear(struct breakpoint *b) {
  if (b->is_set) swap_byte(b->address, b->old);
  b->is_set = false;
}

static void find_mapping(const char *path) {
  char name[64], line[4096];
  char *real = realpath(path, NULL);
  snprintf(name, sizeof name, "/proc/%d/maps", child);
  FILE *maps = fopen(name, "re");
  while (maps && fgets(line, sizeof line, maps)) {
    uint64_t start, end, offset;
    char rights[5];
    if (!strstr(line, real) || sscanf(line, "%lx-%lx %4s %lx", &start, &end, rights, &offset) != 4) continue;
    if (rights[2] == 'x') load_bias = start - offset;
  }
  if (maps) fclose(maps);
  if (!load_bias) fail("%s is not mapped for execution", path);
  entries = calloc(function_count, sizeof *entries);
  for (size_t i = 0; i < function_count; i++) {
    if (strstr(functions[i].name, "trampoline[") && ends_with(functions[i].name, "::enter")) {
      entries[entry_count++].address = functions[i].start + load_bias;
    }
  }
}

static void get_registers(struct user_regs_struct *r, uint64_t values[REGISTERS]) {
  if (ptrace(PTRACE_GETREGS, child, NULL, r) != 0) fail("cannot read registers");
  const uint64_t list[REGISTERS] = {r->rax, r->rdx, r->rcx, r->rbx, r->rsi, r->rdi, r->rbp, r->rsp, r->r8,
                                    r->r9,  r->r10, r->r11, r->r12, r->r13, r->r14, r->r15, r->rip};
  memcpy(values, list, sizeof list);
}

static void set_pc(struct user_regs_struct *r, uint64_t pc) {
  r->rip = pc;
  if (ptrace(PTRACE_SETREGS, child, NULL, r) != 0) fail("cannot write registers");
}

// ---- The shadow stack ----

struct shadow {
  uint64_t function;  // its first instruction
  uint64_t cfa, return_address;
  uint64_t registers[REGISTERS];  // the caller's
};
static struct shadow *stack;
static size_t depth, capacity;

static void push_shadow(const uint64_t values[REGISTERS]) {
  if (depth == capacity) stack = realloc(stack, (capacity = capacity * 2 + 64) * sizeof *stack);
  struct shadow *frame = &stack[depth++];
  frame->function = values[16];
  frame->cfa = values[7] + 8;
  frame->return_address = peek(values[7]);
  memcpy(frame->registers, values, sizeof frame->registers);
}

/// Calls out of wasm that have not come back: where they will, and the stack pointer then.
struct call_out {
  struct breakpoint back;
  uint64_t stack_pointer;
};
static struct call_out *calls_out;
static size_t call_count, call_capacity;

static void push_call_out(uint64_t back, uint64_t stack_pointer) {
  if (call_count == call_capacity) {
    calls_out = realloc(calls_out, (call_capacity = call_capacity * 2 + 64) * sizeof *calls_out);
  }
  calls_out[call_count++] = (struct call_out){.back = {.address = back}, .stack_pointer = stack_pointer};
}

/// Forgets what a stack pointer says is over.
static void pop_to(uint64_t stack_pointer) {
  while (depth > 0 && stack[depth - 1].cfa <= stack_pointer) depth--;
  while (call_count > 0 && calls_out[call_count - 1].stack_pointer <= stack_pointer) call_count--;
}

// ---- Unwinding ----

/// Evaluates what libdw gives for a rule; `cfa` may be needed by it. An address where `is_location` is set.
static bool evaluate(
    const Dwarf_Op *ops, size_t count, const uint64_t values[REGISTERS], uint64_t cfa, uint64_t *result,
    bool *is_location) {
  uint64_t value[16];
  size_t top = 0;
  *is_location = true;
  for (size_t i = 0; i < count; i++) {
    if (top > 14) return false;
    uint8_t atom = ops[i].atom;
    if (atom == DW_OP_call_frame_cfa) value[top++] = cfa;
    else if (atom >= DW_OP_breg0 && atom < DW_OP_breg0 + REGISTERS) value[top++] = values[atom - DW_OP_breg0] + ops[i].number;
    else if (atom == DW_OP_bregx && ops[i].number < REGISTERS) value[top++] = values[ops[i].number] + ops[i].number2;
    else if (atom == DW_OP_plus_uconst && top) value[top - 1] += ops[i].number;
    else if (atom == DW_OP_stack_value && top) *is_location = false;
    else return false;
  }
  if (top != 1) return false;
  *result = value[0];
  return true;
}

/// One frame up: false when the tables do not say.
static bool unwind(uint64_t file_pc, const uint64_t values[REGISTERS], uint64_t caller[REGISTERS], const char **why) {
  Dwarf_Frame *frame;
  if (dwarf_cfi_addrframe(cfi, file_pc, &frame) != 0) {
    *why = dwarf_errmsg(-1);
    return false;
  }
  bool is_location, good = false;
  Dwarf_Op *ops;
  size_t count;
  uint64_t cfa = 0;
  *why = "a rule that this program does not know";
  if (dwarf_frame_cfa(frame, &ops, &count) != 0 || !evaluate(ops, count, values, 0, &cfa, &is_location)) goto out;
  memcpy(caller, values, REGISTERS * sizeof *values);
  caller[7] = cfa;
  for (int i = 0; i < REGISTERS; i++) {
    if (i == 7) continue;
    Dwarf_Op memory[3];
    if (dwarf_frame_register(frame, i, memory, &ops, &count) != 0) goto out;
    if (count == 0) {
      if (i == 16) goto out;  // undefined or unchanged: where would it return to?
      continue;
    }
    uint64_t value;
    if (!evaluate(ops, count, values, cfa, &value, &is_location)) goto out;
    caller[i] = is_location ? peek(value) : value;
  }
  good = true;
out:
  free(frame);
  return good;
}

static size_t steps, frames_checked, abandoned, errors;
static uint8_t *seen;

static bool fits(const struct shadow *frame, const uint64_t caller[REGISTERS]) {
  bool same = caller[7] == frame->cfa && caller[16] == frame->return_address && caller[6] == frame->registers[6];
  if (!same || is_text(frame->return_address)) return same;
  const int saved[] = {3, 12, 13, 14, 15};
  for (int i = 0; i < 5; i++) same = same && caller[saved[i]] == frame->registers[saved[i]];
  return same;
}

static void report(uint64_t pc, size_t level, const char *why, const uint64_t *caller, const struct shadow *frame) {
  if (errors++ >= 20) return;
  fprintf(stderr, "at %lx in %s, frame %zu: %s\n", pc - load_bias, name_at(pc - load_bias), level, why);
  if (caller && frame) {
    fprintf(stderr, "  cfa %lx, is %lx; return address %lx, is %lx; rbp %lx, is %lx\n", caller[7], frame->cfa,
            caller[16], frame->return_address, caller[6], frame->registers[6]);
  }
}

/// Checks the frames from an instruction up to the host.
static void check(const uint64_t values[REGISTERS]) {
  uint64_t pc = values[16], current[REGISTERS], caller[REGISTERS];
  steps++;
  seen[pc - load_bias - text_start] = 1;
  memcpy(current, values, sizeof current);
  uint64_t look_up = pc - load_bias;
  for (size_t level = 0; level < depth; level++) {
    const struct shadow *frame = &stack[depth - 1 - level];
    const char *why;
    if (!unwind(look_up, current, caller, &why)) return report(pc, level, why, NULL, NULL);
    if (!fits(frame, caller)) {
      size_t k = depth;
      if (level == 0 && ends_with(name_at(look_up), "::exit")) {
        while (k > 0 && is_text(stack[k - 1].return_address)) k--;
      }
      if (k == 0 || k == depth || !fits(&stack[k - 1], caller)) {
        return report(pc, level, "not the caller", caller, frame);
      }
      abandoned++;
      return;
    }
    frames_checked++;
    if (!is_text(caller[16])) return;
    memcpy(current, caller, sizeof current);
    look_up = caller[16] - load_bias - 1;
  }
  report(pc, depth, "more frames than there were calls", NULL, NULL);
}

// ---- Stepping ----

/// Lets the process go on; returns the signal that it stopped with.
static int resume(int request, int signal) {
  int status;
  if (ptrace(request, child, NULL, (void *)(long)signal) != 0) fail("cannot go on: %s", strerror(errno));
  if (waitpid(child, &status, 0) != child) fail("lost the process");
  if (!WIFSTOPPED(status)) fail("the process ended early, with status %x", status);
  return WSTOPSIG(status);
}

/// Runs the host's code until it enters wasm, returns to it, or stops. The signal otherwise.
static int run_host(void) {
  for (size_t i = 0; i < entry_count; i++) set(&entries[i]);
  for (size_t i = 0; i < call_count; i++) set(&calls_out[i].back);
  int signal = 0;
  for (;;) {
    signal = resume(PTRACE_CONT, signal);
    // Signals that are neither a breakpoint nor the end are the process's own.
    if (signal == SIGTRAP || signal == SIGSTOP) break;
  }
  // In the reverse order: two may be at one address.
  for (size_t i = call_count; i-- > 0;) clear(&calls_out[i].back);
  for (size_t i = entry_count; i-- > 0;) clear(&entries[i]);
  if (signal != SIGTRAP) return signal;
  struct user_regs_struct r;
  uint64_t values[REGISTERS];
  get_registers(&r, values);
  if (!is_text(r.rip - 1)) return signal;
  set_pc(&r, r.rip - 1);
  values[16]--;
  bool entered = false;
  for (size_t i = 0; i < entry_count; i++) entered = entered || entries[i].address == r.rip;
  pop_to(values[7]);
  if (entered) push_shadow(values);
  return 0;
}

static void step_all(void) {
  struct user_regs_struct r;
  uint64_t values[REGISTERS], before[REGISTERS];
  int signal = run_host(), in_handler = 0;
  if (signal == SIGSTOP) return;
  get_registers(&r, values);
  for (;;) {
    if (is_text(values[16])) {
      in_handler = 0;
      check(values);
    } else if (!in_handler) {
      // Called from wasm: back at the return address. Or returned to the host.
      uint64_t back = peek(values[7]);
      if (depth > 0 && values[7] < stack[depth - 1].cfa && is_text(back)) push_call_out(back, values[7] + 8);
      signal = run_host();
      if (signal == SIGSTOP) return;
      if (signal != 0) fail("the host stopped with signal %d", signal);
      get_registers(&r, values);
      continue;
    }
    memcpy(before, values, sizeof before);
    signal = resume(PTRACE_SINGLESTEP, 0);
    if (signal == SIGSTOP) return;
    if (signal != SIGTRAP) {
      // A trap: through the handler.
      in_handler = 1;
      signal = resume(PTRACE_SINGLESTEP, signal);
    }
    get_registers(&r, values);
    if (in_handler) {
      if (is_text(values[16])) {
        pop_to(values[7]);
      }
      continue;
    }
    pop_to(values[7]);
    // A call: the address behind it was pushed.
    if (values[7] == before[7] - 8 && is_text(values[16]) && values[16] - before[16] > 15) {
      uint64_t pushed = peek(values[7]);
      if (pushed > before[16] && pushed - before[16] <= 15) push_shadow(values);
    }
  }
}

int main(int argc, char **argv) {
  if (argc < 3) fail("usage: unwind-stepper ARTIFACT PROGRAM ARGUMENT...");
  open_artifact(argv[1]);
  seen = calloc(text_size, 1);
  child = fork();
  if (child == 0) {
    ptrace(PTRACE_TRACEME, 0, NULL, NULL);
    execv(argv[2], argv + 2);
    _exit(127);
  }
  int status;
  if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status)) fail("%s cannot be run", argv[2]);
  ptrace(PTRACE_SETOPTIONS, child, NULL, (void *)(long)PTRACE_O_EXITKILL);
  for (int signal = 0; (signal = resume(PTRACE_CONT, signal == SIGTRAP ? 0 : signal)) != SIGSTOP;) continue;
  find_mapping(argv[1]);
  step_all();
  if (ptrace(PTRACE_CONT, child, NULL, NULL) != 0 || waitpid(child, &status, 0) != child) fail("lost the process");
  if (status != 0) fail("the process ended with status %x", status);
  printf("steps %zu\nframes %zu\nabandoned %zu\n", steps, frames_checked, abandoned);
  for (uint64_t i = 0; i < text_size; i++) {
    if (seen[i]) printf("at %lx\n", text_start + i);
  }
  if (errors) fprintf(stderr, "%zu wrong\n", errors);
  return errors ? 1 : 0;
}
