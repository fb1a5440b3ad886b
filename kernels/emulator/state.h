// One OS thread, a worker, runs one block at a time; the block's CUDA threads are fibers on it. The state of both, and
// how a failed launch is reported.
#pragma once
#include <algorithm>
#include <csetjmp>
#include <memory>
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
struct HopperState;

struct WarpGroup {  // lanes that have arrived at one collective
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
  void* caller;  // where the kernel called an emulator function that accesses its memory
};

struct SharedArray {  // a static __shared__ array, on its own pages, so that its end can be guarded
  const void* key;
  const char* name;
  char *base, *data;
  size_t mapped, bytes;
  bool fresh;
};

struct Worker {
  Fiber thread[1024];
  Warp warp[32];
  int threads, alive, unstarted;  // of the current block
  std::vector<int> ready;         // forward and reverse: threads that are ready, the next one last
  uint32_t runnable[32];          // random: per warp, the lanes that are ready
  int at_warp, switch_every;      // random: the current warp, and the mean number of picks between changes
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

  std::shared_ptr<HopperState> hopper;  // hopper_state.h; null until a kernel needs it
  bool hopper_block = false;            // it is in use by the current block

  uint64_t random;
  sigjmp_buf fault_exit;
  volatile bool in_kernel = false;
};

// State of the current launch; there is one at a time (Python has a lock).
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

// ---- the end of a failed launch -------------------------------------------------------------------------------------

// The report to fill in, null if there is one already. The caller then abandons its fibers (device code owns nothing).
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

}  // namespace emu
