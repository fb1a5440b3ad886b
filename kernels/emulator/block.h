// One OS thread runs one block at a time; the block's CUDA threads are fibers on it. A thread starts on whatever stack is
// free and gets one to itself only when it has to wait, so a kernel without barriers is a plain loop.
#pragma once
#include <algorithm>
#include <csetjmp>
#include <vector>

#include "fiber.h"
#include "report.h"

namespace emu {

struct Site {  // where a thread waits
  const char* what = nullptr;
  const char* file = nullptr;
  int line = 0;
  bool operator==(const Site& o) const { return what == o.what && line == o.line && file == o.file; }
};

struct Worker;

struct WarpGroup {  // lanes on their way into one collective
  uint32_t mask, arrived;
  WarpWork work;
};

struct Warp {
  uint32_t alive;  // lanes that exist and have not returned
  int groups;
  WarpGroup group[32];
  void* operand[32];
};

struct AsyncCopy {
  void* to;
  const void* from;
  int bytes, group;
  void* pc;  // who issued it
};

enum State : uint8_t { kNew, kReady, kWaiting, kDone };

struct Fiber : Thread {
  int stack;
  State state;
  Warp* warp;
  Worker* worker;
  void* sp;
  Site site;
  std::vector<AsyncCopy> copies;
  int copy_group;
  void* caller;  // where the kernel called a function of ours that touches its memory
};

struct SharedArray {  // a static __shared__ array: its own pages, so that its end can be guarded
  const void* key;
  const char* name;
  char *base, *data;
  size_t mapped, bytes;
  bool fresh;
};

struct Worker {
  Fiber thread[1024];
  Warp warp[32];
  int threads, alive, unstarted;  // of the block at hand
  int start[1024];                // the order in which threads start
  std::vector<int> ready;
  std::vector<int> free_stacks;
  int first_stack;
  uint3 block_index;
  void* root_sp;
  Fiber* running;

  int at_barrier;
  bool mixed_barrier;
  Site barrier_site;
  int barrier_count, barrier_and, barrier_or, barrier_result[3];

  std::vector<SharedArray> shared;
  char *dynamic_base = nullptr, *dynamic = nullptr;
  size_t dynamic_mapped = 0;

  uint64_t random;
  sigjmp_buf fault_exit;
  volatile bool in_kernel = false;
};

// State of the launch at hand; one launch at a time (Python holds a lock).
struct Global {
  Launch* launch;
  void (*entry)(void**);
  void** arguments;
  std::atomic<bool> stop;
  std::mutex mutex;
};
static Global global;
Running running;

inline Fiber& fiber() { return static_cast<Fiber&>(current()); }

inline uint64_t next_random(Worker& w) {  // splitmix64
  uint64_t z = (w.random += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

// ---- the end of a launch that went wrong ---------------------------------------------------------------------------------

// Fills the report if it is the first; the caller then leaves its fibers where they are (device code owns nothing).
inline Report* first_report(Kind kind, const uint3& block, const uint3* thread) {
  std::lock_guard<std::mutex> lock(global.mutex);
  global.stop = true;
  Report* r = global.launch->report;
  if (r->kind != kFine) return nullptr;
  r->kind = kind;
  r->block[0] = block.x, r->block[1] = block.y, r->block[2] = block.z;
  if (thread) r->thread[0] = thread->x, r->thread[1] = thread->y, r->thread[2] = thread->z;
  return r;
}

[[noreturn]] inline void abandon(Worker& w) {
  void* unused;
  minast_switch_stack(&unused, w.root_sp);
  __builtin_unreachable();
}

void fail(const char* format, ...) {
  Fiber& t = fiber();
  if (Report* r = first_report(kFailure, t.worker->block_index, &t.index)) {
    va_list values;
    va_start(values, format);
    vsnprintf(r->text, sizeof r->text, format, values);
    va_end(values);
  }
  abandon(*t.worker);
}

// "40 threads wait at __syncthreads (softmax.cu:41), 24 at __shfl_xor_sync (common.cuh:12); 64 have returned"
__attribute__((noinline)) inline void report_divergence(Worker& w) {
  Report* r = first_report(kDivergent, w.block_index, nullptr);
  if (!r) return;
  struct Place {
    Site site;
    int count, example;
  };
  std::vector<Place> places;
  int returned = 0;
  for (int i = 0; i < w.threads; i++) {
    Fiber& t = w.thread[i];
    if (t.state == kDone) { returned++; continue; }
    bool found = false;
    for (Place& p : places)
      if (p.site == t.site) { p.count++, found = true; break; }
    if (!found) places.push_back({t.site, 1, i});
  }
  size_t used = 0;
  auto add = [&](const char* format, auto... values) {
    int n = snprintf(r->text + used, sizeof r->text - used, format, values...);
    used = std::min(sizeof r->text - 1, used + size_t(n > 0 ? n : 0));
  };
  for (size_t i = 0; i < places.size(); i++) {
    Place& p = places[i];
    uint3 x = w.thread[p.example].index;
    add("%s%d thread%s at %s (%s:%d), the first is (%u,%u,%u)", i ? "; " : "", p.count,
        p.count == 1 ? " waits" : "s wait", p.site.what, p.site.file, p.site.line, x.x, x.y, x.z);
  }
  if (returned) add("; %d ha%s returned", returned, returned == 1 ? "s" : "ve");
}

// ---- scheduling ----------------------------------------------------------------------------------------------------------

// Forward and reverse let a warp run as far as it can before the next one: with them the first or the last warp is as far
// ahead of the others as the barriers allow. Random picks any thread that can run.
inline Fiber* pick(Worker& w) {
  size_t ready = w.ready.size();
  bool from_ready = ready > 0;
  if (global.launch->order == kRandom && ready && w.unstarted)
    from_ready = next_random(w) % (ready + w.unstarted) < ready;
  if (from_ready) {
    if (global.launch->order == kRandom) std::swap(w.ready[next_random(w) % ready], w.ready[ready - 1]);
    Fiber* t = &w.thread[w.ready.back()];
    w.ready.pop_back();
    return t;
  }
  if (!w.unstarted) return nullptr;
  return &w.thread[w.start[w.threads - w.unstarted--]];
}

inline void thread_main();

inline void put_on_stack(Worker& w, Fiber& t) {
  t.stack = w.free_stacks.back();
  w.free_stacks.pop_back();
  running.on_stack[t.stack] = &t;
  t.sp = fresh_stack(running.arena + (size_t(t.stack) << kStackShift), t.stack, thread_main);
}

inline void resume(Worker& w, Fiber& next, void** save) {
  if (next.state == kNew) put_on_stack(w, next);
  next.state = kReady;
  w.running = &next;
  minast_switch_stack(save, next.sp);
}

// The running thread waits at `site` until another one has made it ready.
__attribute__((noinline)) inline void wait(Fiber& t, const Site& site) {
  Worker& w = *t.worker;
  t.state = kWaiting;
  t.site = site;
  Fiber* next = pick(w);
  if (!next) {
    report_divergence(w);
    abandon(w);
  }
  resume(w, *next, &t.sp);
}

// Threads lo..hi-1 for which `wakes` holds may run; the lowest first in forward order, the highest in reverse.
template <typename F>
inline void release(Worker& w, int lo, int hi, F wakes) {
  auto wake = [&](int i) {
    if (!wakes(i)) return;
    w.thread[i].state = kReady;
    w.ready.push_back(i);
  };
  if (global.launch->order == kForward)
    for (int i = hi - 1; i >= lo; i--) wake(i);
  else
    for (int i = lo; i < hi; i++) wake(i);
}

// The last to arrive goes on at once, except in random order, where it takes its chance with those it woke.
inline void after_release(Fiber& t) {
  if (global.launch->order != kRandom) return;
  Worker& w = *t.worker;
  w.ready.push_back(t.number);
  Fiber* next = pick(w);
  if (next != &t) resume(w, *next, &t.sp);
}

// ---- barriers ------------------------------------------------------------------------------------------------------------

inline void open_barrier(Worker& w, Fiber* last) {
  w.barrier_result[0] = w.barrier_count;
  w.barrier_result[1] = w.barrier_and;
  w.barrier_result[2] = w.barrier_or;
  w.at_barrier = 0, w.barrier_count = 0, w.barrier_and = 1, w.barrier_or = 0;
  release(w, 0, w.threads, [&](int i) { return w.thread[i].state == kWaiting && &w.thread[i] != last; });
}

// Threads that have returned are not waited for, as on the device since compute capability 7.0. Threads at two different
// barriers do not meet: the device would let them pass, CUDA's rules forbid it.
int barrier(const char* what, int predicate, int result, const char* file, int line) {
  Fiber& t = fiber();
  Worker& w = *t.worker;
  Site site{what, file, line};
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

// ---- warp collectives ----------------------------------------------------------------------------------------------------

inline void finish_group(Worker& w, Warp& warp, int g, Fiber* last) {
  WarpGroup group = warp.group[g];
  warp.group[g] = warp.group[--warp.groups];
  group.work(warp.operand, group.arrived);
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
  if (warp.group[g].arrived == (mask & warp.alive)) {
    finish_group(*t.worker, warp, g, &t);
    after_release(t);
  } else {
    wait(t, {what, file, line});
  }
}

// ---- the life of a thread ------------------------------------------------------------------------------------------------

// A returned thread may be the one that others were waiting for.
inline void retire(Worker& w, Fiber& t) {
  t.state = kDone;
  w.alive--;
  t.warp->alive &= ~(1u << t.lane);
  if (*reinterpret_cast<uint64_t*>(running.arena + (size_t(t.stack) << kStackShift)) != kStackCanary) {
    first_report(kStackOverflow, w.block_index, &t.index);
    abandon(w);
  }
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
    next->stack = stack;  // a new thread goes on here, on the stack of the one that returned
    next->state = kReady;
    running.on_stack[stack] = next;
    t = next;
  }
}

// Runs one block to its end, or until the launch is to stop.
inline void run_block(Worker& w, uint3 index) {
  w.block_index = index;
  w.alive = w.unstarted = w.threads;
  w.at_barrier = 0, w.mixed_barrier = false;
  w.barrier_count = 0, w.barrier_and = 1, w.barrier_or = 0;
  w.ready.clear();
  w.free_stacks.clear();
  for (int i = w.threads - 1; i >= 0; i--) w.free_stacks.push_back(w.first_stack + i);
  for (int i = 0; i * 32 < w.threads; i++) {
    int lanes = std::min(32, w.threads - i * 32);
    w.warp[i].alive = lanes == 32 ? 0xffffffffu : (1u << lanes) - 1;
    w.warp[i].groups = 0;
  }
  for (int i = 0; i < w.threads; i++) {
    Fiber& t = w.thread[i];
    t.state = kNew;
    t.copies.clear();
    t.copy_group = 0;
    w.start[i] = global.launch->order == kReverse ? w.threads - 1 - i : i;
  }
  if (global.launch->order == kRandom)
    for (int i = w.threads - 1; i > 0; i--) std::swap(w.start[i], w.start[next_random(w) % (i + 1)]);
  Fiber* first = pick(w);
  resume(w, *first, &w.root_sp);
}

}  // namespace emu
