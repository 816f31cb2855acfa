// Jump tables: in read-only data, as offsets or addresses of places inside functions.
#include "corpus.h"

u64 classify(u64 kind, u64 x) {
  switch (kind) {
    case 0: return x + 11;
    case 1: return x * 3;
    case 2: return x ^ 0x5555;
    case 3: return x >> 3;
    case 4: return counter + x;
    case 5: return hash_of("five") + x;
    case 6: return (u64)primes[x & 15];
    case 7: return x - 77;
    case 8: return ~x;
    case 9: return x << 5 | 9;
    case 12: return is_even((u32)x & 63) ? 1212 : 2121;
    default: return 0xDEAD0000 + kind;
  }
}

// Labels as values: addresses of places in a function, in a table of data.
u64 interpret(u64 program, u64 value) {
  static const void *const operations[] = {&&done, &&add, &&twice, &&square, &&flip};
  for (;;) {
    u64 operation = program & 7;
    program >>= 3;
    goto *operations[operation < 5 ? operation : 0];
  add:
    value += 1;
    continue;
  twice:
    value *= 2;
    continue;
  square:
    value *= value;
    continue;
  flip:
    value ^= 0xFFFF;
    continue;
  done:
    return value;
  }
}

// Two switches in one function, and one that falls through.
u64 state_machine(u64 input, u64 steps) {
  u64 state = 0, result = 1;
  for (u64 i = 0; i < steps; i++) {
    u64 symbol = input >> (i * 4 & 60) & 7;
    switch (state) {
      case 0: state = symbol; break;
      case 1: result += 1; state = symbol ^ 1; break;
      case 2: result *= 3; state = symbol + 1 & 7; break;
      case 3: result ^= 0x1111;  // falls through
      case 4: result -= 5; state = 0; break;
      case 5: result = result << 1 | result >> 63; state = symbol & 3; break;
      case 6: result += classify(symbol, result); state = 2; break;
      default: state = 6;
    }
  }
  return result;
}
