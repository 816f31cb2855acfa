// Branchy parsing: JSON text (RFC 8259) to values, and expressions inside it to numbers.
//
// A parser by recursive descent: switches over characters, many short functions, small decisions everywhere. The text is
// generated; in its strings are arithmetic expressions, which a second parser evaluates.

#include "kernel.h"

// ---- Generating ----

static char *out;
static uint64_t state = 31337;

static uint32_t random_below(uint32_t bound) { return (uint32_t)((next_random(&state) >> 33) % bound); }

static void put(const char *text) {
  while (*text != 0) *out++ = *text++;
}

static void put_number(uint32_t number) {
  char digits[10];
  int count = 0;
  do digits[count++] = (char)('0' + number % 10);
  while ((number /= 10) != 0);
  while (count > 0) *out++ = digits[--count];
}

static void put_expression(int depth) {
  if (depth == 0 || random_below(4) == 0) return put_number(random_below(1000));
  int wrapped = random_below(2) == 0;
  if (wrapped) *out++ = '(';
  put_expression(depth - 1);
  *out++ = "+-*/%&|^"[random_below(8)];
  put_expression(depth - 1);
  if (wrapped) *out++ = ')';
}

static void put_value(int depth) {
  uint32_t count = random_below(6);
  switch (depth == 0 ? random_below(5) + 2 : random_below(8)) {
  case 0:
  case 7:
    put("{");
    for (uint32_t i = 0; i < count; i++) {
      put(i == 0 ? "\"" : ", \"");
      put(&"alpha\0beta\0\0gamma\0delta\0"[6 * random_below(4)]);
      put("\": ");
      put_value(depth - 1);
    }
    return put("}");
  case 1:
    put("[");
    for (uint32_t i = 0; i < count; i++) {
      if (i > 0) put(",\n  ");
      put_value(depth - 1);
    }
    return put("]");
  case 2: return put(random_below(2) ? "true" : "false");
  case 3: return put("null");
  case 4:
    if (random_below(2)) put("-");
    put_number(random_below(1000000));
    put(".");
    return put_number(random_below(1000));
  case 5:
    put("\"= ");
    put_expression(5);
    return put("\"");
  default: return put("\"plain \\\"text\\\" \\u00e9 with\\n escapes\"");
  }
}

// ---- Parsing ----

static const char *at;
static uint64_t checksum;

static void fail(void) { exit(1); }

static void skip_blanks(void) {
  while (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r') at++;
}

static int32_t parse_sum(void);

static int32_t parse_factor(void) {
  if (*at == '(') {
    at++;
    int32_t value = parse_sum();
    if (*at++ != ')') fail();
    return value;
  }
  if (*at < '0' || *at > '9') fail();
  uint32_t value = 0;
  while (*at >= '0' && *at <= '9') value = value * 10 + (uint32_t)(*at++ - '0');
  return (int32_t)value;
}

static int32_t parse_product(void) {
  uint32_t value = (uint32_t)parse_factor();
  for (;;) {
    char sign = *at;
    if (sign != '*' && sign != '/' && sign != '%' && sign != '&') return (int32_t)value;
    at++;
    uint32_t right = (uint32_t)parse_factor();
    switch (sign) {
    case '*': value *= right; break;
    case '/': value = right == 0 ? 0 : value / right; break;
    case '%': value = right == 0 ? 0 : value % right; break;
    default: value &= right;
    }
  }
}

static int32_t parse_sum(void) {
  uint32_t value = (uint32_t)parse_product();
  for (;;) {
    switch (*at) {
    case '+': at++; value += (uint32_t)parse_product(); break;
    case '-': at++; value -= (uint32_t)parse_product(); break;
    case '|': at++; value |= (uint32_t)parse_product(); break;
    case '^': at++; value ^= (uint32_t)parse_product(); break;
    default: return (int32_t)value;
    }
  }
}

static uint32_t hex(char digit) {
  if (digit >= '0' && digit <= '9') return (uint32_t)(digit - '0');
  if ((digit | 32) >= 'a' && (digit | 32) <= 'f') return (uint32_t)((digit | 32) - 'a' + 10);
  fail();
  return 0;
}

static void parse_string(void) {
  if (*at++ != '"') fail();
  if (at[0] == '=' && at[1] == ' ') {
    at += 2;
    checksum = mix(checksum, (uint32_t)parse_sum());
    if (*at++ != '"') fail();
    return;
  }
  uint32_t hash = 2166136261;
  while (*at != '"') {
    uint32_t character = (uint8_t)*at++;
    if (character < 0x20) fail();
    if (character == '\\') {
      switch (*at++) {
      case '"': character = '"'; break;
      case '\\': character = '\\'; break;
      case '/': character = '/'; break;
      case 'b': character = '\b'; break;
      case 'f': character = '\f'; break;
      case 'n': character = '\n'; break;
      case 'r': character = '\r'; break;
      case 't': character = '\t'; break;
      case 'u':
        character = hex(at[0]) << 12 | hex(at[1]) << 8 | hex(at[2]) << 4 | hex(at[3]);
        at += 4;
        break;
      default: fail();
      }
    }
    hash = (hash ^ character) * 16777619;
  }
  at++;
  checksum = mix(checksum, hash);
}

static void parse_number(void) {
  int negative = *at == '-';
  if (negative) at++;
  if (*at < '0' || *at > '9') fail();
  uint64_t digits = 0;
  double scale = 1;
  while (*at >= '0' && *at <= '9') digits = digits * 10 + (uint64_t)(*at++ - '0');
  if (*at == '.') {
    for (at++; *at >= '0' && *at <= '9'; scale *= 10) digits = digits * 10 + (uint64_t)(*at++ - '0');
  }
  double value = (double)digits / scale;
  checksum = mix_double(checksum, negative ? -value : value);
}

static void expect(const char *word) {
  while (*word != 0) {
    if (*at++ != *word++) fail();
  }
}

static void parse_value(int depth) {
  if (depth > 64) fail();
  skip_blanks();
  uint32_t count = 0;
  switch (*at) {
  case '{':
    do {
      at++;
      skip_blanks();
      if (*at == '}' && count == 0) break;
      parse_string();
      skip_blanks();
      if (*at++ != ':') fail();
      parse_value(depth + 1);
      skip_blanks();
      count++;
    } while (*at == ',');
    if (*at++ != '}') fail();
    break;
  case '[':
    do {
      at++;
      skip_blanks();
      if (*at == ']' && count == 0) break;
      parse_value(depth + 1);
      skip_blanks();
      count++;
    } while (*at == ',');
    if (*at++ != ']') fail();
    break;
  case '"': return parse_string();
  case 't': expect("true"); count = 1; break;
  case 'f': expect("false"); count = 2; break;
  case 'n': expect("null"); count = 3; break;
  default: return parse_number();
  }
  checksum = mix(checksum, count);
}

int main(int argc, char **argv) {
  uint64_t size = kernel_size(argc, argv, 350, 2);
  size_t room = 4 << 20;
  char *text = out = malloc(room);
  if (text == NULL) return 1;
  // A value of depth 4 takes a few hundred kilobytes at the very most.
  put("[null");
  while (out < text + 400000) {
    put(",\n");
    put_value(4);
  }
  put("]");
  *out = 0;
  for (uint64_t round = 0; round < size; round++) {
    at = text;
    parse_value(0);
    if (*at != 0) return 1;
  }
  free(text);
  return kernel_report("json", size, checksum);
}
