// What the instructions in ../hopper.cuh call: warpgroup products, mbarriers, bulk copies, named barriers. The work is
// done in the runtime: wgmma.h, mbarrier.h, named.h, proxy.h.
#pragma once
#include "half.h"
#include "warp.h"

#pragma GCC visibility push(default)
namespace emu {

struct Registers {  // an array of a thread's registers
  const void* at;
  int bytes;
};

struct WgmmaOperand {  // of one lane
  float* d;
  const unsigned* a;  // four registers, or null: descriptor_a
  uint64_t descriptor_a, descriptor_b;
  int n;
  bool bfloat16, a_m_major, b_n_major, accumulate;
  const char* file;
  int line;
};

void wgmma(WgmmaOperand& operand);
void wgmma_fence(const Registers* registers, int count, const char* file, int line);
void wgmma_commit(const char* file, int line);
void wgmma_wait(int pending, const Registers* results, int count, const char* file, int line);
unsigned shared_address(const void* p, const char* file, int line);

void mbarrier_init(uint64_t* barrier, unsigned count, const char* file, int line);
void mbarrier_inval(uint64_t* barrier, const char* file, int line);
void mbarrier_arrive(uint64_t* barrier, unsigned bytes, const char* file, int line);
void mbarrier_wait(uint64_t* barrier, unsigned parity, const char* file, int line);
void bulk_copy(void* to, const void* from, unsigned bytes, uint64_t* barrier, const char* file, int line);

void fence_proxy_async();
void named_barrier(int id, int threads, bool waits, const char* file, int line);
void set_registers(int count, bool more, const char* file, int line);
bool elect_one(const char* file, int line);

}  // namespace emu
#pragma GCC visibility pop

namespace emu {
template <typename T>
constexpr bool is_bfloat16 = false;
template <>
constexpr bool is_bfloat16<__nv_bfloat16> = true;
}  // namespace emu
