// The C face's local locks, as far as every port has them.
#include "face.h"

using namespace nestlock::c_face;

NESTLOCK_NO_TSA void nestlock_local_lock_init(nestlock_local_lock_t* lock NESTLOCK_PLACE) noexcept {
  make(lock, NESTLOCK_WHERE);
}
NESTLOCK_NO_TSA void* nestlock_local_lock_in(void* all, nestlock_local_lock_t* first,
                                             std::size_t size NESTLOCK_PLACE) noexcept {
  return lock_here(all, first, size, NESTLOCK_WHERE);
}
NESTLOCK_NO_TSA void* nestlock_local_lock_irqsave_in(
    void* all, nestlock_local_lock_t* first, std::size_t size,
    nestlock_irqflags_t* flags NESTLOCK_PLACE) noexcept {
  *flags = save<nestlock::LocalLock>();
  return lock_here(all, first, size, NESTLOCK_WHERE);
}
NESTLOCK_NO_TSA void nestlock_local_unlock(nestlock_local_lock_t* lock NESTLOCK_PLACE) noexcept {
  of(lock).unlock(NESTLOCK_WHERE);
}
NESTLOCK_NO_TSA void nestlock_local_unlock_irqrestore(
    nestlock_local_lock_t* lock, nestlock_irqflags_t flags NESTLOCK_PLACE) noexcept {
  of(lock).unlock(NESTLOCK_WHERE);
  restore<nestlock::LocalLock>(flags);
}

NESTLOCK_NO_TSA void nestlock_trylocal_lock_init(
    nestlock_local_trylock_t* lock NESTLOCK_PLACE) noexcept {
  make(lock, NESTLOCK_WHERE);
}
NESTLOCK_NO_TSA void* nestlock_trylocal_lock_in(void* all, nestlock_local_trylock_t* first,
                                                std::size_t size NESTLOCK_PLACE) noexcept {
  return lock_here(all, first, size, NESTLOCK_WHERE);
}
NESTLOCK_NO_TSA void* nestlock_trylocal_trylock_in(void* all, nestlock_local_trylock_t* first,
                                                   std::size_t size NESTLOCK_PLACE) noexcept {
  return here(all, first, size,
              [&](auto& lock) NESTLOCK_NO_TSA { return lock.try_lock(NESTLOCK_WHERE); });
}
NESTLOCK_NO_TSA void* nestlock_trylocal_lock_irqsave_in(
    void* all, nestlock_local_trylock_t* first, std::size_t size,
    nestlock_irqflags_t* flags NESTLOCK_PLACE) noexcept {
  *flags = save<nestlock::LocalTryLock>();
  return lock_here(all, first, size, NESTLOCK_WHERE);
}
NESTLOCK_NO_TSA void* nestlock_trylocal_trylock_irqsave_in(
    void* all, nestlock_local_trylock_t* first, std::size_t size,
    nestlock_irqflags_t* flags NESTLOCK_PLACE) noexcept {
  *flags = save<nestlock::LocalTryLock>();
  void* const element = here(
      all, first, size, [&](auto& lock) NESTLOCK_NO_TSA { return lock.try_lock(NESTLOCK_WHERE); });
  if (!element) restore<nestlock::LocalTryLock>(*flags);
  return element;
}
NESTLOCK_NO_TSA void nestlock_trylocal_unlock(
    nestlock_local_trylock_t* lock NESTLOCK_PLACE) noexcept {
  of(lock).unlock(NESTLOCK_WHERE);
}
NESTLOCK_NO_TSA void nestlock_trylocal_unlock_irqrestore(
    nestlock_local_trylock_t* lock, nestlock_irqflags_t flags NESTLOCK_PLACE) noexcept {
  of(lock).unlock(NESTLOCK_WHERE);
  restore<nestlock::LocalTryLock>(flags);
}
bool nestlock_trylocal_is_locked(const nestlock_local_trylock_t* lock) noexcept {
  return of(lock).is_locked_here();
}
