// The lock of what debuggers and profilers are told: the list of announced files, and the files that are written.
//
// It is held while the process forks, so that a child has the list whole and the lock free.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

/// Takes the lock, which is not recursive. Any thread.
void precast_observers_lock(void);

/// Gives it back.
void precast_observers_unlock(void);

#ifdef __cplusplus
}
#endif
