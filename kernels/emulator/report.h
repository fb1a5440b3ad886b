// What Python and the emulator tell each other: the layouts here are mirrored by ctypes structures in minast/emulator/run.py.
#pragma once
#include <atomic>
#include <cstdarg>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <mutex>

namespace emu {

enum Order { kForward = 0, kReverse = 1, kRandom = 2 };
enum Guard { kNoGuard = 0, kGuardEnd = 1, kGuardStart = 2 };
enum Kind {
  kFine = 0,
  kArgumentFault = 1,  // an access beyond an array argument
  kSharedFault = 2,    // an access beyond a shared array, named in text
  kWildFault = 3,      // an access to no array at all
  kCanary = 4,         // bytes just outside an array argument were overwritten; no thread is known
  kSharedCanary = 5,   // the same of shared memory
  kDivergent = 6,      // no thread can go on
  kFailure = 7,        // assert, __trap, a misused intrinsic: text says it
  kMisaligned = 8,
  kStackOverflow = 9,
  kDivision = 10,      // integer division by zero
  kRefused = 11,       // the emulator could not start
  kInterrupted = 12,   // Ctrl-C
  kTrap = 13,          // a check that the compiler put in: alignment, or the bounds of a local or shared array
  kConstWrite = 14,    // bytes of an argument that the kernel declares const were changed; no thread is known
};

struct Argument {
  void* value;      // array: its first byte; scalar: where the value lies
  int64_t bytes;    // -1: a scalar
  int32_t element;  // bytes of one element
  int32_t writable;
};

struct Report {
  int32_t kind;
  uint32_t block[3], thread[3];
  int32_t argument;
  int32_t access;  // 0 unknown, 1 read, 2 write
  int64_t offset;  // bytes from the start of the array
  uint64_t pc;     // the instruction, from the start of the kernel's library
  uint64_t caller; // where the kernel called the emulator, if the instruction is the emulator's
  char text[3072];
};

struct Launch {
  uint32_t grid[3], block[3];
  int64_t shared_bytes;
  int32_t workers, order, guard, arguments;
  uint64_t seed;
  Argument* argument;
  Report* report;
  char* printed;  // what the kernel printed; once a call does not fit, it and all later ones are only counted
  int64_t printed_capacity, printed_bytes, dropped_calls, dropped_bytes;
  int32_t patient;  // the program has a handler of its own for Ctrl-C, which may want the launch to end well
};

}  // namespace emu
