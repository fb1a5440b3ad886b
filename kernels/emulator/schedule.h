// The scheduler: which thread runs next, and on which stack. When a thread returns, a new one starts on its stack; only
// threads that wait keep one each, so a kernel without barriers runs as a plain loop.
#pragma once
#include "memory.h"
#include "state.h"

namespace emu {

// The next thread to run, or none.
//
// Forward and reverse order let a warp run as far as it can before the next one starts: the first or the last warp is
// as far ahead of the others as barriers allow. Random order picks random lanes of a warp, and now and then another
// warp; how often is drawn for each block, since some races need warps far apart and some need them close together.
inline Fiber* pick_random(Worker& w) {
  int warps = (w.threads + 31) / 32;
  if (!w.runnable[w.at_warp] || next_random(w) % uint64_t(w.switch_every) == 0) {
    int first = int(next_random(w) % uint64_t(warps)), i = 0;
    while (i < warps && !w.runnable[(first + i) % warps]) i++;
    if (i == warps) return nullptr;
    w.at_warp = (first + i) % warps;
  }
  uint32_t lanes = w.runnable[w.at_warp];
  for (int skip = int(next_random(w) % uint64_t(__builtin_popcount(lanes))); skip > 0; skip--) lanes &= lanes - 1;
  int lane = __builtin_ctz(lanes);
  w.runnable[w.at_warp] &= ~(1u << lane);
  return &w.thread[w.at_warp * 32 + lane];
}

inline Fiber* pick_ready(Worker& w) {
  if (global.launch->order == kRandom) return pick_random(w);
  if (!w.ready.empty()) {
    Fiber* t = &w.thread[w.ready.back()];
    w.ready.pop_back();
    return t;
  }
  if (!w.unstarted) return nullptr;
  w.unstarted--;
  return &w.thread[global.launch->order == kForward ? w.threads - 1 - w.unstarted : w.unstarted];
}

bool late_event(Worker& w);  // mbarrier.h

// Copies that are as late as possible happen when no thread can continue without them.
inline Fiber* pick(Worker& w) {
  for (;;) {
    if (Fiber* next = pick_ready(w)) return next;
    if (!late_event(w)) return nullptr;
  }
}

inline void thread_main();

// The lowest page of a stack is unreadable, to detect overflow. The OS limits a process to 65530 memory mappings, two
// per stack; the stacks beyond that have only the canary above the page.
static bool stack_guarded[sizeof running.on_stack / sizeof *running.on_stack];

inline void forget_guarded_stacks() { memset(stack_guarded, 0, sizeof stack_guarded); }

inline void guard_stack(int stack) {
  if (stack_guarded[stack] || stack >= 20 * 1024) return;
  stack_guarded[stack] = true;
  mprotect(running.arena + (size_t(stack) << kStackShift), page_bytes(), PROT_NONE);
}

constexpr uint64_t kStackCanary = 0x5afe57ac5afe57acull;

inline uint64_t& stack_canary(int stack) {
  return *reinterpret_cast<uint64_t*>(running.arena + (size_t(stack) << kStackShift) + page_bytes());
}

inline void put_on_stack(Worker& w, Fiber& t) {
  t.stack = w.free_stacks.back();
  w.free_stacks.pop_back();
  guard_stack(t.stack);
  running.on_stack[t.stack] = &t;
  t.sp = fresh_stack(t.stack, thread_main);
  stack_canary(t.stack) = kStackCanary;
}

inline void resume(Worker& w, Fiber& next, void** save) {
  if (next.state == kNew) put_on_stack(w, next);
  next.state = kReady;
  w.running = &next;
  minast_switch_stack(save, next.sp);
}

// The running thread waits at `site` until another one makes it ready.
__attribute__((noinline)) inline void wait(Fiber& t, const Site& site) {
  Worker& w = *t.worker;
  if (global.stop.load(std::memory_order_relaxed)) abandon(w);  // another worker has failed, or Ctrl-C
  t.state = kWaiting;
  t.site = site;
  Fiber* next = pick(w);
  if (!next) {
    report_divergence(w);
    abandon(w);
  }
  if (next == &t)  // a late copy was what it waited for
    t.state = kReady, w.running = &t;
  else
    resume(w, *next, &t.sp);
}

// Makes threads lo..hi-1 ready for which `wakes` is true; in forward order the lowest runs first, in reverse the
// highest.
template <typename F>
inline void release(Worker& w, int lo, int hi, F wakes) {
  auto wake = [&](int i) {
    if (!wakes(i)) return;
    w.thread[i].state = kReady;
    if (global.launch->order == kRandom)
      w.runnable[i / 32] |= 1u << i % 32;
    else
      w.ready.push_back(i);
  };
  if (global.launch->order == kForward)
    for (int i = hi - 1; i >= lo; i--) wake(i);
  else
    for (int i = lo; i < hi; i++) wake(i);
}

// The last to arrive continues at once, except in random order, where any of the threads it woke may run first.
inline void after_release(Fiber& t) {
  if (global.launch->order != kRandom) return;
  Worker& w = *t.worker;
  w.runnable[t.number / 32] |= 1u << t.lane;
  Fiber* next = pick(w);
  if (next != &t) resume(w, *next, &t.sp);
}

}  // namespace emu
