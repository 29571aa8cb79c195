// PerCpu<T>: one T for each CPU, and the guards that take this CPU's lock.
//
//   struct Cache { LocalTryLock lock; ... };
//   PerCpu<Cache> caches;
//   auto c = caches.lock_here<&Cache::lock>();                 c->...
//   if (auto c = caches.try_lock_here<&Cache::lock>()) ...     from any context
//
// The guard pins, then picks the CPU, then locks: with another order a task could be moved in
// between and hold a lock that is not its CPU's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nestlock/config/annotations.h"
#include "nestlock/config/config.h"
#include "nestlock/lock/core.h"
#include "nestlock/lock/irq.h"
#include "nestlock/lock/lock_concepts.h"

namespace nestlock {
namespace internal {

// The calls of a PerCpu, over where its Ts lie: All::from_1(n), the T of CPU n - 1.
template <Kernel K, class T, class All>
class PerCpuCalls {
  static_assert(linked_once<K>());

 public:
  // The kernel's.
  using Port = typename K::Port;

  // What lock_here() and try_lock_here() return: the T of this CPU, locked, or nothing.
  template <auto kLock, class Tag, bool kShort = false>
  class [[nodiscard]] Here {
    using Lock = std::remove_reference_t<decltype(std::declval<T&>().*kLock)>;
    using Irq = TagFor<Lock, Tag>;

   public:
    Here(const Here&) = delete;
    Here& operator=(const Here&) = delete;
    [[gnu::always_inline]] ~Here() NESTLOCK_NO_TSA {
      if (!here_) return;
      if constexpr (Core<Lock>) {
        PinnedBefore::unlock(here_->*kLock);
        Pinning::leave();
      } else {
        (here_->*kLock).unlock();
      }
      Irq::template leave<Port>(state_);
    }
    // Whether it is locked; if so, what this CPU has.
    explicit operator bool() const noexcept { return here_ != nullptr; }
    T* operator->() const noexcept { return here_; }
    T& operator*() const noexcept { return *here_; }

   private:
    friend class PerCpuCalls;
    // (A debug configuration counts all pins, so that its checks see them.)
    static constexpr bool kNoPin = kShort && task_is_cpu<Port>() && !K::kConfig.debug;
    using Pinning = std::conditional_t<kNoPin, NoPin, Pin<K, Lock::kSleeps>>;

    template <class Take>
    [[gnu::always_inline]] Here(PerCpuCalls& all, Take take) noexcept
        : state_(Irq::template enter<Port>()) {
      Pinning::enter();
      T* const t = kShort ? all.all().claimed_here() : Take::kMust ? &all.here() : all.try_here();
      if (t && take(t->*kLock)) here_ = t;
      if (!here_ || !Core<Lock>) Pinning::leave();  // else it is the lock's now
      if (!here_) Irq::template leave<Port>(state_);
    }

    [[no_unique_address]] typename Irq::template State<Port> state_;
    T* here_ = nullptr;
  };

  // The number of CPUs that there may be.
  static constexpr unsigned size() noexcept { return Port::kMaxCpus; }

  // The T of CPU `cpu` < size(). Any context; what may be done with it is the T's rule.
  T& on(unsigned cpu) noexcept { return *all().from_1(cpu + std::size_t{1}); }
  const T& on(unsigned cpu) const noexcept {
    return *static_cast<const All*>(this)->from_1(cpu + std::size_t{1});
  }

  // The T of this CPU; the caller is pinned. Null if the port has no CPU for this task.
  T* try_here() noexcept {
    const unsigned cpu = Port::cpu_id();
    return cpu < size() ? &on(cpu) : nullptr;
  }
  // As try_here(), but null also until this task has claimed a CPU. For a fast path: it calls nothing.
  T* claimed_here() noexcept {
    const unsigned cpu = claimed_cpu<Port>();
    if constexpr (!ClaimingPort<Port> || !K::kConfig.smp) return cpu < size() ? &on(cpu) : nullptr;
    // As the hosted port keeps it, the number counts from 1: so this is one test, and no subtraction.
    const std::size_t from_1 = cpu + 1;
    if (!from_1) return nullptr;
    T* t = all().from_1(from_1);
    asm("" : "+r"(t));  // or g++ computes it anew for each member
    if (!t) __builtin_unreachable();
    return t;
  }
  // The same where there must be one; else no_cpu goes to the report sink (fatal).
  T& here() noexcept {
    if (T* const t = try_here()) [[likely]]
      return *t;
    Report r;
    r.finding = Finding::no_cpu;
    r.fatal = true;
    r.config = K::kConfig;
    r.context = Port::context();
    r.type = "PerCpu", r.call = "here";
    Port::report(r);
    die<Port>();
  }

  // Contexts and cost as the lock's lock(). Where the port has no CPU for this task, no_cpu goes to
  // the report sink (fatal): nothing could be locked.
  template <auto kLock, class Tag = NoIrq>
  Here<kLock, Tag> lock_here(Tag = {}, PlaceOf<K> where = PlaceOf<K>::here()) noexcept {
    return Here<kLock, Tag>(*this, Must{where});
  }

  // Contexts and cost as the lock's try_lock(). Nothing if refused or if there is no CPU.
  template <auto kLock, class Tag = NoIrq>
  Here<kLock, Tag> try_lock_here(Tag = {}, PlaceOf<K> where = PlaceOf<K>::here()) noexcept {
    return Here<kLock, Tag>(*this, Try{where});
  }

  // For a short section on a fast path, before a slow one that uses try_lock_here(): as that, but
  // refused to a task that has not claimed a CPU yet, so that it makes no call and its caller saves
  // no register for one; and it pins only where a task could leave its CPU.
  template <auto kLock, class Tag = NoIrq>
  [[gnu::always_inline]] Here<kLock, Tag, true> try_lock_claimed(
      Tag = {}, PlaceOf<K> where = PlaceOf<K>::here()) noexcept {
    return Here<kLock, Tag, true>(*this, Try{where});
  }

 private:
  friend All;
  constexpr PerCpuCalls() noexcept = default;
  struct Must {
    static constexpr bool kMust = true;
    [[no_unique_address]] PlaceOf<K> where;
    template <class Lock>
    [[gnu::always_inline]] bool operator()(Lock& lock) const noexcept NESTLOCK_NO_TSA {
      if constexpr (Core<Lock>)
        PinnedBefore::lock(lock, where);
      else
        lock.lock(where);
      return true;
    }
  };
  struct Try {
    static constexpr bool kMust = false;
    [[no_unique_address]] PlaceOf<K> where;
    template <class Lock>
    [[gnu::always_inline]] bool operator()(Lock& lock) const noexcept NESTLOCK_NO_TSA {
      if constexpr (Core<Lock>)
        return PinnedBefore::try_lock(lock, where);
      else
        return lock.try_lock(where);
    }
  };

  All& all() noexcept { return *static_cast<All*>(this); }
};

// Where others laid them, each 2^`shift` bytes behind the one before. (As the numbers count from 1 on SMP, it
// keeps where that of a CPU before the first would be.)
template <Kernel K, class T>
class PerCpuAt : public PerCpuCalls<K, T, PerCpuAt<K, T>> {
 public:
  // Nowhere: not to be asked for any.
  constexpr PerCpuAt() noexcept = default;
  PerCpuAt(T* first, int shift) noexcept
      : base_(reinterpret_cast<std::uintptr_t>(first) - (kBefore << shift)), shift_(shift) {}
  // As base() of another.
  constexpr PerCpuAt(std::uintptr_t base, int shift) noexcept : base_(base), shift_(shift) {}
  std::uintptr_t base() const noexcept { return base_; }

 private:
  template <Kernel, class, class>
  friend class PerCpuCalls;
  static constexpr std::uintptr_t kBefore = K::kConfig.smp ? 1 : 0;
  T* from_1(std::size_t n) const noexcept {
    return reinterpret_cast<T*>(base_ + ((n - 1 + kBefore) << shift_));
  }
  std::uintptr_t base_ = 0;
  int shift_ = 0;
};

// That of the running CPU alone, which its caller has found before.
template <Kernel K, class T>
class PerCpuFound : public PerCpuCalls<K, T, PerCpuFound<K, T>> {
 public:
  explicit PerCpuFound(T& found) noexcept : found_(found) {}
  T* claimed_here() noexcept {
    T* t = &found_;
    asm("" : "+r"(t));  // or g++ computes it anew for each member
    if (!t) __builtin_unreachable();
    return t;
  }

 private:
  template <Kernel, class, class>
  friend class PerCpuCalls;
  T* from_1(std::size_t) const noexcept { return &found_; }
  T& found_;
};

}  // namespace internal

template <Kernel K, class T>
class BasicPerCpu : public internal::PerCpuCalls<K, T, BasicPerCpu<K, T>> {
 public:
  constexpr BasicPerCpu() = default;
  BasicPerCpu(const BasicPerCpu&) = delete;
  BasicPerCpu& operator=(const BasicPerCpu&) = delete;

 private:
  template <Kernel, class, class>
  friend class internal::PerCpuCalls;
  T* from_1(std::size_t n) noexcept { return &slot_[n - 1].value; }
  const T* from_1(std::size_t n) const noexcept { return &slot_[n - 1].value; }
  // A cache line each, or CPUs would slow one another. (The lean form is of small cores, and counts bytes.)
  struct alignas(kLean ? alignof(T) : 64) Slot {
    T value;
  };
  Slot slot_[K::Port::kMaxCpus];
};

}  // namespace nestlock
