// Inline PTX of compute capability 9.0a (Hopper) around warpgroup products: mbarriers, bulk copies, barriers of a part
// of the block. The products are in wgmma.cuh. As in ptx.cuh each helper has two bodies, the instruction and its
// counterpart in emulator/hopper.h.
//
// A warpgroup is four warps, the first a multiple of four. What wgmma reads, and what bulk copies access, goes through
// the "async proxy": see fence_proxy_async.
// Source: PTX ISA 9.0, sections mbarrier, cp.async.bulk, setmaxnreg, elect.sync, membar/fence.
#pragma once
#include "ptx.cuh"

#ifdef MINAST_EMULATOR
#define MINAST_AT , MINAST_HERE  // the caller's line, for messages
#define MINAST_AT_ONLY MINAST_HERE
#else
#define MINAST_AT
#define MINAST_AT_ONLY
#endif

// The instructions exist on 9.0a alone, which is compute capability 9.0 asked for by this name; 8.0 and 10.0 lack them.
#if defined(MINAST_EMULATOR) || defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define MINAST_HOPPER 1
#endif

#ifdef MINAST_HOPPER
// ---- proxies --------------------------------------------------------------------------------------------------------
// What threads write to shared memory, by cp.async too, is not yet what wgmma reads: each thread fences after its
// writes; then comes the barrier that tells the readers.
__device__ __forceinline__ void fence_proxy_async() {
#ifdef MINAST_EMULATOR
  emu::fence_proxy_async();
#else
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// ---- mbarrier: a counter in shared memory that threads arrive at and others wait for --------------------------------
// A phase is complete when `count` threads have arrived, and all bytes that were announced; then the next one begins. A
// waiting thread names the phase by its parity: 0 for the first, then 1, 0, 1 and so on. So a wait for parity 1 at a
// new barrier returns at once. What a thread wrote before it arrived is visible after the wait.
using Barrier = unsigned long long;

#ifdef MINAST_EMULATOR
__device__ __forceinline__ uint64_t* bits(Barrier* b) { return reinterpret_cast<uint64_t*>(b); }
__device__ __forceinline__ void mbarrier_init(Barrier* b, int count MINAST_AT) {
  emu::mbarrier_init(bits(b), count, file, line);
}
__device__ __forceinline__ void mbarrier_inval(Barrier* b MINAST_AT) { emu::mbarrier_inval(bits(b), file, line); }
__device__ __forceinline__ void mbarrier_arrive(Barrier* b MINAST_AT) { emu::mbarrier_arrive(bits(b), 0, file, line); }
__device__ __forceinline__ void mbarrier_arrive_expect(Barrier* b, int bytes MINAST_AT) {
  emu::mbarrier_arrive(bits(b), bytes, file, line);
}
__device__ __forceinline__ void mbarrier_wait(Barrier* b, int parity MINAST_AT) {
  emu::mbarrier_wait(bits(b), parity, file, line);
}
#else
__device__ __forceinline__ void mbarrier_init(Barrier* b, int count) {
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(count) : "memory");
}
__device__ __forceinline__ void mbarrier_inval(Barrier* b) {
  asm volatile("mbarrier.inval.shared::cta.b64 [%0];" ::"r"(shared_address(b)) : "memory");
}
__device__ __forceinline__ void mbarrier_arrive(Barrier* b) {
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}
// One arrival, and this many bytes more that copies will bring
__device__ __forceinline__ void mbarrier_arrive_expect(Barrier* b, int bytes) {
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(b)), "r"(bytes)
               : "memory");
}
__device__ __forceinline__ void mbarrier_wait(Barrier* b, int parity) {
  const unsigned address = shared_address(b);
  unsigned done = 0;
  while (!done)  // try_wait sleeps for a while before it gives up
    asm volatile("{\n.reg .pred done;\nmbarrier.try_wait.parity.shared::cta.b64 done, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, done;\n}"
                 : "=r"(done) : "r"(address), "r"(parity) : "memory");
}
#endif

// Copies bytes, a multiple of 16, from global to shared memory; one thread asks, and the bytes count on the mbarrier.
// Both addresses are 16-byte aligned. The rows arrive as they are: without a swizzle.
__device__ __forceinline__ void bulk_copy(void* to, const void* from, int bytes, Barrier* b MINAST_AT) {
#ifdef MINAST_EMULATOR
  emu::bulk_copy(to, from, bytes, bits(b), file, line);
#else
  asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(
                   shared_address(to)), "l"(from), "r"(bytes), "r"(shared_address(b)) : "memory");
#endif
}

// ---- parts of a block -----------------------------------------------------------------------------------------------

// __syncthreads of THREADS threads, whole warps; id 1 to 15
template <int THREADS> __device__ __forceinline__ void named_barrier(int id MINAST_AT) {
#ifdef MINAST_EMULATOR
  emu::named_barrier(id, THREADS, true, file, line);
#else
  asm volatile("bar.sync %0, %1;" ::"r"(id), "n"(THREADS) : "memory");
#endif
}

// Arrives at it without waiting
template <int THREADS> __device__ __forceinline__ void named_barrier_arrive(int id MINAST_AT) {
#ifdef MINAST_EMULATOR
  emu::named_barrier(id, THREADS, false, file, line);
#else
  asm volatile("bar.arrive %0, %1;" ::"r"(id), "n"(THREADS) : "memory");
#endif
}

// Registers of each thread of a warpgroup, from now on; what one gives up another can have. A multiple of 8.
template <int COUNT> __device__ __forceinline__ void fewer_registers(MINAST_AT_ONLY) {
#ifdef MINAST_EMULATOR
  emu::set_registers(COUNT, false, file, line);
#else
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(COUNT));
#endif
}
template <int COUNT> __device__ __forceinline__ void more_registers(MINAST_AT_ONLY) {
#ifdef MINAST_EMULATOR
  emu::set_registers(COUNT, true, file, line);
#else
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(COUNT));
#endif
}

// True in one lane of a whole warp, always the same
__device__ __forceinline__ bool elect_one(MINAST_AT_ONLY) {
#ifdef MINAST_EMULATOR
  return emu::elect_one(file, line);
#else
  unsigned chosen;
  asm volatile("{\n.reg .pred chosen;\nelect.sync _|chosen, 0xffffffff;\nselp.u32 %0, 1, 0, chosen;\n}" : "=r"(chosen));
  return chosen;
#endif
}
#endif  // MINAST_HOPPER
