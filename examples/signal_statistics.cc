// Statistics that threads and their signal handlers write.
//
// Shows: PerCpu<T> with a LocalTryLock. Each thread of a hosted program is a virtual CPU, so threads
//        never meet at a lock; only a handler can meet the code that it interrupts, and is told so.
// For:   profilers, tracers, servers that count what they do.
// Build: g++ -std=c++20 -Iinclude -DNESTLOCK_CONFIG=smp examples/signal_statistics.cc
//            lib/port/*.cc -pthread -o signal_statistics
// Prints:
//   requests 30000, bytes 3000000
//   signals: 30 recorded, 30 refused, 0 saw half of an update
//
// Refused are the signals that came between the two halves of an update.
#include <atomic>
#include <cstdio>
#include <thread>
#include <vector>

#include "nestlock/nestlock.h"
#include "nestlock/signals.h"

struct Statistics {
  nestlock::LocalTryLock lock;
  long requests = 0, bytes = 0;  // change together: 100 bytes each, in this program
  long signals = 0;
};
nestlock::PerCpu<Statistics> statistics;

// What a refused handler still can do: an atomic of its own, which needs no lock.
std::atomic<long> refused{0}, torn{0};

void on_signal(int, siginfo_t*, void*) {
  // Pins, picks this CPU's object, tries its lock. A refusal lasts as long as this handler runs: the
  // code that holds the lock goes on only when we return, so there is no sense in trying again.
  auto here = statistics.try_lock_here<&Statistics::lock>();
  if (!here) {
    refused.fetch_add(1, std::memory_order_relaxed);
    return;
  }
  if (here->bytes != 100 * here->requests) torn.fetch_add(1, std::memory_order_relaxed);
  ++here->signals;
}

void serve(int request) {
  auto here = statistics.lock_here<&Statistics::lock>();
  ++here->requests;
  if (request % 1000 == 0) raise(SIGUSR1);  // a signal at the worst moment
  here->bytes += 100;
}

void worker() {
  for (int request = 0; request < 10000; ++request) {
    serve(request);
    if (request % 1000 == 500) raise(SIGUSR1);  // and one outside of the section
  }
}

int main() {
  namespace signals = nestlock::signals;
  if (signals::register_nmi(SIGUSR1, on_signal) != signals::Error::none) return 1;

  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) threads.emplace_back(worker);
  for (std::thread& t : threads) t.join();

  // The CPUs' figures outlive their threads. Nobody writes them any more, so no lock is needed.
  Statistics sum;
  for (unsigned cpu = 0; cpu < statistics.size(); ++cpu) {
    const Statistics& s = statistics.on(cpu);
    sum.requests += s.requests;
    sum.bytes += s.bytes;
    sum.signals += s.signals;
  }
  std::printf("requests %ld, bytes %ld\n", sum.requests, sum.bytes);
  std::printf("signals: %ld recorded, %ld refused, %ld saw half of an update\n", sum.signals,
              refused.load(), torn.load());
}
