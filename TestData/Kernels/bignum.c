// 64-bit arithmetic: powers modulo a number of many words, and modulo one word.
//
// The first part is Montgomery's multiplication on numbers of 32 words of 32 bits, as RSA does it: 64-bit products of
// 32-bit words, and a carry that runs through the loop. The second is powers modulo primes below 2^63, by doubling and
// adding: 64-bit comparisons and subtractions that depend on each other. The third divides long numbers by short ones, and
// by the powers of ten that make decimal digits: divisions by constants.

#include "kernel.h"

#define WORDS 32

typedef uint32_t number[WORDS];

// -1 / modulus modulo 2^32, by Newton's iteration; the modulus is odd.
static uint32_t inverse(uint32_t modulus) {
  uint32_t x = modulus;
  for (int step = 0; step < 5; step++) x *= 2 - modulus * x;
  return -x;
}

// result = a * b / 2^(32 * WORDS) modulo `modulus` (or that plus the modulus).
static void montgomery(number result, const number a, const number b, const number modulus, uint32_t negated) {
  uint32_t sum[WORDS + 2] = {0};
  for (int i = 0; i < WORDS; i++) {
    uint64_t carry = 0;
    for (int j = 0; j < WORDS; j++) {
      uint64_t t = (uint64_t)a[j] * b[i] + sum[j] + carry;
      sum[j] = (uint32_t)t;
      carry = t >> 32;
    }
    uint64_t top = sum[WORDS] + carry;
    sum[WORDS] = (uint32_t)top;
    sum[WORDS + 1] = (uint32_t)(top >> 32);

    uint32_t factor = sum[0] * negated;
    carry = ((uint64_t)factor * modulus[0] + sum[0]) >> 32;
    for (int j = 1; j < WORDS; j++) {
      uint64_t t = (uint64_t)factor * modulus[j] + sum[j] + carry;
      sum[j - 1] = (uint32_t)t;
      carry = t >> 32;
    }
    top = sum[WORDS] + carry;
    sum[WORDS - 1] = (uint32_t)top;
    sum[WORDS] = sum[WORDS + 1] + (uint32_t)(top >> 32);
  }
  // What passed the top is worth less than one modulus.
  if (sum[WORDS] != 0) {
    uint64_t borrow = 0;
    for (int j = 0; j < WORDS; j++) {
      uint64_t t = (uint64_t)sum[j] - modulus[j] - borrow;
      sum[j] = (uint32_t)t;
      borrow = t >> 63;
    }
  }
  memcpy(result, sum, sizeof(number));
}

// a * b modulo `modulus`, all below 2^63.
static uint64_t multiply(uint64_t a, uint64_t b, uint64_t modulus) {
  uint64_t result = 0;
  for (; b != 0; b >>= 1) {
    if (b & 1) {
      result += a;
      if (result >= modulus) result -= modulus;
    }
    a += a;
    if (a >= modulus) a -= modulus;
  }
  return result;
}

static uint64_t power(uint64_t base, uint64_t exponent, uint64_t modulus) {
  uint64_t result = 1;
  for (; exponent != 0; exponent >>= 1) {
    if (exponent & 1) result = multiply(result, base, modulus);
    base = multiply(base, base, modulus);
  }
  return result;
}

// The remainder of a number by a word of 32 bits; the quotient takes the number's place.
static uint32_t divide(number value, uint32_t divisor) {
  uint64_t remainder = 0;
  for (int i = WORDS - 1; i >= 0; i--) {
    uint64_t t = remainder << 32 | value[i];
    value[i] = (uint32_t)(t / divisor);
    remainder = t % divisor;
  }
  return (uint32_t)remainder;
}

// The sum of a number's decimal digits, each weighted by its place; the number becomes zero.
static uint32_t decimal_digits(number value) {
  uint32_t sum = 0, place = 0;
  for (int words = WORDS; words > 0;) {
    uint32_t nine = divide(value, 1000000000);
    for (int digit = 0; digit < 9; digit++, nine /= 10) sum += nine % 10 * ++place;
    while (words > 0 && value[words - 1] == 0) words--;
  }
  return sum;
}

int main(int argc, char **argv) {
  uint64_t size = kernel_size(argc, argv, 150, 1);
  uint64_t state = 42, checksum = 0;
  for (uint64_t round = 0; round < size; round++) {
    number base, modulus, result;
    for (int i = 0; i < WORDS; i++) {
      base[i] = (uint32_t)next_random(&state);
      modulus[i] = (uint32_t)next_random(&state);
    }
    modulus[0] |= 1;
    modulus[WORDS - 1] |= 0x80000000;
    base[WORDS - 1] &= 0x7FFFFFFF;
    uint32_t negated = inverse(modulus[0]);
    memcpy(result, base, sizeof result);
    for (int bit = 0; bit < 1024; bit++) {
      montgomery(result, result, result, modulus, negated);
      if (bit % 3 == 0) montgomery(result, result, base, modulus, negated);
    }
    for (int i = 0; i < WORDS; i++) checksum = mix(checksum, result[i]);

    for (int i = 0; i < 8; i++) {
      uint64_t prime = 0x7FFFFFFFFFFFFFE7;
      checksum = mix(checksum, power(next_random(&state) % prime, next_random(&state), prime));
    }
    for (int i = 0; i < 100; i++) {
      for (int j = 0; j < 8; j++) base[next_random(&state) % WORDS] = (uint32_t)next_random(&state);
      checksum = mix(checksum, divide(base, (uint32_t)next_random(&state) | 1));
      checksum = mix(checksum, decimal_digits(base));
    }
  }
  return kernel_report("bignum", size, checksum);
}
