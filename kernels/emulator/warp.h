// Barriers and warp intrinsics under their CUDA names. The default arguments record the caller's line, for the report
// of a deadlock.
#pragma once
#include <string.h>

#include "api.h"

#define MINAST_HERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

inline void __syncthreads(MINAST_HERE) { emu::barrier("__syncthreads", 0, 0, file, line); }
inline int __syncthreads_count(int p, MINAST_HERE) { return emu::barrier("__syncthreads_count", p, 0, file, line); }
inline int __syncthreads_and(int p, MINAST_HERE) { return emu::barrier("__syncthreads_and", p, 1, file, line); }
inline int __syncthreads_or(int p, MINAST_HERE) { return emu::barrier("__syncthreads_or", p, 2, file, line); }

namespace emu {

enum Shuffle { kIndex, kUp, kDown, kXor };

template <typename T>
struct ShuffleOperand {
  T value, result;
  int argument, width;
};

template <typename T, Shuffle kind>
void shuffle_work(void* const* operand, uint32_t lanes) {
  for (int lane = 0; lane < 32; lane++) {
    if (!(lanes >> lane & 1)) continue;
    auto& own = *static_cast<ShuffleOperand<T>*>(operand[lane]);
    int first = lane & ~(own.width - 1), last = lane | (own.width - 1), from = lane;
    if (kind == kIndex) from = first | (own.argument & (own.width - 1));
    if (kind == kUp && lane - own.argument >= first) from = lane - own.argument;
    if (kind == kDown && lane + own.argument <= last) from = lane + own.argument;
    if (kind == kXor && (lane ^ own.argument) <= last) from = lane ^ own.argument;
    if (from >= 0 && from < 32 && (lanes >> from & 1))
      own.result = static_cast<ShuffleOperand<T>*>(operand[from])->value;
    else
      memset(&own.result, 0xff, sizeof(T));  // from a lane that does not take part: undefined on the device, NaN here
  }
}

template <typename T, Shuffle kind>
inline T shuffle(const char* what, uint32_t mask, T value, int argument, int width, const char* file, int line) {
  static_assert(sizeof(T) <= 8, "shuffles move 2, 4 or 8 bytes");
  if (width < 1 || width > 32 || (width & (width - 1))) fail("%s (%s:%d): width %d is no power of two", what, file, line, width);
  ShuffleOperand<T> operand{value, value, argument, width};
  collective(mask, shuffle_work<T, kind>, &operand, what, file, line);
  return operand.result;
}

struct VoteOperand {
  unsigned long long value;
  uint32_t result;
  int predicate;
};

enum Vote { kBallot, kAll, kAny, kNothing, kMatchAny, kMatchAll };

template <Vote kind>
void vote_work(void* const* operand, uint32_t lanes) {
  uint32_t ballot = 0;
  auto at = [&](int lane) -> VoteOperand& { return *static_cast<VoteOperand*>(operand[lane]); };
  int leader = __builtin_ctz(lanes);
  for (int lane = 0; lane < 32; lane++) {
    if (!(lanes >> lane & 1)) continue;
    if (kind == kMatchAll ? at(lane).value == at(leader).value : at(lane).predicate != 0) ballot |= 1u << lane;
  }
  for (int lane = 0; lane < 32; lane++) {
    if (!(lanes >> lane & 1)) continue;
    VoteOperand& own = at(lane);
    own.result = kind == kAll ? ballot == lanes : kind == kAny ? ballot != 0 : ballot;
    if (kind == kMatchAll) own.predicate = ballot == lanes, own.result = own.predicate ? lanes : 0;
    if (kind == kMatchAny) {
      own.result = 0;
      for (int other = 0; other < 32; other++)
        if ((lanes >> other & 1) && at(other).value == own.value) own.result |= 1u << other;
    }
  }
}

template <Vote kind>
inline VoteOperand vote(const char* what, uint32_t mask, unsigned long long value, int predicate, const char* file,
                        int line) {
  VoteOperand operand{value, 0, predicate};
  collective(mask, vote_work<kind>, &operand, what, file, line);
  return operand;
}

// The bits of a value, for __match_*, which compares bits.
template <typename T>
inline unsigned long long bits_of(T value) {
  unsigned long long bits = 0;
  memcpy(&bits, &value, sizeof(T));
  return bits;
}

}  // namespace emu

template <typename T>
inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32, MINAST_HERE) {
  return emu::shuffle<T, emu::kIndex>("__shfl_sync", mask, value, lane, width, file, line);
}
template <typename T>
inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32, MINAST_HERE) {
  return emu::shuffle<T, emu::kUp>("__shfl_up_sync", mask, value, int(delta), width, file, line);
}
template <typename T>
inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32, MINAST_HERE) {
  return emu::shuffle<T, emu::kDown>("__shfl_down_sync", mask, value, int(delta), width, file, line);
}
template <typename T>
inline T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, MINAST_HERE) {
  return emu::shuffle<T, emu::kXor>("__shfl_xor_sync", mask, value, lanes, width, file, line);
}

inline void __syncwarp(unsigned mask = 0xffffffffu, MINAST_HERE) {
  emu::vote<emu::kNothing>("__syncwarp", mask, 0, 0, file, line);
}
inline unsigned __ballot_sync(unsigned mask, int p, MINAST_HERE) {
  return emu::vote<emu::kBallot>("__ballot_sync", mask, 0, p, file, line).result;
}
inline int __all_sync(unsigned mask, int p, MINAST_HERE) {
  return int(emu::vote<emu::kAll>("__all_sync", mask, 0, p, file, line).result);
}
inline int __any_sync(unsigned mask, int p, MINAST_HERE) {
  return int(emu::vote<emu::kAny>("__any_sync", mask, 0, p, file, line).result);
}
template <typename T>
inline unsigned __match_any_sync(unsigned mask, T value, MINAST_HERE) {
  return emu::vote<emu::kMatchAny>("__match_any_sync", mask, emu::bits_of(value), 0, file, line).result;
}
template <typename T>
inline unsigned __match_all_sync(unsigned mask, T value, int* same, MINAST_HERE) {
  emu::VoteOperand v = emu::vote<emu::kMatchAll>("__match_all_sync", mask, emu::bits_of(value), 0, file, line);
  *same = v.predicate;
  return v.result;
}

// The lanes that have not returned. On the device there may be fewer if the warp has diverged: code must not rely on
// it.
inline unsigned __activemask() { return *emu::current().lanes_alive; }
