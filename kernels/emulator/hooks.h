// Where the runtime tells a report what happens (trace.h, lockstep.h). Each place asks `if (counter)` first, so that
// kernels run as before when nobody wants a report.
#pragma once
#include "state.h"

namespace emu {

struct Counter;
static Counter* counter = nullptr;  // none: no report is wanted

inline void count_sync(Fiber& t, const Site& site, void* pc);            // a thread arrives at a barrier or an exchange
inline void count_barrier(Worker& w);                                    // all have arrived
inline void count_group(Worker& w, Warp& warp, const WarpGroup& group);  // all lanes of an exchange have arrived
inline void count_quietly(Worker& w, bool quiet);                        // the runtime does a kernel's work
inline void count_copy(Fiber& t, const AsyncCopy& c);                    // cp.async: issued, group closed, waited for
inline void count_bulk(Fiber& t, void* to, const void* from, int64_t bytes, void* pc);
inline void count_commit(Fiber& t);
inline void count_wait(Fiber& t, int pending);
inline void begin_counting(int workers);
inline void begin_block(Worker& w);
inline void end_block(Worker& w);

}  // namespace emu
