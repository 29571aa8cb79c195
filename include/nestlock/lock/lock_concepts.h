// What callers may demand of a lock at compile time.
#pragma once

#include <concepts>

namespace nestlock {

template <class L>
concept BasicLockable = requires(L l) {
  { l.lock() } noexcept;
  { l.unlock() } noexcept;
};

template <class L>
concept TryLockable = requires(L l) {
  { l.try_lock() } noexcept -> std::same_as<bool>;
  { l.unlock() } noexcept;
};

// try_lock() tells the truth to every context, also to one that interrupted the holder on the same
// CPU, in every configuration. What is entered from an interrupt takes its locks as this: built on
// a plain spinlock it does not compile.
template <class L>
concept AnyContextTryLockable = TryLockable<L> && L::kTryLockFromAnyContext;

}  // namespace nestlock
