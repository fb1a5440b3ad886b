// All inline PTX. Each helper has two bodies: the instruction, and, for the CPU emulator (MINAST_EMULATOR), a call to
// its counterpart in emulator/tensor.h, which does the same to the same registers.
//
// Compute capability 7.5 has neither m16n8k16, bfloat16 tensor cores nor cp.async. There, half uses two m16n8k8,
// cp.async is a plain load and store, and a bfloat16 or TF32 mma traps: use another version on such a device.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

// ---- ldmatrix: 8x8 tiles of 16-bit elements, shared memory -> registers of a warp -----------------------------------
// Lane i gives the address of one row of 16 bytes (16-byte aligned): lanes 0-7 the rows of tile 0, 8-15 of tile 1, and
// so on; x1 and x2 ignore the addresses of the other lanes. Register j of lane i then contains element
// (i / 4, 2 * (i % 4)) of tile j and the next in its row; with _trans, element (2 * (i % 4), i / 4) and the one below.

#ifdef MINAST_EMULATOR
__device__ __forceinline__ void ldmatrix_x1(unsigned (&r)[1], const void* row) { emu::ldmatrix<1, false>(r, row); }
__device__ __forceinline__ void ldmatrix_x2(unsigned (&r)[2], const void* row) { emu::ldmatrix<2, false>(r, row); }
__device__ __forceinline__ void ldmatrix_x4(unsigned (&r)[4], const void* row) { emu::ldmatrix<4, false>(r, row); }
__device__ __forceinline__ void ldmatrix_x1_trans(unsigned (&r)[1], const void* row) { emu::ldmatrix<1, true>(r, row); }
__device__ __forceinline__ void ldmatrix_x2_trans(unsigned (&r)[2], const void* row) { emu::ldmatrix<2, true>(r, row); }
__device__ __forceinline__ void ldmatrix_x4_trans(unsigned (&r)[4], const void* row) { emu::ldmatrix<4, true>(r, row); }
#else
__device__ __forceinline__ unsigned shared_address(const void* p) {
  return static_cast<unsigned>(__cvta_generic_to_shared(p));
}

__device__ __forceinline__ void ldmatrix_x1(unsigned (&r)[1], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(shared_address(row)) : "memory");
}

__device__ __forceinline__ void ldmatrix_x2(unsigned (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
}

__device__ __forceinline__ void ldmatrix_x4(unsigned (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

__device__ __forceinline__ void ldmatrix_x1_trans(unsigned (&r)[1], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x1.trans.shared.b16 {%0}, [%1];"
               : "=r"(r[0]) : "r"(shared_address(row)) : "memory");
}

__device__ __forceinline__ void ldmatrix_x2_trans(unsigned (&r)[2], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
               : "=r"(r[0]), "=r"(r[1]) : "r"(shared_address(row)) : "memory");
}

__device__ __forceinline__ void ldmatrix_x4_trans(unsigned (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
#endif

// ---- mma: d (16x8, float) += a (16x16) b (16x8), one warp, T = __half or __nv_bfloat16 ------------------------------
// With g = lane / 4 and t = lane % 4, two 16-bit elements per register, the lower column or k in the low half:
//   a[0] (g, 2t)  a[1] (g + 8, 2t)  a[2] (g, 2t + 8)  a[3] (g + 8, 2t + 8): ldmatrix_x4 of the four 8x8 tiles of a
//   b0 (k = 2t, column g)  b1 (k = 2t + 8, column g): ldmatrix of rows of b transposed, or ldmatrix_trans of rows of b
//   d[0], d[1] (g, 2t), (g, 2t + 1)   d[2], d[3] (g + 8, 2t), (g + 8, 2t + 1)

template <typename T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1);

#ifdef MINAST_EMULATOR
template <typename T>
__device__ __forceinline__ void mma_m16n8k16(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
  emu::mma_m16n8k16<T>(d, a, b0, b1);
}
#else
template <>
__device__ __forceinline__ void mma_m16n8k16<__half>(float (&d)[4], const unsigned (&a)[4], unsigned b0, unsigned b1) {
#if __CUDA_ARCH__ >= 800
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
               "{%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(b0));
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[2]), "r"(a[3]), "r"(b1));
#endif
}

template <>
__device__ __forceinline__ void mma_m16n8k16<__nv_bfloat16>(float (&d)[4], const unsigned (&a)[4], unsigned b0,
                                                            unsigned b1) {
#if __CUDA_ARCH__ >= 800
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
               "{%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
#else
  __trap();
#endif
}
#endif

// ---- TF32: float32 with 10 bits of mantissa, in the upper 19 bits of a register -------------------------------------
// to_tf32 rounds to nearest, ties away from zero. mma d (16x8, float) += a (16x8) b (8x8), one warp:
//   a[0] (g, t)  a[1] (g + 8, t)  a[2] (g, t + 4)  a[3] (g + 8, t + 4)      b0 (k = t, column g)  b1 (k = t + 4, column g)
//   d as for m16n8k16 above
// The 13 low bits of an operand are ignored: a float that has not been rounded is truncated, with twice the error, and
// all errors towards zero.

#ifdef MINAST_EMULATOR
__device__ __forceinline__ float to_tf32(float x) { return emu::to_tf32(x); }
__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const float (&a)[4], float b0, float b1) {
  emu::mma_m16n8k8_tf32(d, a, b0, b1);
}
#else
__device__ __forceinline__ float to_tf32(float x) {
#if __CUDA_ARCH__ >= 800
  unsigned bits;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
  return __uint_as_float(bits);
#else
  __trap();
  return x;
#endif
}

__device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const float (&a)[4], float b0, float b1) {
#if __CUDA_ARCH__ >= 800
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
               "{%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(__float_as_uint(a[0])), "r"(__float_as_uint(a[1])), "r"(__float_as_uint(a[2])),
                 "r"(__float_as_uint(a[3])), "r"(__float_as_uint(b0)), "r"(__float_as_uint(b1)));
#else
  __trap();
#endif
}
#endif

// ---- cp.async: asynchronous copy of 16 bytes from global to shared memory -------------------------------------------
// cp_async16 issues a copy, cp_async_commit closes the group of those issued since the last one, cp_async_wait<N> waits
// until at most the N most recent groups of this thread are pending. It orders one thread's copies: a barrier is still
// needed before other threads read them. Both addresses must be 16-byte aligned. With `valid` false zeros are written
// and `from` is not accessed: the tail of an array needs no branch.

#if defined(MINAST_EMULATOR)
__device__ __forceinline__ void cp_async16(void* to, const void* from) { emu::cp_async(to, from, 16, true); }
__device__ __forceinline__ void cp_async16(void* to, const void* from, bool valid) {
  emu::cp_async(to, from, 16, valid);
}
__device__ __forceinline__ void cp_async8(void* to, const void* from, bool valid) { emu::cp_async(to, from, 8, valid); }
__device__ __forceinline__ void cp_async4(void* to, const void* from, bool valid) { emu::cp_async(to, from, 4, valid); }
__device__ __forceinline__ void cp_async_commit() { emu::cp_async_commit(); }
template <int N>
__device__ __forceinline__ void cp_async_wait() { emu::cp_async_wait(N); }
#elif __CUDA_ARCH__ >= 800
__device__ __forceinline__ void cp_async16(void* to, const void* from) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(shared_address(to)), "l"(from) : "memory");
}
__device__ __forceinline__ void cp_async16(void* to, const void* from, bool valid) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid ? 16 : 0)
               : "memory");
}
__device__ __forceinline__ void cp_async8(void* to, const void* from, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid ? 8 : 0)
               : "memory");
}
__device__ __forceinline__ void cp_async4(void* to, const void* from, bool valid) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(valid ? 4 : 0)
               : "memory");
}
__device__ __forceinline__ void cp_async_commit() { asm volatile("cp.async.commit_group;" ::: "memory"); }
template <int N>
__device__ __forceinline__ void cp_async_wait() { asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory"); }
#else
__device__ __forceinline__ void cp_async16(void* to, const void* from, bool valid) {
  *static_cast<uint4*>(to) = valid ? *static_cast<const uint4*>(from) : make_uint4(0, 0, 0, 0);
}
__device__ __forceinline__ void cp_async16(void* to, const void* from) { cp_async16(to, from, true); }
__device__ __forceinline__ void cp_async8(void* to, const void* from, bool valid) {
  *static_cast<uint2*>(to) = valid ? *static_cast<const uint2*>(from) : make_uint2(0, 0);
}
__device__ __forceinline__ void cp_async4(void* to, const void* from, bool valid) {
  *static_cast<unsigned*>(to) = valid ? *static_cast<const unsigned*>(from) : 0u;
}
__device__ __forceinline__ void cp_async_commit() {}
template <int N>
__device__ __forceinline__ void cp_async_wait() {}
#endif

// ---- exp2 by the special function unit: relative error 2^-22, results below 2^-126 are flushed to zero --------------
__device__ __forceinline__ float exp2_approx(float x) {
#ifdef MINAST_EMULATOR
  return exp2f(x);
#else
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
#endif
}
