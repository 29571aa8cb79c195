// A kernel: configuration + port + observer, the one template argument of every lock.
#pragma once

#include "nestlock/config/config.h"
#include "nestlock/config/one_choice.h"
#include "nestlock/port/port.h"

namespace nestlock {

// Which lock it is, for reports and for the contexts table.
enum class LockType : std::uint8_t {
  raw_spin,
  spin,
  try_spin,
  shared_try_spin,
  local,
  local_try,
  rw_spin,
  resilient_spin
};
// All of them.
inline constexpr LockType kLockTypes[] = {
    LockType::raw_spin, LockType::spin,      LockType::try_spin, LockType::shared_try_spin,
    LockType::local,    LockType::local_try, LockType::rw_spin,  LockType::resilient_spin};

// As users write it.
constexpr const char* name_of(LockType t) noexcept {
  constexpr const char* names[] = {"RawSpinLock",       "SpinLock",         "TrySpinLock",
                                   "SharedTrySpinLock", "LocalLock",        "LocalTryLock",
                                   "RwSpinLock",        "ResilientSpinLock"};
  return names[static_cast<unsigned>(t)];
}

// What an observer is told of a lock. `where` is empty unless the configuration has debug.
struct LockRef {
  const void* lock;  // its address
  LockType type;     // which lock it is
  Place where;       // of the call
  Place born;        // of the initialisation: the lock's class
};

// An observer (a lock validator, a profiler) of every lock of one kernel. Called in the caller's
// context with the lock held (acquired, releasing) or not (acquiring, refused); must not take a
// lock of the same kernel, and must be callable from NMI.
template <class O>
concept Observer = requires(const LockRef& l) {
  { O::acquiring(l) } noexcept;  // lock() was called, and may wait
  { O::acquired(l, /*by_try=*/true) } noexcept;
  { O::refused(l) } noexcept;    // try_lock() returned false
  { O::releasing(l) } noexcept;  // unlock() was called; still held
};

// The observer that is not there.
struct NullObserver {
  // Nothing.
  static constexpr void acquiring(const LockRef&) noexcept {}
  static constexpr void acquired(const LockRef&, bool) noexcept {}
  static constexpr void refused(const LockRef&) noexcept {}
  static constexpr void releasing(const LockRef&) noexcept {}
};

// Makes one of its three parts.
template <Config kC, class P, Observer O = NullObserver>
struct KernelOf {
  // What it is made of.
  static constexpr Config kConfig = kC;
  using Port = P;
  using Observer = O;
};

template <class K>
concept Kernel =
    std::same_as<decltype(K::kConfig), const Config> && Port<typename K::Port> &&
    Observer<typename K::Observer> && (!K::kConfig.preempt_rt || SleepingPort<typename K::Port>);

namespace internal {
// True; of the plain names' kernel, it makes files of two choices fail to link.
template <Kernel K>
constexpr bool linked_once() noexcept {
  if constexpr (requires { K::kPlainNames; })
    return one_choice<K> != nullptr;
  else
    return true;
}
}  // namespace internal

}  // namespace nestlock
