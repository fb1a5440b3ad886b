// Barriers of some of a block's threads, setmaxnreg, elect.sync.
#pragma once
#include "hopper_state.h"

namespace emu {

// bar.sync id, threads; or bar.arrive, which does not wait
void named_barrier(int id, int threads, bool waits, const char* file, int line) {
  Fiber& t = fiber();
  Worker& w = *t.worker;
  const char* what = waits ? "bar.sync" : "bar.arrive";
  if (id < 1 || id > 15)
    fail("%s (%s:%d): barrier %d; there are 1 to 15, and 0 is __syncthreads", what, file, line, id);
  if (threads < 32 || threads % 32 || threads > (w.threads + 31) / 32 * 32)
    fail("%s (%s:%d): %d threads; it takes a multiple of 32, at most the block's %d", what, file, line, threads,
         w.threads);
  HopperState& h = hopper(w);
  NamedBarrier& b = h.named[id];
  if (b.arrived && b.threads != threads)
    fail("%s (%s:%d): barrier %d for %d threads is in use for %d (%s:%d)", what, file, line, id, threads, b.threads,
         b.site.file, b.site.line);
  b.threads = threads, b.site = {what, file, line};
  if (++b.arrived < threads) {
    if (!waits) return;
    h.waits_on[t.number] = &b;
    wait(t, {what, file, line});
    return;
  }
  b.arrived = 0;
  release(w, 0, w.threads, [&](int i) {
    bool wakes = h.waits_on[i] == &b;
    if (wakes) h.waits_on[i] = nullptr;
    return wakes;
  });
  after_release(t);
}

inline void registers_work(void* const* operand, uint32_t) {
  same_in_warpgroup(fiber(), *static_cast<Step*>(operand[0]));
}

// setmaxnreg.inc, .dec. The emulator does not know how many registers a kernel needs: it checks the rules only.
void set_registers(int count, bool more, const char* file, int line) {
  Fiber& t = fiber();
  const char* what = more ? "setmaxnreg.inc" : "setmaxnreg.dec";
  if (count < 24 || count > 256 || count % 8)
    fail("%s (%s:%d): %d registers; it takes a multiple of 8 from 24 to 256", what, file, line, count);
  need_warpgroup(t, what, file, line);
  Step step{{what, file, line}, uint64_t(count), 0};
  collective(0xffffffffu, registers_work, &step, what, file, line);
  HopperState& h = hopper(*t.worker);
  int& now = h.registers[t.number / 128];
  if (now && now != count && more != (count > now))
    fail("%s (%s:%d): %d registers, the warpgroup has %d", what, file, line, count, now);
  now = count;
  int64_t all = 0;
  for (int g = 0; g * 128 < t.worker->threads; g++) all += int64_t(h.registers[g]) * 128;
  if (all > 65536)
    fail("%s (%s:%d): the block's warpgroups have %lld registers, a multiprocessor 65536", what, file, line,
         (long long)all);
}

inline void elect_work(void* const* operand, uint32_t lanes) {
  // Which one is not specified: the lowest, or in reverse order the highest.
  int chosen = global.launch->order == kReverse ? 31 - __builtin_clz(lanes) : __builtin_ctz(lanes);
  for (int lane = 0; lane < 32; lane++)
    if (lanes >> lane & 1) *static_cast<bool*>(operand[lane]) = lane == chosen;
}

bool elect_one(const char* file, int line) {
  bool chosen = false;
  collective(0xffffffffu, elect_work, &chosen, "elect.sync", file, line);
  return chosen;
}

}  // namespace emu
