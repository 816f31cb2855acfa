// Host functions that throw: one catches its exception, one does not.
#include <cstdint>
#include <stdexcept>

extern "C" uint64_t catches(void *, void *, uint64_t *slots) {
  try {
    throw std::runtime_error("caught");
  } catch (const std::exception &) {
    slots[0] += 42;
  }
  return 0;
}

extern "C" uint64_t throws(void *, void *, uint64_t *) { throw std::runtime_error("not caught"); }
