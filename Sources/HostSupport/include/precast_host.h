// The little that Swift cannot express: everything of CPrecastHost, in one include.
//
// Each header is one subject, and opens with what it promises. All of it is plain C11 plus the
// usual GNU extensions, and everything marked *async-signal-safe* may be called from a handler.
#pragma once

#include "precast_activation.h"
#include "precast_anonymous_text.h"
#include "precast_background.h"
#include "precast_checked_pages.h"
#include "precast_code_registry.h"
#include "precast_cpu.h"
#include "precast_crc32c.h"
#include "precast_files.h"
#include "precast_gdb_jit.h"
#include "precast_limits.h"
#include "precast_memory.h"
#include "precast_observers.h"
#include "precast_openat2.h"
#include "precast_signals.h"
#include "precast_stack_scan.h"
#include "precast_run_table.h"
#include "precast_unwind.h"
