// Held across `fork`: see the header.
#define _GNU_SOURCE
#include "precast_observers.h"

#include <pthread.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void take(void) { pthread_mutex_lock(&lock); }
static void give_back(void) { pthread_mutex_unlock(&lock); }

// Parent and child both hold it after the call, and give back their own copy. A process without memory for the handlers
// goes without them.
static void hold_across_fork(void) { (void)pthread_atfork(take, give_back, give_back); }

void precast_observers_lock(void) {
  pthread_once(&once, hold_across_fork);
  take();
}

void precast_observers_unlock(void) { give_back(); }
