// The threads of a warp side by side: from what each of them wrote down, the requests of the warp. Of the lanes that do
// not wait, those run next that are deepest in calls, and of these those at the lowest address of the program: so lanes
// that have left a loop wait for those still in it, and both sides of an `if` meet behind it, as a device's do.
#pragma once
#include "trace.h"

namespace emu {

struct Lanes {  // the lanes of a warp that do one access together
  const Event* of[32];
  uint32_t mask;
};

// The most different words that one bank is asked for, of some lanes: the turns that shared memory takes for them.
inline uint64_t bank_turns(const Lanes& lanes, int first, int count) {
  uint64_t word[32 * 5];
  int n = 0;
  for (int lane = first; lane < first + count; lane++)
    if (lanes.mask >> lane & 1)
      for (uint64_t w = lanes.of[lane]->address / 4; w <= (lanes.of[lane]->address + lanes.of[lane]->bytes - 1) / 4 && n < 160; w++)
        word[n++] = w;
  if (!std::is_sorted(word, word + n)) std::sort(word, word + n);
  n = int(std::unique(word, word + n) - word);
  uint64_t in_bank[32] = {}, most = 0;
  for (int i = 0; i < n; i++) most = std::max(most, ++in_bank[word[i] % 32]);
  return most;
}

// Accesses of 8 and 16 bytes go in two and four parts of 128 bytes.
inline void count_turns(const Lanes& lanes, int bytes, AccessRow& row) {
  int part = bytes <= 4 ? 32 : bytes <= 8 ? 16 : 8;
  for (int first = 0; first < 32; first += part) {
    uint64_t turns = bank_turns(lanes, first, part);
    row.turns += turns, row.least_turns += turns > 0;
  }
}

inline void count_sectors(const Lanes& lanes, AccessRow& row) {
  uint64_t sector[64];
  std::pair<uint64_t, uint64_t> part[32];
  int n = 0, parts = 0;
  for (int lane = 0; lane < 32; lane++) {
    if (!(lanes.mask >> lane & 1)) continue;
    uint64_t start = lanes.of[lane]->address, end = start + lanes.of[lane]->bytes;
    part[parts++] = {start, end};
    sector[n++] = start / 32;
    if ((end - 1) / 32 != start / 32) sector[n++] = (end - 1) / 32;
  }
  if (!std::is_sorted(sector, sector + n)) std::sort(sector, sector + n);
  row.sectors += uint64_t(std::unique(sector, sector + n) - sector);
  if (!std::is_sorted(part, part + parts)) std::sort(part, part + parts);
  uint64_t distinct = 0, reached = 0;
  for (int i = 0; i < parts; i++) {
    uint64_t start = std::max(part[i].first, reached);
    if (part[i].second > start) distinct += part[i].second - start;
    reached = std::max(reached, part[i].second);
  }
  row.distinct += distinct;
  row.least += (distinct + 31) / 32;
}

inline void count_together(Tally& tally, const Lanes& lanes) {
  const Event& e = *lanes.of[__builtin_ctz(lanes.mask)];
  uint64_t key = uint64_t(e.pc) << 24 | uint64_t(e.access) << 16 | uint64_t(e.shared) << 15 | e.bytes;
  AccessRow& row = tally.accesses[key];
  row.pc = e.pc, row.access = e.access, row.shared = e.shared, row.bytes = int(e.bytes);
  row.requests++;
  for (int lane = 0; lane < 32; lane++)
    if (lanes.mask >> lane & 1) row.lanes++, row.ahead += lanes.of[lane]->ahead;
  if (e.shared)
    count_turns(lanes, int(e.bytes), row);
  else
    count_sectors(lanes, row);
}

inline void count_warp(Tally& tally, int warp, int threads) {
  std::vector<Event>* trace = tally.trace + warp * 32;
  int lanes = std::min(32, threads - warp * 32);
  size_t at[32] = {};
  auto front = [&](int lane) -> const Event* {
    return at[lane] < trace[lane].size() ? &trace[lane][at[lane]] : nullptr;
  };
  auto same = [](const Event* a, const Event* b) {
    return a == b || (a && b && a->kind == b->kind && a->pc == b->pc && a->depth == b->depth);
  };
  for (;;) {
    const Event* best = nullptr;
    bool any = false;
    for (int lane = 0; lane < lanes; lane++) {
      const Event* e = front(lane);
      any |= e != nullptr;
      if (!e || e->kind == kSync) continue;
      if (!best || e->depth > best->depth || (e->depth == best->depth && e->pc < best->pc)) best = e;
    }
    if (!any) break;
    if (!best) {  // all wait
      for (int lane = 0; lane < lanes; lane++) at[lane] += front(lane) != nullptr;
      continue;
    }
    const Event chosen = *best;
    uint32_t group = 0;
    for (int lane = 0; lane < lanes; lane++)
      if (const Event* e = front(lane)) group |= uint32_t(same(e, &chosen)) << lane;
    if (chosen.kind == kBlock) {
      BlockRow& block = tally.blocks[chosen.pc];
      block.pc = chosen.pc, block.steps++, block.lanes += uint64_t(__builtin_popcount(group));
      std::vector<uint64_t>& executed = tally.executed[chosen.pc];
      executed.resize(size_t(threads));
      for (int lane = 0; lane < lanes; lane++) executed[size_t(warp * 32 + lane)] += group >> lane & 1;
    }
    if (chosen.kind != kAccess)
      for (int lane = 0; lane < lanes; lane++) at[lane] += group >> lane & 1;
    for (;;) {  // the accesses that follow
      Lanes together{};
      const Event* first = nullptr;
      for (int lane = 0; lane < lanes; lane++) {
        const Event* e = group >> lane & 1 ? front(lane) : nullptr;
        if (!e || e->kind != kAccess) continue;
        if (!first) first = e;
        if (e->pc != first->pc || e->bytes != first->bytes || e->shared != first->shared) continue;
        together.of[lane] = e, together.mask |= 1u << lane, at[lane]++;
      }
      if (!first) break;
      count_together(tally, together);
    }
    if (chosen.kind == kBlock)
      for (int lane = 0, one = __builtin_ctz(group); lane < lanes; lane++)
        if ((group >> lane & 1) && !same(front(lane), front(one))) {
          tally.blocks[chosen.pc].parted++;
          break;
        }
  }
  for (int lane = 0; lane < lanes; lane++) {
    tally.events -= std::min(tally.events, trace[lane].size());
    trace[lane].clear();
  }
}

// All threads that are left have arrived at a barrier, or have returned.
inline void count_all(Worker& w) {
  for (int warp = 0; warp * 32 < w.threads; warp++) count_warp(tally_of(w), warp, w.threads);
}

inline void count_barrier(Worker& w) {
  Tally& tally = tally_of(w);
  tally.barriers++;
  int thread = 0;
  while (w.thread[thread].state == kDone) thread++;
  count_request(tally, thread, w.at_barrier);
  count_all(w);
}

inline void count_group(Worker& w, Warp& warp, const WarpGroup& group) {
  Tally& tally = tally_of(w);
  int number = int(&warp - w.warp);
  count_request(tally, number * 32 + __builtin_ctz(group.arrived), __builtin_popcount(group.arrived));
  if (group.arrived == warp.alive) count_warp(tally, number, w.threads);
  tally.quiet = true;
}

inline void count_quietly(Worker& w, bool quiet) { tally_of(w).quiet = quiet; }

inline void begin_block(Worker& w) {
  Tally& tally = tally_of(w);
  tally.barriers = 0;
  for (int i = 0; i < w.threads; i++) {
    tally.callers[i].clear();
    tally.copies[i] = tally.commits[i] = tally.awaited[i] = 0;
  }
}

inline void end_block(Worker& w) {
  count_all(w);
  int64_t bytes = 0;
  for (const SharedArray& s : w.shared) bytes += int64_t(s.bytes);
  if (bytes > counter->static_shared) counter->static_shared = bytes;
  Tally& tally = tally_of(w);
  tally.most_barriers = std::max(tally.most_barriers, tally.barriers);
  tally.least_barriers = std::min(tally.least_barriers, tally.barriers);
}

// Before each run of a launch: a launch may run twice (guard.h).
inline void begin_counting(int workers) {
  const Launch& launch = *global.launch;
  Dl_info kernel;
  dladdr(reinterpret_cast<void*>(global.entry), &kernel);
  counter->library = static_cast<char*>(kernel.dli_fbase);
  counter->static_shared = 0;
  counter->counted.assign(counter->argument, counter->argument + launch.arguments);
  for (int i = 0; i < launch.arguments; i++) {
    const Argument& a = launch.argument[i];
    if (a.bytes <= 0 || !a.value) continue;
    size_t elements = size_t(a.bytes / a.element);
    memset(counter->counted[size_t(i)].reads, 0, elements * 4);
    memset(counter->counted[size_t(i)].writes, 0, elements * 4);
  }
  counter->tally.clear();
  for (int i = 0; i < workers; i++) {
    counter->tally.push_back(std::unique_ptr<Tally>(new Tally()));
    counter->tally.back()->least_barriers = ~uint64_t(0);
  }
}

}  // namespace emu

// ---- for Python: a report is wanted, or not; the rows, copied out after the launch ----------------------------------

#define MINAST_EXPORT extern "C" __attribute__((visibility("default")))

MINAST_EXPORT void minast_count(emu::CountedArgument* argument) {
  emu::counter = argument ? &emu::counter_of_this_launch : nullptr;
  emu::counter_of_this_launch.argument = argument;
  if (!argument) emu::counter_of_this_launch.tally.clear();
}

// Copies up to `capacity` rows and returns how many there are; the rows of several workers are not added up.
template <typename Row, typename F>
int64_t minast_rows(Row* row, int64_t capacity, F each) {
  int64_t n = 0;
  for (auto& tally : emu::counter_of_this_launch.tally)
    each(*tally, [&](const Row& r) {
      if (n < capacity) row[n] = r;
      n++;
    });
  return n;
}

MINAST_EXPORT int64_t minast_accesses(emu::AccessRow* row, int64_t capacity) {
  return minast_rows(row, capacity, [](emu::Tally& t, auto add) { for (auto& r : t.accesses) add(r.second); });
}
MINAST_EXPORT int64_t minast_blocks(emu::BlockRow* row, int64_t capacity) {
  return minast_rows(row, capacity, [](emu::Tally& t, auto add) { for (auto& r : t.blocks) add(r.second); });
}
MINAST_EXPORT int64_t minast_syncs(emu::SyncRow* row, int64_t capacity) {
  return minast_rows(row, capacity, [](emu::Tally& t, auto add) { for (auto& r : t.syncs) add(r.second); });
}
// How often each thread of a block executed the basic block at `pc`, added to executed[threads].
MINAST_EXPORT void minast_executed(uint64_t pc, uint64_t* executed, int64_t threads) {
  for (auto& tally : emu::counter_of_this_launch.tally) {
    auto found = tally->executed.find(uint32_t(pc));
    if (found == tally->executed.end()) continue;
    for (int64_t i = 0; i < threads && size_t(i) < found->second.size(); i++) executed[i] += found->second[size_t(i)];
  }
}
// memory[2][threads]: accesses of each thread to global and to shared memory; barriers[2]: least and most of a block.
MINAST_EXPORT void minast_threads(uint64_t* memory, int64_t threads, uint64_t* barriers) {
  barriers[0] = ~uint64_t(0), barriers[1] = 0;
  for (auto& tally : emu::counter_of_this_launch.tally) {
    for (int space = 0; space < 2; space++)
      for (int64_t i = 0; i < threads; i++) memory[space * threads + i] += tally->memory[space][i];
    barriers[0] = std::min(barriers[0], tally->least_barriers);
    barriers[1] = std::max(barriers[1], tally->most_barriers);
  }
}
MINAST_EXPORT int64_t minast_static_shared() { return emu::counter_of_this_launch.static_shared; }
