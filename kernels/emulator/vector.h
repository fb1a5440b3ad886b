// float2, uint4, dim3 and the like, with their make_ functions and the same alignment as in nvcc.
#pragma once

#define MINAST_VECTORS(type, name, align2, align4)                                                  \
  struct name##1 { type x; };                                                                       \
  struct alignas(align2) name##2 { type x, y; };                                                    \
  struct name##3 { type x, y, z; };                                                                 \
  struct alignas(align4) name##4 { type x, y, z, w; };                                              \
  static inline name##1 make_##name##1(type x) { return {x}; }                                      \
  static inline name##2 make_##name##2(type x, type y) { return {x, y}; }                           \
  static inline name##3 make_##name##3(type x, type y, type z) { return {x, y, z}; }                \
  static inline name##4 make_##name##4(type x, type y, type z, type w) { return {x, y, z, w}; }

MINAST_VECTORS(float, float, 8, 16)
MINAST_VECTORS(double, double, 16, 16)
MINAST_VECTORS(int, int, 8, 16)
MINAST_VECTORS(unsigned int, uint, 8, 16)
MINAST_VECTORS(short, short, 4, 8)
MINAST_VECTORS(unsigned short, ushort, 4, 8)
MINAST_VECTORS(signed char, char, 2, 4)
MINAST_VECTORS(unsigned char, uchar, 2, 4)
MINAST_VECTORS(long long, longlong, 16, 16)
MINAST_VECTORS(unsigned long long, ulonglong, 16, 16)
#undef MINAST_VECTORS

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned a = 1, unsigned b = 1, unsigned c = 1) : x(a), y(b), z(c) {}
  operator uint3() const { return {x, y, z}; }
};
