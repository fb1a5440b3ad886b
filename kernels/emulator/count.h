// The kernel's side of a report (`emulation(report=True)`): a kernel compiled for it has a call before each access to
// memory, at each basic block, and around each function that is not inlined. The compiler puts them there, as it does
// for a race detector (-fsanitize=thread) and for coverage (-fsanitize-coverage=trace-pc); the functions behind the
// calls are these, hidden in the kernel's own library. trace.h is the runtime's side.
#pragma once
#include "api.h"

#define MINAST_UNSEEN __attribute__((no_sanitize_thread, no_sanitize_coverage))

// The compiler has declarations of its own for these names, not the same in all versions: so C++ calls them otherwise.
#define MINAST_HOOK(own, symbol, ...)                                                             \
  extern "C" __attribute__((visibility("hidden"), used)) void own(__VA_ARGS__) __asm__(symbol);   \
  extern "C" MINAST_UNSEEN void own(__VA_ARGS__)

MINAST_HOOK(minast_init, "__tsan_init") {}
MINAST_HOOK(minast_entry, "__tsan_func_entry", void* caller) { emu::count_call(caller); }
MINAST_HOOK(minast_exit, "__tsan_func_exit") { emu::count_return(); }
MINAST_HOOK(minast_block, "__sanitizer_cov_trace_pc") { emu::count_block(__builtin_return_address(0)); }
MINAST_HOOK(minast_fence, "__tsan_atomic_thread_fence", int) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }

#define MINAST_SEES(bytes, name, access)                                        \
  MINAST_HOOK(minast_##name, "__tsan_" #name, void* p) {                        \
    emu::count_access(p, bytes, access, __builtin_return_address(0));           \
  }
#define MINAST_SEES_BOTH(bytes)                                                 \
  MINAST_SEES(bytes, read##bytes, emu::kLoad)                                   \
  MINAST_SEES(bytes, write##bytes, emu::kStore)                                 \
  MINAST_SEES(bytes, unaligned_read##bytes, emu::kLoad)                         \
  MINAST_SEES(bytes, unaligned_write##bytes, emu::kStore)
MINAST_SEES_BOTH(1)
MINAST_SEES_BOTH(2)
MINAST_SEES_BOTH(4)
MINAST_SEES_BOTH(8)
MINAST_SEES_BOTH(16)
#undef MINAST_SEES_BOTH
#undef MINAST_SEES
MINAST_HOOK(minast_read_range, "__tsan_read_range", void* p, long bytes) {
  emu::count_access(p, int(bytes), emu::kLoad, __builtin_return_address(0));
}
MINAST_HOOK(minast_write_range, "__tsan_write_range", void* p, long bytes) {
  emu::count_access(p, int(bytes), emu::kStore, __builtin_return_address(0));
}
