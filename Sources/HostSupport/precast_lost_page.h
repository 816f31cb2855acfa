// Pages of an artifact's file that can no longer be had. Internal to this target; used by the signal handler.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "precast_code_registry.h"

/// What became of a page that faulted.
enum precast_lost_page {
  /// It is none of an artifact's, or nothing can be done: the fault is somebody else's.
  PRECAST_PAGE_ELSEWHERE,
  /// A zero page is there now: the instruction can run again.
  PRECAST_PAGE_REPLACED,
  /// Wasm code needed it, and must not go on: the activation ends with `PRECAST_TRAP_DAMAGED`.
  PRECAST_PAGE_NEEDED,
};

/// Deals with a bus error at `address`, raised by the kernel for the instruction at `pc`. Async-signal-safe.
__attribute__((visibility("hidden"))) enum precast_lost_page precast_lost_page(uint64_t address, uint64_t pc);

/// Whether part of the artifact's file is known to be lost, or the file is shorter than it was; the answer is
/// remembered. For an artifact that stays registered meanwhile. Async-signal-safe.
__attribute__((visibility("hidden"))) bool precast_lost_some(const struct precast_code *code);
