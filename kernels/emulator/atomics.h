// Atomics are real atomics, since blocks run on several OS threads. Each returns the old value.
#pragma once
#include "api.h"
#include "half.h"

namespace emu {

// A compare-and-swap loop. U is the integer type of T's size.
template <typename U, typename T, typename F>
MINAST_UNSEEN inline T atomic_update(T* p, F change) {
#ifdef MINAST_COUNT
  count_access(p, sizeof(T), kAtomic, __builtin_return_address(0));
#endif
  U seen = __atomic_load_n(reinterpret_cast<U*>(p), __ATOMIC_SEQ_CST);
  for (;;) {
    T old;
    memcpy(&old, &seen, sizeof old);
    T wanted = change(old);
    U bits;
    memcpy(&bits, &wanted, sizeof bits);
    if (__atomic_compare_exchange_n(reinterpret_cast<U*>(p), &seen, bits, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
      return old;
  }
}

}  // namespace emu

#define MINAST_ATOMIC(T, U, name, ...)                                                       \
  inline T name(T* p, T value) {                                                             \
    return emu::atomic_update<U>(p, [&](T old) -> T { return (void)old, static_cast<T>(__VA_ARGS__); });  \
  }
#define MINAST_ATOMICS(T, U)                                                                 \
  MINAST_ATOMIC(T, U, atomicAdd, old + value)                                                \
  MINAST_ATOMIC(T, U, atomicSub, old - value)                                                \
  MINAST_ATOMIC(T, U, atomicMin, old < value ? old : value)                                  \
  MINAST_ATOMIC(T, U, atomicMax, old < value ? value : old)                                  \
  MINAST_ATOMIC(T, U, atomicAnd, old & value)                                                \
  MINAST_ATOMIC(T, U, atomicOr, old | value)                                                \
  MINAST_ATOMIC(T, U, atomicXor, old ^ value)                                                \
  MINAST_ATOMIC(T, U, atomicExch, value)                                                     \
  inline T atomicCAS(T* p, T expected, T value) {                                            \
    return emu::atomic_update<U>(p, [&](T old) -> T { return old == expected ? value : old; }); \
  }
MINAST_ATOMICS(int, uint32_t)
MINAST_ATOMICS(unsigned, uint32_t)
MINAST_ATOMICS(unsigned long long, uint64_t)
MINAST_ATOMIC(unsigned, uint32_t, atomicInc, old >= value ? 0u : old + 1u)
MINAST_ATOMIC(unsigned, uint32_t, atomicDec, old == 0 || old > value ? value : old - 1u)
MINAST_ATOMIC(float, uint32_t, atomicAdd, old + value)
MINAST_ATOMIC(float, uint32_t, atomicExch, value)
MINAST_ATOMIC(double, uint64_t, atomicAdd, old + value)
MINAST_ATOMIC(__half, uint16_t, atomicAdd, old + value)
MINAST_ATOMIC(__nv_bfloat16, uint16_t, atomicAdd, old + value)
MINAST_ATOMIC(__half2, uint32_t, atomicAdd, old + value)
MINAST_ATOMIC(__nv_bfloat162, uint32_t, atomicAdd, old + value)
#undef MINAST_ATOMICS
#undef MINAST_ATOMIC
