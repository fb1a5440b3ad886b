// Signals while a kernel runs: a fault becomes a report, Ctrl-C ends the launch. Before and after a launch, and for
// other threads, the program's own handlers apply.
#pragma once
#include <link.h>
#include <pthread.h>
#include <signal.h>
#include <ucontext.h>

#include "guard.h"

namespace emu {

static std::vector<Worker*> workers;
static std::vector<pthread_t> worker_thread;
constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGINT};
constexpr int kSignalCount = 6;
static struct sigaction previous_action[kSignalCount];

inline uint64_t program_counter(const ucontext_t* context) {
#if defined(__x86_64__)
  return uint64_t(context->uc_mcontext.gregs[REG_RIP]);
#else
  return uint64_t(context->uc_mcontext.pc);
#endif
}

inline void describe_fault(Worker& w, int signal, siginfo_t* info, ucontext_t* context) {
  const Launch& launch = *global.launch;
  char* address = static_cast<char*>(info->si_addr);
  Report* r = first_report(kWildFault, w.block_index, &w.running->index);
  if (!r) return;
  r->pc = program_counter(context);
#if defined(__x86_64__)
  if (signal == SIGSEGV) r->access = context->uc_mcontext.gregs[REG_ERR] & 2 ? 2 : 1;
#endif
  r->caller = reinterpret_cast<uint64_t>(w.running->caller);
  r->offset = reinterpret_cast<int64_t>(address);
  if (signal == SIGILL || signal == SIGTRAP) {
    r->kind = kTrap;
    return;
  }
  if (signal == SIGFPE) {
    r->kind = kDivision;
    return;
  }
  // The processor does not report the address of a misaligned vector load or store.
  if (signal == SIGBUS || info->si_code == SI_KERNEL) {
    r->kind = kMisaligned;
    return;
  }
  if (address >= running.arena && address < running.arena + (size_t(launch.workers) * 1024 << kStackShift)) {
    r->kind = kStackOverflow;
    return;
  }
  int64_t offset = 0;
  int argument = argument_at(launch, address, &offset);
  if (argument >= 0) {
    r->kind = kArgumentFault, r->argument = argument, r->offset = offset;
    return;
  }
  if (address >= w.dynamic_base - kSharedMargin && address < w.dynamic_base - kSharedMargin + w.dynamic_mapped) {
    r->kind = kSharedFault, r->offset = address - w.dynamic;
    snprintf(r->text, sizeof r->text, "the dynamic shared memory (%lld bytes)", (long long)launch.shared_bytes);
  }
  for (const SharedArray& s : w.shared)
    if (address >= s.base - kSharedMargin && address < s.base - kSharedMargin + s.mapped) {
      r->kind = kSharedFault, r->offset = address - s.data;
      snprintf(r->text, sizeof r->text, "%s (%zu bytes)", s.name, s.bytes);
    }
}

// Faults of other threads, or of this one outside a kernel, go to the previous handler.
inline void on_fault(int signal, siginfo_t* info, void* context) {
  for (size_t i = 0; i < workers.size(); i++) {
    if (!pthread_equal(worker_thread[i], pthread_self()) || !workers[i]->in_kernel) continue;
    describe_fault(*workers[i], signal, info, static_cast<ucontext_t*>(context));
    workers[i]->in_kernel = false;
    siglongjmp(workers[i]->fault_exit, 1);
  }
  int which = 0;
  while (kSignals[which] != signal) which++;
  const struct sigaction& previous = previous_action[which];
  if (previous.sa_flags & SA_SIGINFO)
    previous.sa_sigaction(signal, info, context);
  else if (previous.sa_handler == SIG_DFL || previous.sa_handler == SIG_IGN)
    sigaction(signal, &previous, nullptr);  // the instruction runs again and faults with the previous action
  else
    previous.sa_handler(signal);
}

// ---- Ctrl-C: otherwise a kernel in an endless loop would have to be killed ------------------------------------------

static std::atomic<bool> interrupted, told;
static char *kernel_code, *kernel_code_end;  // the kernel's library: a thread in its code has no lock

inline int find_kernel_code(struct dl_phdr_info* library, size_t, void* entry) {
  for (int i = 0; i < library->dlpi_phnum; i++) {
    const auto& part = library->dlpi_phdr[i];
    char* start = reinterpret_cast<char*>(library->dlpi_addr + part.p_vaddr);
    if (part.p_type != PT_LOAD || entry < start || entry >= start + part.p_memsz) continue;
    kernel_code = start, kernel_code_end = start + part.p_memsz;
    return 1;
  }
  return 0;
}

// True if the program's own handler was called instead. It gets the first Ctrl-C of a launch, so that a training run
// can finish its step and save; the second one stops the launch.
inline bool told_instead(int signal, siginfo_t* info, void* context) {
  const struct sigaction& previous = previous_action[kSignalCount - 1];
  if (!global.launch->patient || told.exchange(true)) return false;
  if (previous.sa_flags & SA_SIGINFO)
    previous.sa_sigaction(signal, info, context);
  else
    previous.sa_handler(signal);
  return true;
}

// Leaves the kernel at once if the thread is in the kernel's own code, else at its next wait or block; notifies the
// others.
inline void on_interrupt(int signal, siginfo_t* info, void* context) {
  if (told_instead(signal, info, context)) return;
  global.stop = true;
  // A forwarded signal comes from this process by pthread_kill; a second Ctrl-C is forwarded again.
  bool forwarded = info->si_code == SI_TKILL;
  interrupted = true;
  for (size_t i = 0; !forwarded && i < workers.size(); i++)
    if (workers[i]->in_kernel && !pthread_equal(worker_thread[i], pthread_self())) pthread_kill(worker_thread[i], signal);
  char* pc = reinterpret_cast<char*>(program_counter(static_cast<ucontext_t*>(context)));
  for (size_t i = 0; i < workers.size(); i++) {
    if (!pthread_equal(worker_thread[i], pthread_self()) || !workers[i]->in_kernel) continue;
    if (pc < kernel_code || pc >= kernel_code_end) continue;
    workers[i]->in_kernel = false;
    siglongjmp(workers[i]->fault_exit, 1);
  }
}

inline void catch_signals() {
  interrupted = told = false;
  dl_iterate_phdr(find_kernel_code, reinterpret_cast<void*>(global.entry));
  for (int i = 0; i < kSignalCount; i++) {
    struct sigaction action {};
    action.sa_sigaction = kSignals[i] == SIGINT ? on_interrupt : on_fault;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART;
    sigemptyset(&action.sa_mask);
    sigaction(kSignals[i], &action, &previous_action[i]);
  }
  const struct sigaction& before = previous_action[kSignalCount - 1];
  bool own = (before.sa_flags & SA_SIGINFO) || (before.sa_handler != SIG_IGN && before.sa_handler != SIG_DFL);
  if (!own) global.launch->patient = 0;
  if (!own && before.sa_handler == SIG_IGN) sigaction(SIGINT, &before, nullptr);
}

inline void restore_signals() {
  for (int i = 0; i < kSignalCount; i++) sigaction(kSignals[i], &previous_action[i], nullptr);
}

}  // namespace emu
