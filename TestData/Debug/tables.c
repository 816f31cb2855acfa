// A trap of a table: tables are not reached by pointers, so these are in a file of their own (`-mreference-types`).
#define EXPORT(name) __attribute__((export_name(#name))) int name
#define INLINE static inline

// Without elements: each index is out of bounds.
static __externref_t elements[0];

INLINE void put(int a) {
  __builtin_wasm_table_set(elements, a, __builtin_wasm_ref_null_extern());  // TRAP put
}
EXPORT(put_at)(int a) {
  put(a);
  return 1;
}
