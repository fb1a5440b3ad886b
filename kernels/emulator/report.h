// The interface between Python and the emulator: minast/emulator/run.py has the same layouts as ctypes structures.
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
  kCanary = 4,         // bytes just outside an array argument were overwritten; the thread is not known
  kSharedCanary = 5,   // the same for shared memory
  kDivergent = 6,      // deadlock: no thread can continue
  kFailure = 7,        // assert, __trap, a misused intrinsic, described in text
  kMisaligned = 8,
  kStackOverflow = 9,
  kDivision = 10,      // integer division by zero
  kRefused = 11,       // the emulator could not start
  kInterrupted = 12,   // Ctrl-C
  kTrap = 13,          // a check inserted by the compiler: alignment, or the bounds of a local or shared array
  kConstWrite = 14,    // an argument that the kernel declares const was changed; the thread is not known
};

struct Argument {
  void* value;      // array: its first byte; scalar: the address of its value
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
  uint64_t caller; // if the instruction is in the emulator: where the kernel called it
  char text[3072];
};

struct Launch {
  uint32_t grid[3], block[3];
  int64_t shared_bytes;
  int32_t workers, order, guard, arguments;
  uint64_t seed;
  Argument* argument;
  Report* report;
  char* printed;  // what the kernel printed; from the first call that does not fit on, calls are only counted
  int64_t printed_capacity, printed_bytes, dropped_calls, dropped_bytes;
  int32_t patient;  // the program has its own handler for Ctrl-C, which may need the launch to finish
};

}  // namespace emu
