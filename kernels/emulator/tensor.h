// Emulation of the instructions in ptx.cuh: ldmatrix and mma.sync (cp.async is in async.h).
#pragma once
#include "half.h"
#include "warp.h"

namespace emu {

template <int tiles>
struct LdmatrixOperand {
  const char* row;
  unsigned* out;
};

template <int tiles, bool transposed>
void ldmatrix_work(void* const* operand, uint32_t) {
  auto at = [&](int lane) { return static_cast<LdmatrixOperand<tiles>*>(operand[lane]); };
  for (int tile = 0; tile < tiles; tile++) {
    uint16_t m[8][8];
    for (int row = 0; row < 8; row++) memcpy(m[row], at(tile * 8 + row)->row, 16);
    for (int lane = 0; lane < 32; lane++) {
      int g = lane / 4, t = lane % 4 * 2;
      uint16_t low = transposed ? m[t][g] : m[g][t], high = transposed ? m[t + 1][g] : m[g][t + 1];
      at(lane)->out[tile] = uint32_t(low) | uint32_t(high) << 16;
    }
  }
}

inline void need_whole_warp(const char* what) {
  uint32_t alive = *current().lanes_alive;
  if (alive != 0xffffffffu) fail("%s needs all 32 lanes of the warp, lanes 0x%08x are left", what, alive);
}

// A row is read for the first time here, so that a fault is reported for the lane that gave the address, not for the
// lane that does the work.
inline void read_row(const void* row) {
#ifdef MINAST_COUNT
  count_access(row, 16, kMatrix, nullptr);
#else
  (void)*static_cast<const volatile char*>(row);
#endif
}

template <int tiles, bool transposed>
inline void ldmatrix(unsigned (&out)[tiles], const void* row, MINAST_HERE) {
  need_whole_warp("ldmatrix");
  if (current().lane < tiles * 8 && reinterpret_cast<uintptr_t>(row) % 16)
    fail("ldmatrix: the row that lane %d points to is not 16-byte aligned", current().lane);
  LdmatrixOperand<tiles> operand{static_cast<const char*>(row), out};
  if (current().lane < tiles * 8) read_row(operand.row);
  collective(0xffffffffu, ldmatrix_work<tiles, transposed>, &operand, "ldmatrix", file, line);
}

struct MmaOperand {
  float* d;
  const unsigned* a;
  unsigned b[2];
};

// Products are exact in float32, sums are float32 in the order of k. A tensor core adds in another order and truncates:
// results differ in the last bits.
template <typename T>
void mma_work(void* const* operand, uint32_t) {
  auto at = [&](int lane) { return static_cast<MmaOperand*>(operand[lane]); };
  auto low = [](unsigned r) { return float(T::raw(uint16_t(r))); };
  auto high = [](unsigned r) { return float(T::raw(uint16_t(r >> 16))); };
  float a[16][16], b[16][8], d[16][8];
  for (int lane = 0; lane < 32; lane++) {
    int g = lane / 4, t = lane % 4 * 2;
    MmaOperand* o = at(lane);
    for (int i = 0; i < 4; i++) {
      int row = g + i % 2 * 8, k = t + i / 2 * 8;
      a[row][k] = low(o->a[i]), a[row][k + 1] = high(o->a[i]);
    }
    d[g][t] = o->d[0], d[g][t + 1] = o->d[1], d[g + 8][t] = o->d[2], d[g + 8][t + 1] = o->d[3];
    for (int i = 0; i < 2; i++) b[t + i * 8][g] = low(o->b[i]), b[t + i * 8 + 1][g] = high(o->b[i]);
  }
  for (int row = 0; row < 16; row++)
    for (int k = 0; k < 16; k++)
      for (int column = 0; column < 8; column++) d[row][column] += a[row][k] * b[k][column];
  for (int lane = 0; lane < 32; lane++) {
    int g = lane / 4, t = lane % 4 * 2;
    float* out = at(lane)->d;
    out[0] = d[g][t], out[1] = d[g][t + 1], out[2] = d[g + 8][t], out[3] = d[g + 8][t + 1];
  }
}

template <typename T>
inline void mma_m16n8k16(float* d, const unsigned* a, unsigned b0, unsigned b1, MINAST_HERE) {
  need_whole_warp("mma.sync");
  MmaOperand operand{d, a, {b0, b1}};
  collective(0xffffffffu, mma_work<T>, &operand, "mma.sync", file, line);
}

// -- TF32: the upper 19 bits of a float32 ----------------------------------------------------------------------------

inline float tf32_truncated(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  bits &= 0xffffe000u;
  memcpy(&x, &bits, 4);
  return x;
}

// cvt.rna.tf32.f32: to nearest, ties away from zero; a carry into the exponent is right, up to infinity
inline float to_tf32(float x) {
  uint32_t bits;
  memcpy(&bits, &x, 4);
  if ((bits & 0x7f800000u) == 0x7f800000u) return tf32_truncated(x != x ? __builtin_nanf("") : x);
  bits += 0x1000u;
  memcpy(&x, &bits, 4);
  return tf32_truncated(x);
}

struct Tf32Operand {
  float* d;
  const float* a;
  float b[2];
};

// The product of two TF32 numbers is exact in float32: 22 bits of 24.
inline void mma_tf32_work(void* const* operand, uint32_t) {
  auto at = [&](int lane) { return static_cast<Tf32Operand*>(operand[lane]); };
  float a[16][8], b[8][8];
  for (int lane = 0; lane < 32; lane++) {
    int g = lane / 4, t = lane % 4;
    for (int i = 0; i < 4; i++) a[g + i % 2 * 8][t + i / 2 * 4] = tf32_truncated(at(lane)->a[i]);
    for (int i = 0; i < 2; i++) b[t + i * 4][g] = tf32_truncated(at(lane)->b[i]);
  }
  for (int lane = 0; lane < 32; lane++) {
    int g = lane / 4, t = lane % 4 * 2;
    for (int e = 0; e < 4; e++)
      for (int k = 0; k < 8; k++) at(lane)->d[e] += a[g + e / 2 * 8][k] * b[k][t + e % 2];
  }
}

inline void mma_m16n8k8_tf32(float* d, const float* a, float b0, float b1, MINAST_HERE) {
  need_whole_warp("mma.sync");
  Tf32Operand operand{d, a, {b0, b1}};
  collective(0xffffffffu, mma_tf32_work, &operand, "mma.sync tf32", file, line);
}

}  // namespace emu
