// tracer: renders a scene description as a PNG picture, and previews it in characters on the terminal.
//
// This is the program that `make demo` compiles, loads and runs. It is a guest like any other: plain C against a C library
// for WASI, with floating-point work in deep loops, recursion, calls through function pointers, a heap that grows, files
// read and written, a clock, and exit codes. It is made to be worth looking at, and to give the same bytes everywhere.
//
//   tracer SCENE [-o PICTURE.png] [--columns N]      exit code 0, or 1 for a file that fails, 2 for a mistake in SCENE
//
// A scene is text, one statement a line, `#` starts a comment; numbers are in scene units, x right, y up, z away:
//
//   image WIDTH HEIGHT SAMPLES                        SAMPLES squared rays a pixel
//   camera X Y Z  TO_X TO_Y TO_Z  FIELD_OF_VIEW       degrees, horizontally
//   sky R G B  R G B                                  at the horizon, at the zenith
//   light X Y Z  RADIUS  R G B                        a round lamp: the larger, the softer its shadows
//   material NAME R G B  REFLECTION  SHININESS [R G B]    a second colour makes a chequered pattern
//   sphere MATERIAL X Y Z RADIUS
//   box MATERIAL X Y Z  X Y Z                         two opposite corners
//   plane MATERIAL HEIGHT                             a floor without end
//   word MATERIAL TEXT X Y Z SIZE                     capital letters out of boxes, centred on X, standing on Y

#include <errno.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

// ---- Vectors ----

typedef struct {
  double x, y, z;
} vec;

static vec add(vec a, vec b) { return (vec){a.x + b.x, a.y + b.y, a.z + b.z}; }
static vec sub(vec a, vec b) { return (vec){a.x - b.x, a.y - b.y, a.z - b.z}; }
static vec mul(vec a, vec b) { return (vec){a.x * b.x, a.y * b.y, a.z * b.z}; }
static vec scale(vec a, double s) { return (vec){a.x * s, a.y * s, a.z * s}; }
static double dot(vec a, vec b) { return a.x * b.x + a.y * b.y + a.z * b.z; }
static vec cross(vec a, vec b) { return (vec){a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x}; }
static vec unit(vec a) { return scale(a, 1 / sqrt(dot(a, a))); }
static vec mix(vec a, vec b, double t) { return add(scale(a, 1 - t), scale(b, t)); }
static vec low(vec a, vec b) { return (vec){fmin(a.x, b.x), fmin(a.y, b.y), fmin(a.z, b.z)}; }
static vec high(vec a, vec b) { return (vec){fmax(a.x, b.x), fmax(a.y, b.y), fmax(a.z, b.z)}; }

static double axis(vec a, int i) { return i == 0 ? a.x : i == 1 ? a.y : a.z; }

typedef struct {
  vec origin, direction, inverse;  // inverse: one over each component of the direction
} ray;

static ray make_ray(vec origin, vec direction) {
  return (ray){origin, direction, {1 / direction.x, 1 / direction.y, 1 / direction.z}};
}

// ---- The scene ----

typedef struct {
  char name[32];
  vec colour, second;
  bool chequered;
  double reflection, shininess;
} material;

// A shape is two corners that bound it, and a function that finds where a ray enters it: nearer than *t, or not at all.
typedef struct shape shape;
struct shape {
  bool (*hit)(const shape *, const ray *, double *t, vec *normal);
  vec low, high;
  const material *material;
};

typedef struct {
  vec position, colour;
  double radius;
} light;

// A list that grows; all of the program's tables are of this kind.
#define LIST(T) struct { T *at; size_t count, room; }
#define APPEND(list, ...)                                                             \
  do {                                                                                \
    if ((list).count == (list).room) {                                                \
      (list).room = (list).room ? 2 * (list).room : 16;                               \
      (list).at = realloc((list).at, (list).room * sizeof *(list).at);                \
      if (!(list).at) fail(1, "out of memory");                                       \
    }                                                                                 \
    (list).at[(list).count++] = (__VA_ARGS__);                                        \
  } while (0)

// A node of the tree over shapes: a box, and either two nodes (first, first + 1) or `count` shapes from `first`.
typedef struct {
  vec low, high;
  uint32_t first, count;
} node;

static struct {
  int width, height, samples;
  vec eye, target, horizon, zenith;
  double field_of_view;
  LIST(material *) materials;
  LIST(light) lights;
  LIST(shape) shapes;
  LIST(node) nodes;
  const material *floor;
  double floor_height;
} scene = {.width = 320, .height = 180, .samples = 1, .eye = {0, 2, -8}, .field_of_view = 50};

static uint64_t rays;

static _Noreturn void fail(int code, const char *message) {
  fprintf(stderr, "tracer: %s\n", message);
  exit(code);
}

// ---- Shapes ----

static bool hit_sphere(const shape *self, const ray *r, double *t, vec *normal) {
  vec centre = scale(add(self->low, self->high), 0.5);
  double radius = (self->high.x - self->low.x) * 0.5;
  vec to = sub(centre, r->origin);
  double along = dot(to, r->direction);
  double inside = radius * radius - (dot(to, to) - along * along);
  if (inside < 0) return false;
  double half = sqrt(inside);
  double distance = along - half > 1e-6 ? along - half : along + half;
  if (distance <= 1e-6 || distance >= *t) return false;
  *t = distance;
  *normal = scale(sub(add(r->origin, scale(r->direction, distance)), centre), 1 / radius);
  return true;
}

// Where a ray is inside of all three pairs of planes at once: the distance, or infinity.
static double enter_box(vec lo, vec hi, const ray *r, int *side) {
  double near = 1e-6, far = INFINITY;
  for (int i = 0; i < 3; i++) {
    double a = (axis(lo, i) - axis(r->origin, i)) * axis(r->inverse, i);
    double b = (axis(hi, i) - axis(r->origin, i)) * axis(r->inverse, i);
    double first = a < b ? a : b, last = a < b ? b : a;
    if (first > near) {
      near = first;
      *side = i;
    }
    if (last < far) far = last;
  }
  return near <= far ? near : INFINITY;
}

static bool hit_box(const shape *self, const ray *r, double *t, vec *normal) {
  int side = -1;
  double distance = enter_box(self->low, self->high, r, &side);
  if (side < 0 || distance >= *t) return false;
  *t = distance;
  *normal = (vec){side == 0, side == 1, side == 2};
  if (axis(r->direction, side) > 0) *normal = scale(*normal, -1);
  return true;
}

// ---- A tree of boxes over the shapes, so that a ray looks at few of them ----

#define BY_AXIS(name, field)                                                                          \
  static int name(const void *a, const void *b) {                                                     \
    double l = ((const shape *)a)->low.field + ((const shape *)a)->high.field;                        \
    double r = ((const shape *)b)->low.field + ((const shape *)b)->high.field;                        \
    return (l > r) - (l < r);                                                                         \
  }
BY_AXIS(by_x, x)
BY_AXIS(by_y, y)
BY_AXIS(by_z, z)

static void build(uint32_t index, uint32_t first, uint32_t count) {
  vec lo = scene.shapes.at[first].low, hi = scene.shapes.at[first].high;
  for (uint32_t i = 1; i < count; i++) {
    lo = low(lo, scene.shapes.at[first + i].low);
    hi = high(hi, scene.shapes.at[first + i].high);
  }
  scene.nodes.at[index] = (node){lo, hi, first, count};
  if (count <= 2) return;
  vec size = sub(hi, lo);
  int widest = size.x >= size.y && size.x >= size.z ? 0 : size.y >= size.z ? 1 : 2;
  static int (*const orders[3])(const void *, const void *) = {by_x, by_y, by_z};
  qsort(scene.shapes.at + first, count, sizeof(shape), orders[widest]);
  uint32_t children = (uint32_t)scene.nodes.count;
  APPEND(scene.nodes, (node){0});
  APPEND(scene.nodes, (node){0});
  scene.nodes.at[index].first = children;
  scene.nodes.at[index].count = 0;
  build(children, first, count / 2);
  build(children + 1, first + count / 2, count - count / 2);
}

// The nearest thing that a ray meets before *t; with `any`, whatever it meets first will do.
static const material *nearest(const ray *r, double *t, vec *normal, bool any) {
  const material *found = NULL;
  rays++;
  if (scene.floor) {
    double distance = (scene.floor_height - r->origin.y) * r->inverse.y;
    if (distance > 1e-6 && distance < *t) {
      *t = distance;
      *normal = (vec){0, 1, 0};
      found = scene.floor;
    }
  }
  uint32_t stack[64], depth = 0;
  if (scene.nodes.count) stack[depth++] = 0;
  while (depth && !(any && found)) {
    const node *n = &scene.nodes.at[stack[--depth]];
    int side;
    if (enter_box(n->low, n->high, r, &side) >= *t) continue;
    if (n->count == 0) {
      stack[depth++] = n->first;
      stack[depth++] = n->first + 1;
    }
    for (uint32_t i = 0; i < n->count; i++) {
      const shape *s = &scene.shapes.at[n->first + i];
      if (s->hit(s, r, t, normal)) found = s->material;
    }
  }
  return found;
}

// ---- Light ----

// Numbers that look random but are the same on every machine and at every run.
static uint32_t noise_state;

static double noise(void) {
  noise_state ^= noise_state << 13;
  noise_state ^= noise_state >> 17;
  noise_state ^= noise_state << 5;
  return noise_state * (1 / 4294967296.0);
}

static double power(double base, unsigned exponent) {
  double result = 1;
  for (; exponent; exponent >>= 1, base *= base)
    if (exponent & 1) result *= base;
  return result;
}

static vec trace(ray r, int depth) {
  double t = INFINITY;
  vec normal;
  const material *m = nearest(&r, &t, &normal, false);
  double up = r.direction.y > 0 ? r.direction.y : 0;
  if (!m) return mix(scene.horizon, scene.zenith, sqrt(up));

  vec point = add(r.origin, scale(r.direction, t));
  vec surface = m->colour;
  if (m->chequered && (((int)floor(point.x) + (int)floor(point.z)) & 1)) surface = m->second;
  point = add(point, scale(normal, 1e-5));
  vec bounced = sub(r.direction, scale(normal, 2 * dot(r.direction, normal)));

  vec result = mul(surface, scale(mix(scene.horizon, scene.zenith, 0.5 + 0.5 * normal.y), 0.3));
  for (size_t i = 0; i < scene.lights.count; i++) {
    const light *l = &scene.lights.at[i];
    vec jitter = {noise() - 0.5, noise() - 0.5, noise() - 0.5};
    vec to = sub(add(l->position, scale(jitter, 2 * l->radius)), point);
    double distance = sqrt(dot(to, to));
    to = scale(to, 1 / distance);
    double facing = dot(to, normal);
    if (facing <= 0) continue;
    ray shadow = make_ray(point, to);
    vec ignored;
    if (nearest(&shadow, &distance, &ignored, true)) continue;
    result = add(result, scale(mul(surface, l->colour), facing));
    double glance = dot(to, bounced);
    if (m->shininess > 0 && glance > 0)
      result = add(result, scale(l->colour, 0.6 * power(glance, (unsigned)m->shininess)));
  }
  if (m->reflection > 0 && depth > 0)
    result = mix(result, trace(make_ray(point, bounced), depth - 1), m->reflection);
  double haze = 1 - 1 / (1 + t * t * 0.0004);
  return mix(result, scene.horizon, haze);
}

static uint8_t *render(void) {
  int w = scene.width, h = scene.height, n = scene.samples;
  uint8_t *pixels = malloc((size_t)w * h * 3);
  if (!pixels) fail(1, "out of memory");
  vec ahead = unit(sub(scene.target, scene.eye));
  vec right = unit(cross((vec){0, 1, 0}, ahead));
  vec up = cross(ahead, right);
  double spread = tan(scene.field_of_view * (M_PI / 360));
  for (int y = 0; y < h; y++)
    for (int x = 0; x < w; x++) {
      noise_state = ((uint32_t)(y * w + x) + 1) * 2654435761u;
      vec sum = {0, 0, 0};
      for (int s = 0; s < n * n; s++) {
        double u = (2 * (x + (s % n + noise()) / n) / w - 1) * spread;
        double v = (1 - 2 * (y + (s / n + noise()) / n) / h) * spread * h / w;
        vec direction = unit(add(ahead, add(scale(right, u), scale(up, v))));
        sum = add(sum, trace(make_ray(scene.eye, direction), 5));
      }
      for (int c = 0; c < 3; c++) {
        double value = sqrt(axis(sum, c) / (n * n));  // a gamma of two
        pixels[((size_t)y * w + x) * 3 + c] = value >= 1 ? 255 : (uint8_t)(value * 255 + 0.5);
      }
    }
  return pixels;
}

// ---- Reading a scene ----

// Five columns a letter, the lowest bit on top.
static const uint8_t letters[26][5] = {
    {0x7E, 0x09, 0x09, 0x09, 0x7E}, {0x7F, 0x49, 0x49, 0x49, 0x36}, {0x3E, 0x41, 0x41, 0x41, 0x22},
    {0x7F, 0x41, 0x41, 0x41, 0x3E}, {0x7F, 0x49, 0x49, 0x49, 0x41}, {0x7F, 0x09, 0x09, 0x09, 0x01},
    {0x3E, 0x41, 0x41, 0x51, 0x72}, {0x7F, 0x08, 0x08, 0x08, 0x7F}, {0x00, 0x41, 0x7F, 0x41, 0x00},
    {0x20, 0x40, 0x41, 0x3F, 0x01}, {0x7F, 0x08, 0x14, 0x22, 0x41}, {0x7F, 0x40, 0x40, 0x40, 0x40},
    {0x7F, 0x02, 0x0C, 0x02, 0x7F}, {0x7F, 0x04, 0x08, 0x10, 0x7F}, {0x3E, 0x41, 0x41, 0x41, 0x3E},
    {0x7F, 0x09, 0x09, 0x09, 0x06}, {0x3E, 0x41, 0x51, 0x21, 0x5E}, {0x7F, 0x09, 0x19, 0x29, 0x46},
    {0x26, 0x49, 0x49, 0x49, 0x32}, {0x01, 0x01, 0x7F, 0x01, 0x01}, {0x3F, 0x40, 0x40, 0x40, 0x3F},
    {0x1F, 0x20, 0x40, 0x20, 0x1F}, {0x3F, 0x40, 0x38, 0x40, 0x3F}, {0x63, 0x14, 0x08, 0x14, 0x63},
    {0x07, 0x08, 0x70, 0x08, 0x07}, {0x61, 0x51, 0x49, 0x45, 0x43},
};

static void add_word(const material *m, const char *text, vec at, double size) {
  double cell = size / 7, gap = cell * 0.06, left = at.x - (strlen(text) * 6 - 1) * cell / 2;
  for (; *text; text++, left += 6 * cell) {
    if (*text < 'A' || *text > 'Z') continue;
    for (int column = 0; column < 5; column++)
      for (int row = 0; row < 7; row++) {
        if (!(letters[*text - 'A'][column] >> row & 1)) continue;
        vec corner = {left + column * cell, at.y + (6 - row) * cell, at.z};
        vec inset = {gap, gap, gap}, size3 = {cell, cell, 2 * cell};
        APPEND(scene.shapes, (shape){hit_box, add(corner, inset), sub(add(corner, size3), inset), m});
      }
  }
}

static const char *scene_name;
static int scene_line;
static char *rest;  // what is left of the line

static _Noreturn void mistake(const char *what, const char *word) {
  fprintf(stderr, "tracer: %s:%d: %s%s%s\n", scene_name, scene_line, what, word ? ": " : "", word ? word : "");
  exit(2);
}

static char *word(void) {
  rest += strspn(rest, " \t\r\n");
  char *start = rest;
  rest += strcspn(rest, " \t\r\n");
  if (*rest) *rest++ = 0;
  return *start ? start : NULL;
}

static double number(void) {
  char *text = word(), *end;
  if (!text) mistake("a number is missing", NULL);
  double value = strtod(text, &end);
  if (*end || !isfinite(value)) mistake("not a number", text);
  return value;
}

static vec triple(void) {
  double x = number(), y = number(), z = number();
  return (vec){x, y, z};
}

static int whole(int least, int most) {
  double value = number();
  if (value != floor(value) || value < least || value > most) mistake("a number is out of range", NULL);
  return (int)value;
}

static const material *material_named(const char *name) {
  for (size_t i = 0; name && i < scene.materials.count; i++)
    if (!strcmp(scene.materials.at[i]->name, name)) return scene.materials.at[i];
  mistake("unknown material", name ? name : "(none)");
}

static void statement(const char *verb) {
  if (!strcmp(verb, "image")) {
    scene.width = whole(1, 4096), scene.height = whole(1, 4096), scene.samples = whole(1, 16);
  } else if (!strcmp(verb, "camera")) {
    scene.eye = triple(), scene.target = triple(), scene.field_of_view = number();
  } else if (!strcmp(verb, "sky")) {
    scene.horizon = triple(), scene.zenith = triple();
  } else if (!strcmp(verb, "light")) {
    vec position = triple();
    double radius = number();
    APPEND(scene.lights, (light){position, triple(), radius});
  } else if (!strcmp(verb, "material")) {
    material *m = calloc(1, sizeof *m);
    char *name = word();
    if (!m) fail(1, "out of memory");
    if (!name || strlen(name) >= sizeof m->name) mistake("a material needs a short name", name);
    strcpy(m->name, name);
    m->colour = triple(), m->reflection = number(), m->shininess = whole(0, 10000);
    m->chequered = rest[strspn(rest, " \t\r\n")] != 0;
    if (m->chequered) m->second = triple();
    APPEND(scene.materials, m);
  } else if (!strcmp(verb, "sphere")) {
    const material *m = material_named(word());
    vec centre = triple();
    double r = number();
    vec reach = {r, r, r};
    APPEND(scene.shapes, (shape){hit_sphere, sub(centre, reach), add(centre, reach), m});
  } else if (!strcmp(verb, "box")) {
    const material *m = material_named(word());
    vec a = triple(), b = triple();
    APPEND(scene.shapes, (shape){hit_box, low(a, b), high(a, b), m});
  } else if (!strcmp(verb, "plane")) {
    scene.floor = material_named(word()), scene.floor_height = number();
  } else if (!strcmp(verb, "word")) {
    const material *m = material_named(word());
    char *text = word();
    if (!text) mistake("a text is missing", NULL);
    vec at = triple();
    add_word(m, text, at, number());
  } else {
    mistake("unknown statement", verb);
  }
}

static void read_scene(const char *path) {
  FILE *file = fopen(path, "r");
  char line[512];
  scene_name = path;
  if (!file) {
    fprintf(stderr, "tracer: %s: %s\n", path, strerror(errno));
    exit(1);
  }
  while (fgets(line, sizeof line, file)) {
    scene_line++;
    line[strcspn(line, "#")] = 0;
    rest = line;
    char *verb = word();
    if (!verb) continue;
    statement(verb);
    char *more = word();
    if (more) mistake("more than was expected", more);
  }
  fclose(file);
}

// ---- Writing a PNG file: filtered rows, matched against the bytes before them, in the fixed code of RFC 1951 ----

typedef LIST(uint8_t) bytes;

typedef struct {
  bytes out;
  uint32_t bits, used;
} bit_writer;

static void put_bits(bit_writer *w, uint32_t value, uint32_t count) {
  w->bits |= value << w->used;
  for (w->used += count; w->used >= 8; w->used -= 8, w->bits >>= 8) APPEND(w->out, (uint8_t)w->bits);
}

static uint32_t reversed(uint32_t value, uint32_t count) {
  uint32_t result = 0;
  while (count--) result = result << 1 | (value & 1), value >>= 1;
  return result;
}

static void put_symbol(bit_writer *w, uint32_t symbol) {
  if (symbol < 144) put_bits(w, reversed(0x30 + symbol, 8), 8);
  else if (symbol < 256) put_bits(w, reversed(0x190 + symbol - 144, 9), 9);
  else if (symbol < 280) put_bits(w, reversed(symbol - 256, 7), 7);
  else put_bits(w, reversed(0xC0 + symbol - 280, 8), 8);
}

static void put_match(bit_writer *w, uint32_t length, uint32_t distance) {
  uint32_t l = length - 3, d = distance - 1, extra = 0;
  if (length == 258) put_symbol(w, 285);
  else {
    while (l >= 8u << extra) extra++;
    put_symbol(w, 257 + (extra ? 4 * extra + (l >> extra) : l));
    put_bits(w, l & ((1u << extra) - 1), extra);
  }
  for (extra = 0; d >= 4u << extra;) extra++;
  put_bits(w, reversed(extra ? 2 * extra + (d >> extra) : d, 5), 5);
  put_bits(w, d & ((1u << extra) - 1), extra);
}

static bytes compress(const uint8_t *data, size_t size) {
  bit_writer w = {0};
  static uint32_t last[1 << 15];  // where three such bytes were seen before, plus one
  uint32_t a = 1, b = 0;
  put_bits(&w, 0x0178, 16), put_bits(&w, 3, 3);
  for (size_t i = 0; i < size;) {
    uint32_t length = 0, distance = 0;
    if (i + 3 <= size) {
      uint32_t *slot = &last[((data[i] | data[i + 1] << 8 | data[i + 2] << 16) * 2654435761u) >> 17];
      if (*slot && i + 1 - *slot <= 32768) {
        distance = (uint32_t)(i + 1 - *slot);
        while (length < 258 && i + length < size && data[i + length] == data[i + length - distance]) length++;
      }
      *slot = (uint32_t)i + 1;
    }
    if (length >= 4) put_match(&w, length, distance);
    else put_symbol(&w, data[i]), length = 1;
    i += length;
  }
  put_symbol(&w, 256);
  put_bits(&w, 0, (8 - w.used) & 7);
  for (size_t i = 0; i < size; i++) a = (a + data[i]) % 65521, b = (b + a) % 65521;
  for (int shift = 8; shift >= 0; shift -= 8) APPEND(w.out, (uint8_t)(b >> shift));
  for (int shift = 8; shift >= 0; shift -= 8) APPEND(w.out, (uint8_t)(a >> shift));
  return w.out;
}

static void put_chunk(FILE *file, const char *type, const uint8_t *data, size_t size) {
  uint32_t crc = ~0u;
  uint8_t head[8] = {size >> 24, size >> 16, size >> 8, size};
  memcpy(head + 4, type, 4);
  for (size_t i = 0; i < size + 4; i++) {
    crc ^= i < 4 ? head[4 + i] : data[i - 4];
    for (int k = 0; k < 8; k++) crc = crc >> 1 ^ (crc & 1 ? 0xEDB88320u : 0);
  }
  crc = ~crc;
  uint8_t tail[4] = {crc >> 24, crc >> 16, crc >> 8, crc};
  fwrite(head, 1, 8, file), fwrite(data, 1, size, file), fwrite(tail, 1, 4, file);
}

static void write_png(const char *path, const uint8_t *pixels) {
  size_t row = (size_t)scene.width * 3;
  bytes filtered = {0};
  for (int y = 0; y < scene.height; y++) {
    APPEND(filtered, (uint8_t)(y ? 2 : 0));  // differences to the row above; the first row as it is
    for (size_t i = 0; i < row; i++) APPEND(filtered, (uint8_t)(pixels[y * row + i] - (y ? pixels[(y - 1) * row + i] : 0)));
  }
  bytes packed = compress(filtered.at, filtered.count);
  uint32_t w = scene.width, h = scene.height;
  uint8_t header[13] = {w >> 24, w >> 16, w >> 8, w, h >> 24, h >> 16, h >> 8, h, 8, 2};
  FILE *file = fopen(path, "wb");
  if (file) {
    fwrite("\x89PNG\r\n\x1A\n", 1, 8, file);
    put_chunk(file, "IHDR", header, 13), put_chunk(file, "IDAT", packed.at, packed.count);
    put_chunk(file, "IEND", NULL, 0);
  }
  if (!file || ferror(file) | fclose(file)) {
    fprintf(stderr, "tracer: %s: %s\n", path, strerror(errno));
    exit(1);
  }
  free(filtered.at), free(packed.at);
}

// ---- The preview ----

static void preview(const uint8_t *pixels, int columns) {
  static const char ramp[] = " .,:;i1tfLCG08@";
  int w = scene.width, h = scene.height, lines = columns * h / (w * 2);
  for (int line = 0; line < lines; line++) {
    for (int column = 0; column < columns; column++) {
      int x0 = column * w / columns, x1 = (column + 1) * w / columns;
      int y0 = line * h / lines, y1 = (line + 1) * h / lines;
      long sum = 0, count = 0;
      for (int y = y0; y < y1; y++)
        for (int x = x0; x < x1; x++, count++) {
          const uint8_t *p = pixels + ((size_t)y * w + x) * 3;
          sum += 30 * p[0] + 59 * p[1] + 11 * p[2];
        }
      putchar(ramp[count ? sum * (long)(sizeof ramp - 2) / (count * 25500) : 0]);
    }
    putchar('\n');
  }
}

int main(int argc, char **argv) {
  const char *picture = NULL, *path = NULL;
  int columns = 96;
  for (int i = 1; i < argc; i++) {
    if (!strcmp(argv[i], "--help")) {
      puts("usage: tracer SCENE [-o PICTURE.png] [--columns N]");
      return 0;
    }
    if (!strcmp(argv[i], "-o") && i + 1 < argc) picture = argv[++i];
    else if (!strcmp(argv[i], "--columns") && i + 1 < argc) columns = atoi(argv[++i]);
    else if (!path && argv[i][0] != '-') path = argv[i];
    else fail(2, "unknown argument; try --help");
  }
  if (!path) fail(2, "which scene? try --help");
  if (columns < 1 || columns > 1000) fail(2, "--columns takes a number from 1 to 1000");
  read_scene(path);
  if (scene.shapes.count) {
    APPEND(scene.nodes, (node){0});
    build(0, 0, (uint32_t)scene.shapes.count);
  }
  struct timespec start, end;
  clock_gettime(CLOCK_MONOTONIC, &start);
  uint8_t *pixels = render();
  clock_gettime(CLOCK_MONOTONIC, &end);
  double seconds = (double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) * 1e-9;
  preview(pixels, columns);
  if (picture) write_png(picture, pixels);
  printf("%d x %d pixels, %zu shapes, %llu rays\n", scene.width, scene.height, scene.shapes.count,
         (unsigned long long)rays);
  fprintf(stderr, "tracer: %.0f thousand rays a second\n", seconds > 0 ? rays / seconds / 1000 : 0.0);
  free(pixels);
  return 0;
}
