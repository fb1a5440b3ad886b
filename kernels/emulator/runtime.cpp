// The emulator's runtime library, compiled once: fibers, barriers, shared memory, guard pages, the launch. Kernels are
// compiled against api.h and link to these functions when they are loaded.
#include "async.h"
#include "mbarrier.h"
#include "named.h"
#include "run.h"
#include "lockstep.h"
#include "shared.h"
#include "wgmma.h"

extern "C" __attribute__((visibility("default"))) void minast_launch(void (*entry)(void**), const int* sizes,
                                                                     emu::Launch* launch) {
  emu::launch(entry, sizes, launch);
}
