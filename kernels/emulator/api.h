// The part of the emulator that kernels see: the running thread, and the functions of runtime.cpp. Kept small, because
// it is compiled with every kernel, whereas the runtime is compiled once.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "vector.h"

#pragma GCC visibility push(default)
namespace emu {

struct Thread {  // the part of a fiber that kernels read
  uint3 index;
  int number, lane;
  const uint3* block_index;
  const uint32_t* lanes_alive;  // of its warp: lanes that have not returned
};

// All stacks are in one arena, so that a subtraction and a shift give the fiber of a stack pointer.
constexpr int kStackShift = 17;
constexpr size_t kStackBytes = size_t(1) << kStackShift;

struct Running {
  char* arena;
  dim3 block_dim, grid_dim;
  Thread* on_stack[64 * 1024];
};
extern Running running;

[[noreturn]] void fail(const char* format, ...) __attribute__((format(printf, 1, 2)));
int device_printf(const char* format, ...) __attribute__((format(printf, 1, 2)));

// result: 0 the number of true predicates, 1 whether all are true, 2 whether any is
int barrier(const char* what, int predicate, int result, const char* file, int line);

// Each lane stores a pointer to its operand; the last lane of `mask` to arrive does `work` for all of them. Lanes are
// matched by the same work and the same mask.
using WarpWork = void (*)(void* const* operand, uint32_t lanes);
void collective(uint32_t mask, WarpWork work, void* operand, const char* what, const char* file, int line);

void* static_shared_bytes(const void* key, const char* name, size_t bytes, size_t align);
void* dynamic_shared_bytes();

void cp_async(void* to, const void* from, int bytes, bool valid);
void cp_async_commit();
void cp_async_wait(int pending);

// What a kernel compiled for a report calls (count.h); in trace.h.
enum Access : uint8_t { kLoad, kStore, kAtomic, kMatrix, kCopy };
void count_block(void* pc);
void count_call(void* caller);
void count_return();
void count_access(const void* p, int bytes, Access kind, void* pc);

}  // namespace emu
#pragma GCC visibility pop

#ifndef MINAST_COUNT
#define MINAST_UNSEEN
#endif

namespace emu {

inline uintptr_t stack_pointer() {
  uintptr_t sp;
#if defined(__x86_64__)
  asm("movq %%rsp, %0" : "=r"(sp));
#else
  asm("mov %0, sp" : "=r"(sp));
#endif
  return sp;
}

inline Thread& current() {
  return *running.on_stack[(stack_pointer() - reinterpret_cast<uintptr_t>(running.arena)) >> kStackShift];
}

// What `__shared__ T name[..]` becomes: the running block's own array. `key` is the address of a static variable of the
// function, so that two instantiations of a template have two arrays.
template <typename T>
inline T& static_shared(const void* key, const char* name, size_t align) {
  return *static_cast<T*>(static_shared_bytes(key, name, sizeof(T), align > alignof(T) ? align : alignof(T)));
}

// What `extern __shared__ T name[]` becomes.
template <typename T>
inline T* dynamic_shared() {
  return static_cast<T*>(dynamic_shared_bytes());
}

// `MINAST_KERNEL(3, (softmax_forward<float>))` exports one kernel: a function that takes its arguments as
// cuLaunchKernel does, as an array of pointers, and the sizes of its parameters, terminated by a zero.
template <typename T>
struct Plain { using type = T; };
template <typename T>
struct Plain<const T> { using type = T; };
template <int... i>
struct Numbers {};
template <int n, int... i>
struct NumbersTo : NumbersTo<n - 1, n - 1, i...> {};
template <int... i>
struct NumbersTo<0, i...> { using type = Numbers<i...>; };

template <typename F, F kernel>
struct Entry;
template <typename... A, void (*kernel)(A...)>
struct Entry<void (*)(A...), kernel> {
  template <int... i>
  static void call(void** arguments, Numbers<i...>) {
    kernel(*static_cast<typename Plain<A>::type*>(arguments[i])...);
  }
  static void run(void** arguments) { call(arguments, typename NumbersTo<sizeof...(A)>::type()); }
  static constexpr int sizes[sizeof...(A) + 1] = {int(sizeof(A))..., 0};
};

}  // namespace emu

#define MINAST_UNWRAP(...) __VA_ARGS__
#define MINAST_KERNEL(number, name)                                                                         \
  extern "C" __attribute__((visibility("default"))) void minast_entry_##number(void** arguments) {          \
    emu::Entry<decltype(&MINAST_UNWRAP name), &MINAST_UNWRAP name>::run(arguments);                         \
  }                                                                                                         \
  extern "C" __attribute__((visibility("default"))) const int* minast_sizes_##number() {                    \
    return emu::Entry<decltype(&MINAST_UNWRAP name), &MINAST_UNWRAP name>::sizes;                           \
  }
