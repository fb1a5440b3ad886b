// Barriers and warp collectives, and the execution of a block from its first thread to its last.
#pragma once
#include "hopper_state.h"
#include "schedule.h"
#include "hooks.h"

namespace emu {

inline void open_barrier(Worker& w, Fiber* last) {
  if (counter) count_barrier(w);
  w.barrier_result[0] = w.barrier_count;
  w.barrier_result[1] = w.barrier_and;
  w.barrier_result[2] = w.barrier_or;
  w.at_barrier = 0, w.barrier_count = 0, w.barrier_and = 1, w.barrier_or = 0;
  release(w, 0, w.threads, [&](int i) { return w.thread[i].state == kWaiting && &w.thread[i] != last; });
}

// Barriers do not wait for threads that have returned, as on devices since compute capability 7.0. Threads at two
// different barriers are a deadlock here: a device would let them pass, but CUDA's rules forbid it.
int barrier(const char* what, int predicate, int result, const char* file, int line) {
  Fiber& t = fiber();
  Worker& w = *t.worker;
  Site site{what, file, line};
  if (counter) count_sync(t, site, __builtin_return_address(0));
  if (w.at_barrier == 0)
    w.barrier_site = site;
  else if (!(w.barrier_site == site))
    w.mixed_barrier = true;
  w.at_barrier++;
  w.barrier_count += predicate != 0;
  w.barrier_and &= predicate != 0;
  w.barrier_or |= predicate != 0;
  if (w.at_barrier == w.alive && !w.mixed_barrier) {
    open_barrier(w, &t);
    after_release(t);
  } else {
    wait(t, site);
  }
  return w.barrier_result[result];
}

inline void finish_group(Worker& w, Warp& warp, int g, Fiber* last) {
  WarpGroup group = warp.group[g];
  warp.group[g] = warp.group[--warp.groups];
  if (counter) count_group(w, warp, group);
  group.work(warp.operand, group.arrived);
  if (counter) count_quietly(w, false);
  int first = int(&warp - w.warp) * 32;
  release(w, first, std::min(first + 32, w.threads),
          [&](int i) { return (group.arrived >> (i - first) & 1) && &w.thread[i] != last; });
}

void collective(uint32_t mask, WarpWork work, void* operand, const char* what, const char* file, int line) {
  Fiber& t = fiber();
  Warp& warp = *t.warp;
  uint32_t bit = 1u << t.lane;
  if (!(mask & bit)) fail("%s (%s:%d): lane %d is not in its own mask 0x%08x", what, file, line, t.lane, mask);
  int g = 0;
  while (g < warp.groups && !(warp.group[g].mask == mask && warp.group[g].work == work)) g++;
  if (g == warp.groups) warp.group[warp.groups++] = {mask, 0, work};
  warp.group[g].arrived |= bit;
  warp.operand[t.lane] = operand;
  if (counter) count_sync(t, {what, file, line}, __builtin_return_address(0));
  if (warp.group[g].arrived == (mask & warp.alive)) {
    finish_group(*t.worker, warp, g, &t);
    after_release(t);
  } else {
    wait(t, {what, file, line});
  }
}

// Others may have been waiting for the thread that returns.
inline void retire(Worker& w, Fiber& t) {
  t.state = kDone;
  w.alive--;
  t.warp->alive &= ~(1u << t.lane);
  if (stack_canary(t.stack) != kStackCanary) {
    first_report(kStackOverflow, w.block_index, &t.index);
    abandon(w);
  }
  check_retired(w, t);
  if (w.at_barrier && w.at_barrier == w.alive && !w.mixed_barrier) open_barrier(w, nullptr);
  for (int g = t.warp->groups - 1; g >= 0; g--)
    if (g < t.warp->groups && t.warp->group[g].arrived == (t.warp->group[g].mask & t.warp->alive))
      finish_group(w, *t.warp, g, nullptr);
}

inline void thread_main() {
  Fiber* t = &fiber();
  Worker& w = *t->worker;
  for (;;) {
    w.running = t;
    global.entry(global.arguments);
    retire(w, *t);
    Fiber* next = pick(w);
    if (!next) {
      if (w.alive) report_divergence(w);
      abandon(w);
    }
    int stack = t->stack;
    if (next->state != kNew) {
      w.free_stacks.push_back(stack);
      void* unused;
      resume(w, *next, &unused);
    }
    next->stack = stack;  // a new thread continues here, on the stack of the one that returned
    next->state = kReady;
    running.on_stack[stack] = next;
    t = next;
  }
}

// Runs one block to its end, or until the launch is stopped.
inline void run_block(Worker& w, uint3 index) {
  w.block_index = index;
  w.hopper_block = false;
  w.alive = w.unstarted = w.threads;
  w.at_barrier = 0, w.mixed_barrier = false;
  w.barrier_count = 0, w.barrier_and = 1, w.barrier_or = 0;
  w.ready.clear();
  w.free_stacks.clear();
  for (int i = w.threads - 1; i >= 0; i--) w.free_stacks.push_back(w.first_stack + i);
  for (int i = 0; i * 32 < w.threads; i++) {
    int lanes = std::min(32, w.threads - i * 32);
    w.warp[i].alive = w.runnable[i] = lanes == 32 ? 0xffffffffu : (1u << lanes) - 1;
    w.warp[i].groups = 0;
  }
  for (int i = 0; i < w.threads; i++) {
    Fiber& t = w.thread[i];
    t.state = kNew;
    t.copies.clear();
    t.copy_group = 0;
  }
  static constexpr int kSwitches[4] = {1, 16, 256, 1 << 30};
  w.switch_every = kSwitches[next_random(w) % 4];
  w.at_warp = int(next_random(w) % uint64_t((w.threads + 31) / 32));
  Fiber* first = pick(w);
  resume(w, *first, &w.root_sp);
}

}  // namespace emu
