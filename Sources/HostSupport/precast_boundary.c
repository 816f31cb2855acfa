// Where unwinding meets wasm.
//
// Frames of wasm own nothing, so an unwinder could go through them like through any C frame. But around them stand frames
// that it must not pass: those of the host in Swift, which have no clean-up for it, so that it would leave references
// counted, locks held and accesses open. And the activation that is left has to be taken off the thread's and the store's
// chains, or the next trap would go back to a stack that is gone. So there is a boundary, at the C frame that entered wasm: a
// personality routine (Itanium C++ ABI, Exception Handling, 1.6), which the unwinder calls there. (The calling function
// names it by an assembler directive, since C has no words for it; see `enter` in precast_activation.c.)
//
//      an exception             stops. It was found before any frame was unwound, so whoever threw it gets an error
//                               from its unwinder there and then; C++ calls std::terminate(), as it does for a noexcept
//                               function, with the stack as it was and the exception still current
//      a forced unwinding       passes: pthread_exit and cancellation cannot be refused. Activations whose frames go
//                               are taken off their chains
//
// Without unwind tables for wasm (`UnwindRegistration.none`) an unwinder does not get here. The first case ends the same
// way; the second leaves the thread without unwinding what is above.
#define _GNU_SOURCE
#include "precast_thread.h"

#include <dlfcn.h>
#include <unistd.h>
#include <unwind.h>

// Weak: a host that links no unwinder may still meet one that the C library has loaded.
extern _Unwind_Word cfa_of(struct _Unwind_Context *context) __asm__("_Unwind_GetCFA") __attribute__((weak));

static uint64_t frame_address(struct _Unwind_Context *context) {
  if (cfa_of) return cfa_of(context);
  void *library = dlopen("libgcc_s.so.1", RTLD_NOW | RTLD_NOLOAD);
  if (!library) return 0;
  _Unwind_Word (*function)(struct _Unwind_Context *) =
      (_Unwind_Word(*)(struct _Unwind_Context *))(uintptr_t)dlsym(library, "_Unwind_GetCFA");
  uint64_t address = function ? function(context) : 0;
  dlclose(library);
  return address;
}

/// Takes the activations off their chains whose entry trampoline is below an address of the stack.
static void leave_activations(uint64_t end) {
  struct precast_thread *thread = &precast_thread;
  struct precast_activation *activation;
  // (0: the trampoline was not through its prologue; then it is the innermost, and entered from here.)
  while ((activation = thread->current) && activation->entry_frame_pointer < end) {
    thread->current = activation->previous;
    activation->store->activation = activation->saved_store_activation;
    activation->store->stack_limit = activation->saved_stack_limit;
  }
}

static void report(void) {
  static const char message[] =
      "precast: a host function threw an exception through WebAssembly code; exceptions end at that boundary\n";
  ssize_t written = write(STDERR_FILENO, message, sizeof message - 1);
  (void)written;
}

// Hidden: named by distance.
__attribute__((visibility("hidden"))) _Unwind_Reason_Code precast_boundary(
    int version, _Unwind_Action actions, uint64_t exception_class, struct _Unwind_Exception *exception,
    struct _Unwind_Context *context) {
  (void)exception_class;
  (void)exception;
  if (version != 1) return _URC_FATAL_PHASE1_ERROR;
  if (actions & _UA_SEARCH_PHASE) {
    report();
    return _URC_FATAL_PHASE1_ERROR;
  }
  if (!(actions & _UA_FORCE_UNWIND)) return _URC_FATAL_PHASE2_ERROR;
  leave_activations(frame_address(context));
  return _URC_CONTINUE_UNWIND;
}
