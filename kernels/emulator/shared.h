// Shared memory. Each static __shared__ array and the dynamic one has its own pages: filled with NaN when a block first
// uses it, ending at an unreadable page, with a few canary bytes on either side.
#pragma once
#include "block.h"

namespace emu {

constexpr size_t kCanaryBytes = 64;
constexpr unsigned char kCanaryByte = 0xa5;
constexpr unsigned char kPoison = 0xff;  // NaN as float, half and bfloat16

constexpr size_t kSharedMargin = 1 << 16;

// The array keeps the alignment that its type requires: the rest after its end is canary, not guard page.
inline char* place_at_end(char* first, size_t bytes, size_t align) {
  char* end = first + whole_pages(bytes + kCanaryBytes);
  uintptr_t data = reinterpret_cast<uintptr_t>(end - bytes) & ~uintptr_t(align - 1);
  memset(reinterpret_cast<char*>(data) - kCanaryBytes, kCanaryByte, kCanaryBytes);
  memset(reinterpret_cast<char*>(data) + bytes, kCanaryByte, size_t(end - reinterpret_cast<char*>(data)) - bytes);
  return reinterpret_cast<char*>(data);
}

// Offset of the first overwritten canary byte: negative before the array, >= bytes after it, 0 if all are intact.
inline int64_t broken_canary(const char* data, size_t bytes) {
  for (size_t i = 1; i <= kCanaryBytes; i++)
    if (static_cast<unsigned char>(data[-ptrdiff_t(i)]) != kCanaryByte) return -int64_t(i);
  const char* end = data + bytes;
  size_t tail = (page_bytes() - reinterpret_cast<uintptr_t>(end) % page_bytes()) % page_bytes();
  for (size_t i = 0; i < tail && i < kCanaryBytes; i++)
    if (static_cast<unsigned char>(end[i]) != kCanaryByte) return int64_t(bytes + i);
  return 0;
}

__attribute__((noinline)) inline SharedArray& new_shared(Worker& w, const void* key, const char* name, size_t bytes,
                                                         size_t align) {
  SharedArray s{};
  s.key = key, s.name = name, s.bytes = bytes, s.fresh = true;
  s.base = map_between_guards(bytes + kCanaryBytes, kSharedMargin, &s.mapped);
  if (!s.base) fail("no memory for the shared array %s (%zu bytes)", name, bytes);
  s.data = place_at_end(s.base, bytes, align);
  w.shared.push_back(s);
  return w.shared.back();
}

void* static_shared_bytes(const void* key, const char* name, size_t bytes, size_t align) {
  Worker& w = *fiber().worker;
  SharedArray* found = nullptr;
  for (SharedArray& s : w.shared)
    if (s.key == key) { found = &s; break; }
  if (!found) found = &new_shared(w, key, name, bytes, align);
  if (found->fresh) {
    memset(found->data, kPoison, found->bytes);
    found->fresh = false;
  }
  return found->data;
}

void* dynamic_shared_bytes() { return fiber().worker->dynamic; }

inline bool prepare_dynamic(Worker& w, size_t bytes) {
  w.dynamic_base = map_between_guards(bytes + kCanaryBytes, kSharedMargin, &w.dynamic_mapped);
  if (w.dynamic_base) w.dynamic = place_at_end(w.dynamic_base, bytes, 16);
  return w.dynamic_base != nullptr;
}

inline void refill_shared(Worker& w) {
  for (SharedArray& s : w.shared) s.fresh = true;
  memset(w.dynamic, kPoison, size_t(global.launch->shared_bytes));
}

// After a block: whether nothing was written just outside the arrays
inline bool check_shared(Worker& w) {
  const char* name = "the dynamic shared memory";
  size_t bytes = size_t(global.launch->shared_bytes);
  int64_t broken = broken_canary(w.dynamic, bytes);
  for (size_t i = 0; !broken && i < w.shared.size(); i++) {
    name = w.shared[i].name, bytes = w.shared[i].bytes;
    broken = broken_canary(w.shared[i].data, bytes);
  }
  if (!broken) return true;
  if (Report* r = first_report(kSharedCanary, w.block_index, nullptr)) {
    r->offset = broken;
    snprintf(r->text, sizeof r->text, "%s (%zu bytes)", name, bytes);
  }
  return false;
}

inline void free_shared(Worker& w) {
  for (SharedArray& s : w.shared) munmap(s.base - kSharedMargin, s.mapped);
  if (w.dynamic_base) munmap(w.dynamic_base - kSharedMargin, w.dynamic_mapped);
  w.shared.clear();
  w.dynamic_base = nullptr;
}

}  // namespace emu
