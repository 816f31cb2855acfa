// What the host support keeps for each thread. Internal to this target.
#pragma once

#include "precast_activation.h"

struct precast_thread {
  /// Innermost activation, read by the signal handler.
  struct precast_activation *current;
  /// Whether `precast_thread_prepare` has been here.
  bool ready;
  /// The stack's bounds; both 0 when they are not known.
  uint64_t stack_low;
  uint64_t stack_high;
  /// `stack_high - stack_low`; 0 until the thread is ready, so that one comparison asks both.
  uint64_t stack_size;
  /// `PRECAST_TRAP_FRAMES` frames, or null.
  struct precast_frame *trap_frames;
  /// What is given back at the thread's end: frame buffer and alternate signal stack.
  void *mapping;
  size_t mapping_size;
  /// Our alternate stack in that mapping, or null.
  void *alternate_stack;
  /// 1 + the thread's reader counter in the code registry; 0: none chosen yet.
  uint32_t reader_stripe;
  /// How the last `precast_call` that failed ended.
  struct precast_activation failure;
};

/// Initial-exec, because the handler reads it: the general model may allocate at first use.
extern _Thread_local struct precast_thread precast_thread
    __attribute__((tls_model("initial-exec"), visibility("hidden")));

/// Stack bounds, alternate signal stack and frame buffer for the calling thread. Does its best.
__attribute__((visibility("hidden"))) void precast_thread_prepare(struct precast_thread *thread);

/// The walk that the handler makes: from an instruction, inclusive.
__attribute__((visibility("hidden"))) size_t precast_stack_walk_from(
    const struct precast_activation *activation, uint64_t pc, uint64_t frame_pointer, uint64_t stack_pointer,
    struct precast_frame *frames, size_t capacity, bool *truncated);
