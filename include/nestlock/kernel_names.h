// The kernel's spellings, for code and heads that think in them. Each is one line over the class of
// the same meaning, whose header says contexts, ordering and cost; `flags` is a reference where the
// kernel has a macro, to an `unsigned long` or an irqflags_t. Bring them in by `using namespace
// nestlock::kernel_names`. What a port lacks (bare: _irq, _bh) does not compile where it is used.
//
// The forms of a lock X = raw_spin, spin: X_lock, X_unlock, X_trylock, each plain, _bh, _irq, and
// _irqsave / _irqrestore. spin_* take a spinlock_t or a spin_trylock_t. On PREEMPT_RT the irq forms
// of a sleeping lock mask nothing, and flags become zero. A failed spin_trylock_irq() enables irqs,
// whatever they were before: the kernel's does.
//
// local_* name a member of a PerCpu: local_lock<&Cache::lock>(caches) locks this CPU's and returns
// it; local_unlock<&Cache::lock>(caches) is its end, on the same CPU.
#pragma once

#include <concepts>
#include <new>

#include "nestlock/nestlock.h"

namespace nestlock::kernel_names {

// The kernel's types, as those of the built configuration.
using raw_spinlock_t = RawSpinLock;
using spinlock_t = SpinLock;
using spin_trylock_t = TrySpinLock;
using local_lock_t = LocalLock;
using local_trylock_t = LocalTryLock;
using irqflags_t = BuiltPort::IrqState;

namespace internal {
// The port's own type, or what the kernel has: `unsigned long flags`.
template <class F>
concept Flags = std::same_as<F, irqflags_t> ||
                (std::integral<F> && std::integral<irqflags_t> && sizeof(F) >= sizeof(irqflags_t));
}  // namespace internal

// ---- context -----------------------------------------------------------------------------------

// As in the kernel: the masks and counts of this CPU, and the context that it is in.
inline void preempt_disable() noexcept { BuiltPort::preempt_disable(); }
inline void preempt_enable() noexcept { BuiltPort::preempt_enable(); }
void local_irq_save(internal::Flags auto& flags) noexcept { flags = BuiltPort::irq_save(); }
void local_irq_restore(internal::Flags auto flags) noexcept {
  BuiltPort::irq_restore(static_cast<irqflags_t>(flags));
}
template <class P = BuiltPort>
void local_irq_disable() noexcept {
  P::irq_disable();
}
template <class P = BuiltPort>
void local_irq_enable() noexcept {
  P::irq_enable();
}
template <class P = BuiltPort>
bool irqs_disabled() noexcept {
  return P::irqs_disabled();
}
template <class P = BuiltPort>
void local_bh_disable() noexcept {
  P::bh_disable();
}
template <class P = BuiltPort>
void local_bh_enable() noexcept {
  P::bh_enable();
}
inline bool in_nmi() noexcept { return BuiltPort::context() == Context::nmi; }
inline bool in_hardirq() noexcept { return BuiltPort::context() == Context::hardirq; }
inline bool in_serving_softirq() noexcept { return BuiltPort::context() == Context::softirq; }
inline bool in_task() noexcept { return BuiltPort::context() == Context::task; }
inline bool can_spin_trylock() noexcept { return nestlock::can_spin_trylock<BuiltKernel>(); }

namespace internal {

template <class L>
concept Raw = std::same_as<L, raw_spinlock_t>;
template <class L>
concept Spin = std::same_as<L, spinlock_t> || std::same_as<L, spin_trylock_t>;

// A tag entered and left by hand: what a guard keeps is in `flags`, or nowhere.
template <class L>
irqflags_t save() noexcept {
  if constexpr (L::kSleeps) return irqflags_t{};
  return L::Port::irq_save();
}
template <class L>
void restore(Flags auto flags) noexcept {
  if constexpr (!L::kSleeps) L::Port::irq_restore(static_cast<irqflags_t>(flags));
}
template <class L>
void disable() noexcept {
  if constexpr (!L::kSleeps) L::Port::irq_disable();
}
template <class L>
void enable() noexcept {
  if constexpr (!L::kSleeps) L::Port::irq_enable();
}

// Context first, then lock; lock first, then context.
template <class L>
void lock_bh(L* l) noexcept NESTLOCK_ACQUIRE(l) {
  L::Port::bh_disable(), l->lock();
}
template <class L>
void unlock_bh(L* l) noexcept NESTLOCK_RELEASE(l) {
  l->unlock(), L::Port::bh_enable();
}
template <class L>
void lock_irq(L* l) noexcept NESTLOCK_ACQUIRE(l) {
  disable<L>(), l->lock();
}
template <class L>
void unlock_irq(L* l) noexcept NESTLOCK_RELEASE(l) {
  l->unlock(), enable<L>();
}
template <class L>
void lock_irqsave(L* l, Flags auto& flags) noexcept NESTLOCK_ACQUIRE(l) {
  flags = save<L>(), l->lock();
}
template <class L>
void unlock_irqrestore(L* l, Flags auto flags) noexcept NESTLOCK_RELEASE(l) {
  l->unlock(), restore<L>(flags);
}
template <class L>
bool trylock_bh(L* l) noexcept NESTLOCK_TRY_ACQUIRE(true, l) {
  L::Port::bh_disable();
  if (l->try_lock()) return true;
  return L::Port::bh_enable(), false;
}
template <class L>
bool trylock_irq(L* l) noexcept NESTLOCK_TRY_ACQUIRE(true, l) {
  disable<L>();
  if (l->try_lock()) return true;
  return enable<L>(), false;
}
template <class L>
bool trylock_irqsave(L* l, Flags auto& flags) noexcept NESTLOCK_TRY_ACQUIRE(true, l) {
  flags = save<L>();
  if (l->try_lock()) return true;
  return restore<L>(flags), false;
}

// This CPU's member, pinned while it is picked; the lock has a pin of its own.
template <auto kLock, class T, class Take>
T* here(PerCpu<T>& all, Take take) noexcept NESTLOCK_NO_TSA {
  using L = std::remove_reference_t<decltype(std::declval<T&>().*kLock)>;
  using Pin = nestlock::internal::Pin<BuiltKernel, L::kSleeps>;
  Pin::enter();
  T* const t = &all.here();
  const bool got = take(t->*kLock);
  Pin::leave();
  return got ? t : nullptr;
}

}  // namespace internal

// ---- birth --------------------------------------------------------------------------------------

// Makes the lock free and new, whatever was there: memory that is no lock yet, or a lock that threads
// held which a forked child lacks. Nobody may hold it or wait for it.
template <class L>
  requires internal::Raw<L> || internal::Spin<L>
void spin_lock_init(L* l, nestlock::internal::PlaceOf<BuiltKernel> born =
                              nestlock::internal::PlaceOf<BuiltKernel>::here()) noexcept {
  ::new (static_cast<void*>(l)) L(born);
}
template <internal::Raw L>
void raw_spin_lock_init(L* l, nestlock::internal::PlaceOf<BuiltKernel> born =
                                  nestlock::internal::PlaceOf<BuiltKernel>::here()) noexcept {
  ::new (static_cast<void*>(l)) L(born);
}

// clang-format off

// ---- raw_spinlock_t ------------------------------------------------------------------------------

// As the functions of the lock; `_bh`, `_irq` and `_irqsave` mask first, and unmask last.
template <internal::Raw L> void raw_spin_lock(L* l) noexcept NESTLOCK_ACQUIRE(l) { l->lock(); }
template <internal::Raw L> void raw_spin_unlock(L* l) noexcept NESTLOCK_RELEASE(l) { l->unlock(); }
template <internal::Raw L> bool raw_spin_trylock(L* l) noexcept NESTLOCK_TRY_ACQUIRE(true, l) { return l->try_lock(); }
template <internal::Raw L> void raw_spin_lock_bh(L* l) noexcept NESTLOCK_ACQUIRE(l) { internal::lock_bh(l); }
template <internal::Raw L> void raw_spin_unlock_bh(L* l) noexcept NESTLOCK_RELEASE(l) { internal::unlock_bh(l); }
template <internal::Raw L> bool raw_spin_trylock_bh(L* l) noexcept NESTLOCK_TRY_ACQUIRE(true, l) { return internal::trylock_bh(l); }
template <internal::Raw L> void raw_spin_lock_irq(L* l) noexcept NESTLOCK_ACQUIRE(l) { internal::lock_irq(l); }
template <internal::Raw L> void raw_spin_unlock_irq(L* l) noexcept NESTLOCK_RELEASE(l) { internal::unlock_irq(l); }
template <internal::Raw L> bool raw_spin_trylock_irq(L* l) noexcept NESTLOCK_TRY_ACQUIRE(true, l) { return internal::trylock_irq(l); }
template <internal::Raw L> void raw_spin_lock_irqsave(L* l, internal::Flags auto& flags) noexcept NESTLOCK_ACQUIRE(l) { internal::lock_irqsave(l, flags); }
template <internal::Raw L> void raw_spin_unlock_irqrestore(L* l, internal::Flags auto flags) noexcept NESTLOCK_RELEASE(l) { internal::unlock_irqrestore(l, flags); }
template <internal::Raw L> bool raw_spin_trylock_irqsave(L* l, internal::Flags auto& flags) noexcept NESTLOCK_TRY_ACQUIRE(true, l) { return internal::trylock_irqsave(l, flags); }
template <internal::Raw L> bool raw_spin_is_locked(const L* l) noexcept { return l->is_locked(); }
template <internal::Raw L> bool raw_spin_is_contended(const L* l) noexcept { return l->is_contended(); }
template <internal::Raw L> void assert_raw_spin_locked(const L* l) noexcept NESTLOCK_ASSERT_HELD(l) { l->assert_held(); }

// ---- spinlock_t, spin_trylock_t ------------------------------------------------------------------

// Of both types. As the functions of the lock; `_bh`, `_irq` and `_irqsave` mask first, and unmask last.
template <internal::Spin L> void spin_lock(L* l) noexcept NESTLOCK_ACQUIRE(l) { l->lock(); }
template <internal::Spin L> void spin_unlock(L* l) noexcept NESTLOCK_RELEASE(l) { l->unlock(); }
template <internal::Spin L> bool spin_trylock(L* l) noexcept NESTLOCK_TRY_ACQUIRE(true, l) { return l->try_lock(); }
template <internal::Spin L> void spin_lock_bh(L* l) noexcept NESTLOCK_ACQUIRE(l) { internal::lock_bh(l); }
template <internal::Spin L> void spin_unlock_bh(L* l) noexcept NESTLOCK_RELEASE(l) { internal::unlock_bh(l); }
template <internal::Spin L> bool spin_trylock_bh(L* l) noexcept NESTLOCK_TRY_ACQUIRE(true, l) { return internal::trylock_bh(l); }
template <internal::Spin L> void spin_lock_irq(L* l) noexcept NESTLOCK_ACQUIRE(l) { internal::lock_irq(l); }
template <internal::Spin L> void spin_unlock_irq(L* l) noexcept NESTLOCK_RELEASE(l) { internal::unlock_irq(l); }
template <internal::Spin L> bool spin_trylock_irq(L* l) noexcept NESTLOCK_TRY_ACQUIRE(true, l) { return internal::trylock_irq(l); }
template <internal::Spin L> void spin_lock_irqsave(L* l, internal::Flags auto& flags) noexcept NESTLOCK_ACQUIRE(l) { internal::lock_irqsave(l, flags); }
template <internal::Spin L> void spin_unlock_irqrestore(L* l, internal::Flags auto flags) noexcept NESTLOCK_RELEASE(l) { internal::unlock_irqrestore(l, flags); }
template <internal::Spin L> bool spin_trylock_irqsave(L* l, internal::Flags auto& flags) noexcept NESTLOCK_TRY_ACQUIRE(true, l) { return internal::trylock_irqsave(l, flags); }
template <internal::Spin L> bool spin_is_locked(const L* l) noexcept { return l->is_locked(); }
template <internal::Spin L> bool spin_is_contended(const L* l) noexcept { return l->is_contended(); }
template <internal::Spin L> void assert_spin_locked(const L* l) noexcept NESTLOCK_ASSERT_HELD(l) { l->assert_held(); }

// clang-format on

// ---- local_lock_t, local_trylock_t -------------------------------------------------------------

// As PerCpu::lock_here(): what this CPU has, locked; and back.
template <auto kLock, class T>
T* local_lock(PerCpu<T>& all) noexcept NESTLOCK_NO_TSA {
  return internal::here<kLock>(all, [](auto& l) NESTLOCK_NO_TSA { return l.lock(), true; });
}
template <auto kLock, class T>
void local_unlock(PerCpu<T>& all) noexcept NESTLOCK_NO_TSA {
  (all.here().*kLock).unlock();
}
// Null if refused. For a local_lock_t it does not compile.
template <auto kLock, class T>
T* local_trylock(PerCpu<T>& all) noexcept NESTLOCK_NO_TSA {
  return internal::here<kLock>(all, [](auto& l) NESTLOCK_NO_TSA { return l.try_lock(); });
}
// With irqs masked around it; a try that is refused unmasks them again.
template <auto kLock, class T>
T* local_lock_irqsave(PerCpu<T>& all, internal::Flags auto& flags) noexcept NESTLOCK_NO_TSA {
  flags = internal::save<std::remove_reference_t<decltype(std::declval<T&>().*kLock)>>();
  return local_lock<kLock>(all);
}
template <auto kLock, class T>
void local_unlock_irqrestore(PerCpu<T>& all, internal::Flags auto flags) noexcept NESTLOCK_NO_TSA {
  local_unlock<kLock>(all);
  internal::restore<std::remove_reference_t<decltype(std::declval<T&>().*kLock)>>(flags);
}
template <auto kLock, class T>
T* local_trylock_irqsave(PerCpu<T>& all, internal::Flags auto& flags) noexcept NESTLOCK_NO_TSA {
  using L = std::remove_reference_t<decltype(std::declval<T&>().*kLock)>;
  flags = internal::save<L>();
  T* const t = local_trylock<kLock>(all);
  if (!t) internal::restore<L>(flags);
  return t;
}
template <auto kLock, class T>
T* local_lock_irq(PerCpu<T>& all) noexcept NESTLOCK_NO_TSA {
  internal::disable<std::remove_reference_t<decltype(std::declval<T&>().*kLock)>>();
  return local_lock<kLock>(all);
}
template <auto kLock, class T>
void local_unlock_irq(PerCpu<T>& all) noexcept NESTLOCK_NO_TSA {
  local_unlock<kLock>(all);
  internal::enable<std::remove_reference_t<decltype(std::declval<T&>().*kLock)>>();
}
// The caller is pinned.
template <auto kLock, class T>
bool local_lock_is_locked(PerCpu<T>& all) noexcept {
  return (all.here().*kLock).is_locked_here();
}
// As LocalLock::lock_nested_bh() and unlock_nested_bh(), of one CPU's lock.
template <std::same_as<local_lock_t> L>
void local_lock_nested_bh(L* l) noexcept NESTLOCK_ACQUIRE(l) {
  l->lock_nested_bh();
}
template <std::same_as<local_lock_t> L>
void local_unlock_nested_bh(L* l) noexcept NESTLOCK_RELEASE(l) {
  l->unlock_nested_bh();
}

}  // namespace nestlock::kernel_names

#define DEFINE_RAW_SPINLOCK(name) ::nestlock::kernel_names::raw_spinlock_t name
#define DEFINE_SPINLOCK(name) ::nestlock::kernel_names::spinlock_t name
