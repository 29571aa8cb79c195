// A lock that is held while its process forks, so that nothing under it is half changed in the child.
//
// Several threads may fork at once, and none waits for another's fork: each goes over all locks, and one that
// another fork holds already it shares. Who took a lock gives it back when nobody shares it any more; all
// first drop what they share and then wait for those, so two of them never wait for each other. A handler
// that forks in the middle of its own thread's fork shares like any other.
//
// Where the process has no other task nobody is in the middle of anything but what a forking handler interrupted,
// which goes on in the child: then no lock is taken, and no page touched for one in parent and child.
//
// Premises: before_fork() and after_fork() come in pairs, on one thread, properly nested. An after_fork() alone
// gives nothing back (SlabFork AnAfterForkAloneGivesNothingBack). A process that has no other task at
// before_fork() has none at the fork.
#pragma once

#include <cstdint>
#include <new>
#include <type_traits>

#include "nestlock/config/annotations.h"
#include "nestlock/lock/words.h"
#include "nestlock/page/no_count.h"
#include "nestlock/port/port.h"

namespace nestlock::internal {

// Waiting for a lock that what we interrupted may hold: for some time only. Yields alone would be no time on an
// idle machine and minutes on a busy one; most of it is sleeping, which lets the holder run. In all 128 looks,
// 32 yields and 32 ms where the port can sleep, else 2,000 yields.
template <class P>
class ForkPatience {
 public:
  // One turn; false: it has been enough, if it ever is.
  bool turn(bool bounded, const void* word) noexcept {
    ++turns_;
    if (turns_ <= kSpinsBeforeYield) return P::pause(), true;
    if constexpr (ParkingPort<P>) {
      const unsigned naps = turns_ - kSpinsBeforeYield;
      if (naps > kYields) {
        if (bounded && naps > kYields + kNaps) return false;
        P::nap(word, nap_ns_);
        if (nap_ns_ < kLongestNap_ns) nap_ns_ *= 2;
        return true;
      }
    } else if (bounded && turns_ > 2000) {
      return false;
    }
    if constexpr (YieldingPort<P>)
      P::yield();
    else
      P::pause();
    return true;
  }

 private:
  static constexpr unsigned kYields = 32, kNaps = 12;
  static constexpr std::uint64_t kLongestNap_ns = 8'192'000;
  unsigned turns_ = 0;
  std::uint64_t nap_ns_ = 16'000;
};

template <class P>
class ForkHold {
 public:
  // Before the fork. `bounded`: not for ever, for its holder may be what we interrupted. `depth`: how many forks
  // of this thread this one is in the middle of.
  template <class Lock>
  void take(Lock& lock, bool bounded, std::uint32_t depth) noexcept NESTLOCK_NO_TSA {
    ForkPatience<P> patience;
    for (;;) {
      std::uint32_t n = forks_.load(kRelaxed);
      // acquire: pairs with the release below; the child sees what is under the lock as its owner did.
      while (n)
        if (forks_.compare_exchange_weak(n, n + 1, std::memory_order_acquire, kRelaxed)) return;
      if constexpr (requires { lock.is_locked_here(); })
        if (lock.is_locked_here()) break;  // by what we interrupted
      if (lock.try_lock()) {
        depth_ = depth;
        owner_.store(self_of<P>(), kRelaxed);
        forks_.store(1, std::memory_order_release);
        return;
      }
      if (!patience.turn(bounded, &lock)) break;
    }
    // It stays with whoever has it. relaxed: a count, looked at by forks alone.
    missed_.fetch_add(1, kRelaxed);
  }

  // Behind the fork, first: what is another fork's. Which of them missed it does not matter: the sums agree.
  void drop_share(std::uint32_t depth) noexcept {
    if (is_mine() && depth_ == depth) return;
    if (!take_one(missed_, kRelaxed))
      // release: what the child was made of is no longer needed here.
      take_one(forks_, std::memory_order_release);
  }
  // Then: what is ours, when nobody shares it.
  template <class Lock>
  void give_back(Lock& lock, std::uint32_t depth) noexcept NESTLOCK_NO_TSA {
    if (!is_mine() || depth_ != depth) return;
    ForkPatience<P> patience;
    // acquire: pairs with those releases.
    for (std::uint32_t n = 1;
         !forks_.compare_exchange_weak(n, 0, std::memory_order_acquire, kRelaxed); n = 1)
      if (n > 1) patience.turn(false, &forks_);
    owner_.store(0, kRelaxed);
    lock.unlock();
  }

  // In the child, instead of both: nobody else is there. A lock that a fork held is whole whoever had it, and
  // nobody waits for it whatever its word says: it is a new one. One that was missed is left as it is, and so
  // is that of an outer fork of this thread, which goes on here.
  template <class Lock>
  void end_in_child(Lock& lock, std::uint32_t depth) noexcept NESTLOCK_NO_TSA {
    missed_.store(0, kRelaxed);
    if (is_mine() && depth_ != depth) {
      forks_.store(1, kRelaxed);
    } else if (forks_.load(kRelaxed)) {
      if (is_mine()) lock.unlock();  // what it masked and counted
      owner_.store(0, kRelaxed), forks_.store(0, kRelaxed);
      ::new (&lock) Lock;
    }
  }
  // Whether a fork of anybody's holds it.
  bool is_held() const noexcept { return forks_.load(kRelaxed) != 0; }

 private:
  bool is_mine() const noexcept { return owner_.load(kRelaxed) == self_of<P>(); }
  static bool take_one(typename P::template Atomic<std::uint32_t>& from,
                       std::memory_order order) noexcept {
    for (std::uint32_t n = from.load(kRelaxed); n;)
      if (from.compare_exchange_weak(n, n - 1, order, kRelaxed)) return true;
    return false;
  }

  typename P::template Atomic<std::uintptr_t> owner_{0};  // who took it; changed by it alone
  typename P::template Atomic<std::uint32_t> forks_{0};   // that rely on it, its owner's included
  typename P::template Atomic<std::uint32_t> missed_{0};  // that could not wait for it
  std::uint32_t depth_ = 0;                               // of its owner's fork
};

// The forks that are under way: what each masked, and how deep in others of its thread it is. The seventeenth
// at once waits for one to end.
template <class P, class Irq>
class Forks {
 public:
  struct Fork {
    typename P::template Atomic<std::uintptr_t> who{0};
    std::uint32_t level = 0;   // depth() + 1; 0: not there yet
    bool has_created = false;  // whether it went over the caches of create()'s, too
    bool alone = false;        // of a process with no other task: it took no lock
    [[no_unique_address]] typename Irq::template State<P> state{};
    // How many forks of this thread it is in the middle of.
    std::uint32_t depth() const noexcept { return level - 1; }
  };

  // Lets one that ends do so first, or forks that follow one another would share their locks for ever; but not
  // for long, for it waits for others that began before us.
  Fork& begin() noexcept {
    const std::uint32_t depth = mine();
    ForkPatience<P> patience;
    while (depth == 0 && ending_.load(kRelaxed) && patience.turn(true, forks_)) {
    }
    for (unsigned i = 0;; i = (i + 1) % kForks) {
      std::uintptr_t nobody = 0;
      // relaxed: only who has it looks at the rest.
      if (forks_[i].who.compare_exchange_strong(nobody, self_of<P>(), kRelaxed, kRelaxed)) {
        forks_[i].level = depth + 1;
        forks_[i].alone = is_alone<P>();
        forks_[i].state = Irq::template enter<P>();
        return forks_[i];
      }
      if (i + 1 == kForks) patience.turn(false, forks_);
    }
  }
  // This thread's, which began last; null: it began none.
  Fork* innermost() noexcept {
    const std::uint32_t level = mine();
    Fork* found = nullptr;
    for (Fork& f : forks_)
      if (f.who.load(kRelaxed) == self_of<P>() && f.level == level) found = &f;
    return found;
  }
  // From here to end() the parent may wait for others. relaxed: a hint.
  void ends() noexcept { ending_.fetch_add(1, kRelaxed); }
  void end(Fork* f, bool child) noexcept {
    if (child) {
      ending_.store(0, kRelaxed);
      for (Fork& other : forks_)  // their threads are the parent's
        if (other.who.load(kRelaxed) != self_of<P>()) other.who.store(0, kRelaxed);
    } else {
      ending_.fetch_sub(1, kRelaxed);
    }
    if (f) end_alone(*f);
  }
  void end_alone(Fork& f) noexcept {
    const auto state = f.state;
    // Not found for another's, whose `who` is there already and whose level is not yet.
    f.level = 0;
    f.who.store(0, kRelaxed);
    Irq::template leave<P>(state);
  }

 private:
  std::uint32_t mine() const noexcept {
    std::uint32_t n = 0;
    for (const Fork& f : forks_) n += f.who.load(kRelaxed) == self_of<P>();
    return n;
  }
  static constexpr unsigned kForks = 16;
  Fork forks_[kForks];
  typename P::template Atomic<std::uint32_t> ending_{0};
};

// One CPU, and the lean form: there is nothing to do.
struct NoForkHold {};
template <class K>
using ForkHoldOf =
    std::conditional_t<K::kConfig.smp && !kLean, ForkHold<typename K::Port>, NoForkHold>;
template <class K, class Irq>
using ForksOf =
    std::conditional_t<K::kConfig.smp && !kLean, Forks<typename K::Port, Irq>, NoForkHold>;

}  // namespace nestlock::internal
