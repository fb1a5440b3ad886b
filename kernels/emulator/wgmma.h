// wgmma.mma_async m64nNk16: a warpgroup's product. Each warp computes its own 16 rows.
//
// The result is computed when the instruction is issued, and kept apart: until wgmma.wait_group the accumulator's
// registers are NaN. At the wait everything that the product may have read in the meantime must still be the same.
#pragma once
#include <array>
#include <string>

#include "block.h"
#include "half.h"
#include "proxy.h"

namespace emu {

constexpr uint32_t kInFlight = 0x7fe5a5a5;  // a NaN that no operation makes

// ---- operands in shared memory --------------------------------------------------------------------------------------

// A matrix descriptor: bits 0-13 start, 16-29 leading byte offset, 32-45 stride byte offset, all in units of 16 bytes,
// 49-51 base offset, 62-63 swizzle: 0 none, 1 of 128 bytes, 2 of 64, 3 of 32.
struct Descriptor {
  uint64_t start, leading, stride;
  int pieces;  // of 16 bytes in a row of the swizzle: 1, 8, 4, 2

  explicit Descriptor(uint64_t bits, const Site& site)
      : start((bits & 0x3fff) << 4), leading((bits >> 16 & 0x3fff) << 4), stride((bits >> 32 & 0x3fff) << 4) {
    static constexpr int kPieces[4] = {1, 8, 4, 2};
    pieces = kPieces[bits >> 62];
    if (bits >> 49 & 7)
      fail("%s (%s:%d): the base offset of a descriptor is %d: align the matrix to the swizzle's pattern, it is 0 then",
           site.what, site.file, site.line, int(bits >> 49 & 7));
  }

  // The address of the 16 bytes that hold elements (x, k...k + 7) of a K-major matrix, or (x...x + 7, k) of one that is
  // MN-major. The pattern is applied to the address, not to the offset: bits 4-6 ^= bits 7-9, as many as it has.
  uint64_t piece(int x, int k, bool mn_major) const {
    uint64_t row = uint64_t(pieces) * 16, at;
    if (!mn_major)
      at = uint64_t(x / 8) * stride + uint64_t(x % 8) * row + uint64_t(k / 8) * (pieces == 1 ? leading : 16);
    else if (pieces == 1)
      at = uint64_t(x / 8) * stride + uint64_t(k / 8) * leading + uint64_t(k % 8) * 16;
    else
      at = uint64_t(x / 8 / pieces) * leading + uint64_t(x / 8 % pieces) * 16 + uint64_t(k / 8) * stride +
           uint64_t(k % 8) * row;
    at += start;
    return at ^ (at >> 7 & uint64_t(pieces - 1)) << 4;
  }
};

// out[k][x] = the matrix, x < count, k < 16; what was read is noted in p
template <typename Format>
inline void read_matrix(Worker& w, Product& p, uint64_t bits, bool mn_major, int count, float (*out)[256]) {
  Descriptor d(bits, p.site);
  auto piece = [&](int x, int k) {
    const char* at = shared_at(w, d.piece(x, k, mn_major), p.site);
    if (!published(w, at))
      fail("%s (%s:%d) reads byte %lld of the dynamic shared memory, which was written after the last "
           "fence.proxy.async: the tensor cores may not see it",
           p.site.what, p.site.file, p.site.line, (long long)(at - w.dynamic));
    p.read.push_back(at);
    p.contents.insert(p.contents.end(), at, at + 16);
    return at;
  };
  for (int i = 0; i < count * 2; i++) {
    // K-major: 2 pieces of 8 k for each x. MN-major: 16 pieces, one for each k, for 8 x.
    int x = mn_major ? i / 16 * 8 : i / 2, k = mn_major ? i % 16 : i % 2 * 8;
    uint16_t eight[8];
    memcpy(eight, piece(x, k), 16);
    for (int e = 0; e < 8; e++) (mn_major ? out[k][x + e] : out[k + e][x]) = Format::decode(eight[e]);
  }
}

// ---- the product ----------------------------------------------------------------------------------------------------

// Accumulator: lane 4 g + t has columns 8 j + 2 t, + 1 of rows g and g + 8 in registers 4 j ... 4 j + 3.
template <typename Format>
inline void multiply(Worker& w, int warp, Product& p, const WgmmaOperand& o) {
  static thread_local float a[16][256], b[16][256], d[16][256];  // a[k][row], b[k][column]
  int n = o.n;
  if (o.a) {
    for (int lane = 0; lane < 32; lane++)
      for (int i = 0; i < 4; i++) {
        int row = lane / 4 + i % 2 * 8, k = lane % 4 * 2 + i / 2 * 8;
        a[k][row] = Format::decode(uint16_t(p.a[lane][i]));
        a[k + 1][row] = Format::decode(uint16_t(p.a[lane][i] >> 16));
      }
  } else {
    read_matrix<Format>(w, p, o.descriptor_a, o.a_m_major, 64, a);  // all of it, though a warp uses 16 rows
  }
  read_matrix<Format>(w, p, o.descriptor_b, o.b_n_major, n, b);
  int first = o.a ? 0 : warp % 4 * 16;
  float* values = p.d->values.data();
  auto at = [&](int lane, int j) { return values + size_t(lane) * size_t(n / 2) + j * 4; };
  for (int lane = 0; lane < 32; lane++)
    for (int j = 0; j < n / 8; j++)
      for (int e = 0; e < 4; e++)
        d[lane / 4 + e / 2 * 8][j * 8 + lane % 4 * 2 + e % 2] = o.accumulate ? at(lane, j)[e] : 0.0f;
  for (int row = 0; row < 16; row++)
    for (int k = 0; k < 16; k++)
      for (int column = 0; column < n; column++) d[row][column] += a[k][first + row] * b[k][column];
  for (int lane = 0; lane < 32; lane++)
    for (int j = 0; j < n / 8; j++)
      for (int e = 0; e < 4; e++) at(lane, j)[e] = d[lane / 4 + e / 2 * 8][j * 8 + lane % 4 * 2 + e % 2];
}

// ---- registers ------------------------------------------------------------------------------------------------------

inline Fenced* fenced_at(HopperState& h, int thread, const void* at, int bytes) {
  for (Fenced& f : h.fenced[thread]) {
    const char* start = static_cast<const char*>(f.at);
    const char* p = static_cast<const char*>(at);
    if (p >= start && p + bytes <= start + f.contents.size()) return &f;
  }
  return nullptr;
}

inline void need_fenced(HopperState& h, int thread, const void* at, int bytes, const char* which, const Site& s) {
  const Fenced* f = fenced_at(h, thread, at, bytes);
  if (!f) fail("%s (%s:%d): no wgmma.fence names its %s", s.what, s.file, s.line, which);
  const char* was = f->contents.data() + (static_cast<const char*>(at) - static_cast<const char*>(f->at));
  if (memcmp(was, at, size_t(bytes)))
    fail("%s (%s:%d): its %s were written since the last wgmma.fence", s.what, s.file, s.line, which);
}

// The accumulator in flight that these registers belong to, or null
inline Accumulator* in_flight(WarpProducts& p, int lane, const void* at, int bytes) {
  for (auto& a : p.accumulators) {
    const char *start = reinterpret_cast<const char*>(a->at[lane]), *begin = static_cast<const char*>(at);
    if (begin < start + a->n * 2 && start < begin + bytes) return a.get();
  }
  return nullptr;
}

inline Accumulator* open_accumulator(Fiber& t, void* const* operand, const WgmmaOperand& o, const Site& site) {
  HopperState& h = hopper(*t.worker);
  WarpProducts& mine = h.warp[t.number / 32];
  if (Accumulator* a = in_flight(mine, 0, o.d, o.n * 2)) {
    if (a->at[0] != o.d || a->n != o.n)
      fail("%s (%s:%d): its accumulator overlaps that of %s (%s:%d), which is in flight, in another shape", site.what,
           site.file, site.line, a->site.what, a->site.file, a->site.line);
    return a;
  }
  auto a = std::make_unique<Accumulator>();
  a->n = o.n, a->uses = 0, a->site = site;
  a->values.resize(32 * size_t(o.n / 2));
  for (int lane = 0; lane < 32; lane++) {
    float* d = static_cast<WgmmaOperand*>(operand[lane])->d;
    need_fenced(h, t.number / 32 * 32 + lane, d, o.n * 2, "accumulators", site);
    a->at[lane] = d;
    memcpy(a->values.data() + size_t(lane) * size_t(o.n / 2), d, size_t(o.n) * 2);
    for (int i = 0; i < o.n / 2; i++) memcpy(d + i, &kInFlight, 4);
  }
  mine.accumulators.push_back(std::move(a));
  return mine.accumulators.back().get();
}

// Back to the registers, at the wait
inline void close_accumulator(HopperState& h, int warp, Accumulator& a) {
  for (int lane = 0; lane < 32; lane++) {
    for (int i = 0; i < a.n / 2; i++)
      if (memcmp(a.at[lane] + i, &kInFlight, 4))
        fail("an accumulator of %s (%s:%d) was written before wgmma.wait_group", a.site.what, a.site.file, a.site.line);
    memcpy(a.at[lane], a.values.data() + size_t(lane) * size_t(a.n / 2), size_t(a.n) * 2);
    if (Fenced* f = fenced_at(h, warp * 32 + lane, a.at[lane], a.n * 2))  // the tensor cores' own write needs no fence
      memcpy(f->contents.data() + (reinterpret_cast<char*>(a.at[lane]) - static_cast<const char*>(f->at)), a.at[lane],
             size_t(a.n) * 2);
  }
}

// ---- the instructions -----------------------------------------------------------------------------------------------

inline void wgmma_work(void* const* operand, uint32_t) {
  Fiber& t = fiber();
  const WgmmaOperand& o = *static_cast<WgmmaOperand*>(operand[0]);
  Site site{"wgmma.mma_async", o.file, o.line};
  if (o.n % 8 || o.n < 8 || o.n > 256) fail("wgmma.mma_async (%s:%d): N is %d", o.file, o.line, o.n);
  for (int lane = 1; lane < 32; lane++) {
    const WgmmaOperand& other = *static_cast<WgmmaOperand*>(operand[lane]);
    if (other.descriptor_a != o.descriptor_a || other.descriptor_b != o.descriptor_b)
      fail("wgmma.mma_async (%s:%d): the descriptors differ between the lanes of a warp", o.file, o.line);
  }
  same_in_warpgroup(t, {site, o.descriptor_a, o.descriptor_b});
  HopperState& h = hopper(*t.worker);
  int warp = t.number / 32;
  WarpProducts& mine = h.warp[warp];
  mine.in_flight.emplace_back();
  Product& p = mine.in_flight.back();
  p.site = site, p.group = mine.group;
  for (int lane = 0; o.a && lane < 32; lane++) {
    p.a_at[lane] = static_cast<WgmmaOperand*>(operand[lane])->a;
    need_fenced(h, warp * 32 + lane, p.a_at[lane], 16, "registers of A", site);
    memcpy(p.a[lane], p.a_at[lane], 16);
  }
  if (!o.a) p.a_at[0] = nullptr;
  p.d = open_accumulator(t, operand, o, site);
  p.d->uses++;
  if (o.bfloat16)
    multiply<BfloatFormat>(*t.worker, warp, p, o);
  else
    multiply<HalfFormat>(*t.worker, warp, p, o);
}

// With the number of its columns, for reports: "wgmma.mma_async n128"
inline const char* product_name(int n) {
  static const auto names = [] {
    std::array<std::string, 33> all;
    for (int i = 1; i < 33; i++) all[size_t(i)] = "wgmma.mma_async n" + std::to_string(8 * i);
    return all;
  }();
  return n % 8 || n < 8 || n > 256 ? "wgmma.mma_async" : names[size_t(n / 8)].c_str();
}

void wgmma(WgmmaOperand& operand) {
  need_warpgroup(fiber(), "wgmma.mma_async", operand.file, operand.line);
  collective(0xffffffffu, wgmma_work, &operand, product_name(operand.n), operand.file, operand.line);
}

struct WgmmaOrder {  // a lane's operand of the instructions around products
  int pending;
  Site site;
};

inline void fence_work(void* const* operand, uint32_t) {
  same_in_warpgroup(fiber(), {static_cast<WgmmaOrder*>(operand[0])->site, 0, 0});
}

void wgmma_fence(const Registers* registers, int count, const char* file, int line) {
  Fiber& t = fiber();
  need_warpgroup(t, "wgmma.fence", file, line);
  HopperState& h = hopper(*t.worker);
  std::vector<Fenced>& fenced = h.fenced[t.number];
  fenced.resize(size_t(count));
  for (int i = 0; i < count; i++) {
    const char* at = static_cast<const char*>(registers[i].at);
    fenced[size_t(i)].at = at;
    fenced[size_t(i)].contents.assign(at, at + registers[i].bytes);
  }
  WgmmaOrder order{0, {"wgmma.fence", file, line}};
  collective(0xffffffffu, fence_work, &order, "wgmma.fence", file, line);
}

inline void commit_work(void* const* operand, uint32_t) {
  Fiber& t = fiber();
  same_in_warpgroup(t, {static_cast<WgmmaOrder*>(operand[0])->site, 0, 0});
  hopper(*t.worker).warp[t.number / 32].group++;
}

void wgmma_commit(const char* file, int line) {
  need_warpgroup(fiber(), "wgmma.commit_group", file, line);
  WgmmaOrder order{0, {"wgmma.commit_group", file, line}};
  collective(0xffffffffu, commit_work, &order, "wgmma.commit_group", file, line);
}

inline void check_unchanged(const Product& p) {
  const Site& s = p.site;
  for (size_t i = 0; i < p.read.size(); i++)
    if (memcmp(p.read[i], p.contents.data() + i * 16, 16))
      fail("shared memory that %s (%s:%d) reads was overwritten before wgmma.wait_group", s.what, s.file, s.line);
  for (int lane = 0; p.a_at[0] && lane < 32; lane++)
    if (memcmp(p.a_at[lane], p.a[lane], 16))
      fail("registers of A that %s (%s:%d) reads were written before wgmma.wait_group", s.what, s.file, s.line);
}

inline void wait_work(void* const* operand, uint32_t) {
  Fiber& t = fiber();
  const WgmmaOrder& order = *static_cast<WgmmaOrder*>(operand[0]);
  same_in_warpgroup(t, {order.site, uint64_t(order.pending), 0});
  HopperState& h = hopper(*t.worker);
  int warp = t.number / 32;
  WarpProducts& mine = h.warp[warp];
  while (!mine.in_flight.empty() && mine.in_flight.front().group < mine.group - order.pending) {
    Product& p = mine.in_flight.front();
    check_unchanged(p);
    if (--p.d->uses == 0) {
      close_accumulator(h, warp, *p.d);
      auto& all = mine.accumulators;
      all.erase(std::find_if(all.begin(), all.end(), [&](const auto& a) { return a.get() == p.d; }));
    }
    mine.in_flight.pop_front();
  }
}

void wgmma_wait(int pending, const Registers* results, int count, const char* file, int line) {
  Fiber& t = fiber();
  need_warpgroup(t, "wgmma.wait_group", file, line);
  WgmmaOrder order{pending, {"wgmma.wait_group", file, line}};
  collective(0xffffffffu, wait_work, &order, "wgmma.wait_group", file, line);
  WarpProducts& mine = hopper(*t.worker).warp[t.number / 32];
  for (int i = 0; i < count; i++)
    if (const Accumulator* a = in_flight(mine, t.lane, results[i].at, results[i].bytes))
      fail("wgmma.wait_group %d (%s:%d) names an accumulator of %s (%s:%d), which is still in flight", pending, file,
           line, a->site.what, a->site.file, a->site.line);
}

}  // namespace emu
