// The SMP lock word where the port can park a waiter: 4 bytes, barging, with a bound on it.
//
// First come, first served waits for whoever comes first, also while he has no processor: with
// more threads than processors every hand-over costs a time slice. Here whoever runs may take a
// free lock past those who wait, but only so often; one waiter, the head, looks by himself, and all
// others sleep.
//
//   byte      0              1               2         3
//        +--------------+---------------+-------------------+
//        | lock_        | notes_        | passes_           |
//        +--------------+---------------+-------------------+
//   lock_    0 free; kLocked; with it the holder's notes to itself of what unlock() has to do:
//            kWake, wake a sleeper to be the next head; kCall, end the head's nap; kSlice, take back
//            what it asked the machine for (SlicePort): a little more time, for others wait.
//   notes_   kHead: a waiter leads, or one is being woken to lead. kParked: others may sleep. kHurry: the
//            head has had its longest nap, after some 2.6 ms: from here on the lock is closed, too.
//   passes_  how often lock() has passed the head. At Parking::passes the lock is closed: the next
//            free moment is the head's. Written by holders only, who may close it before (the turns, below).
//
//   lock_       notes_         who is about
//   0           0              nobody
//   kLocked     0              a holder
//   any         kHead          a head; it spins, then naps (a nap ends by itself)
//   any         kHead kHurry   the same, and whoever takes the lock past it gives it back, and calls it
//   any         kHead kParked  the same, and sleepers, first come first served by the port
//   +kWake      kHead kParked  the holder was the head; there is a sleeper, and it will wake him
//   0           kHead kParked  ... or has just done so: he is on his way
//   +kCall      kHead ...      the holder's pass was the last: the head is called when it unlocks
//
// Only lock_ is the lock. The rest says who waits how; what is stale there (a waiter that left by a
// jump, a child of fork() with none of the waiters) costs time: at most Parking::park_limit_ns, once,
// for then a sleeper wakes by itself, leads, and as a holder makes the notes anew. It never blocks
// anyone, for a try does not care, nor do the first `passes` lock() calls unless a head was in a hurry or somebody
// sleeps, and it never lets two in.
//
// No wake-up is lost. (1) The port lets a waiter fall asleep only on a word that still has kHead and
// kParked. (2) Who leaves his sleep, woken, by a signal or by the limit, leads; who leads looks again
// and again. So a sleeper has somebody who will wake him as long as kHead is true, and it is cleared
// only by (3) the holder that was the head, in settle(): it asks the port for sleepers, clears, and
// asks again. Who fell asleep before the clearing is seen by the second question, and he who has not
// yet will find the word changed, by (1). One sleeper is woken for each head that took the lock: no
// herd.
//
// The bound. Who has registered (set kHead, or fallen asleep) with p others before him is passed by
// at most (p + 1) * Parking::passes lock() calls that began later: passes_ is counted under the lock,
// behind the taking and the look at notes_, and each of the p heads before him sets it to 0 once. Sections may
// be long, so a head is not passed any more either once it has said that it is in a hurry.
// Where others sleep besides the head, who was the head or slept has a turn (TurnPort): it may pass for
// Parking::turn_us. Then it closes the lock with its next pass, or the next but 31, and sleeps behind the others
// as soon as it finds the lock held. Without turns a round of 64 waiters of 1 us took 2,000 passes each,
// and who ran went on running: some had the lock fifteen times as often as others.
//
// Not counted are tries; waiters that a signal or the limit woke out of turn; and, until its next
// look, a head beside another that has just cleared kHead (a second head comes of these only).
//
// A handler that interrupted a waiter takes the free lock like anyone: waiters keep nothing but
// what is on their stacks. It may also wait, for then it is just one more waiter of this thread;
// behind the head itself, if that has closed the lock, for park_limit_ns at most.
//
// Cost uncontended: one locked instruction, a load and a store each way: one of notes_ after the
// taking, one of its own byte before giving back. They are what the wake-up costs, and hit the line
// that the compare-exchange has just brought here. A plain store gives the lock back because nobody
// else writes that byte while it is held: that is why the waiters' notes have a byte of their own.
// Contended: a question to the kernel and a wake-up or two for each change of the head.
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

#include "nestlock/lock/words.h"

namespace nestlock::internal {

template <Kernel K>
class alignas(4) ParkWord {
  using Port = typename K::Port;
  template <class T>
  using Atomic = typename Port::template Atomic<T>;
  static constexpr const Parking& kParking = Port::kParking;

 public:
  static constexpr bool kSleeps = false;
  static constexpr unsigned kPasses = kParking.passes;
  static_assert(kPasses >= 1 && kPasses <= 0xffff && kParking.looks >= 1);

  // Fails only if the lock is held; writes nothing then. Strong: no refusal by chance.
  bool try_acquire() noexcept { return take(); }

  SleepResult acquire() noexcept {
    const bool mine = take();
    // Behind the taking: a head that had registered before this call is seen here, and counted for.
    if (!mine || notes_.load(kRelaxed) != 0) [[unlikely]]
      contend(mine);
    return SleepResult::acquired;
  }

  // Nothing reads or writes the word behind the store: its memory may go as soon as the last user is
  // through. Waking comes behind it, too: whom a holder wakes could take its processor.
  void release() noexcept {
    const std::uint8_t held = lock_.load(kRelaxed);  // own: only holders write it while it is held
    lock_.store(0, std::memory_order_release);       // pairs with take()
    if (held != kLocked) [[unlikely]]
      wake(held);
  }

  bool held() const noexcept { return lock_.load(kRelaxed) != 0; }
  bool contended() const noexcept { return notes_.load(kRelaxed) != 0; }

 private:
  static constexpr std::uint8_t kLocked = 1, kWake = 2, kCall = 4, kSlice = 8;  // lock_
  static constexpr std::uint8_t kHead = 1, kParked = 2, kHurry = 4;             // notes_
  static constexpr unsigned kPassesALook = 32;                                  // at the clock
  static constexpr unsigned kTries = 16;  // to fall asleep on a word that changes with each section

  bool take() noexcept {
    std::uint8_t free = 0;
    // acquire: pairs with release(); the section sees all that the last holder did, and passes_.
    return lock_.load(kRelaxed) == 0 &&
           lock_.compare_exchange_strong(free, kLocked, std::memory_order_acquire, kRelaxed);
  }

  // relaxed, of notes_ and passes_ everywhere: notes_ orders nothing but itself, and its changes are
  // single steps; passes_ is ordered by lock_, and who does not hold it only guesses by it.

  // By a holder that is not the head: whether it may stay. Counts it; else it has given back.
  bool may_pass() noexcept {
    const std::uint8_t notes = notes_.load(kRelaxed);
    if (!(notes & kHead)) return true;
    const unsigned passes = passes_.load(kRelaxed);
    if (passes >= kPasses || (notes & kHurry)) {
      // release: what the last holder did reaches the next take() through here.
      lock_.store(0, std::memory_order_release);
      if (notes & kHurry) Port::end_nap(this);  // who held it last did not know
      return false;
    }
    const bool last = passes + 1 == kPasses || (passes % kPassesALook == 0 && ends_its_turn());
    passes_.store(static_cast<std::uint16_t>(last ? kPasses : passes + 1), kRelaxed);
    if (last) lock_.store(kLocked | kCall, kRelaxed);
    return true;
  }

  bool closed() const noexcept {
    const std::uint8_t notes = notes_.load(kRelaxed);
    return (notes & kHead) && ((notes & kHurry) || passes_.load(kRelaxed) >= kPasses);
  }

  [[gnu::noinline]] void contend(bool mine) noexcept {
    take_in_turn(mine);
    if constexpr (SlicePort<Port>)
      if (Port::slice_begins())
        lock_.store(static_cast<std::uint8_t>(lock_.load(kRelaxed) | kSlice), kRelaxed);
  }

  void take_in_turn(bool mine) noexcept {
    if (mine && may_pass()) return;
    unsigned tries = has_had_its_turn() ? kTries : 0;
    while (tries || !pass()) {
      if (becomes_head() || sleeps()) return lead();
      if (tries) --tries;
    }
  }

  // Where others sleep; else those who run would pass them for as long as they have a processor.
  bool has_had_its_turn() const noexcept {
    if constexpr (TurnPort<Port>)
      return (notes_.load(kRelaxed) & kParked) && Port::turn_us() >= kParking.turn_us;
    else
      return false;
  }

  // The note of sleepers may be stale: then the lock stays open, or a forked child would close it at once.
  bool ends_its_turn() noexcept { return has_had_its_turn() && Port::any_parked(this); }

  bool pass() noexcept {
    for (unsigned looks = 0; looks < kParking.looks;) {
      if (held() || closed())
        ++looks, Port::pause();
      else if (take() && may_pass())
        return true;
    }
    return false;
  }

  bool becomes_head() noexcept {
    std::uint8_t notes = notes_.load(kRelaxed);
    return !(notes & kHead) && !(notes_.fetch_or(kHead, kRelaxed) & kHead);
  }

  // False: the word has changed, and nobody slept.
  bool sleeps() noexcept {
    std::uint8_t notes = notes_.load(kRelaxed);
    if (!(notes & kHead)) return false;
    const std::uint8_t noted = notes | kParked;
    if (notes != noted && !notes_.compare_exchange_strong(notes, noted, kRelaxed, kRelaxed))
      return false;
    const Bytes now{lock_.load(kRelaxed), noted, passes_.load(kRelaxed)};
    return Port::park(this, std::bit_cast<std::uint32_t>(now), kParking.park_limit_ns);
  }

  void lead() noexcept {
    std::uint64_t nap_ns = kParking.first_nap_ns;
    for (;;) {
      for (unsigned looks = 0; looks < kParking.looks;) {
        if (!held()) {
          if (take()) return settle();
        } else {
          if (!(notes_.load(kRelaxed) & kHead)) notes_.fetch_or(kHead, kRelaxed);
          ++looks, Port::pause();
        }
      }
      Port::nap(this, nap_ns);
      if (nap_ns < kParking.longest_nap_ns)
        nap_ns *= 2;
      else if (!(notes_.load(kRelaxed) & kHurry))
        notes_.fetch_or(kHead | kHurry, kRelaxed);
    }
  }

  // By the holder that was the head: the notes anew.
  void settle() noexcept {
    if constexpr (TurnPort<Port>) Port::turn_begins();
    passes_.store(0, kRelaxed);
    if (notes_.load(kRelaxed) & kHurry) notes_.fetch_and(kHead | kParked, kRelaxed);
    std::uint8_t notes = kHead;
    if (notes_.compare_exchange_strong(notes, 0, kRelaxed, kRelaxed) || !(notes & kParked)) return;
    if (!Port::any_parked(this)) {
      notes_.store(0, kRelaxed);
      if (!Port::any_parked(this)) return;
      notes_.store(kHead | kParked, kRelaxed);
    }
    lock_.store(kLocked | kWake, kRelaxed);
  }

  // kHead stays: the place is kept for the one who is woken.
  [[gnu::noinline]] void wake(std::uint8_t noted) noexcept {
    if (noted & kWake) Port::unpark_one(this);
    if (noted & kCall) Port::end_nap(this);
    if constexpr (SlicePort<Port>)
      if (noted & kSlice) Port::slice_ends();
  }

  struct Bytes {
    std::uint8_t lock, notes;
    std::uint16_t passes;
  };
  Atomic<std::uint8_t> lock_{0};
  Atomic<std::uint8_t> notes_{0};
  Atomic<std::uint16_t> passes_{0};
};

}  // namespace nestlock::internal
