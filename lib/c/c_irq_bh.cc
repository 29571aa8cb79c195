// The C face's functions that mask irqs without memory or disable bottom halves, for ports that
// have these.
#include "face.h"
#include "nestlock/c/context.h"
#include "nestlock/c/spin.h"

using nestlock::BuiltPort;
using namespace nestlock::c_face;

static_assert(nestlock::IrqSwitchPort<BuiltPort> && nestlock::SoftirqPort<BuiltPort>,
              "lib/c/c_irq_bh.cc needs a port with irq_disable(), irq_enable(), irqs_disabled(), "
              "bh_disable(), bh_enable() and bh_disabled(); leave this file out if yours has none");

void nestlock_local_irq_disable() noexcept { BuiltPort::irq_disable(); }
void nestlock_local_irq_enable() noexcept { BuiltPort::irq_enable(); }
bool nestlock_irqs_disabled() noexcept { return BuiltPort::irqs_disabled(); }
void nestlock_local_bh_disable() noexcept { BuiltPort::bh_disable(); }
void nestlock_local_bh_enable() noexcept { BuiltPort::bh_enable(); }

namespace {

// Nothing for a lock that sleeps, as a guard with the tag irq_disable.
template <class Lock>
void disable() noexcept {
  if constexpr (!Lock::kSleeps) BuiltPort::irq_disable();
}
template <class Lock>
void enable() noexcept {
  if constexpr (!Lock::kSleeps) BuiltPort::irq_enable();
}

}  // namespace

#define IRQ_SPIN_FAMILY(FAMILY, TYPE)                                                        \
  NESTLOCK_NO_TSA void nestlock_##FAMILY##_lock_irq(TYPE* lock NESTLOCK_PLACE) noexcept {    \
    disable<CxxOf<TYPE>::type>();                                                            \
    of(lock).lock(NESTLOCK_WHERE);                                                           \
  }                                                                                          \
  NESTLOCK_NO_TSA bool nestlock_##FAMILY##_trylock_irq(TYPE* lock NESTLOCK_PLACE) noexcept { \
    disable<CxxOf<TYPE>::type>();                                                            \
    if (of(lock).try_lock(NESTLOCK_WHERE)) return true;                                      \
    enable<CxxOf<TYPE>::type>();                                                             \
    return false;                                                                            \
  }                                                                                          \
  NESTLOCK_NO_TSA void nestlock_##FAMILY##_unlock_irq(TYPE* lock NESTLOCK_PLACE) noexcept {  \
    of(lock).unlock(NESTLOCK_WHERE);                                                         \
    enable<CxxOf<TYPE>::type>();                                                             \
  }                                                                                          \
  NESTLOCK_NO_TSA void nestlock_##FAMILY##_lock_bh(TYPE* lock NESTLOCK_PLACE) noexcept {     \
    BuiltPort::bh_disable();                                                                 \
    of(lock).lock(NESTLOCK_WHERE);                                                           \
  }                                                                                          \
  NESTLOCK_NO_TSA bool nestlock_##FAMILY##_trylock_bh(TYPE* lock NESTLOCK_PLACE) noexcept {  \
    BuiltPort::bh_disable();                                                                 \
    if (of(lock).try_lock(NESTLOCK_WHERE)) return true;                                      \
    BuiltPort::bh_enable();                                                                  \
    return false;                                                                            \
  }                                                                                          \
  NESTLOCK_NO_TSA void nestlock_##FAMILY##_unlock_bh(TYPE* lock NESTLOCK_PLACE) noexcept {   \
    of(lock).unlock(NESTLOCK_WHERE);                                                         \
    BuiltPort::bh_enable();                                                                  \
  }

IRQ_SPIN_FAMILY(raw_spin, nestlock_raw_spinlock_t)
IRQ_SPIN_FAMILY(spin, nestlock_spinlock_t)
IRQ_SPIN_FAMILY(tryspin, nestlock_spin_trylock_t)

NESTLOCK_NO_TSA void* nestlock_local_lock_irq_in(void* all, nestlock_local_lock_t* first,
                                                 std::size_t size NESTLOCK_PLACE) noexcept {
  disable<nestlock::LocalLock>();
  return lock_here(all, first, size, NESTLOCK_WHERE);
}
NESTLOCK_NO_TSA void nestlock_local_unlock_irq(
    nestlock_local_lock_t* lock NESTLOCK_PLACE) noexcept {
  of(lock).unlock(NESTLOCK_WHERE);
  enable<nestlock::LocalLock>();
}
NESTLOCK_NO_TSA void nestlock_local_lock_nested_bh(
    nestlock_local_lock_t* lock NESTLOCK_PLACE) noexcept {
  of(lock).lock_nested_bh(NESTLOCK_WHERE);
}
NESTLOCK_NO_TSA void nestlock_local_unlock_nested_bh(
    nestlock_local_lock_t* lock NESTLOCK_PLACE) noexcept {
  of(lock).unlock_nested_bh(NESTLOCK_WHERE);
}
NESTLOCK_NO_TSA void* nestlock_trylocal_lock_irq_in(void* all, nestlock_local_trylock_t* first,
                                                    std::size_t size NESTLOCK_PLACE) noexcept {
  disable<nestlock::LocalTryLock>();
  return lock_here(all, first, size, NESTLOCK_WHERE);
}
NESTLOCK_NO_TSA void nestlock_trylocal_unlock_irq(
    nestlock_local_trylock_t* lock NESTLOCK_PLACE) noexcept {
  of(lock).unlock(NESTLOCK_WHERE);
  enable<nestlock::LocalTryLock>();
}
