// Device functions that the C library does not have, and the fast ones (__expf, __fdividef ...), accurate here.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "vector.h"

// Macros, because glibc 2.41 declares functions of these names.
#define rsqrtf(x) emu_rsqrtf(x)
#define rsqrt(x) emu_rsqrt(x)
#define exp10f(x) exp2f((x) * 3.321928094887362f)
inline float emu_rsqrtf(float x) { return 1.0f / sqrtf(x); }
inline double emu_rsqrt(double x) { return 1.0 / sqrt(x); }
inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
inline float normcdff(float x) { return 0.5f * erfcf(-x * 0.70710678118654752f); }
inline float erfinvf(float y) {  // Newton's method on erf, in double
  double x = 0;
  for (int i = 0; i < 60; i++) x -= (erf(x) - double(y)) * exp(x * x) * 0.88622692545275801;
  return float(x);
}

inline float __expf(float x) { return expf(x); }
inline float __exp10f(float x) { return exp10f(x); }
inline float __logf(float x) { return logf(x); }
inline float __log2f(float x) { return log2f(x); }
inline float __log10f(float x) { return log10f(x); }
inline float __powf(float x, float y) { return powf(x, y); }
inline float __sinf(float x) { return sinf(x); }
inline float __cosf(float x) { return cosf(x); }
inline float __tanf(float x) { return tanf(x); }
inline void __sincosf(float x, float* s, float* c) { *s = sinf(x), *c = cosf(x); }
inline float __fdividef(float x, float y) { return x / y; }
inline float fdividef(float x, float y) { return x / y; }
inline float __saturatef(float x) { return x > 0.0f ? (x < 1.0f ? x : 1.0f) : 0.0f; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __fsqrt_rn(float x) { return sqrtf(x); }
inline float __frsqrt_rn(float x) { return rsqrtf(x); }
inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
// These three are never fused into a multiply-add: volatile keeps the compiler from contracting them.
inline float __fadd_rn(float x, float y) { volatile float r = x + y; return r; }
inline float __fsub_rn(float x, float y) { volatile float r = x - y; return r; }
inline float __fmul_rn(float x, float y) { volatile float r = x * y; return r; }
inline float __fdiv_rn(float x, float y) { return x / y; }

template <typename To, typename From>
inline To emu_bit_cast(From from) {
  static_assert(sizeof(To) == sizeof(From), "");
  To to;
  memcpy(&to, &from, sizeof to);
  return to;
}
inline int __float_as_int(float x) { return emu_bit_cast<int>(x); }
inline unsigned __float_as_uint(float x) { return emu_bit_cast<unsigned>(x); }
inline float __int_as_float(int x) { return emu_bit_cast<float>(x); }
inline float __uint_as_float(unsigned x) { return emu_bit_cast<float>(x); }
inline long long __double_as_longlong(double x) { return emu_bit_cast<long long>(x); }
inline double __longlong_as_double(long long x) { return emu_bit_cast<double>(x); }

// Conversions saturate and turn NaN into 0, as the device's do.
inline int emu_to_int(float x) {
  return x != x ? 0 : x >= 2147483648.0f ? 2147483647 : x < -2147483648.0f ? -2147483647 - 1 : int(x);
}
inline int __float2int_rn(float x) { return emu_to_int(nearbyintf(x)); }
inline int __float2int_rz(float x) { return emu_to_int(truncf(x)); }
inline int __float2int_ru(float x) { return emu_to_int(ceilf(x)); }
inline int __float2int_rd(float x) { return emu_to_int(floorf(x)); }
inline float __int2float_rn(int x) { return float(x); }
inline float __uint2float_rn(unsigned x) { return float(x); }

inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __clzll(long long x) { return x ? __builtin_clzll((unsigned long long)x) : 64; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __ffsll(long long x) { return __builtin_ffsll(x); }
inline unsigned __brev(unsigned x) {
  unsigned r = 0;
  for (int i = 0; i < 32; i++) r |= (x >> i & 1u) << (31 - i);
  return r;
}
inline int __mulhi(int x, int y) { return int(int64_t(x) * y >> 32); }
inline unsigned __umulhi(unsigned x, unsigned y) { return unsigned(uint64_t(x) * y >> 32); }
inline unsigned long long __umul64hi(unsigned long long x, unsigned long long y) {
  return (unsigned long long)((unsigned __int128)x * y >> 64);
}
inline unsigned __funnelshift_l(unsigned low, unsigned high, unsigned n) {
  return unsigned(((uint64_t(high) << 32 | low) << (n & 31)) >> 32);
}
inline unsigned __funnelshift_r(unsigned low, unsigned high, unsigned n) {
  return unsigned((uint64_t(high) << 32 | low) >> (n & 31));
}
inline unsigned __byte_perm(unsigned x, unsigned y, unsigned s) {
  uint64_t bytes = uint64_t(y) << 32 | x;
  unsigned r = 0;
  for (int i = 0; i < 4; i++) {
    unsigned selector = s >> (4 * i), byte = unsigned(bytes >> (8 * (selector & 7))) & 0xff;
    if (selector & 8) byte = byte & 0x80 ? 0xff : 0;
    r |= byte << (8 * i);
  }
  return r;
}

// min and max as CUDA overloads them: mixed signedness compares as unsigned, floats skip NaN.
#define MINAST_MIN_MAX(a, b, r)                                              \
  inline r min(a x, b y) { return (r)x < (r)y ? (r)x : (r)y; }             \
  inline r max(a x, b y) { return (r)x < (r)y ? (r)y : (r)x; }
MINAST_MIN_MAX(int, int, int)
MINAST_MIN_MAX(unsigned, unsigned, unsigned)
MINAST_MIN_MAX(int, unsigned, unsigned)
MINAST_MIN_MAX(unsigned, int, unsigned)
MINAST_MIN_MAX(long, long, long)
MINAST_MIN_MAX(unsigned long, unsigned long, unsigned long)
MINAST_MIN_MAX(long long, long long, long long)
MINAST_MIN_MAX(unsigned long long, unsigned long long, unsigned long long)
#undef MINAST_MIN_MAX
inline float min(float x, float y) { return fminf(x, y); }
inline float max(float x, float y) { return fmaxf(x, y); }
inline double min(double x, double y) { return fmin(x, y); }
inline double max(double x, double y) { return fmax(x, y); }
inline double min(float x, double y) { return fmin(x, y); }
inline double max(float x, double y) { return fmax(x, y); }
inline double min(double x, float y) { return fmin(x, y); }
inline double max(double x, float y) { return fmax(x, y); }

// Cache hints have no effect here.
#define MINAST_LOAD(name) template <typename T> inline T name(const T* p) { return *p; }
MINAST_LOAD(__ldg)
MINAST_LOAD(__ldca)
MINAST_LOAD(__ldcg)
MINAST_LOAD(__ldcs)
MINAST_LOAD(__ldcv)
MINAST_LOAD(__ldlu)
#undef MINAST_LOAD
#define MINAST_STORE(name) template <typename T> inline void name(T* p, T value) { *p = value; }
MINAST_STORE(__stwb)
MINAST_STORE(__stcg)
MINAST_STORE(__stcs)
MINAST_STORE(__stwt)
#undef MINAST_STORE

inline long long clock64() {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1000000000ll + now.tv_nsec;
}
inline unsigned long long globaltimer() { return (unsigned long long)clock64(); }
inline void __nanosleep(unsigned) {}
inline void __threadfence() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_block() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
inline void __threadfence_system() { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
