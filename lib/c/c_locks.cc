// The C face's contexts and spinlocks, as far as every port has them.
#include "face.h"
#include "nestlock/c/context.h"
#include "nestlock/c/spin.h"

using nestlock::BuiltPort;
using nestlock::Context;
using namespace nestlock::c_face;

void nestlock_preempt_disable() noexcept { BuiltPort::preempt_disable(); }
void nestlock_preempt_enable() noexcept { BuiltPort::preempt_enable(); }
void nestlock_local_irq_save(nestlock_irqflags_t* flags) noexcept {
  *flags = static_cast<nestlock_irqflags_t>(BuiltPort::irq_save());
}
void nestlock_local_irq_restore(nestlock_irqflags_t flags) noexcept {
  BuiltPort::irq_restore(static_cast<IrqState>(flags));
}
bool nestlock_in_task() noexcept { return BuiltPort::context() == Context::task; }
bool nestlock_in_serving_softirq() noexcept { return BuiltPort::context() == Context::softirq; }
bool nestlock_in_hardirq() noexcept { return BuiltPort::context() == Context::hardirq; }
bool nestlock_in_nmi() noexcept { return BuiltPort::context() == Context::nmi; }
bool nestlock_can_spin_trylock() noexcept { return nestlock::can_spin_trylock(); }
unsigned nestlock_smp_processor_id() noexcept { return BuiltPort::cpu_id(); }

// One family: FAMILY is raw_spin, spin or tryspin. (A macro, since a template has no C name.)
#define SPIN_FAMILY(FAMILY, TYPE)                                                                \
  NESTLOCK_NO_TSA void nestlock_##FAMILY##_lock_init(TYPE* lock NESTLOCK_PLACE) noexcept {       \
    make(lock, NESTLOCK_WHERE);                                                                  \
  }                                                                                              \
  NESTLOCK_NO_TSA void nestlock_##FAMILY##_lock(TYPE* lock NESTLOCK_PLACE) noexcept {            \
    of(lock).lock(NESTLOCK_WHERE);                                                               \
  }                                                                                              \
  NESTLOCK_NO_TSA bool nestlock_##FAMILY##_trylock(TYPE* lock NESTLOCK_PLACE) noexcept {         \
    return of(lock).try_lock(NESTLOCK_WHERE);                                                    \
  }                                                                                              \
  NESTLOCK_NO_TSA void nestlock_##FAMILY##_unlock(TYPE* lock NESTLOCK_PLACE) noexcept {          \
    of(lock).unlock(NESTLOCK_WHERE);                                                             \
  }                                                                                              \
  NESTLOCK_NO_TSA void nestlock_##FAMILY##_lock_irqsave(                                         \
      TYPE* lock, nestlock_irqflags_t* flags NESTLOCK_PLACE) noexcept {                          \
    *flags = save<CxxOf<TYPE>::type>();                                                          \
    of(lock).lock(NESTLOCK_WHERE);                                                               \
  }                                                                                              \
  NESTLOCK_NO_TSA bool nestlock_##FAMILY##_trylock_irqsave(                                      \
      TYPE* lock, nestlock_irqflags_t* flags NESTLOCK_PLACE) noexcept {                          \
    *flags = save<CxxOf<TYPE>::type>();                                                          \
    if (of(lock).try_lock(NESTLOCK_WHERE)) return true;                                          \
    restore<CxxOf<TYPE>::type>(*flags);                                                          \
    return false;                                                                                \
  }                                                                                              \
  NESTLOCK_NO_TSA void nestlock_##FAMILY##_unlock_irqrestore(                                    \
      TYPE* lock, nestlock_irqflags_t flags NESTLOCK_PLACE) noexcept {                           \
    of(lock).unlock(NESTLOCK_WHERE);                                                             \
    restore<CxxOf<TYPE>::type>(flags);                                                           \
  }                                                                                              \
  bool nestlock_##FAMILY##_is_locked(const TYPE* lock) noexcept { return of(lock).is_locked(); } \
  bool nestlock_##FAMILY##_is_contended(const TYPE* lock) noexcept {                             \
    return of(lock).is_contended();                                                              \
  }                                                                                              \
  void nestlock_assert_##FAMILY##_locked(const TYPE* lock NESTLOCK_PLACE) noexcept {             \
    of(lock).assert_held(NESTLOCK_WHERE);                                                        \
  }

SPIN_FAMILY(raw_spin, nestlock_raw_spinlock_t)
SPIN_FAMILY(spin, nestlock_spinlock_t)
SPIN_FAMILY(tryspin, nestlock_spin_trylock_t)
