// How near this process is to the limits that a failed mapping or opening may have hit. For error messages:
// nothing here is fast, and nothing allocates.
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// What is in use, and what is allowed; UINT64_MAX where unknown or unlimited. Sizes are in bytes.
struct precast_limits {
  uint64_t mappings, maximum_mappings;  // vm.max_map_count
  uint64_t address_space, maximum_address_space;  // RLIMIT_AS
  uint64_t data, maximum_data;  // RLIMIT_DATA: private writable memory
  uint64_t maximum_descriptors, hard_maximum_descriptors;  // RLIMIT_NOFILE, soft and hard
  uint64_t maximum_files;  // fs.file-max
  uint64_t overcommit;  // vm.overcommit_memory
};

/// Finds out as much as it can.
void precast_find_limits(struct precast_limits *limits);

#ifdef __cplusplus
}
#endif
