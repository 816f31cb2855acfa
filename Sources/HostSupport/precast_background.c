// Background threads and the identity of the running program; see the header.
#define _GNU_SOURCE
#include "precast_background.h"

#include <link.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void precast_enter_background(void) {
  // A host's handlers expect to run on the host's threads.
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, NULL);
  // On Linux the nice value belongs to the thread. Both, since SCHED_IDLE alone leaves the disk's queue as it is.
  setpriority(PRIO_PROCESS, (id_t)syscall(SYS_gettid), 19);
  struct sched_param none = {.sched_priority = 0};
  sched_setscheduler(0, SCHED_IDLE, &none);
#ifdef SYS_ioprio_set
  // IOPRIO_WHO_PROCESS, this thread; IOPRIO_CLASS_IDLE (linux/ioprio.h, which not every system has).
  syscall(SYS_ioprio_set, 1, 0, 3 << 13);
#endif
}

struct search {
  uintptr_t address;
  char path[4096];
};

// The first object is the program itself, whose name is empty.
static int holds_address(struct dl_phdr_info *info, size_t size, void *context) {
  (void)size;
  struct search *search = context;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *header = &info->dlpi_phdr[i];
    if (header->p_type != PT_LOAD || search->address - (info->dlpi_addr + header->p_vaddr) >= header->p_memsz) continue;
    if (info->dlpi_name && strchr(info->dlpi_name, '/') && strlen(info->dlpi_name) < sizeof search->path)
      strcpy(search->path, info->dlpi_name);
    return 1;
  }
  return 0;
}

void precast_identify_object(struct precast_object_identity *identity) {
  memset(identity, 0, sizeof *identity);
  struct search search = {.address = (uintptr_t)precast_identify_object, .path = "/proc/self/exe"};
  dl_iterate_phdr(holds_address, &search);
  struct stat status;
  if (stat(search.path, &status) != 0) return;
  identity->device = status.st_dev;
  identity->inode = status.st_ino;
  identity->size = (uint64_t)status.st_size;
  identity->modified = (uint64_t)status.st_mtim.tv_sec * 1000000000u + (uint64_t)status.st_mtim.tv_nsec;
}
