// mbarrier objects and the bulk copies that complete on them.
//
// A bulk copy may happen at any time between its issue and the end of the phase that counts its bytes. "forward" does
// it as late as possible, when no thread can continue, "reverse" at once, "random" either.
#pragma once
#include "block.h"
#include "proxy.h"

namespace emu {

struct Mbarrier {  // the 64 bits in shared memory
  uint64_t expected : 20, pending : 20;
  int64_t bytes : 21;  // that are announced and have not arrived
  uint64_t phase : 1, valid : 2;
};
constexpr unsigned kValid = 1;  // 3 is memory that nobody has written

inline Mbarrier load_barrier(const uint64_t* at, const Site& s) {
  if (reinterpret_cast<uintptr_t>(at) % 8)
    fail("%s (%s:%d): the address is not 8-byte aligned", s.what, s.file, s.line);
  Mbarrier b;
  memcpy(&b, at, 8);
  if (b.valid != kValid) fail("%s (%s:%d): the mbarrier is not initialised", s.what, s.file, s.line);
  return b;
}

// Stores the object; if the phase is complete, the next one begins and those who wait for it continue.
inline void store_barrier(Worker& w, uint64_t* at, Mbarrier b) {
  bool complete = b.pending == 0 && b.bytes == 0;
  if (complete) b.pending = b.expected, b.phase ^= 1;
  memcpy(at, &b, 8);
  if (!complete) return;
  HopperState& h = hopper(w);
  release(w, 0, w.threads, [&](int i) {
    bool wakes = h.waits_on[i] == at;
    if (wakes) h.waits_on[i] = nullptr;
    return wakes;
  });
}

void mbarrier_init(uint64_t* barrier, unsigned count, const char* file, int line) {
  Worker& w = *fiber().worker;
  if (reinterpret_cast<uintptr_t>(barrier) % 8)
    fail("mbarrier.init (%s:%d): the address is not 8-byte aligned", file, line);
  if (count < 1 || count >= 1u << 20) fail("mbarrier.init (%s:%d): a count of %u", file, line, count);
  Mbarrier b;
  memcpy(&b, barrier, 8);
  if (b.valid == kValid) fail("mbarrier.init (%s:%d): there is an mbarrier already; mbarrier.inval first", file, line);
  b.expected = b.pending = count, b.bytes = 0, b.phase = 0, b.valid = kValid;
  memcpy(barrier, &b, 8);
  hopper(w).barriers_unfenced = true;
}

void mbarrier_inval(uint64_t* barrier, const char* file, int line) {
  load_barrier(barrier, {"mbarrier.inval", file, line});
  memset(barrier, 0xff, 8);
}

// bytes: announced with expect_tx, 0 for none
void mbarrier_arrive(uint64_t* barrier, unsigned bytes, const char* file, int line) {
  Worker& w = *fiber().worker;
  Mbarrier b = load_barrier(barrier, {bytes ? "mbarrier.arrive.expect_tx" : "mbarrier.arrive", file, line});
  if (bytes >= 1u << 20 || b.bytes + int64_t(bytes) >= 1 << 20)
    fail("mbarrier.arrive.expect_tx (%s:%d): %u bytes, the most is 1048575", file, line, bytes);
  if (b.pending == 0)
    fail("mbarrier.arrive (%s:%d): all %u arrivals of this phase have been", file, line, unsigned(b.expected));
  b.bytes += bytes, b.pending--;
  store_barrier(w, barrier, b);
}

// try_wait in a loop: returns when the phase of this parity is complete. The parity of the first phase is 0.
void mbarrier_wait(uint64_t* barrier, unsigned parity, const char* file, int line) {
  Fiber& t = fiber();
  Site site{"mbarrier.try_wait", file, line};
  if (parity > 1) fail("mbarrier.try_wait (%s:%d): a parity of %u", file, line, parity);
  while (load_barrier(barrier, site).phase == parity) {
    hopper(*t.worker).waits_on[t.number] = barrier;
    wait(t, site);
  }
}

// ---- cp.async.bulk --------------------------------------------------------------------------------------------------

inline void bulk_now(Worker& w, const BulkCopy& c) {
  Fiber* now = w.running;
  w.running = c.thread, c.thread->caller = c.pc;  // a fault is reported of the thread that asked for the copy
  memcpy(c.to, c.from, c.bytes);
  w.running = now, c.thread->caller = nullptr;
  HopperState& h = hopper(w);
  ptrdiff_t offset = static_cast<char*>(c.to) - w.dynamic;  // written by the async proxy: it sees its own writes
  if (offset >= 0 && size_t(offset) + c.bytes <= h.view.size()) memcpy(h.view.data() + offset, c.to, c.bytes);
  Mbarrier b = load_barrier(c.barrier, c.site);
  if (b.bytes - int64_t(c.bytes) <= -(1 << 20))
    fail("%s (%s:%d): more bytes arrive than its mbarrier can count", c.site.what, c.site.file, c.site.line);
  b.bytes -= int64_t(c.bytes);
  store_barrier(w, c.barrier, b);
}

void bulk_copy(void* to, const void* from, unsigned bytes, uint64_t* barrier, const char* file, int line) {
  Fiber& t = fiber();
  Worker& w = *t.worker;
  Site site{"cp.async.bulk", file, line};
  if (reinterpret_cast<uintptr_t>(to) % 16 || reinterpret_cast<uintptr_t>(from) % 16 || bytes % 16 || !bytes)
    fail("cp.async.bulk (%s:%d) of %u bytes: both addresses and the size must be multiples of 16", file, line, bytes);
  load_barrier(barrier, site);
  if (hopper(w).barriers_unfenced)
    fail("cp.async.bulk (%s:%d): no fence.proxy.async since mbarrier.init: the copy may not see its mbarrier", file,
         line);
  BulkCopy c{to, from, bytes, barrier, &t, __builtin_return_address(0), site};
  if (counter) count_bulk(t, c.to, c.from, bytes, c.pc);
  int order = global.launch->order;
  if (order == kReverse || (order == kRandom && next_random(w) % 2))
    bulk_now(w, c);
  else
    hopper(w).bulk.push_back(c);
}

// Called when no thread can continue: lets one copy happen. False: there is none.
bool late_event(Worker& w) {
  if (!w.hopper_block || w.hopper->bulk.empty()) return false;
  std::vector<BulkCopy>& bulk = w.hopper->bulk;
  size_t i = global.launch->order == kRandom ? size_t(next_random(w) % bulk.size()) : 0;
  BulkCopy c = bulk[i];
  bulk.erase(bulk.begin() + ptrdiff_t(i));
  bulk_now(w, c);
  return true;
}

}  // namespace emu
