// The scenarios of unwinding.cpp; `play` in scenarios.c asks for them.
#pragma once

#ifdef __cplusplus
extern "C" {
#endif

/// Plays the scenario; 96 when there is none of this name.
int lt_play_unwinding(const char *name);

#ifdef __cplusplus
}
#endif
