// The async proxy: wgmma and bulk copies see shared memory as it was at the last fence.proxy.async.
#pragma once
#include "hopper_state.h"
#include "shared.h"

namespace emu {

// A fence publishes all that is in shared memory at that time, of whichever thread: on a GPU only what the thread that
// fences wrote, or what it has seen by way of a barrier.
void fence_proxy_async() {
  Worker& w = *fiber().worker;
  HopperState& h = hopper(w);
  memcpy(h.view.data(), w.dynamic, h.view.size());
  h.barriers_unfenced = false;
}

// The low 18 bits of an address, which is all that descriptors hold: a block has less than 256 KB of shared memory.
constexpr uint64_t kWindow = 0x3ffff;

inline const char* shared_at(Worker& w, uint64_t address, const Site& site) {
  uint64_t offset = (address - reinterpret_cast<uintptr_t>(w.dynamic)) & kWindow;
  if (offset + 16 > uint64_t(global.launch->shared_bytes))
    fail("%s (%s:%d) reads outside the dynamic shared memory (%lld bytes), at byte %lld", site.what, site.file,
         site.line, (long long)global.launch->shared_bytes,
         (long long)(offset < (kWindow + 1) / 2 ? offset : offset - kWindow - 1));
  return w.dynamic + offset;
}

unsigned shared_address(const void* p, const char* file, int line) {
  Worker& w = *fiber().worker;
  ptrdiff_t offset = static_cast<const char*>(p) - w.dynamic;
  if (offset < 0 || offset >= global.launch->shared_bytes)
    fail("a matrix descriptor (%s:%d) points outside the dynamic shared memory (%lld bytes), at byte %lld: operands of "
         "wgmma must be in `extern __shared__` memory here",
         file, line, (long long)global.launch->shared_bytes, (long long)offset);
  return unsigned(reinterpret_cast<uintptr_t>(p) & kWindow);
}

// Whether the async proxy sees what is there
inline bool published(Worker& w, const char* at) {
  return memcmp(at, hopper(w).view.data() + (at - w.dynamic), 16) == 0;
}

}  // namespace emu
