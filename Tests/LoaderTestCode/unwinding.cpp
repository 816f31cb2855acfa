// What unwinders do with wasm between host functions: C++ exceptions, threads that end, backtraces. Scenarios of scenarios.c
// (each in a process of its own), in C++, since that is what throws.
#include "unwinding.h"

#include <pthread.h>
#include <unistd.h>
#include <unwind.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <stdexcept>

#include "loader_test_code.h"

namespace {

int destroyed = 0;

/// Counts what is destroyed, in which order: each writes one more decimal digit.
struct Witness {
  int digit;
  explicit Witness(int digit) : digit(digit) {}
  ~Witness() { destroyed = destroyed * 10 + digit; }
};

using HostFunction = void (*)(lt_store *);
HostFunction body = nullptr;
lt_store *outer, *inner;

uint32_t host(void *context, void *, void *) {
  Witness witness(1);
  auto *store = static_cast<lt_store *>(static_cast<lt_context *>(context)->opaque1);
  body(store);
  return 0;
}

lt_store *make_store() {
  auto *store = static_cast<lt_store *>(std::malloc(sizeof(lt_store)));
  lt_store_init(store);
  store->host_function.host_callback = host;
  return store;
}

/// Enters wasm, which calls the host function.
uint64_t enter(lt_store *store) {
  Witness witness(2);
  precast_activation activation;
  return lt_enter(store, lt_call_host, 0, 0, &activation, nullptr);
}

/// Whether nothing of a store says that it is in use.
bool is_idle(const lt_store *store) {
  return store->store.activation == nullptr && store->store.stack_limit == 0;
}

void throws(lt_store *) { throw std::runtime_error("thrown by a host function"); }

void catches(lt_store *store) {
  try {
    throws(store);
  } catch (const std::runtime_error &) {
  }
}

[[noreturn]] void ended() {
  // The exception is the one that was thrown, and nothing has been destroyed.
  try {
    std::rethrow_exception(std::current_exception());
  } catch (const std::runtime_error &error) {
    _exit(std::strcmp(error.what(), "thrown by a host function") == 0 && destroyed == 0 ? 0 : 1);
  } catch (...) {
    _exit(2);
  }
}

void enters_again(lt_store *store) {
  Witness witness(3);
  if (store == outer) {
    enter(inner);
  } else {
    throws(store);
  }
}

void exits(lt_store *) { pthread_exit(nullptr); }

void exits_when_nested(lt_store *store) {
  Witness witness(3);
  if (store == outer) {
    enter(inner);
  } else {
    pthread_exit(nullptr);
  }
}

void waits(lt_store *) {
  for (;;) pause();
}

void *enter_outer(void *) {
  Witness witness(4);
  enter(outer);
  return nullptr;
}

/// Runs `enter_outer` in a thread with this host function; cancels it, or lets it end.
bool run_thread(HostFunction function, bool cancel) {
  body = function;
  pthread_t thread;
  if (pthread_create(&thread, nullptr, enter_outer, nullptr) != 0) return false;
  if (cancel) pthread_cancel(thread);
  void *result;
  return pthread_join(thread, &result) == 0 && (!cancel || result == PTHREAD_CANCELED);
}

/// A store that was left by unwinding serves again, on this thread.
bool serves_again(lt_store *store) {
  body = catches;
  return is_idle(store) && precast_current_activation() == nullptr && enter(store) == 0 && is_idle(store);
}

}  // namespace

extern "C" int lt_play_unwinding(const char *name) {
  if (precast_install_signal_handlers() != 0) return 90;
  outer = make_store();
  inner = make_store();
  if (std::strcmp(name, "an exception ends at the boundary") == 0) {
    std::set_terminate(ended);
    body = throws;
    try {
      enter(outer);
    } catch (...) {
      return 3;
    }
    return 4;
  }
  if (std::strcmp(name, "an exception ends at the inner boundary") == 0) {
    std::set_terminate(ended);
    body = enters_again;
    try {
      enter(outer);
    } catch (...) {
      return 3;
    }
    return 4;
  }
  if (std::strcmp(name, "an exception ends the process") == 0) {
    body = throws;
    enter(outer);
    return 4;
  }
  if (std::strcmp(name, "an exception inside a host function") == 0) {
    body = catches;
    return enter(outer) == 0 && destroyed == 12 && is_idle(outer) ? 0 : 1;
  }
  if (std::strcmp(name, "a thread exits in a host function") == 0) {
    // Everything is destroyed, innermost first: in the host function, around the entry, in the thread.
    return run_thread(exits, false) && destroyed == 124 && serves_again(outer) ? 0 : 1;
  }
  if (std::strcmp(name, "a thread exits in a nested activation") == 0) {
    bool passed = run_thread(exits_when_nested, false) && destroyed == 3123124;
    return passed && serves_again(outer) && serves_again(inner) ? 0 : 1;
  }
  if (std::strcmp(name, "a thread is cancelled in a host function") == 0) {
    return run_thread(waits, true) && destroyed == 124 && serves_again(outer) ? 0 : 1;
  }
  return 96;
}
