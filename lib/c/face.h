// What the bodies of the C face share: each C lock is the C++ lock of the same name at the same
// address.
#pragma once

#include <new>

#include "nestlock/c/local.h"
#include "nestlock/c/types.h"
#include "nestlock/nestlock.h"

// The place of the C call, as the C++ functions take it; in scope of parameters that end with
// NESTLOCK_PLACE.
#define NESTLOCK_WHERE NESTLOCK_IF_DEBUG((nestlock::Place{file, line}), nestlock::NoPlace{})

namespace nestlock::c_face {

template <class Lock>
struct CxxOf;
template <>
struct CxxOf<nestlock_raw_spinlock_t> {
  using type = RawSpinLock;
};
template <>
struct CxxOf<nestlock_spinlock_t> {
  using type = SpinLock;
};
template <>
struct CxxOf<nestlock_spin_trylock_t> {
  using type = TrySpinLock;
};
template <>
struct CxxOf<nestlock_local_lock_t> {
  using type = LocalLock;
};
template <>
struct CxxOf<nestlock_local_trylock_t> {
  using type = LocalTryLock;
};

template <class C>
constexpr bool same_layout() noexcept {
  using Cxx = typename CxxOf<C>::type;
  static_assert(sizeof(C) == sizeof(Cxx),
                "c/types.h: the C lock has another size than the C++ lock");
  static_assert(alignof(C) == alignof(Cxx),
                "c/types.h: the C lock has another alignment than the C++ lock");
  static_assert(std::is_standard_layout_v<C> && std::is_trivial_v<C>);
  return true;
}
static_assert(same_layout<nestlock_raw_spinlock_t>() && same_layout<nestlock_spinlock_t>() &&
              same_layout<nestlock_spin_trylock_t>() && same_layout<nestlock_local_lock_t>() &&
              same_layout<nestlock_local_trylock_t>());
static_assert(
    NESTLOCK_CPUS == BuiltPort::kMaxCpus,
    "c/local.h: NESTLOCK_CPUS is not the port's number of CPUs; pass -DNESTLOCK_MAX_CPUS");

// The C++ lock that a C lock is.
template <class C>
typename CxxOf<C>::type& of(C* lock) noexcept {
  return *reinterpret_cast<typename CxxOf<C>::type*>(lock);
}
template <class C>
const typename CxxOf<C>::type& of(const C* lock) noexcept {
  return *reinterpret_cast<const typename CxxOf<C>::type*>(lock);
}
template <class C>
void make(C* lock, internal::PlaceOf<BuiltKernel> where) noexcept {
  ::new (static_cast<void*>(lock)) typename CxxOf<C>::type(where);
}

// irq_save as a lock's guard does it, with the state in the caller's hand: nothing for a lock that
// sleeps.
using IrqState = BuiltPort::IrqState;
static_assert(std::is_integral_v<IrqState> && sizeof(IrqState) <= sizeof(nestlock_irqflags_t),
              "C keeps the port's IrqState in an unsigned long");

template <class Lock>
nestlock_irqflags_t save() noexcept {
  if constexpr (Lock::kSleeps)
    return 0;
  else
    return static_cast<nestlock_irqflags_t>(BuiltPort::irq_save());
}
template <class Lock>
void restore(nestlock_irqflags_t flags) noexcept {
  if constexpr (!Lock::kSleeps) BuiltPort::irq_restore(static_cast<IrqState>(flags));
}

// This CPU's element of per-CPU data, and its lock, taken by `take`. The task is pinned while the
// element is picked; the lock has a pin of its own. Null: refused, or no CPU.
template <class C, class Take>
void* here(void* all, C* first, std::size_t size, Take take) noexcept NESTLOCK_NO_TSA {
  using Pin = internal::Pin<BuiltKernel, CxxOf<C>::type::kSleeps>;
  Pin::enter();
  void* element = nullptr;
  if (const unsigned cpu = BuiltPort::cpu_id(); cpu < NESTLOCK_CPUS) {
    const std::size_t offset = cpu * size;
    if (take(of(reinterpret_cast<C*>(reinterpret_cast<char*>(first) + offset))))
      element = static_cast<char*>(all) + offset;
  }
  Pin::leave();
  return element;
}

// The same by lock(): there must be a CPU.
template <class C>
void* lock_here(void* all, C* first, std::size_t size,
                internal::PlaceOf<BuiltKernel> where) noexcept NESTLOCK_NO_TSA {
  if (void* const element = here(all, first, size, [&](auto& lock) NESTLOCK_NO_TSA {
        lock.lock(where);
        return true;
      }))
    return element;
  Report r;
  r.finding = Finding::no_cpu;
  r.fatal = true;
  r.config = kBuiltConfig;
  r.context = BuiltPort::context();
  r.type = name_of(CxxOf<C>::type::kLockType);
  r.call = "lock";
  BuiltPort::report(r);
  internal::die<BuiltPort>();
}

}  // namespace nestlock::c_face
