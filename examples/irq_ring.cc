// A ring buffer between an interrupt and a task, as in a serial driver.
//
// Shows: SpinLock with irq_save, where everybody who wants the lock can be masked, and wait_irq(),
//        which loses no wake-up between looking at the ring and going to sleep.
// For:   who has an irq and a task, no NMI: the classic pair, at no system call a section.
// Build: g++ -std=c++20 -Iinclude -DNESTLOCK_CONFIG=up examples/irq_ring.cc
//            lib/port/*.cc -pthread -o irq_ring
// Prints:
//   received: the quick brown fox jumps over the lazy dog
//   20 bytes with nobody reading: 16 kept, 4 lost
//
// The device is a thread that queues a signal for each byte. It takes no lock of ours: configuration
// `up` has one thread that does, the first to register a handler.
#include <pthread.h>

#include <cstdio>
#include <thread>

#include "nestlock/nestlock.h"
#include "nestlock/signals.h"

namespace signals = nestlock::signals;

class Ring {
 public:
  static constexpr unsigned kSize = 16;

  // In the irq handler. No irq_save: while it runs the irq class is masked already.
  void put(char byte) {
    nestlock::Guard guard(lock_);
    if (in_ - out_ == kSize) {
      ++lost_;  // the interrupt cannot wait: a full ring loses, and says how much
    } else {
      byte_[in_++ % kSize] = byte;
    }
  }
  // In the task. With the lock held but irqs on, the handler could come in between and would wait
  // for a lock whose holder it interrupted: for ever. So irqs first, then the lock; a Guard does both.
  bool get(char& byte) {
    nestlock::Guard guard(lock_, nestlock::irq_save);
    if (in_ == out_) return false;
    byte = byte_[out_++ % kSize];
    return true;
  }
  bool empty() {
    nestlock::Guard guard(lock_, nestlock::irq_save);
    return in_ == out_;
  }
  unsigned lost() {
    nestlock::Guard guard(lock_, nestlock::irq_save);
    return lost_;
  }

 private:
  nestlock::SpinLock lock_;
  char byte_[kSize] NESTLOCK_GUARDED_BY(lock_){};
  unsigned in_ NESTLOCK_GUARDED_BY(lock_) = 0, out_ NESTLOCK_GUARDED_BY(lock_) = 0;
  unsigned lost_ NESTLOCK_GUARDED_BY(lock_) = 0;
};
Ring ring;

void on_byte(int, siginfo_t* info, void*) { ring.put(static_cast<char>(info->si_value.sival_int)); }

// Sleeps until a byte is there. Looking and sleeping are one step: an irq that comes between the two
// is held back by the mask, and wait_irq() finds it.
char read_byte() {
  char byte = 0;
  while (!ring.get(byte)) {
    const auto irqs = nestlock::BuiltPort::irq_save();
    if (ring.empty()) signals::wait_irq();
    nestlock::BuiltPort::irq_restore(irqs);
  }
  return byte;
}

void send(pthread_t to, char byte) {
  sigval value{};
  value.sival_int = byte;
  while (pthread_sigqueue(to, SIGRTMIN, value) != 0) sched_yield();  // the kernel's queue is full
}

int main() {
  // A real-time signal: the kernel queues each one, where an ordinary one is pending once.
  if (signals::register_irq(SIGRTMIN, on_byte) != signals::Error::none) return 1;
  const pthread_t task = pthread_self();

  // Each byte waits for the echo of the last, so that a ring of any size is enough.
  static std::atomic<unsigned> echoed{0};
  std::thread device([task] {
    unsigned sent = 0;
    for (const char* c = "the quick brown fox jumps over the lazy dog\n"; *c; ++c) {
      send(task, *c);
      for (++sent; echoed.load() != sent;) sched_yield();
    }
  });
  std::printf("received: ");
  for (char byte = 0; byte != '\n'; echoed.fetch_add(1)) {
    byte = read_byte();
    std::putchar(byte);
  }
  device.join();

  for (int i = 0; i < 20; ++i) send(task, 'x');
  unsigned kept = 0;
  for (char byte; ring.get(byte);) ++kept;
  std::printf("20 bytes with nobody reading: %u kept, %u lost\n", kept, ring.lost());
}
