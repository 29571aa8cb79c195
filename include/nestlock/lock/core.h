// What all locks share: pin the task, check the call, tell the observer, take the word; and back. A
// lock is this class over one word (concept LockWord, words.h), with its functions named in its own
// header.
#pragma once

#include <concepts>
#include <type_traits>

#include "nestlock/config/annotations.h"
#include "nestlock/lock/debug_checks.h"
#include "nestlock/lock/patience.h"

namespace nestlock::internal {

// A spinning section must not be preempted; a sleeping one stays on its CPU.
template <Kernel K, bool kSleeps>
struct Pin {
  static void enter() noexcept { K::Port::preempt_disable(); }
  static void leave() noexcept { K::Port::preempt_enable(); }
};
template <Kernel K>
struct Pin<K, true> {
  static void enter() noexcept { K::Port::migrate_disable(); }
  static void leave() noexcept { K::Port::migrate_enable(); }
};

struct NoPin {
  static void enter() noexcept {}
  static void leave() noexcept {}
};

// For callers that pin first, to pick the CPU's lock: takes and gives back the lock without a second
// pin. The pin's count, up and down, is what an uncontended section costs most, since each of the two
// waits for the one before. `Core` is any lock that LockCore makes.
template <class Lock>
concept Core = requires { Lock::kLockType; };
struct PinnedBefore {
  template <Core Lock, class Place>
  static void lock(Lock& l, Place where) noexcept NESTLOCK_NO_TSA {
    l.template lock_with<NoPin>(contexts::Call::lock, where);
  }
  template <Core Lock, class Place>
  static bool try_lock(Lock& l, Place where) noexcept NESTLOCK_NO_TSA {
    return l.template try_with<NoPin>(where);
  }
  template <Core Lock>
  static void unlock(Lock& l) noexcept NESTLOCK_NO_TSA {
    l.template unlock_with<NoPin>(PlaceOf<typename Lock::Kernel>::here());
  }
};

// One attempt, as try_lock() makes it; try_lock_for() and ResilientSpinLock make more.
struct TryOnce {
  bool operator()(auto& word) const noexcept { return word.try_acquire(); }
};

// Whether a lock looks at its end if somebody holds it. A static object with a destructor is registered when
// the program starts, so only debug's have one, and only where the port can tell.
template <class K>
concept WatchesItsEnd = K::kConfig.debug && StaticStoragePort<typename K::Port>;

// What a lock consists of. Two classes, since clang before 16 knows no destructor that is there on a condition.
template <Kernel K, LockType kType, TryLockWord Word, bool kWatched = WatchesItsEnd<K>>
class LockParts {
 protected:
  constexpr explicit LockParts(PlaceOf<K> born) noexcept : checks_(born) {}
  [[no_unique_address]] Word word_;
  [[no_unique_address]] ChecksFor<K, kType> checks_;
};
template <Kernel K, LockType kType, TryLockWord Word>
class LockParts<K, kType, Word, true> {
 protected:
  constexpr explicit LockParts(PlaceOf<K> born) noexcept : checks_(born) {}
  constexpr ~LockParts() {
    if (!std::is_constant_evaluated()) checks_.before_destruction(this, word_);
  }
  Word word_;
  ChecksFor<K, kType> checks_;
};

template <Kernel K, LockType kType, TryLockWord Word>
class NESTLOCK_CAPABILITY("lock") LockCore : LockParts<K, kType, Word> {
  static_assert(linked_once<K>());
  using Parts = LockParts<K, kType, Word>;
  using Parts::checks_, Parts::word_;

 public:
  using Kernel = K;
  using Port = typename K::Port;
  static constexpr LockType kLockType = kType;
  static constexpr bool kSleeps = Word::kSleeps;
  static constexpr bool kTryLockFromAnyContext = contexts::promised(kType);

  LockCore(const LockCore&) = delete;
  LockCore& operator=(const LockCore&) = delete;

  // Gives the lock back, then unpins. Only by the holder, in the context that took it.
  // release order: pairs with the acquire of the next holder's lock() or try_lock().
  void unlock(PlaceOf<K> where = PlaceOf<K>::here()) noexcept NESTLOCK_RELEASE() {
    unlock_with<Pin<K, kSleeps>>(where);
  }

  // Whether anyone holds it: a snapshot without ordering. Always false for a stateless lock
  // (RawSpinLock, SpinLock and LocalLock on UP without debug).
  bool is_locked() const noexcept { return word_.held(); }

  // Whether anyone waits for it: a snapshot; false on UP.
  bool is_contended() const noexcept { return word_.contended(); }

  // In debug, reports unless the caller holds it. In others only a word to clang's analysis.
  void assert_held(PlaceOf<K> where = PlaceOf<K>::here()) const noexcept NESTLOCK_ASSERT_HELD() {
    checks_.assert_held(this, word_, where);
  }

 protected:
  constexpr explicit LockCore(PlaceOf<K> born) noexcept : Parts(born) {}
  ~LockCore() = default;

  template <class Pinning>
  void lock_with(contexts::Call call, PlaceOf<K> where) noexcept NESTLOCK_NO_TSA {
    checks_.before_lock(this, word_, call, where);
    Pinning::enter();
    Observer::acquiring(ref(where));
    if (const SleepResult r = word_.acquire(); r != SleepResult::acquired) [[unlikely]]
      checks_.trouble(this, r, where);
    checks_.taken(where);
    Observer::acquired(ref(where), false);
  }

  template <class Pinning = Pin<K, kSleeps>, class Attempt = TryOnce>
  bool try_with(PlaceOf<K> where, Attempt attempt = {}) noexcept NESTLOCK_NO_TSA {
    if (!checks_.before_try(this, word_, where)) {
      Observer::refused(ref(where));
      return false;
    }
    Pinning::enter();
    if (!attempt(word_)) {
      checks_.not_taken();
      Pinning::leave();
      Observer::refused(ref(where));
      return false;
    }
    checks_.taken(where);
    Observer::acquired(ref(where), true);
    return true;
  }

  // Tries for so long; once where the word (or, in debug, the record) tells that the holder cannot go on
  // before the caller returns.
  template <class Timeout>
  bool try_for_with(Timeout timeout, PlaceOf<K> where) noexcept NESTLOCK_NO_TSA {
    return try_with(where, [this, timeout](Word& word) noexcept {
      if (word.try_acquire()) return true;
      if constexpr (requires { word.hopeless(); })
        if (word.hopeless()) return false;
      if (checks_.knows_mine(word)) return false;
      Patience<K> patience(timeout);
      do {
        if (patience.over()) return false;
        patience.turn(&word);
      } while (!word.try_acquire());
      return true;
    });
  }

  template <class Pinning>
  void unlock_with(PlaceOf<K> where) noexcept NESTLOCK_NO_TSA {
    if (!checks_.before_unlock(this, word_, where)) return;
    Observer::releasing(ref(where));
    word_.release();
    checks_.given_back();
    Pinning::leave();
  }

  void check_nested_bh(PlaceOf<K> where) const noexcept { checks_.before_nested_bh(this, where); }

  // For what a lock has beside these: a reader's side.
  const Word& word() const noexcept { return word_; }
  Word& word() noexcept { return word_; }
  auto& checks() noexcept { return checks_; }
  LockRef ref(PlaceOf<K> where) const noexcept {
    LockRef r{this, kType, {}, checks_.born()};
    if constexpr (K::kConfig.debug) r.where = where;
    return r;
  }

 private:
  friend struct PinnedBefore;
  using Observer = typename K::Observer;
};

}  // namespace nestlock::internal
