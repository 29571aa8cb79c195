// Replacing pthread_sigmask() and a mutex in an existing program.
//
// Shows: a table that a signal handler changes, too. Before: block all signals, lock a mutex, change,
//        unlock, unblock. After: one Guard with irq_save. Both are run, and their system calls counted.
// For:   who has such a program: each place where it locks becomes one line.
// Build: g++ -std=c++20 -Iinclude -DNESTLOCK_CONFIG=smp examples/replacing_sigmask.cc
//            lib/port/*.cc -pthread -o replacing_sigmask
// Prints:
//   before: 1000 sections, 2000 system calls, 10 of 10 signals handled
//   after:  1000 sections, 0 system calls, 10 of 10 signals handled
//
// Calls are not all: before, the handler may lock the mutex only because each thread that takes it
// has blocked the signal first. Where one forgets, the program hangs some day; after, in a debug
// configuration, the lock reports it. And a handler whose signal nobody blocks cannot take the mutex
// at all; with a TrySpinLock it can try.
//
// The calls are counted by a parent that traces the program, as strace does.
#include <pthread.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>

#include "nestlock/nestlock.h"
#include "nestlock/signals.h"

constexpr int kSections = 1000, kSignals = 10;

namespace before {
pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
long table[2], handled;

void update() {
  sigset_t all, old;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, &old);  // a system call
  pthread_mutex_lock(&mutex);
  ++table[0], ++table[1];
  pthread_mutex_unlock(&mutex);
  pthread_sigmask(SIG_SETMASK, &old, nullptr);  // and another
}
void on_signal(int) {
  pthread_mutex_lock(&mutex);  // no thread that has it can be interrupted by this, one hopes
  ++table[0], ++table[1], ++handled;
  pthread_mutex_unlock(&mutex);
}
bool set_up() { return std::signal(SIGUSR1, on_signal) != SIG_ERR; }
long signals_handled() { return handled; }
}  // namespace before

namespace after {
nestlock::SpinLock lock;
long table[2] NESTLOCK_GUARDED_BY(lock), handled NESTLOCK_GUARDED_BY(lock);

void update() {
  nestlock::Guard guard(lock, nestlock::irq_save);  // two loads and a store; then the lock
  ++table[0], ++table[1];
}
void on_signal(int, siginfo_t*, void*) {
  nestlock::Guard guard(lock);
  ++table[0], ++table[1], ++handled;
}
bool set_up() {
  return nestlock::signals::register_irq(SIGUSR1, on_signal) == nestlock::signals::Error::none;
}
long signals_handled() {
  nestlock::Guard guard(lock, nestlock::irq_save);
  return handled;
}
}  // namespace after

// Runs in a child that is traced: stops itself before and after the sections, then sends signals.
int child(bool (*set_up)(), void (*update)(), long (*handled)()) {
  if (ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) return 255;
  if (!set_up()) return 254;
  update();  // the first use finds this thread's CPU
  const pid_t self = getpid();
  kill(self, SIGSTOP);
  for (int i = 0; i < kSections; ++i) update();
  kill(self, SIGSTOP);
  for (int i = 0; i < kSignals; ++i) raise(SIGUSR1);
  return static_cast<int>(handled());
}

void measure(const char* name, bool (*set_up)(), void (*update)(), long (*handled)()) {
  const pid_t pid = fork();
  if (pid == 0) _exit(child(set_up, update, handled));
  int stops = 0, status = 0;
  long traps = 0;  // a system call is two: one as it begins, one as it ends
  // Until it ends: between the two stops from call to call, else on, with the signals that come.
  while (waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
    const int signo = WSTOPSIG(status);
    if (signo == SIGSTOP) ++stops;
    if (signo == SIGTRAP && stops == 1) ++traps;
    const bool ours = signo == SIGSTOP || signo == SIGTRAP;
    ptrace(stops == 1 ? PTRACE_SYSCALL : PTRACE_CONT, pid, nullptr, ours ? 0 : signo);
  }
  if (WEXITSTATUS(status) == 255) {
    std::printf("%s not supported: this machine does not let a program trace its child\n", name);
    return;
  }
  const long calls = traps / 2 - 1;  // without the kill() that ends the counting
  std::printf("%s %d sections, %ld system calls, %d of %d signals handled\n", name, kSections,
              calls, WEXITSTATUS(status), kSignals);
}

int main() {
  measure("before:", before::set_up, before::update, before::signals_handled);
  measure("after: ", after::set_up, after::update, after::signals_handled);
}
