// The first program: a signal handler that takes a lock and allocates memory.
//
// Shows: TrySpinLock in a handler that may interrupt the lock's own section, and kmalloc_nolock().
// For:   everybody, first; docs/getting_started.md explains it.
// Build: g++ -std=c++20 -Iinclude -DNESTLOCK_CONFIG=up examples/first_program.cc
//            lib/*/*.cc -pthread -o first_program
// Prints:
//   3 signals: 2 recorded, 1 refused
//   recorded: number 3, number 1
#include <cstdio>

#include "nestlock/nestlock.h"
#include "nestlock/signals.h"
#include "nestlock/system_slab.h"

struct Sample {
  Sample* next;
  int number;
};

nestlock::TrySpinLock list_lock;
Sample* samples NESTLOCK_GUARDED_BY(list_lock) = nullptr;
volatile sig_atomic_t signals_seen = 0, refused = 0;

// Puts a new sample on the list. From any context, also from one that interrupted this function.
bool record(int number) {
  auto& slab = nestlock::system_slab();
  auto* const sample =
      static_cast<Sample*>(slab.kmalloc_nolock(sizeof(Sample), nestlock::gfp::none));
  if (!sample) return false;  // never waits: it may find no memory where kmalloc() would
  sample->number = number;

  nestlock::TryGuard guard(list_lock);
  if (!guard) {  // the code that we interrupted is changing the list: do without
    slab.kfree_nolock(sample);
    return false;
  }
  list_lock.assert_held();
  sample->next = samples;
  samples = sample;
  return true;
}

void on_signal(int, siginfo_t*, void*) {
  signals_seen = signals_seen + 1;
  if (!record(signals_seen)) refused = refused + 1;
}

int main() {
  namespace signals = nestlock::signals;
  // A *_nolock call never asks the system for memory. There are 2 MiB from the start; this keeps one for
  // such calls, whatever the rest of the program allocates.
  nestlock::system_pages().reserve(std::size_t{1} << 20);

  // As an NMI: nothing in the program masks it, so it comes inside any section.
  if (signals::register_nmi(SIGUSR1, on_signal) != signals::Error::none) return 1;

  raise(SIGUSR1);  // the lock is free
  {
    nestlock::Guard guard(list_lock);
    raise(SIGUSR1);  // the lock is held by the code that the handler interrupts
  }
  raise(SIGUSR1);

  nestlock::Guard guard(list_lock);
  int recorded = 0;
  for (const Sample* s = samples; s; s = s->next) ++recorded;
  std::printf("%d signals: %d recorded, %d refused\n", static_cast<int>(signals_seen), recorded,
              static_cast<int>(refused));
  std::printf("recorded:");
  for (const Sample* s = samples; s; s = s->next)
    std::printf(" number %d%s", s->number, s->next ? "," : "\n");
}
