// Guarded arguments: each array is copied so that it ends at an unreadable page, or starts after one. signals.h turns
// the fault of an access beyond it into a report. A copy is never better aligned than the caller's array: a vector load
// that faults on a GPU, because a slice is not 16-byte aligned, faults here as well.
//
// After the launch, arrays that the kernel may write are copied back; those that it declares const must be unchanged.
#pragma once
#include "shared.h"

namespace emu {

constexpr size_t kArgumentMargin = size_t(1) << 26;  // 64 MB of address space on either side, no memory

struct Region {  // one copy, shared by arrays that overlap (an in-place kernel)
  char *source, *base, *data;
  size_t bytes, mapped;
  bool same;  // keep the address modulo 16
};

struct Guarded {
  std::vector<Region> regions;
  std::vector<void*> pointer;  // per argument: the array's copy
  std::vector<void*> value;    // per argument: where the kernel reads it
};
static Guarded guarded;

constexpr size_t kVector = 16;  // bytes of the widest load or store

// The largest power of two, up to kVector, that divides an address.
inline size_t alignment(const char* p) {
  uintptr_t address = reinterpret_cast<uintptr_t>(p) | kVector;
  return address & -address;
}

// Places a copy to end at the unreadable page: exactly there, or up to 15 bytes before, so that its address modulo 16
// is that of the caller's array: if `same` is set, or if it would be better aligned at the exact end.
inline char* place_before_end(const Region& r) {
  char* end = r.base + whole_pages(r.bytes + kCanaryBytes + kVector);
  char* data = end - r.bytes;
  if (r.same || alignment(data) > alignment(r.source))
    data -= (reinterpret_cast<uintptr_t>(data) - reinterpret_cast<uintptr_t>(r.source)) % kVector;
  memset(data - kCanaryBytes, kCanaryByte, kCanaryBytes);
  memset(data + r.bytes, kCanaryByte, size_t(end - data) - r.bytes);
  return data;
}

// The same after the unreadable page in front: always with the caller's address modulo 16.
inline char* place_after_start(const Region& r) {
  size_t before = reinterpret_cast<uintptr_t>(r.source) % kVector;
  memset(r.base, kCanaryByte, before);
  memset(r.base + before + r.bytes, kCanaryByte, kCanaryBytes);
  return r.base + before;
}

// `same`: all arrays keep their address modulo 16, for kernels with float4 loads; up to 15 bytes behind them are then
// canary instead of guard page.
inline bool guard_arguments(const Launch& launch, bool same) {
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
      last->same |= start(i) != last->source;
    } else {
      guarded.regions.push_back({start(i), nullptr, nullptr, size_t(a.bytes), 0, same});
    }
  }
  for (Region& r : guarded.regions) {
    r.base = map_between_guards(r.bytes + kCanaryBytes + kVector, kArgumentMargin, &r.mapped);
    if (!r.base) return false;
    r.data = launch.guard == kGuardEnd ? place_before_end(r) : place_after_start(r);
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
      // Of the arrays in one region, the one with the nearest end.
      int64_t o = address - p;
      auto beyond = [&](int k, int64_t at) { return at < 0 ? -at : at - launch.argument[k].bytes; };
      if (best < 0 || beyond(i, o) < beyond(best, *offset)) best = i, *offset = o;
    }
  }
  return best;
}

struct Part {
  int64_t start, end;
};

// The parts of a region that the kernel may write, in order; the rest belongs to arguments that it declares const.
inline std::vector<Part> writable_parts(const Launch& launch, const Region& r) {
  std::vector<Part> parts, whole;
  for (int i = 0; i < launch.arguments; i++) {
    const Argument& a = launch.argument[i];
    int64_t start = static_cast<char*>(guarded.pointer[i]) - r.data;
    if (a.writable && a.bytes > 0 && start >= 0 && start < int64_t(r.bytes)) parts.push_back({start, start + a.bytes});
  }
  std::sort(parts.begin(), parts.end(), [](const Part& p, const Part& q) { return p.start < q.start; });
  for (const Part& p : parts)
    if (!whole.empty() && p.start <= whole.back().end)
      whole.back().end = std::max(whole.back().end, p.end);
    else
      whole.push_back(p);
  return whole;
}

// The first byte outside the writable parts that differs from the caller's, or -1: a kernel may cast const away.
inline int64_t changed_const(const Region& r, const std::vector<Part>& writable) {
  int64_t at = 0;
  for (size_t i = 0; i <= writable.size(); i++) {
    int64_t end = i < writable.size() ? writable[i].start : int64_t(r.bytes);
    if (memcmp(r.source + at, r.data + at, size_t(end - at)))
      return std::mismatch(r.source + at, r.source + end, r.data + at).first - r.source;
    if (i < writable.size()) at = writable[i].end;
  }
  return -1;
}

// Copies results back and detects writes to canaries and to const arguments.
inline void release_arguments(const Launch& launch, bool copy_back) {
  for (Region& r : guarded.regions) {
    if (!r.base) continue;
    if (copy_back) {
      int64_t broken = 0;
      if (launch.guard == kGuardEnd) {
        broken = broken_canary(r.data, r.bytes);
      } else {
        auto whole = [&](int64_t i) { return static_cast<unsigned char>(r.data[i]) == kCanaryByte; };
        for (int64_t i = 0, n = int64_t(r.bytes); i < int64_t(kCanaryBytes) && !broken; i++)
          if (!whole(n + i)) broken = n + i;
        for (int64_t i = -1; i >= r.base - r.data && !broken; i--)
          if (!whole(i)) broken = i;
      }
      Report* report = broken ? first_report(kCanary, {0, 0, 0}, nullptr) : nullptr;
      if (report) report->argument = argument_at(launch, r.data + broken, &report->offset);
      std::vector<Part> writable = writable_parts(launch, r);
      int64_t changed = changed_const(r, writable);
      report = changed >= 0 ? first_report(kConstWrite, {0, 0, 0}, nullptr) : nullptr;
      if (report) report->argument = argument_at(launch, r.data + changed, &report->offset);
      for (const Part& p : writable) memcpy(r.source + p.start, r.data + p.start, size_t(p.end - p.start));
    }
    munmap(r.base - kArgumentMargin, r.mapped);
  }
  guarded.regions.clear();
}

}  // namespace emu
