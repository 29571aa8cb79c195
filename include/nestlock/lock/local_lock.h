// LocalLock (the kernel's local_lock_t): names a section that is protected by being on this CPU.
//
// Lives in a PerCpu<T>; take it by PerCpu::lock_here(), which pins first and then picks the CPU's.
//
// | configuration | state                            | size                                |
// |---------------|----------------------------------|-------------------------------------|
// | not RT        | none: preemption off is the lock | 0 as a [[no_unique_address]] member |
// | RT (both)     | per-CPU sleeping lock            | 4 bytes on hosted                   |
//
// It has no try_lock(): that does not compile, in every configuration (the kernel: only without
// RT). An interrupt that may use it too needs lock_here(irq_save); NMIs may not use it.
#pragma once

#include "nestlock/lock/core.h"
#include "nestlock/lock/spinlock.h"

namespace nestlock {

namespace internal {
template <Kernel K>
using LocalWord = SleepOrWord<K, std::conditional_t<K::kConfig.debug, ByteWord<K>, NoWord<K>>>;
}  // namespace internal

template <Kernel K>
class NESTLOCK_CAPABILITY("LocalLock") BasicLocalLock
    : public internal::LockCore<K, LockType::local, internal::LocalWord<K>> {
  using Place = internal::PlaceOf<K>;

 public:
  // Free. Needs no code at run time, so a static one is constinit.
  constexpr BasicLocalLock(Place born = Place::here()) noexcept : BasicLocalLock::LockCore(born) {}

  // This CPU's instance only. Not RT: task, softirq, hardirq. RT: task; may sleep.
  void lock(Place where = Place::here()) noexcept NESTLOCK_ACQUIRE() {
    this->template lock_with<internal::Pin<K, BasicLocalLock::kSleeps>>(contexts::Call::lock,
                                                                        where);
  }

  // For data that only bottom halves and code with bottom halves disabled use: they must be
  // disabled (reported in debug). Not RT: takes nothing. RT: takes the lock, since two sections
  // with bottom halves disabled can interleave there.
  void lock_nested_bh(Place where = Place::here()) noexcept NESTLOCK_ACQUIRE() {
    this->check_nested_bh(where);
    if constexpr (K::kConfig.preempt_rt)
      this->template lock_with<internal::NoPin>(contexts::Call::lock_nested_bh, where);
  }
  void unlock_nested_bh(Place where = Place::here()) noexcept NESTLOCK_RELEASE() {
    if constexpr (K::kConfig.preempt_rt) this->template unlock_with<internal::NoPin>(where);
  }
};

}  // namespace nestlock
