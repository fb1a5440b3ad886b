// __half and __nv_bfloat16: 16 bits of storage, arithmetic in float32, one rounding (to nearest even) per operation, as
// on the device. One template serves both; Format converts between bits and floats.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "vector.h"

namespace emu {

inline float float_of_bits(uint32_t bits) {
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
inline uint32_t bits_of_float(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  return bits;
}

#if defined(__aarch64__)
using Float16 = __fp16;  // there g++ has _Float16 only since version 13
#else
using Float16 = _Float16;
#endif

struct HalfFormat {
  static float decode(uint16_t bits) {
    Float16 h;
    memcpy(&h, &bits, 2);
    return float(h);
  }
  static uint16_t encode(float f) {
    Float16 h = static_cast<Float16>(f);
    uint16_t bits;
    memcpy(&bits, &h, 2);
    return bits;
  }
};

struct BfloatFormat {
  static float decode(uint16_t bits) { return float_of_bits(uint32_t(bits) << 16); }
  static uint16_t encode(float f) {
    uint32_t bits = bits_of_float(f);
    if (f != f) return 0x7fff;
    return uint16_t((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
};

template <typename Format>
struct alignas(2) Narrow {
  uint16_t bits;
  Narrow() = default;
  Narrow(float f) : bits(Format::encode(f)) {}
  Narrow(double f) : Narrow(float(f)) {}
  Narrow(int i) : Narrow(float(i)) {}
  Narrow(unsigned i) : Narrow(float(i)) {}
  operator float() const { return Format::decode(bits); }
  static Narrow raw(uint16_t bits) {
    Narrow n;
    n.bits = bits;
    return n;
  }
  Narrow& operator+=(Narrow o) { return *this = Narrow(float(*this) + float(o)); }
  Narrow& operator-=(Narrow o) { return *this = Narrow(float(*this) - float(o)); }
  Narrow& operator*=(Narrow o) { return *this = Narrow(float(*this) * float(o)); }
  Narrow& operator/=(Narrow o) { return *this = Narrow(float(*this) / float(o)); }
};

template <typename Format>
struct alignas(4) NarrowPair {
  Narrow<Format> x, y;
  NarrowPair() = default;
  NarrowPair(Narrow<Format> x, Narrow<Format> y) : x(x), y(y) {}
};

#define MINAST_OPERATOR(op)                                                         \
  template <typename F>                                                             \
  inline Narrow<F> operator op(Narrow<F> a, Narrow<F> b) {                          \
    return Narrow<F>(float(a) op float(b));                                         \
  }                                                                                 \
  template <typename F>                                                             \
  inline NarrowPair<F> operator op(NarrowPair<F> a, NarrowPair<F> b) {              \
    return {a.x op b.x, a.y op b.y};                                                \
  }
MINAST_OPERATOR(+)
MINAST_OPERATOR(-)
MINAST_OPERATOR(*)
MINAST_OPERATOR(/)
#undef MINAST_OPERATOR

#define MINAST_COMPARISON(op)                                                       \
  template <typename F>                                                             \
  inline bool operator op(Narrow<F> a, Narrow<F> b) {                               \
    return float(a) op float(b);                                                    \
  }
MINAST_COMPARISON(<)
MINAST_COMPARISON(>)
MINAST_COMPARISON(<=)
MINAST_COMPARISON(>=)
MINAST_COMPARISON(==)
MINAST_COMPARISON(!=)
#undef MINAST_COMPARISON

template <typename F>
inline Narrow<F> operator-(Narrow<F> a) { return Narrow<F>::raw(uint16_t(a.bits ^ 0x8000)); }

}  // namespace emu

using __half = emu::Narrow<emu::HalfFormat>;
using __half2 = emu::NarrowPair<emu::HalfFormat>;
using __nv_bfloat16 = emu::Narrow<emu::BfloatFormat>;
using __nv_bfloat162 = emu::NarrowPair<emu::BfloatFormat>;
using half = __half;
using half2 = __half2;
using nv_bfloat16 = __nv_bfloat16;
using nv_bfloat162 = __nv_bfloat162;

inline __half __float2half(float f) { return f; }
inline __half __float2half_rn(float f) { return f; }
inline __half2 __float2half2_rn(float f) { return {f, f}; }
inline __half2 __floats2half2_rn(float x, float y) { return {x, y}; }
inline __half2 __float22half2_rn(float2 f) { return {f.x, f.y}; }
inline float __half2float(__half h) { return h; }
inline float2 __half22float2(__half2 h) { return {float(h.x), float(h.y)}; }
inline unsigned short __half_as_ushort(__half h) { return h.bits; }
inline __half __ushort_as_half(unsigned short bits) { return __half::raw(bits); }
inline __half2 __half2half2(__half h) { return {h, h}; }
inline __half2 __halves2half2(__half x, __half y) { return {x, y}; }
inline __half2 make_half2(__half x, __half y) { return {x, y}; }

inline __nv_bfloat16 __float2bfloat16(float f) { return f; }
inline __nv_bfloat16 __float2bfloat16_rn(float f) { return f; }
inline __nv_bfloat162 __float2bfloat162_rn(float f) { return {f, f}; }
inline __nv_bfloat162 __floats2bfloat162_rn(float x, float y) { return {x, y}; }
inline __nv_bfloat162 __float22bfloat162_rn(float2 f) { return {f.x, f.y}; }
inline float __bfloat162float(__nv_bfloat16 h) { return h; }
inline float2 __bfloat1622float2(__nv_bfloat162 h) { return {float(h.x), float(h.y)}; }
inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 h) { return h.bits; }
inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short bits) { return __nv_bfloat16::raw(bits); }
inline __nv_bfloat162 __bfloat162bfloat162(__nv_bfloat16 h) { return {h, h}; }
inline __nv_bfloat162 __halves2bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }
inline __nv_bfloat162 make_bfloat162(__nv_bfloat16 x, __nv_bfloat16 y) { return {x, y}; }

// Functions of both types, for one value and for a pair.
#define MINAST_BINARY(name, expression)                                                                        \
  template <typename F>                                                                                        \
  inline emu::Narrow<F> __h##name(emu::Narrow<F> p, emu::Narrow<F> q) {                                        \
    float a = p, b = q;                                                                                        \
    return emu::Narrow<F>(expression);                                                                         \
  }                                                                                                            \
  template <typename F>                                                                                        \
  inline emu::NarrowPair<F> __h##name##2(emu::NarrowPair<F> p, emu::NarrowPair<F> q) {                         \
    return {__h##name(p.x, q.x), __h##name(p.y, q.y)};                                                         \
  }
MINAST_BINARY(add, a + b)
MINAST_BINARY(sub, a - b)
MINAST_BINARY(mul, a * b)
MINAST_BINARY(max, fmaxf(a, b))
MINAST_BINARY(min, fminf(a, b))
#undef MINAST_BINARY

template <typename F>
inline emu::Narrow<F> __hdiv(emu::Narrow<F> a, emu::Narrow<F> b) { return a / b; }
template <typename F>
inline emu::NarrowPair<F> __h2div(emu::NarrowPair<F> a, emu::NarrowPair<F> b) { return a / b; }
template <typename F>
inline emu::Narrow<F> __hfma(emu::Narrow<F> a, emu::Narrow<F> b, emu::Narrow<F> c) {
  return emu::Narrow<F>(fmaf(a, b, c));
}
template <typename F>
inline emu::NarrowPair<F> __hfma2(emu::NarrowPair<F> a, emu::NarrowPair<F> b, emu::NarrowPair<F> c) {
  return {__hfma(a.x, b.x, c.x), __hfma(a.y, b.y, c.y)};
}
template <typename F>
inline emu::Narrow<F> __hneg(emu::Narrow<F> a) { return -a; }
template <typename F>
inline emu::NarrowPair<F> __hneg2(emu::NarrowPair<F> a) { return {-a.x, -a.y}; }
template <typename F>
inline emu::Narrow<F> __habs(emu::Narrow<F> a) { return emu::Narrow<F>::raw(a.bits & 0x7fff); }
template <typename F>
inline bool __hisnan(emu::Narrow<F> a) { return float(a) != float(a); }
template <typename F>
inline emu::Narrow<F> hexp(emu::Narrow<F> a) { return emu::Narrow<F>(expf(a)); }
template <typename F>
inline emu::Narrow<F> hsqrt(emu::Narrow<F> a) { return emu::Narrow<F>(sqrtf(a)); }
template <typename F>
inline float __low2float(emu::NarrowPair<F> p) { return p.x; }
template <typename F>
inline float __high2float(emu::NarrowPair<F> p) { return p.y; }
inline __half __low2half(__half2 p) { return p.x; }
inline __half __high2half(__half2 p) { return p.y; }
inline __nv_bfloat16 __low2bfloat16(__nv_bfloat162 p) { return p.x; }
inline __nv_bfloat16 __high2bfloat16(__nv_bfloat162 p) { return p.y; }
