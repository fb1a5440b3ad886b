// The state of a block's warpgroup products, mbarriers and bulk copies; a worker has it from the first use on.
#pragma once
#include <deque>
#include <memory>

#include "hopper.h"
#include "state.h"

namespace emu {

struct Fenced {  // registers named in the last wgmma.fence, with their contents at that time
  const void* at;
  std::vector<char> contents;
};

// An accumulator that products in flight write: its values here, NaN in the threads' registers until they are awaited.
struct Accumulator {
  float* at[32];
  int n, uses;
  std::vector<float> values;  // [lane][n / 2]
  Site site;
};

struct Product {  // one wgmma of one warp, in flight
  Accumulator* d;
  const unsigned* a_at[32];  // operand in registers: where, and what it was
  unsigned a[32][4];
  std::vector<const char*> read;  // operands in shared memory: the pieces of 16 bytes, and what they were
  std::vector<char> contents;
  int group;
  Site site;
};

struct WarpProducts {
  std::deque<Product> in_flight;
  std::vector<std::unique_ptr<Accumulator>> accumulators;
  int group;  // the one that the next commit closes
  int steps;  // warpgroup instructions so far
};

struct Step {  // an instruction that all four warps of a warpgroup must execute alike
  Site site;
  uint64_t a, b;
};

struct NamedBarrier {
  int arrived, threads;
  Site site;
};

struct BulkCopy {
  void* to;
  const void* from;
  unsigned bytes;
  uint64_t* barrier;
  Fiber* thread;  // who issued it
  void* pc;       // and where
  Site site;
};

struct HopperState {
  WarpProducts warp[32];
  std::vector<Step> steps[8];  // of each warpgroup
  std::vector<Fenced> fenced[1024];
  const void* waits_on[1024];  // the mbarrier or named barrier that a thread waits at
  NamedBarrier named[16];
  std::vector<BulkCopy> bulk;  // issued, not copied yet
  std::vector<char> view;      // the dynamic shared memory as the async proxy sees it
  int registers[8];            // of each warpgroup's setmaxnreg; 0: none yet
  bool barriers_unfenced;      // an mbarrier was initialised, and no proxy fence followed
};

inline void start_block(Worker& w, HopperState& h) {
  for (WarpProducts& p : h.warp) p.in_flight.clear(), p.accumulators.clear(), p.group = p.steps = 0;
  for (auto& steps : h.steps) steps.clear();
  for (int i = 0; i < w.threads; i++) h.fenced[i].clear(), h.waits_on[i] = nullptr;
  for (NamedBarrier& b : h.named) b = NamedBarrier{};
  h.bulk.clear();
  h.view.assign(size_t(global.launch->shared_bytes), char(0xff));  // as shared memory starts
  for (int& r : h.registers) r = 0;
  h.barriers_unfenced = false;
}

inline HopperState& hopper(Worker& w) {
  if (!w.hopper) {
    w.hopper = std::make_shared<HopperState>();
    w.hopper_block = false;
  }
  if (!w.hopper_block) {
    start_block(w, *w.hopper);
    w.hopper_block = true;
  }
  return *w.hopper;
}

// The four warps of a warpgroup must execute the same instructions, in the same order, with the same descriptors.
inline void same_in_warpgroup(Fiber& t, const Step& step) {
  HopperState& h = hopper(*t.worker);
  int warp = t.number / 32;
  std::vector<Step>& steps = h.steps[warp / 4];
  size_t at = size_t(h.warp[warp].steps++);
  if (at == steps.size()) {
    steps.push_back(step);
    return;
  }
  const Step& other = steps[at];
  if (!(other.site == step.site))
    fail("%s (%s:%d): another warp of the warpgroup executes %s (%s:%d) instead", step.site.what, step.site.file,
         step.site.line, other.site.what, other.site.file, other.site.line);
  if (other.a != step.a || other.b != step.b)
    fail("%s (%s:%d): the descriptors differ between the warps of the warpgroup", step.site.what, step.site.file,
         step.site.line);
}

inline void need_warpgroup(Fiber& t, const char* what, const char* file, int line) {
  if (t.warp->alive != 0xffffffffu || (t.number / 128 + 1) * 128 > t.worker->threads)
    fail("%s (%s:%d) needs a warpgroup: four whole warps, the first a multiple of four", what, file, line);
}

// Called when a thread returns: what is still in flight would be lost.
inline void check_retired(Worker& w, Fiber& t) {
  if (!w.hopper_block) return;
  HopperState& h = *w.hopper;
  const WarpProducts& p = h.warp[t.number / 32];
  if (!p.in_flight.empty()) {
    const Site& s = p.in_flight.front().site;
    fail("returns while %s (%s:%d) is in flight: commit it and wait for its group", s.what, s.file, s.line);
  }
  if (w.alive) return;
  if (!h.bulk.empty())
    fail("the block ends while cp.async.bulk (%s:%d) is in flight: wait for its mbarrier", h.bulk[0].site.file,
         h.bulk[0].site.line);
  for (int warp = 0; warp * 32 < w.threads; warp++) {
    const std::vector<Step>& steps = h.steps[warp / 4];
    if (size_t(h.warp[warp].steps) < steps.size()) {
      const Site& s = steps[size_t(h.warp[warp].steps)].site;
      fail("%s (%s:%d) was executed by some warps of a warpgroup only, not by warp %d", s.what, s.file, s.line, warp);
    }
  }
}

}  // namespace emu
