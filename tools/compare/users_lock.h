// A user's own lock, from the header that ./nest compare --lock=FILE names, as a policy of its own:
// all locks of both floors are of its kind.
#pragma once

#include "nestlock/page/lock_policies.h"

#ifdef NESTLOCK_TOOLS_USERS_LOCK
#include NESTLOCK_TOOLS_USERS_LOCK

namespace nestlock::tools {

template <class L>
concept Compared = requires(L l, const L c) {
  { L::kName } -> std::convertible_to<const char*>;
  { l.try_lock() } noexcept -> std::same_as<bool>;
  { l.unlock() } noexcept;
  { c.is_locked() } noexcept -> std::same_as<bool>;
};
static_assert(Compared<ComparedLock>,
              "ComparedLock needs kName and noexcept try_lock(), unlock() and is_locked() const");

// The members that the floors want besides. It takes its word for it that it promises.
template <Kernel K>
class UsersLock {
  using Place = internal::PlaceOf<K>;

 public:
  using Kernel = K;
  using Port = typename K::Port;
  static constexpr bool kSleeps = false, kTryLockFromAnyContext = true;

  constexpr UsersLock() = default;
  // On one CPU a lock that is held can never become free while we wait.
  void lock(Place where = {}) noexcept {
    if (!try_lock(where)) internal::die<Port>();
  }
  bool try_lock(Place = {}) noexcept {
    Port::preempt_disable();
    if (lock_.try_lock()) return true;
    Port::preempt_enable();
    return false;
  }
  void unlock() noexcept {
    lock_.unlock();
    Port::preempt_enable();
  }
  bool is_locked() const noexcept { return lock_.is_locked(); }
  void assert_held() const noexcept {}

 private:
  [[no_unique_address]] ComparedLock lock_{};
};

template <Kernel K>
struct Users : policy::PerLockByte<K> {
  static constexpr const char* kName = ComparedLock::kName;
  using Pcp = UsersLock<K>;
  using Zone = UsersLock<K>;
  using Local = UsersLock<K>;
  using Barn = UsersLock<K>;
  using List = UsersLock<K>;
};

}  // namespace nestlock::tools
#endif
