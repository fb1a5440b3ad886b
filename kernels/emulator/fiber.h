// A fiber is a stack and a saved stack pointer. A switch pushes the callee-saved registers, swaps the stack pointer and
// pops the other fiber's registers: without a system call, unlike swapcontext, which sets the signal mask.
#pragma once
#include <cstdint>
#include <cstring>

#include "api.h"

namespace emu {


#if defined(__x86_64__)
asm(R"(
.text
.p2align 4
.type minast_switch_stack, @function
minast_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
.size minast_switch_stack, .-minast_switch_stack
)");
constexpr int kSavedWords = 6;  // then the return address
#elif defined(__aarch64__)
asm(R"(
.text
.p2align 4
.type minast_switch_stack, %function
minast_switch_stack:
  sub sp, sp, #160
  stp x19, x20, [sp, #0]
  stp x21, x22, [sp, #16]
  stp x23, x24, [sp, #32]
  stp x25, x26, [sp, #48]
  stp x27, x28, [sp, #64]
  stp x29, x30, [sp, #80]
  stp d8, d9, [sp, #96]
  stp d10, d11, [sp, #112]
  stp d12, d13, [sp, #128]
  stp d14, d15, [sp, #144]
  mov x9, sp
  str x9, [x0]
  mov sp, x1
  ldp x19, x20, [sp, #0]
  ldp x21, x22, [sp, #16]
  ldp x23, x24, [sp, #32]
  ldp x25, x26, [sp, #48]
  ldp x27, x28, [sp, #64]
  ldp x29, x30, [sp, #80]
  ldp d8, d9, [sp, #96]
  ldp d10, d11, [sp, #112]
  ldp d12, d13, [sp, #128]
  ldp d14, d15, [sp, #144]
  add sp, sp, #160
  ret
.size minast_switch_stack, .-minast_switch_stack
)");
#else
#error "the emulator switches stacks on x86-64 and aarch64 only"
#endif

extern "C" __attribute__((visibility("hidden"))) void minast_switch_stack(void** save, void* load);

// A new stack whose first switch enters `start`, which must never return. Tops are staggered by 64 bytes over 64 cache
// sets: stacks a power of two apart would otherwise compete for the same ones.
inline void* fresh_stack(int number, void (*start)()) {
  uintptr_t top = reinterpret_cast<uintptr_t>(running.arena + kStackBytes * size_t(number + 1)) - 256 - number % 64 * 64;
  uint64_t* sp = reinterpret_cast<uint64_t*>(top);
#if defined(__x86_64__)
  *--sp = 0;  // at function entry the stack pointer is 8 bytes off a 16-byte boundary
  *--sp = reinterpret_cast<uint64_t>(start);
  for (int i = 0; i < kSavedWords; i++) *--sp = 0;
#else
  sp -= 20;
  memset(sp, 0, 160);
  sp[11] = reinterpret_cast<uint64_t>(start);  // x30, the return address
#endif
  return sp;
}

}  // namespace emu
