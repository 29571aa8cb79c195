#include "subject.h"

#include <array>
#include <cstdio>
#include <type_traits>
#include <utility>

#include "nestlock/nestlock.h"
#include "nestlock/port/hosted.h"

namespace nestlock::demo {
namespace {

template <Config kC>
using KernelFor = KernelOf<kC, HostedPort<kC>>;

// A lock by itself.
template <class Lock>
struct Alone {
  static inline constinit Lock lock;

  static const Lock& the_lock() { return lock; }
  static bool hold(Call section) {
    enter(Phase::taking);
    bool granted = false;
    if constexpr (BasicLockable<Lock>) {
      Guard g(lock);
      in(section), granted = true;
    } else if (TryGuard g(lock); g) {
      in(section), granted = true;
    }
    enter(Phase::outside);
    return granted;
  }
  static bool try_hold(Call section) {
    if (TryGuard g(lock); g) return section(), true;
    return false;
  }

 private:
  static void in(Call section) {
    enter(Phase::held);
    section();
    enter(Phase::giving);
  }
};

// A lock that lives in per-CPU data, taken there.
template <class Lock>
struct PerCpuLock {
  struct Data {
    Lock lock;
  };
  static inline constinit BasicPerCpu<typename Lock::Kernel, Data> data;

  static const Lock& the_lock() { return data.here().lock; }
  static bool hold(Call section) {
    enter(Phase::taking);
    {
      auto here = data.template lock_here<&Data::lock>();
      enter(Phase::held);
      section();
      enter(Phase::giving);
    }
    enter(Phase::outside);
    return true;
  }
  static bool try_hold(Call section) {
    if (auto here = data.template try_lock_here<&Data::lock>()) return section(), true;
    return false;
  }
};

template <class Lock>
struct AddedBytes {
  struct With {
    char c;
    [[no_unique_address]] Lock lock;
  };
  static constexpr std::size_t value = std::is_empty_v<Lock> ? 0 : sizeof(Lock);
  static_assert(value != 0 || sizeof(With) == 1, "a stateless lock takes room after all");
};

struct DemoClass;

template <template <class> class Holder, class Lock>
Subject subject() {
  constexpr Config kC = Lock::Kernel::kConfig;
  using Of = Holder<Lock>;
  constexpr bool kShared =
      Lock::kLockType == LockType::shared_try_spin && !kC.smp && !kC.preempt_rt;
  return {{&Of::the_lock(), sizeof(Lock), Of::hold, Of::try_hold, Lock::Port::context},
          Lock::kLockType,
          kC,
          AddedBytes<Lock>::value,
          kShared ? sizeof(std::uint32_t) : 0};
}

constexpr std::size_t kConfigs = std::size(configs::all);

template <template <class> class Holder, template <Kernel> class Lock, std::size_t... kI>
void add(Subject*& at, std::index_sequence<kI...>) {
  ((*at++ = subject<Holder, Lock<KernelFor<configs::all[kI].config>>>()), ...);
}

template <Kernel K>
using SharedLock = BasicSharedTrySpinLock<K, DemoClass>;

auto all_subjects() {
  constexpr auto kEach = std::make_index_sequence<kConfigs>{};
  std::array<Subject, 5 * kConfigs> all;
  Subject* at = all.data();
  add<Alone, BasicRawSpinLock>(at, kEach);
  add<Alone, BasicSpinLock>(at, kEach);
  add<Alone, BasicTrySpinLock>(at, kEach);
  add<Alone, SharedLock>(at, kEach);
  add<PerCpuLock, BasicLocalTryLock>(at, kEach);
  return all;
}

template <std::size_t... kI>
constexpr bool any_local_lock_try(std::index_sequence<kI...>) {
  return (TryLockable<BasicLocalLock<KernelFor<configs::all[kI].config>>> || ...);
}

}  // namespace

std::span<const Subject> subjects() {
  static const auto all = all_subjects();
  return all;
}

Name name_of(const Subject& s) {
  Name n;
  std::snprintf(n.text, sizeof n.text, "%s, %s", name_of(s.type), name_of(s.config));
  return n;
}

bool local_lock_has_try_lock() { return any_local_lock_try(std::make_index_sequence<kConfigs>{}); }

}  // namespace nestlock::demo
