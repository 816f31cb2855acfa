// An artifact's file must not be changed while it is loaded; but files are, disks fail, and network
// file systems go away. Then a page that is mapped from the file cannot be had, and touching it is a
// bus error. That must not end the process: one module is lost, not all the others that the process
// serves.
//
// What is done depends on what was lost, and on who wants it:
//
//      lost                  wanted by wasm code            wanted by the host
//      tables behind text    the activation traps           a zero page, read-only
//      writable data         the activation traps           a zero page, private, writable
//      image in a memory     the activation traps           a zero page, private, writable
//      text                  the activation traps           a zero page, read-only; no text runs any more
//
// (Compiled wasm reads no tables. Code that was linked in reads its constants, which are among them, and its data.)
//
// In each case the artifact is marked as damaged, for good. A zero page keeps one access from failing and is not an
// answer: whoever reads an artifact looks at the mark *after* reading, before believing what was read. (A
// reader that checks page checksums finds out from these as well.)
//
// Zero bytes are instructions, and jump tables in the text say where to go. So no zero page is ever executable; and
// where the host's reading has put one over text, the whole text stops being executable first, so that
// code which reads a jump table from that page can take no step more. Whoever is in that code faults at its next
// instruction, and the handler ends that activation. It also stays mapped: return addresses lead there.
//
// A page is only replaced by one that cannot fault in this way (it has no file), so an instruction that is run
// again cannot come back here for the same page, unless somebody maps the file there again: there is no loop.
//
// What cannot be noticed here: the rest of the page in which a shortened file now ends reads as zero, and pages whose
// contents were overwritten read as that; neither faults. See Docs/Security.md.
#define _GNU_SOURCE
#include "precast_lost_page.h"

#include <sys/mman.h>
#include <sys/stat.h>

#include "precast_checked_pages.h"
#include "precast_memory.h"

static bool map_zeros(uint64_t start, uint64_t size, int protection) {
  void *wanted = (void *)(uintptr_t)start;
  return mmap(wanted, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) == wanted;
}

/// Puts a zero page over the one that holds `address`. Where the process has as many mappings as it may have, zero
/// pages go over everything from there to the end of the range: that adds fewer, and what is behind a lost page is
/// most likely lost too.
static bool replace(uint64_t address, uint64_t end, int protection) {
  uint64_t page = precast_page_size();
  uint64_t start = address & ~(page - 1);
  if (map_zeros(start, page, protection)) return true;
  return end > start + page && map_zeros(start, ((end + page - 1) & ~(page - 1)) - start, protection);
}

/// Takes back what is known of the tables' pages from the one that holds `address` on.
static void forget(const struct precast_place *place, uint64_t address) {
  if (place->is_image || !place->artifact->pages) return;
  uint64_t start = address & ~((uint64_t)precast_page_size() - 1);
  precast_checked_pages_forget(place->artifact->pages, (const void *)(uintptr_t)start, place->end - start);
}

enum precast_lost_page precast_lost_page(uint64_t address, uint64_t pc) {
  // Whoever touches the address keeps artifact and image from being unmapped; the counting keeps the entry.
  uint32_t token = precast_code_read_begin();
  enum precast_lost_page result = PRECAST_PAGE_ELSEWHERE;
  struct precast_place place;
  if (precast_code_read_find_address(address, &place)) {
    const struct precast_code *artifact = place.artifact;
    bool by_wasm = precast_code_read_find(pc) != NULL;
    bool is_text = !place.is_image && address < artifact->text_end;
    precast_code_set_damaged(artifact);
    if (by_wasm) {
      result = PRECAST_PAGE_NEEDED;
    } else if (is_text) {
      void *text = (void *)(uintptr_t)artifact->text_start;
      if (mprotect(text, artifact->text_end - artifact->text_start, PROT_READ) == 0 &&
          replace(address, artifact->text_end, PROT_READ)) {
        result = PRECAST_PAGE_REPLACED;
      }
    } else {
      // From here on no reader takes the page's earlier checksum for an answer; nor those of the pages behind it, which
      // may be replaced with it. Once more when the zeros are there: another thread may have found one of those good
      // between the two.
      forget(&place, address);
      bool is_writable = place.is_image || (artifact->data_start != 0 && address >= artifact->data_start);
      if (replace(address, is_writable ? place.end : artifact->data_start ? artifact->data_start : place.end,
                  is_writable ? PROT_READ | PROT_WRITE : PROT_READ)) {
        result = PRECAST_PAGE_REPLACED;
      }
      forget(&place, address);
    }
  }
  precast_code_read_end(token);
  return result;
}

bool precast_lost_some(const struct precast_code *code) {
  if (precast_code_is_damaged(code)) return true;
  struct stat status;
  if (code->file < 0 || fstat(code->file, &status) != 0 || (uint64_t)status.st_size >= code->file_size) return false;
  precast_code_set_damaged(code);
  return true;
}
