// A launch: guard the arguments, distribute the blocks to workers, copy results back.
#pragma once
#include <dlfcn.h>
#include <pthread.h>

#include <memory>
#include <thread>

#include "signals.h"

namespace emu {

static std::atomic<uint64_t> next_block;

// The i-th block to run. Random order visits the grid with a stride that is coprime to its size.
inline uint64_t block_number(uint64_t i, uint64_t blocks) {
  const Launch& launch = *global.launch;
  if (launch.order == kForward) return i;
  if (launch.order == kReverse) return blocks - 1 - i;
  uint64_t stride = (launch.seed * 2654435761u + 12345u) % blocks + 1, a = 0;
  auto gcd = [](uint64_t p, uint64_t q) {
    while (q) std::swap(p %= q, q);
    return p;
  };
  while (gcd(stride + a, blocks) != 1) a++;
  return uint64_t((unsigned __int128)i * (stride + a) % blocks + launch.seed % blocks) % blocks;
}

inline void run_blocks(Worker& w) {
  const Launch& launch = *global.launch;
  uint64_t blocks = uint64_t(launch.grid[0]) * launch.grid[1] * launch.grid[2];
  for (;;) {
    uint64_t i = next_block++;
    if (i >= blocks || global.stop) return;
    i = block_number(i, blocks);
    w.random = launch.seed * 0x100000001b3ull + i;
    uint3 index{uint32_t(i % launch.grid[0]), uint32_t(i / launch.grid[0] % launch.grid[1]),
                uint32_t(i / launch.grid[0] / launch.grid[1])};
    refill_shared(w);
    if (counter) begin_block(w);
    w.in_kernel = true;
    run_block(w, index);
    w.in_kernel = false;
    if (counter && !global.stop) end_block(w);
    if (global.stop || !check_shared(w)) return;
  }
}

inline void run_worker(Worker& w) {
  // The handler needs its own stack: the fault may be the overflow of a fiber's stack.
  static constexpr size_t kHandlerStack = 64 * 1024;
  std::vector<char> memory(kHandlerStack);
  stack_t ours{}, before{};
  ours.ss_sp = memory.data(), ours.ss_size = kHandlerStack;
  sigaltstack(&ours, &before);
  if (sigsetjmp(w.fault_exit, 1) == 0) run_blocks(w);
  sigaltstack(&before, nullptr);
}

inline void prepare_worker(Worker& w, int number) {
  const Launch& launch = *global.launch;
  const uint32_t* b = launch.block;
  w.threads = int(b[0] * b[1] * b[2]);
  w.first_stack = number * 1024;
  for (int i = 0; i < w.threads; i++) {
    Fiber& t = w.thread[i];
    t.index = {uint32_t(i) % b[0], uint32_t(i) / b[0] % b[1], uint32_t(i) / b[0] / b[1]};
    t.number = i, t.lane = i % 32, t.warp = &w.warp[i / 32], t.worker = &w;
    t.block_index = &w.block_index, t.lanes_alive = &w.warp[i / 32].alive;
  }
}

inline void run_once(bool same_alignment) {
  Launch& launch = *global.launch;
  launch.report->kind = kFine;
  launch.printed_bytes = launch.dropped_calls = launch.dropped_bytes = 0;
  global.stop = false;
  next_block = 0;
  if (!guard_arguments(launch, same_alignment)) {
    first_report(kRefused, {0, 0, 0}, nullptr);
    release_arguments(launch, false);
    return;
  }
  global.arguments = guarded.value.data();
  static std::vector<std::unique_ptr<Worker>> pool;  // kept, since a worker's tables are half a megabyte
  uint64_t blocks = uint64_t(launch.grid[0]) * launch.grid[1] * launch.grid[2];
  int count = int(std::min<uint64_t>(uint64_t(launch.workers), blocks));
  while (int(pool.size()) < count) pool.push_back(std::make_unique<Worker>());
  if (counter) begin_counting(count);
  workers.clear();
  bool mapped = true;
  for (int i = 0; i < count; i++) {
    prepare_worker(*pool[i], i);
    mapped &= prepare_dynamic(*pool[i], size_t(launch.shared_bytes));
    workers.push_back(pool[i].get());
  }
  worker_thread.assign(size_t(count), pthread_self());
  if (mapped) {
    catch_signals();
    std::vector<std::thread> threads;
    for (int i = 1; i < count; i++)
      threads.emplace_back([i] {
        worker_thread[i] = pthread_self();
        run_worker(*workers[i]);
      });
    run_worker(*workers[0]);
    for (std::thread& t : threads) t.join();
    restore_signals();
    if (interrupted) launch.report->kind = kInterrupted;
  } else {
    first_report(kRefused, {0, 0, 0}, nullptr);
  }
  for (int i = 0; i < count; i++) free_shared(*workers[i]);
  workers.clear();
  release_arguments(launch, launch.report->kind == kFine);
}

// Address space for the stacks of this many workers; pages are allocated on first access.
inline bool reserve_stacks(int count) {
  static int reserved = 0;
  static size_t mapped = 0;
  if (count <= reserved) return true;
  size_t margin = 1 << 20, bytes = size_t(count) * 1024 * kStackBytes;
  if (reserved) munmap(running.arena - margin, mapped);
  forget_guarded_stacks();
  running.arena = map_between_guards(bytes, margin, &mapped);
  reserved = running.arena ? count : 0;
  return reserved > 0;
}

inline void launch(void (*entry)(void**), const int* sizes, Launch* launch) {
  global.launch = launch;
  if (!reserve_stacks(launch->workers)) {
    first_report(kRefused, {0, 0, 0}, nullptr);
    return;
  }
  global.entry = entry;
  running.block_dim = dim3(launch->block[0], launch->block[1], launch->block[2]);
  running.grid_dim = dim3(launch->grid[0], launch->grid[1], launch->grid[2]);
  for (int i = 0; i < launch->arguments; i++)
    if (sizes[i] == 0 || (launch->argument[i].bytes < 0 && launch->argument[i].element != sizes[i])) {
      first_report(kRefused, {0, 0, 0}, nullptr);
      snprintf(launch->report->text, sizeof launch->report->text, "parameter %d takes %d bytes, not %d", i, sizes[i],
               launch->argument[i].element);
      return;
    }
  run_once(false);
  // A copy that ends at its page may be less aligned than the caller's array, so that a vector load faults: run again
  // with the caller's alignment. A fault in that run would also happen on a GPU.
  bool misaligned = launch->report->kind == kMisaligned || launch->report->kind == kTrap;
  if (misaligned && launch->guard == kGuardEnd) run_once(true);
  // Python looks up the instruction in the kernel's library: pass its offset there, or 0.
  uint64_t& pc = launch->report->pc;
  Dl_info here, kernel;
  if (pc && dladdr(reinterpret_cast<void*>(entry), &kernel)) {
    bool inside = dladdr(reinterpret_cast<void*>(pc), &here) && here.dli_fbase == kernel.dli_fbase;
    if (!inside) pc = launch->report->caller ? launch->report->caller - 1 : 0;
    if (pc) pc -= reinterpret_cast<uint64_t>(kernel.dli_fbase);
  }
}

// printf from a kernel: collected, and printed by Python after the launch.
int device_printf(const char* format, ...) {
  char line[1024];
  std::vector<char> longer;
  const char* text = line;
  va_list values, again;
  va_start(values, format);
  va_copy(again, values);
  int n = vsnprintf(line, sizeof line, format, values);
  if (n >= int(sizeof line)) {
    longer.resize(size_t(n) + 1);
    vsnprintf(longer.data(), longer.size(), format, again);
    text = longer.data();
  }
  va_end(again);
  va_end(values);
  if (n < 0) return n;
  std::lock_guard<std::mutex> lock(global.mutex);
  Launch& l = *global.launch;
  if (l.dropped_calls || l.printed_bytes + n > l.printed_capacity) {
    l.dropped_calls++, l.dropped_bytes += n;
    return -1;
  }
  memcpy(l.printed + l.printed_bytes, text, size_t(n));
  l.printed_bytes += n;
  return n;
}

}  // namespace emu
