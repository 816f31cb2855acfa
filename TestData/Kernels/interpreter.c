// An interpreter: a loop around a switch that runs the bytecode of a machine with a stack.
//
// The switch becomes br_table: one indirect branch for each instruction of the guest. Around it the program counter, the
// stack pointer and the registers of the guest want to stay in the host's registers, in a function with many ways through it.

#include "kernel.h"

enum opcode {
  HALT, PUSH, LOAD, STORE, ADD, SUB, MUL, AND, XOR, SHL, SHR, LESS, EQUAL, JUMP, JUMP_IF, CALL, RETURN, DUP, DROP, SWAP,
  PEEK, POKE, OVER, INCREMENT, LABEL,
};

#define MEMORY 8192

static uint32_t memory[MEMORY];

// Runs a program from its first instruction; what is on top of the stack at its end.
static __attribute__((noinline)) uint32_t interpret(const int32_t *code, uint32_t *steps) {
  uint32_t stack[256], locals[16] = {0}, returns[64];
  uint32_t *top = stack, depth = 0, count = 0;
  const int32_t *pc = code;
  *top = 0;
  for (;;) {
    count++;
    uint32_t value;
    switch ((enum opcode) * pc++) {
    case HALT: *steps = count; return *top;
    case PUSH: *++top = (uint32_t)*pc++; break;
    case LOAD: *++top = locals[*pc++]; break;
    case STORE: locals[*pc++] = *top--; break;
    case ADD: value = *top--; *top += value; break;
    case SUB: value = *top--; *top -= value; break;
    case MUL: value = *top--; *top *= value; break;
    case AND: value = *top--; *top &= value; break;
    case XOR: value = *top--; *top ^= value; break;
    case SHL: value = *top--; *top <<= value & 31; break;
    case SHR: value = *top--; *top >>= value & 31; break;
    case LESS: value = *top--; *top = *top < value; break;
    case EQUAL: value = *top--; *top = *top == value; break;
    case JUMP: pc = code + *pc; break;
    case JUMP_IF: pc = *top-- != 0 ? code + *pc : pc + 1; break;
    case CALL: returns[depth++] = (uint32_t)(pc + 1 - code); pc = code + *pc; break;
    case RETURN: pc = code + returns[--depth]; break;
    case DUP: value = *top; *++top = value; break;
    case DROP: top--; break;
    case SWAP: value = top[0]; top[0] = top[-1]; top[-1] = value; break;
    case PEEK: *top = memory[*top % MEMORY]; break;
    case POKE: value = *top--; memory[*top-- % MEMORY] = value; break;
    case OVER: value = top[-1]; *++top = value; break;
    case INCREMENT: locals[*pc++]++; break;
    case LABEL: pc++; break;
    }
  }
}

enum label { ROUND, FILL, STRIKE, STRIDE, SUM, SKIP, NEXT, SCRAMBLE };

// What the machine runs, with labels where jumps lead. Local 0 counts the rounds, local 3 keeps the result.
static const int32_t source[] = {
  LABEL, ROUND,
  // for (local 1 = 0; local 1 < MEMORY; local 1++) memory[local 1] = local 1 ^ local 0
  PUSH, 0, STORE, 1,
  LABEL, FILL,
  LOAD, 1, LOAD, 1, LOAD, 0, XOR, POKE,
  INCREMENT, 1, LOAD, 1, PUSH, MEMORY, LESS, JUMP_IF, FILL,
  // for (local 1 = 2; local 1 < 91; local 1++)
  //   for (local 2 = local 1 * local 1; local 2 < MEMORY; local 2 += local 1) memory[local 2] = 0
  PUSH, 2, STORE, 1,
  LABEL, STRIKE,
  LOAD, 1, DUP, MUL, STORE, 2,
  LABEL, STRIDE,
  LOAD, 2, PUSH, 0, POKE,
  LOAD, 2, LOAD, 1, ADD, DUP, STORE, 2, PUSH, MEMORY, LESS, JUMP_IF, STRIDE,
  INCREMENT, 1, LOAD, 1, PUSH, 91, LESS, JUMP_IF, STRIKE,
  // for (local 1 = 0; local 1 < MEMORY; local 1++) if (memory[local 1] != 0) scramble(local 3 + memory[local 1])
  PUSH, 0, STORE, 1,
  LABEL, SUM,
  LOAD, 1, PEEK, DUP, PUSH, 0, EQUAL, JUMP_IF, SKIP,
  LOAD, 3, ADD, CALL, SCRAMBLE, JUMP, NEXT,
  LABEL, SKIP, DROP,
  LABEL, NEXT,
  INCREMENT, 1, LOAD, 1, PUSH, MEMORY, LESS, JUMP_IF, SUM,
  // until local 0 is local 4, the number of rounds
  INCREMENT, 0, LOAD, 0, LOAD, 4, LESS, JUMP_IF, ROUND,
  LOAD, 3, HALT,
  // scramble: what is on the stack goes into local 3, its bits moved about (Marsaglia's xorshift)
  LABEL, SCRAMBLE,
  DUP, PUSH, 13, SHL, XOR, DUP, PUSH, 17, SHR, XOR, DUP, PUSH, 5, SHL, XOR, STORE, 3, RETURN,
};

#define LENGTH (sizeof source / sizeof source[0])

static int has_operand(int32_t opcode) {
  switch (opcode) {
  case PUSH: case LOAD: case STORE: case JUMP: case JUMP_IF: case CALL: case INCREMENT: case LABEL: return 1;
  default: return 0;
  }
}

// The program for a number of rounds: the source without its labels, behind the two instructions that set local 4.
static void assemble(int32_t *code, int32_t rounds) {
  int32_t places[LENGTH], length = 0;
  code[length++] = PUSH;
  code[length++] = rounds;
  code[length++] = STORE;
  code[length++] = 4;
  for (int pass = 0; pass < 2; pass++) {
    length = 4;
    for (uint32_t i = 0; i < LENGTH; i += 1 + (uint32_t)has_operand(source[i])) {
      if (source[i] == LABEL) {
        places[source[i + 1]] = length;
        continue;
      }
      code[length++] = source[i];
      if (!has_operand(source[i])) continue;
      int jumps = source[i] == JUMP || source[i] == JUMP_IF || source[i] == CALL;
      // In the first pass some places are not known yet; the second puts them right.
      code[length++] = jumps && pass == 1 ? places[source[i + 1]] : source[i + 1];
    }
  }
}

int main(int argc, char **argv) {
  uint64_t size = kernel_size(argc, argv, 500, 2);
  int32_t code[LENGTH + 4];
  uint32_t steps = 0;
  assemble(code, (int32_t)size);
  uint32_t result = interpret(code, &steps);
  return kernel_report("interpreter", size, mix(mix(0, result), steps));
}
