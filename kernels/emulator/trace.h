// What a report counts, the runtime's side: each thread writes down where it comes by and which addresses it uses;
// lockstep.h then puts the threads of a warp side by side, as the hardware runs them.
//
// Addresses are those of a device: each array argument begins on a sector, each shared array in bank 0. Whatever is
// neither (local arrays, parameters) is not counted: on a device it lies in registers.
#pragma once
#include <dlfcn.h>

#include <memory>
#include <unordered_map>

#include "guard.h"
#include "hooks.h"

namespace emu {

enum EventKind : uint8_t { kAccess, kBlock, kReturn, kSync };

struct Event {
  uint32_t pc;     // the instruction behind, from the start of the kernel's library
  uint16_t depth;  // of calls: a thread inside of a function goes before the threads that wait for it
  EventKind kind;
  Access access;
  uint64_t address : 48, bytes : 14, shared : 1, ahead : 1;  // ahead: while a copy of the thread's own was under way
};

// Rows that Python reads; minast/emulator/counters.py has the same layouts.
struct AccessRow {
  uint64_t pc;
  int32_t access, shared, bytes, unused;
  uint64_t requests, lanes, distinct, sectors, least, turns, least_turns, ahead;
};
struct BlockRow {
  uint64_t pc, steps, lanes, parted;
};
struct SyncRow {
  const char *what, *file;
  int64_t line, pc, requests, lanes;
};
struct CountedArgument {
  uint32_t *reads, *writes;  // per element
  int64_t phase;             // bytes from the last sector boundary to the array's start
};

struct Tally {  // of one worker
  std::vector<Event> trace[1024];
  std::vector<uint32_t> callers[1024];  // return addresses of the calls a thread is in
  int copies[1024], commits[1024], awaited[1024];
  std::unordered_map<uint64_t, AccessRow> accesses;
  std::unordered_map<uint32_t, BlockRow> blocks;
  std::unordered_map<uint32_t, std::vector<uint64_t>> executed;  // per basic block: how often by each thread
  std::unordered_map<int64_t, SyncRow> syncs;
  SyncRow arriving[1024];  // where each thread waits
  uint64_t memory[2][1024];  // accesses of each thread: global, shared
  uint64_t barriers, most_barriers, least_barriers, started;
  size_t events;
  bool quiet;  // the runtime works for the kernel: nothing is counted
};

struct Counter {
  CountedArgument* argument;  // from Python
  char* library;
  std::atomic<int64_t> static_shared;  // bytes of a block's arrays that are not dynamic
  std::vector<std::unique_ptr<Tally>> tally;  // per worker
  std::vector<CountedArgument> counted;
};
static Counter counter_of_this_launch;

inline Tally& tally_of(Worker& w) { return *counter->tally[size_t(w.first_stack / 1024)]; }

constexpr size_t kMostEvents = size_t(24) << 20;  // of a worker between two merges: 384 MB

inline void record(Fiber& t, Tally& tally, Event e) {
  e.depth = uint16_t(tally.callers[t.number].size());
  if (++tally.events > kMostEvents) {
    tally.events = 0;
    fail("the report cannot hold what a block does between two barriers (24 million steps): launch a smaller problem");
  }
  tally.trace[t.number].push_back(e);
}

inline uint32_t place(void* pc) { return uint32_t(static_cast<char*>(pc) - counter->library); }

void count_block(void* pc) {
  if (!counter) return;
  Fiber& t = fiber();
  Tally& tally = tally_of(*t.worker);
  if (!tally.quiet) record(t, tally, Event{place(pc), 0, kBlock, kLoad, 0, 0, 0, 0});
}

void count_call(void* caller) {
  if (!counter) return;
  Fiber& t = fiber();
  Tally& tally = tally_of(*t.worker);
  if (!tally.quiet) tally.callers[t.number].push_back(place(caller));
}

void count_return() {
  if (!counter) return;
  Fiber& t = fiber();
  Tally& tally = tally_of(*t.worker);
  std::vector<uint32_t>& callers = tally.callers[t.number];
  if (tally.quiet || callers.empty()) return;
  uint32_t back = callers.back();
  callers.pop_back();
  record(t, tally, Event{back, 0, kReturn, kLoad, 0, 0, 0, 0});
}

// The argument that an address belongs to, or -1; of arrays that overlap, the first.
inline int argument_of(const char* p) {
  const Launch& launch = *global.launch;
  for (int i = 0; i < launch.arguments; i++) {
    const char* start = static_cast<const char*>(guarded.pointer[size_t(i)]);
    if (launch.argument[i].bytes > 0 && start && p >= start && p < start + launch.argument[i].bytes) return i;
  }
  return -1;
}

// The number of the shared array that an address belongs to, the dynamic one is 0; or -1.
inline int shared_of(const Worker& w, const char* p, int64_t* offset) {
  *offset = p - w.dynamic;
  if (*offset >= 0 && *offset < global.launch->shared_bytes) return 0;
  for (size_t i = 0; i < w.shared.size(); i++) {
    *offset = p - w.shared[i].data;
    if (*offset >= 0 && *offset < int64_t(w.shared[i].bytes)) return int(i) + 1;
  }
  return -1;
}

inline void count_elements(int argument, int64_t offset, int bytes, Access access) {
  const Argument& a = global.launch->argument[argument];
  const CountedArgument& c = counter->counted[size_t(argument)];
  int64_t last = std::min(offset + bytes, a.bytes) - 1;
  for (int64_t i = offset / a.element; i <= last / a.element; i++) {
    if (access != kStore) __atomic_fetch_add(c.reads + i, 1, __ATOMIC_RELAXED);
    if (access == kStore || access == kAtomic) __atomic_fetch_add(c.writes + i, 1, __ATOMIC_RELAXED);
  }
}

void count_access(const void* address, int bytes, Access access, void* pc) {
  if (!counter) return;
  Fiber& t = fiber();
  Tally& tally = tally_of(*t.worker);
  if (tally.quiet) return;
  if (!pc) pc = __builtin_return_address(0);
  const char* p = static_cast<const char*>(address);
  if (p >= running.arena && p < running.arena + (size_t(global.launch->workers) * 1024 << kStackShift)) return;
  bool ahead = tally.copies[t.number] > tally.awaited[t.number];
  int64_t offset;
  int i = shared_of(*t.worker, p, &offset);
  if (i >= 0) {
    record(t, tally, Event{place(pc), 0, kAccess, access, uint64_t(i) << 32 | uint64_t(offset), uint64_t(bytes), 1, ahead});
    tally.memory[1][t.number]++;
  } else if ((i = argument_of(p)) >= 0) {
    offset = p - static_cast<char*>(guarded.pointer[size_t(i)]);
    uint64_t device = (uint64_t(i) << 40) + uint64_t(offset + counter->counted[size_t(i)].phase);
    record(t, tally, Event{place(pc), 0, kAccess, access, device, uint64_t(bytes), 0, ahead});
    count_elements(i, offset, bytes, access);
    tally.memory[0][t.number]++;
  }
  if (access == kMatrix) {  // the row is touched, so that a fault names this lane
    t.caller = pc;
    (void)*static_cast<const volatile char*>(address);
    t.caller = nullptr;
  }
}

// cp.async: a copy is under way until the wait for its group, whenever it happens in the emulator.
inline void count_copy(Fiber& t, const AsyncCopy& c) {
  Tally& tally = tally_of(*t.worker);
  if (c.from) count_access(c.from, c.bytes, kCopy, c.pc);
  count_access(c.to, c.bytes, kStore, c.pc);
  tally.copies[t.number] = tally.commits[t.number] + 1;
}
// A copy of any size that one thread asks for on behalf of a block: one request, not of a warp's lanes.
inline void count_bulk(Fiber& t, void* to, const void* from, int64_t bytes, void* pc) {
  for (int64_t i = 0; i < bytes; i += 16) {
    count_access(static_cast<const char*>(from) + i, 16, kCopy, pc);
    count_access(static_cast<char*>(to) + i, 16, kStore, pc);
  }
  (void)t;
}
inline void count_commit(Fiber& t) { tally_of(*t.worker).commits[t.number]++; }
inline void count_wait(Fiber& t, int pending) {
  Tally& tally = tally_of(*t.worker);
  tally.awaited[t.number] = std::max(tally.awaited[t.number], tally.commits[t.number] - pending);
}

inline void count_sync(Fiber& t, const Site& site, void* pc) {
  Tally& tally = tally_of(*t.worker);
  tally.arriving[t.number] = {site.what, site.file, site.line, place(pc), 0, 0};
  record(t, tally, Event{place(pc), 0, kSync, kLoad, 0, 0, 0, 0});
}

inline void count_request(Tally& tally, int thread, int lanes) {
  const SyncRow& own = tally.arriving[thread];
  SyncRow& row = tally.syncs.emplace(own.pc, own).first->second;
  row.requests++, row.lanes += lanes;
}

}  // namespace emu
