// CRC-32C, by the processor where it can.
//
// Of the 32-bit CRCs this is the one with an instruction on both architectures: `crc32` of SSE 4.2,
// which every artifact for x86-64 needs anyway, and `crc32c` of Armv8's CRC extension, which
// Armv8.0-A leaves optional. Eight bytes each three cycles make half a microsecond for a page of 4
// KiB. (Three interleaved streams would make it a third of that, and need a carry-less multiplication
// to join them; pages are checked once, so this is not worth it.)
//
// The other way takes four bits a step from a table of sixteen entries: small, good for tools on
// processors that could not run an artifact, and simple enough to be believed.
//
// The choice is made at the first call and kept in a pointer. Making it twice, on two threads or in a
// signal handler, gives the same answer.
#include "precast_crc32c.h"

#include <string.h>

typedef uint32_t function(uint32_t crc, const uint8_t *bytes, size_t size);

// These run on the inverted remainder, as the definition has it.

static uint32_t by_table(uint32_t crc, const uint8_t *bytes, size_t size) {
  // Remainders of i * x^28 by the reflected polynomial 0x82F63B78.
  static const uint32_t table[16] = {
      0x00000000, 0x105EC76F, 0x20BD8EDE, 0x30E349B1, 0x417B1DBC, 0x5125DAD3, 0x61C69362, 0x7198540D,
      0x82F63B78, 0x92A8FC17, 0xA24BB5A6, 0xB21572C9, 0xC38D26C4, 0xD3D3E1AB, 0xE330A81A, 0xF36E6F75,
  };
  for (size_t i = 0; i < size; i++) {
    crc ^= bytes[i];
    crc = table[crc & 15] ^ crc >> 4;
    crc = table[crc & 15] ^ crc >> 4;
  }
  return crc;
}

#if defined(__x86_64__)
#include "precast_cpu.h"

__attribute__((target("sse4.2"))) static uint32_t by_instruction(uint32_t crc, const uint8_t *bytes, size_t size) {
  uint64_t wide = crc;
  for (; size >= 8; bytes += 8, size -= 8) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    wide = __builtin_ia32_crc32di(wide, word);
  }
  crc = (uint32_t)wide;
  for (; size > 0; bytes++, size--) crc = __builtin_ia32_crc32qi(crc, *bytes);
  return crc;
}

static function *best(void) { return precast_cpu_features() & PRECAST_CPU_SSE4_2 ? by_instruction : by_table; }

#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>

#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif

// By mnemonic, since the intrinsics are declared only where the whole file may use the extension.
static uint32_t by_instruction(uint32_t crc, const uint8_t *bytes, size_t size) {
  for (; size >= 8; bytes += 8, size -= 8) {
    uint64_t word;
    memcpy(&word, bytes, 8);
    __asm__(".arch_extension crc\n\tcrc32cx %w0, %w0, %1" : "+r"(crc) : "r"(word));
  }
  for (; size > 0; bytes++, size--) {
    __asm__(".arch_extension crc\n\tcrc32cb %w0, %w0, %w1" : "+r"(crc) : "r"((uint32_t)*bytes));
  }
  return crc;
}

static function *best(void) { return getauxval(AT_HWCAP) & HWCAP_CRC32 ? by_instruction : by_table; }

#else

static function *best(void) { return by_table; }

#endif

static uint32_t choose(uint32_t crc, const uint8_t *bytes, size_t size);
static function *chosen = choose;

static uint32_t choose(uint32_t crc, const uint8_t *bytes, size_t size) {
  function *found = best();
  __atomic_store_n(&chosen, found, __ATOMIC_RELAXED);
  return found(crc, bytes, size);
}

uint32_t precast_crc32c(uint32_t crc, const void *bytes, size_t size) {
  return ~__atomic_load_n(&chosen, __ATOMIC_RELAXED)(~crc, bytes, size);
}

uint32_t precast_crc32c_zeros(uint32_t crc, size_t size) {
  static const uint8_t zeros[256];
  while (size > 0) {
    size_t part = size < sizeof zeros ? size : sizeof zeros;
    crc = precast_crc32c(crc, zeros, part);
    size -= part;
  }
  return crc;
}

uint32_t precast_crc32c_portable(uint32_t crc, const void *bytes, size_t size) { return ~by_table(~crc, bytes, size); }
