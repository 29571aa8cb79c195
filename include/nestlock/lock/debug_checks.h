// What a debug configuration adds to a lock: magic, owner, context and the place where it was
// taken, and the checks on them. NoChecks has the same members and is empty.
#pragma once

#include <cstdint>

#include "nestlock/lock/contexts.h"
#include "nestlock/lock/words.h"

namespace nestlock::internal {

template <Kernel K>
using PlaceOf = std::conditional_t<K::kConfig.debug, Place, NoPlace>;

template <Kernel K>
constexpr Report report_of(Finding f, LockType type, const char* call, const void* lock) noexcept {
  Report r;
  r.finding = f;
  r.config = K::kConfig;
  r.context = K::Port::context();
  r.cpu = K::Port::cpu_id();
  r.type = name_of(type);
  r.call = call;
  r.lock = lock;
  return r;
}

// Why the caller, in task context, may not sleep; null: it may.
template <Port P>
const char* why_not_sleep() noexcept {
  if constexpr (IrqSwitchPort<P>)
    if (P::irqs_disabled()) return "with irqs off, where nothing may sleep";
  if constexpr (PreemptCountPort<P>)
    if (P::preempt_count()) return "with preemption off (a raw spinlock's section?)";
  return nullptr;
}

template <Kernel K, LockType kType>
struct NoChecks {
  constexpr explicit NoChecks(NoPlace) noexcept {}
  static constexpr Place born() noexcept { return {}; }
  template <class Word>
  void before_lock(const void*, const Word&, contexts::Call, NoPlace) noexcept {}
  void before_nested_bh(const void*, NoPlace) const noexcept {}
  template <class Word>
  bool before_try(const void*, const Word&, NoPlace) noexcept {
    return true;
  }
  template <class Word>
  bool before_unlock(const void*, const Word&, NoPlace) noexcept {
    return true;
  }
  template <class Word>
  void assert_held(const void*, const Word&, NoPlace) const noexcept {}
  void taken(NoPlace) noexcept {}
  void not_taken() noexcept {}
  void given_back() noexcept {}
  template <class Word>
  static constexpr bool knows_mine(const Word&) noexcept {
    return false;
  }
  // lock() cannot succeed: say so, as far as this configuration knows.
  [[gnu::cold, gnu::noinline]] void trouble(const void* lock, SleepResult why, NoPlace) noexcept {
    Report r = report_of<K>(finding_of(why), kType, "lock", lock);
    r.fatal = why != SleepResult::owner_died;
    K::Port::report(r);
    if (r.fatal) die<typename K::Port>();
  }
  static constexpr Finding finding_of(SleepResult why) noexcept {
    if (why == SleepResult::owner_gone) return Finding::owner_gone;
    if (why == SleepResult::owner_died) return Finding::owner_died;
    const bool spins = kType == LockType::raw_spin || kType == LockType::rw_spin;
    return K::kConfig.preempt_rt && !spins ? Finding::deadlock : Finding::never_returns;
  }
};

template <Kernel K, LockType kType>
class DebugChecks {
 public:
  constexpr explicit DebugChecks(Place born) noexcept : born_(born) {}
  constexpr Place born() const noexcept { return born_; }

  template <class Word>
  void before_lock(const void* lock, const Word& word, contexts::Call call, Place where) noexcept {
    if (common(lock, call, where) && Word::kSleeps) may_sleep(lock, call, where);
    one_thread(lock, call, where);
    if (!word.held() || (!mine() && !held_by_the_interrupted(lock, word))) return changing(lock);
    const Context here = K::Port::context();
    tell(taken_in() < here ? Finding::never_returns : Finding::recursion, lock, name_of(call),
         where, /*fatal=*/true,
         taken_in() > here ? "a handler took it, and did not give it back" : nullptr);
  }

  // Without RT lock_nested_bh() takes nothing, but its rules are the same.
  void before_nested_bh(const void* lock, Place where) const noexcept {
    constexpr auto call = contexts::Call::lock_nested_bh;
    if (!K::Port::bh_disabled()) tell(Finding::bh_not_disabled, lock, name_of(call), where);
    if (!K::kConfig.preempt_rt) common(lock, call, where);
  }

  // False: refuse without touching the lock.
  template <class Word>
  bool before_try(const void* lock, const Word& word, Place where) noexcept {
    if (!common(lock, contexts::Call::try_lock, where)) return false;
    one_thread(lock, contexts::Call::try_lock, where);
    // Only debug builds can give this answer for a plain lock; it is reported, so that release builds,
    // which have no state to ask, do not surprise.
    if (!contexts::promised(kType) && !K::kConfig.smp && word.held() && mine() &&
        taken_in() < K::Port::context())
      tell(Finding::not_promised, lock, "try_lock", where);
    changing(lock);
    return true;
  }

  // False: the lock is not the caller's to release; leave it as it is.
  template <class Word>
  bool before_unlock(const void* lock, const Word& word, Place where) noexcept {
    common(lock, contexts::Call::unlock, where);
    if (!check_held(lock, word, "unlock", where)) return false;
    changing(lock);
    owner_.store(0, kRelaxed);
    return true;
  }

  template <class Word>
  void assert_held(const void* lock, const Word& word, Place where) const noexcept {
    check_held(lock, word, "assert_held", where);
  }

  void taken(Place where) noexcept {
    file_.store(where.file, kRelaxed);
    line_.store(where.line, kRelaxed);
    context_.store(static_cast<std::uint32_t>(K::Port::context()), kRelaxed);
    cpu_.store(K::Port::cpu_id(), kRelaxed);
    // A handler may look between any two of these: the owner comes last, and goes first.
    std::atomic_signal_fence(std::memory_order_seq_cst);
    owner_.store(self_of<typename K::Port>(), kRelaxed);
    changed();
  }
  void not_taken() noexcept { changed(); }
  void given_back() noexcept { changed(); }

  // (A word may be shared by many locks, so it is not enough; but readers hold a lock that nobody owns.)
  template <class Word>
  void before_destruction(const void* lock, const Word& word) const noexcept {
    if constexpr (StaticStoragePort<typename K::Port>)
      if (magic_ == kMagic && word.held() &&
          (owner_.load(kRelaxed) || kType == LockType::rw_spin) && !K::Port::is_static(lock))
        tell(Finding::destroyed, lock, "destructor", {});
  }

  // Whether the caller's task holds it, in this context or in one that it interrupted.
  template <class Word>
  bool knows_mine(const Word& word) const noexcept {
    return word.held() && mine();
  }

  // Whether a word that names the caller may answer before before_try() has looked: on one CPU all
  // threads have one name. (That a handler was left by a jump is told by the caller's next call.)
  bool may_be_answered_first() const noexcept {
    if constexpr (!K::kConfig.smp && OneThreadPort<typename K::Port>)
      return K::Port::is_the_one_thread();
    return true;
  }

  void trouble(const void* lock, SleepResult why, Place where) noexcept {
    tell(NoChecks<K, kType>::finding_of(why), lock, "lock", where,
         /*fatal=*/why != SleepResult::owner_died);
  }

 private:
  static constexpr std::uint32_t kMagic = 0x6e65'5374;  // "neSt"

  // The checks that every call starts with. False: not allowed here.
  bool common(const void* lock, contexts::Call call, Place where) const noexcept {
    if constexpr (AbandonmentPort<typename K::Port>) K::Port::check_abandoned();
    if (magic_ != kMagic) tell(Finding::uninitialised, lock, name_of(call), where, /*fatal=*/true);
    if (contexts::cell(kType, call, K::kConfig, K::Port::context()).allowed) return true;
    tell(Finding::wrong_context, lock, name_of(call), where);
    return false;
  }

  // PREEMPT_RT: in a raw spinlock's section, and with irqs off, nothing may sleep.
  void may_sleep(const void* lock, contexts::Call call, Place where) const noexcept {
    if (const char* const why = why_not_sleep<typename K::Port>())
      tell(Finding::wrong_context, lock, name_of(call), where, false, why);
  }

  // (Who gives back what another thread took is told so already.)
  void one_thread(const void* lock, contexts::Call call, Place where) const noexcept {
    if constexpr (!K::kConfig.smp && OneThreadPort<typename K::Port>)
      if (!K::Port::is_the_one_thread()) tell(Finding::second_thread, lock, name_of(call), where);
  }

  template <class Word>
  bool check_held(const void* lock, const Word& word, const char* call,
                  Place where) const noexcept {
    if (!word.held()) return tell(Finding::not_held, lock, call, where), false;
    if (!mine()) return tell(Finding::wrong_owner, lock, call, where), false;
    // A handler that interrupted the holder is the same task, but not the holder.
    if (taken_in() != K::Port::context())
      return tell(Finding::wrong_owner, lock, call, where, false, "another context"), false;
    // A task may have had no CPU then, or have none now.
    const unsigned then = cpu_.load(kRelaxed), now = K::Port::cpu_id();
    if (then != now && then < K::Port::kMaxCpus && now < K::Port::kMaxCpus)
      return tell(Finding::wrong_cpu, lock, call, where), false;
    return true;
  }

  static void changing([[maybe_unused]] const void* lock) noexcept {
    if constexpr (ChangingPort<typename K::Port>) K::Port::changing(lock);
  }
  static void changed() noexcept {
    if constexpr (ChangingPort<typename K::Port>) K::Port::changed();
  }

  // A handler came between the word and its owner, in this thread: nobody is named, and waiting would not
  // end. Another thread may be just there, too, so look for a while: it goes on.
  template <class Word>
  bool held_by_the_interrupted([[maybe_unused]] const void* lock,
                               [[maybe_unused]] const Word& word) const noexcept {
    // (Readers hold a lock that nobody owns.)
    if constexpr (ChangingPort<typename K::Port> && kType != LockType::rw_spin) {
      if (!K::Port::is_changing(lock)) return false;
      constexpr unsigned kLooks = 20'000, kYields = 100;
      for (unsigned look = 0; look < kLooks + kYields; ++look) {
        if (!word.held() || owner_.load(kRelaxed)) return mine();
        unsigned turns = look < kLooks ? 0 : kSpinsBeforeYield;
        wait_turn<typename K::Port>(turns);
      }
      return true;
    }
    return false;
  }

  bool mine() const noexcept { return owner_.load(kRelaxed) == self_of<typename K::Port>(); }
  Context taken_in() const noexcept { return static_cast<Context>(context_.load(kRelaxed)); }

  [[gnu::cold, gnu::noinline]] void tell(Finding f, const void* lock, const char* call, Place where,
                                         bool fatal = false,
                                         const char* detail = nullptr) const noexcept {
    Report r = report_of<K>(f, kType, call, lock);
    r.fatal = fatal;
    r.detail = detail;
    r.here = where;
    if (f != Finding::uninitialised) {  // else all of it is noise
      r.born_at = born_;
      r.owner = owner_.load(kRelaxed);
      if (r.owner) r.taken_at = {file_.load(kRelaxed), line_.load(kRelaxed)};
      r.taken_in = taken_in();
    }
    K::Port::report(r);
    if (fatal) die<typename K::Port>();
  }

  // Atomic because another CPU's report may read them while the owner writes; all relaxed: a
  // report is a snapshot, and `mine()` compares with a value that only this task stores.
  template <class T>
  using Atomic = typename K::Port::template Atomic<T>;
  std::uint32_t magic_ = kMagic;
  Atomic<std::uint32_t> context_{0}, cpu_{0}, line_{0};
  Atomic<const char*> file_{nullptr};
  Atomic<std::uintptr_t> owner_{0};
  Place born_;
};

template <Kernel K, LockType kType>
using ChecksFor = std::conditional_t<K::kConfig.debug, DebugChecks<K, kType>, NoChecks<K, kType>>;

}  // namespace nestlock::internal
