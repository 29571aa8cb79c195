// The SMP word that parks its waiters, between threads: THREADS of them, TRIES of which try, and one
// ROUNDS times. The
// kernel's part is a model: a lock, and a queue of who sleeps. What the section does is plain, so an
// order that is too weak is a race; and nobody may sleep for ever.
#include "nestlock/nestlock.h"

namespace {

using namespace nestlock;

struct Bytes {  // the word, as the kernel sees it
  std::atomic<std::uint8_t> lock, notes;
  std::atomic<std::uint16_t> passes;
};
pthread_mutex_t kernel = PTHREAD_MUTEX_INITIALIZER;
unsigned queue[THREADS], sleepers;
std::atomic<unsigned> woken[THREADS];
unsigned naps[THREADS];  // each thread's own

struct ParkPort : GenmcPort<configs::smp> {
  static constexpr Parking kParking{.looks = 1, .passes = 1};

  // Comparing three variables is no single step here: more may fall asleep than could.
  static bool park(const void* word, std::uint32_t expected, std::uint64_t) noexcept {
    const auto* const now = static_cast<const Bytes*>(word);
    const unsigned me = genmc_cpu - 1;
    pthread_mutex_lock(&kernel);
    const std::uint32_t lock = now->lock.load(std::memory_order_relaxed);
    const std::uint32_t notes = now->notes.load(std::memory_order_relaxed);
    const std::uint32_t passes = now->passes.load(std::memory_order_relaxed);
    const bool sleeps = (lock | notes << 8 | passes << 16) == expected;
    if (sleeps) {
      woken[me].store(0, std::memory_order_relaxed);
      queue[sleepers++] = me;
    }
    pthread_mutex_unlock(&kernel);
    if (!sleeps) return false;
    while (woken[me].load(std::memory_order_relaxed) == 0) {
    }
    return true;
  }
  static void unpark_one(const void*) noexcept {
    pthread_mutex_lock(&kernel);
    if (sleepers != 0) {
      woken[queue[0]].store(1, std::memory_order_relaxed);
      for (unsigned i = 1; i < sleepers; ++i) queue[i - 1] = queue[i];
      --sleepers;
    }
    pthread_mutex_unlock(&kernel);
  }
  static bool any_parked(const void*) noexcept {
    pthread_mutex_lock(&kernel);
    const bool any = sleepers != 0;
    pthread_mutex_unlock(&kernel);
    return any;
  }
  // As long as the lock is held, which keeps the head's looks finite. (The count is for GenMC, which
  // judges a loop by what has happened since the last loop began: without it lead()'s would seem to turn
  // for ever on what this one has just seen change.)
  static void nap(const void* word, std::uint64_t) noexcept {
    while (static_cast<const Bytes*>(word)->lock.load(std::memory_order_relaxed) != 0) {
    }
    ++naps[genmc_cpu - 1];
  }
  static void end_nap(const void*) noexcept {}
};

constinit BasicTrySpinLock<KernelOf<configs::smp, ParkPort>> lock;
unsigned inside, granted[THREADS];

void body(unsigned i) {
  const unsigned rounds = i == THREADS - 1 ? ROUNDS : 1;
  for (unsigned round = 0; round < rounds; ++round) {
    if (TRIES < THREADS && i >= TRIES) {
      lock.lock();
    } else if (!lock.try_lock()) {
      return;
    }
    granted[i] = 1;
    inside = inside + 1;
    assert(inside == 1);
    inside = inside - 1;
    lock.unlock();
  }
}

}  // namespace

int main() {
  genmc::run<body, THREADS>();
  unsigned all = 0;
  for (unsigned g : granted) all += g;
  assert(all >= THREADS - TRIES && all >= 1);  // a try fails only if somebody has it
  assert(!lock.is_locked() && sleepers == 0);
}
