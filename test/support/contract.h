// For tests of what stands on a lock: which contexts interrupt which, and what the contexts table says
// of the lock in each.
#pragma once

#include <array>
#include <cstring>
#include <initializer_list>
#include <string>
#include <vector>

#include "interrupts.h"
#include "nestlock/lock/contexts.h"

namespace nestlock::test_support {

// f(where): in each context. f(holder, where): each, and each that can interrupt it.
template <class F>
void for_each_context(F f) {
  for (Where where : kWheres) {
    SCOPED_TRACE(name_of(where));
    f(where);
  }
}
template <class F>
void for_each_interruption(F f) {
  for (Where holder : {Where::task, Where::softirq, Where::hardirq, Where::nmi})
    for (Where where : kWheres)
      if (where == Where::probe || holder < where) {
        SCOPED_TRACE(std::string(name_of(where)) + " on " + name_of(holder));
        f(holder, where);
      }
}
constexpr Context context_of(Where where, Where holder) noexcept {
  return context_of(where == Where::probe ? holder : where);
}

template <class L>
struct Row {
  static constexpr Config kConfig = L::Kernel::kConfig;
  Context here;

  contexts::Cell cell(contexts::Call call) const {
    return contexts::cell(L::kLockType, call, kConfig, here);
  }
  bool locks() const { return cell(contexts::Call::lock).allowed; }
  // Without debug a forbidden lock() is not tried: it may hang, and nothing is promised.
  bool lock_is_tried() const { return kConfig.debug || locks(); }
  bool gets_free() const {
    return cell(contexts::Call::try_lock).free == contexts::Answer::granted;
  }
  bool gets_held() const {
    return cell(contexts::Call::try_lock).held == contexts::Answer::granted;
  }
  bool can_hold() const { return locks() || gets_free(); }
  // By what the table allows here.
  void take(auto& lock) const NESTLOCK_NO_TSA {
    if (locks()) return lock.lock();
    const bool got = lock.try_lock();
    EXPECT_TRUE(got);
  }

  // What is reported of such calls, and of a try on top of a holder.
  std::vector<Finding> reports(std::initializer_list<contexts::Call> calls) const {
    std::vector<Finding> v;
    for (contexts::Call call : calls)
      if (kConfig.debug && !cell(call).allowed) v.push_back(Finding::wrong_context);
    return v;
  }
  std::vector<Finding> reports_of_try_on(Context holder) const {
    std::vector<Finding> v = reports({contexts::Call::try_lock});
    if (kConfig.debug && !kConfig.smp && v.empty() && holder < here &&
        !contexts::promised(L::kLockType))
      v.push_back(Finding::not_promised);
    return v;
  }
};

template <class T>
auto bytes_of(const T& object) {
  std::array<unsigned char, sizeof(T)> bytes;
  std::memcpy(bytes.data(), static_cast<const void*>(&object), sizeof(T));
  return bytes;
}

}  // namespace nestlock::test_support
