// cp.async. A copy may happen at any time between its issue and the wait for its group. "forward" does it as late as
// possible, "reverse" as early as possible, "random" either: a tile read or overwritten too soon shows in one of them.
#pragma once
#include "block.h"

namespace emu {

inline void copy_now(Fiber& t, const AsyncCopy& c) {
  t.caller = c.pc;
  if (c.from)
    memcpy(c.to, c.from, size_t(c.bytes));
  else
    memset(c.to, 0, size_t(c.bytes));
  t.caller = nullptr;
}

void cp_async(void* to, const void* from, int bytes, bool valid) {
  Fiber& t = fiber();
  if (reinterpret_cast<uintptr_t>(to) % size_t(bytes) || (valid && reinterpret_cast<uintptr_t>(from) % size_t(bytes)))
    fail("cp.async of %d bytes: an address is not %d-byte aligned", bytes, bytes);
  AsyncCopy c{to, valid ? from : nullptr, bytes, t.copy_group, __builtin_return_address(0)};
  if (counter) count_copy(t, c);
  int order = global.launch->order;
  if (order == kReverse || (order == kRandom && next_random(*t.worker) % 2))
    copy_now(t, c);
  else
    t.copies.push_back(c);
}

void cp_async_commit() {
  fiber().copy_group++;
  if (counter) count_commit(fiber());
}

void cp_async_wait(int pending) {
  Fiber& t = fiber();
  if (counter) count_wait(t, pending);
  size_t kept = 0;
  for (size_t i = 0; i < t.copies.size(); i++) {
    if (t.copies[i].group < t.copy_group - pending)
      copy_now(t, t.copies[i]);
    else
      t.copies[kept++] = t.copies[i];
  }
  t.copies.resize(kept);
}

}  // namespace emu
