// Guarded arguments: each array is copied so that it ends at an unreadable page, and the signal that an access beyond it
// raises becomes a report.
#pragma once
#include <signal.h>
#include <ucontext.h>

#include "shared.h"

namespace emu {

constexpr size_t kArgumentMargin = size_t(1) << 26;  // 64 MB of address space on either side; it costs no memory

struct Region {  // one copy; arrays that overlap (an in-place kernel) share it
  char *source, *base, *data;
  size_t bytes, mapped;
  bool writable;
};

struct Guarded {
  std::vector<Region> regions;
  std::vector<void*> pointer;  // per argument: the array's copy
  std::vector<void*> value;    // per argument: where the kernel finds it
};
static Guarded guarded;

// `aligned`: arrays start at 16-byte boundaries, for kernels that load float4, at the price of up to 15 unguarded bytes.
inline bool guard_arguments(const Launch& launch, bool aligned) {
  guarded = Guarded{};
  int n = launch.arguments;
  guarded.pointer.assign(size_t(n), nullptr);
  guarded.value.assign(size_t(n), nullptr);
  std::vector<int> by_address;
  for (int i = 0; i < n; i++) {
    const Argument& a = launch.argument[i];
    guarded.pointer[i] = a.value;
    guarded.value[i] = a.bytes < 0 ? a.value : static_cast<void*>(&guarded.pointer[i]);
    if (a.bytes >= 0 && a.value) by_address.push_back(i);
  }
  if (launch.guard == kNoGuard) return true;
  auto start = [&](int i) { return static_cast<char*>(launch.argument[i].value); };
  std::sort(by_address.begin(), by_address.end(), [&](int i, int j) { return start(i) < start(j); });
  for (int i : by_address) {
    const Argument& a = launch.argument[i];
    Region* last = guarded.regions.empty() ? nullptr : &guarded.regions.back();
    if (last && a.bytes > 0 && start(i) < last->source + last->bytes) {
      last->bytes = std::max(last->bytes, size_t(start(i) + a.bytes - last->source));
      last->writable |= a.writable != 0;
    } else {
      guarded.regions.push_back({start(i), nullptr, nullptr, size_t(a.bytes), 0, a.writable != 0});
    }
  }
  for (Region& r : guarded.regions) {
    r.base = map_between_guards(r.bytes + kCanaryBytes, kArgumentMargin, &r.mapped);
    if (!r.base) return false;
    if (launch.guard == kGuardEnd) {
      r.data = place_at_end(r.base, r.bytes, aligned ? 16 : 1);
    } else {
      r.data = r.base;
      memset(r.data + r.bytes, kCanaryByte, kCanaryBytes);
    }
    memcpy(r.data, r.source, r.bytes);
  }
  for (int i : by_address)
    for (const Region& r : guarded.regions)
      if (start(i) >= r.source && (start(i) < r.source + r.bytes || (r.bytes == 0 && start(i) == r.source)))
        guarded.pointer[i] = r.data + (start(i) - r.source);
  return true;
}

inline int argument_at(const Launch& launch, const char* address, int64_t* offset) {
  int best = -1;
  for (const Region& r : guarded.regions) {
    if (address < r.base - kArgumentMargin || address >= r.base - kArgumentMargin + r.mapped) continue;
    for (int i = 0; i < launch.arguments; i++) {
      char* p = static_cast<char*>(guarded.pointer[i]);
      if (launch.argument[i].bytes < 0 || !p || p < r.data || p > r.data + r.bytes) continue;
      // Of arrays in one region, the one whose near end is closest.
      int64_t o = address - p;
      auto beyond = [&](int k, int64_t at) { return at < 0 ? -at : at - launch.argument[k].bytes; };
      if (best < 0 || beyond(i, o) < beyond(best, *offset)) best = i, *offset = o;
    }
  }
  return best;
}

// Copies results back and finds writes that fell into the canaries.
inline void release_arguments(const Launch& launch, bool copy_back) {
  for (Region& r : guarded.regions) {
    if (!r.base) continue;
    if (copy_back) {
      int64_t broken = 0;
      if (launch.guard == kGuardEnd) {
        broken = broken_canary(r.data, r.bytes);
      } else {
        for (size_t i = 0; i < kCanaryBytes && !broken; i++)
          if (static_cast<unsigned char>(r.data[r.bytes + i]) != kCanaryByte) broken = int64_t(r.bytes + i);
      }
      Report* report = broken ? first_report(kCanary, {0, 0, 0}, nullptr) : nullptr;
      if (report) report->argument = argument_at(launch, r.data + broken, &report->offset);
      if (r.writable) memcpy(r.source, r.data, r.bytes);
    }
    munmap(r.base - kArgumentMargin, r.mapped);
  }
  guarded.regions.clear();
}

// ---- the signal ----------------------------------------------------------------------------------------------------------

static std::vector<Worker*> workers;
static std::vector<pthread_t> worker_thread;
static struct sigaction previous_action[3];
constexpr int kSignals[3] = {SIGSEGV, SIGBUS, SIGFPE};

inline void describe_fault(Worker& w, int signal, siginfo_t* info, ucontext_t* context) {
  const Launch& launch = *global.launch;
  char* address = static_cast<char*>(info->si_addr);
  Report* r = first_report(kWildFault, w.block_index, &w.running->index);
  if (!r) return;
#if defined(__x86_64__)
  r->pc = uint64_t(context->uc_mcontext.gregs[REG_RIP]);
  if (signal == SIGSEGV) r->access = context->uc_mcontext.gregs[REG_ERR] & 2 ? 2 : 1;
#else
  r->pc = uint64_t(context->uc_mcontext.pc);
#endif
  r->caller = reinterpret_cast<uint64_t>(w.running->caller);
  r->offset = reinterpret_cast<int64_t>(address);
  if (signal == SIGFPE) {
    r->kind = kDivision;
    return;
  }
  // An address that the processor will not name is one that an aligned vector load or store refused.
  if (signal == SIGBUS || info->si_code == SI_KERNEL) {
    r->kind = kMisaligned;
    return;
  }
  if (address >= running.arena && address < running.arena + (size_t(launch.workers) * 1024 << kStackShift)) {
    r->kind = kStackOverflow;
    return;
  }
  int64_t offset = 0;
  int argument = argument_at(launch, address, &offset);
  if (argument >= 0) {
    r->kind = kArgumentFault, r->argument = argument, r->offset = offset;
    return;
  }
  if (address >= w.dynamic_base - kSharedMargin && address < w.dynamic_base - kSharedMargin + w.dynamic_mapped) {
    r->kind = kSharedFault, r->offset = address - w.dynamic;
    snprintf(r->text, sizeof r->text, "the dynamic shared memory (%lld bytes)", (long long)launch.shared_bytes);
  }
  for (const SharedArray& s : w.shared)
    if (address >= s.base - kSharedMargin && address < s.base - kSharedMargin + s.mapped) {
      r->kind = kSharedFault, r->offset = address - s.data;
      snprintf(r->text, sizeof r->text, "%s (%zu bytes)", s.name, s.bytes);
    }
}

// Faults of other threads, or of this one outside a kernel, belong to whoever was there before us.
inline void on_fault(int signal, siginfo_t* info, void* context) {
  for (size_t i = 0; i < workers.size(); i++) {
    if (!pthread_equal(worker_thread[i], pthread_self()) || !workers[i]->in_kernel) continue;
    describe_fault(*workers[i], signal, info, static_cast<ucontext_t*>(context));
    workers[i]->in_kernel = false;
    siglongjmp(workers[i]->fault_exit, 1);
  }
  int which = signal == SIGSEGV ? 0 : signal == SIGBUS ? 1 : 2;
  const struct sigaction& previous = previous_action[which];
  if (previous.sa_flags & SA_SIGINFO)
    previous.sa_sigaction(signal, info, context);
  else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN)
    sigaction(signal, &previous, nullptr);  // the instruction runs again, and the fault goes where it belongs
  else
    previous.sa_handler(signal);
}

inline void catch_faults() {
  struct sigaction action {};
  action.sa_sigaction = on_fault;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  sigemptyset(&action.sa_mask);
  for (int i = 0; i < 3; i++) sigaction(kSignals[i], &action, &previous_action[i]);
}

inline void restore_faults() {
  for (int i = 0; i < 3; i++) sigaction(kSignals[i], &previous_action[i], nullptr);
}

}  // namespace emu
