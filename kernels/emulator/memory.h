// Readable pages between unreadable ones.
#pragma once
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>

namespace emu {

inline size_t page_bytes() {
  static const size_t bytes = size_t(sysconf(_SC_PAGESIZE));
  return bytes;
}

inline size_t whole_pages(size_t bytes) { return (bytes + page_bytes() - 1) / page_bytes() * page_bytes(); }

// Readable pages for `bytes` with `margin` unreadable bytes on either side; returns the first readable byte.
inline char* map_between_guards(size_t bytes, size_t margin, size_t* mapped) {
  *mapped = whole_pages(bytes) + 2 * margin;
  void* p = mmap(nullptr, *mapped, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (p == MAP_FAILED) return nullptr;
  char* first = static_cast<char*>(p) + margin;
  if (bytes && mprotect(first, whole_pages(bytes), PROT_READ | PROT_WRITE)) return nullptr;
  return first;
}

}  // namespace emu
