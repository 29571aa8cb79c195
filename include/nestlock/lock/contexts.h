// Where each lock function may be called, and what it answers: the contexts table, as data.
//
// From this one table come the table in README.md, the debug configurations' assertions and one
// generated test for each cell (test/lock/lock_contract_test.cc): change a cell and a test fails.
#pragma once

#include <cstdint>

#include "nestlock/port/kernel.h"

namespace nestlock::contexts {

// A function of a lock.
enum class Call : std::uint8_t { lock, try_lock, unlock, lock_nested_bh };

// Its name.
constexpr const char* name_of(Call c) noexcept {
  constexpr const char* names[] = {"lock", "try_lock", "unlock", "lock_nested_bh"};
  return names[static_cast<unsigned>(c)];
}

// What try_lock() answers to a context that interrupted the code in question on the same CPU.
enum class Answer : std::uint8_t {
  none,     // no such function, or not allowed here
  refused,  // false, as it must be for a held lock
  granted,  // true; on a held lock this is the historic bug
};

// What the table says of one call in one context.
struct Cell {
  bool allowed = false;        // debug configurations report a call where this is false
  Answer held = Answer::none;  // to try_lock(), where the interrupted code holds the lock
  Answer free = Answer::none;  // ... and where it is free
  friend constexpr bool operator==(const Cell&, const Cell&) = default;
};

// Sets of configurations. `debug` never changes what is allowed; it changes the answer of the plain
// locks on one CPU, which have no state without it.
enum class When : std::uint8_t { any, up_plain, not_up_plain, not_rt, rt };

// Whether the configuration is in the set.
constexpr bool applies(When w, Config c) noexcept {
  switch (w) {
    case When::any:
      return true;
    case When::up_plain:
      return !c.smp && !c.debug;
    case When::not_up_plain:
      return c.smp || c.debug;
    case When::not_rt:
      return !c.preempt_rt;
    case When::rt:
      return c.preempt_rt;
  }
  return false;
}

// A lock's call in a set of configurations, in each context.
struct Row {
  LockType lock;  // whose
  Call call;      // which
  When when;      // where
  When also;      // both must apply
  Cell cell[4];   // task (and a probe there), softirq, hardirq, nmi
};

inline constexpr Cell kNo{};                                           // not allowed
inline constexpr Cell kYes{true};                                      // allowed
inline constexpr Cell kTruth{true, Answer::refused, Answer::granted};  // tells the truth, both ways
inline constexpr Cell kBlind{true, Answer::granted, Answer::granted};  // no state: always "granted"
inline constexpr Cell kGate{true, Answer::refused, Answer::refused};   // refuses, touching nothing

// On RT a hosted softirq runs under the thread id of the task it interrupted, so it may only try.
inline constexpr Row kTable[] = {
    // clang-format off
    // lock                      call                  when              also               task    softirq hardirq nmi
    {LockType::raw_spin,         Call::lock,           When::any,          When::any,       {kYes,   kYes,   kYes,   kNo}},
    {LockType::raw_spin,         Call::try_lock,       When::up_plain,     When::any,       {kBlind, kBlind, kBlind, kBlind}},
    {LockType::raw_spin,         Call::try_lock,       When::not_up_plain, When::any,       {kTruth, kTruth, kTruth, kTruth}},
    {LockType::raw_spin,         Call::unlock,         When::any,          When::any,       {kYes,   kYes,   kYes,   kYes}},

    {LockType::spin,             Call::lock,           When::not_rt,       When::any,       {kYes,   kYes,   kYes,   kNo}},
    {LockType::spin,             Call::lock,           When::rt,           When::any,       {kYes,   kNo,    kNo,    kNo}},
    {LockType::spin,             Call::try_lock,       When::not_rt,       When::up_plain,     {kBlind, kBlind, kBlind, kBlind}},
    {LockType::spin,             Call::try_lock,       When::not_rt,       When::not_up_plain, {kTruth, kTruth, kTruth, kTruth}},
    {LockType::spin,             Call::try_lock,       When::rt,           When::any,       {kTruth, kTruth, kNo,    kNo}},
    {LockType::spin,             Call::unlock,         When::not_rt,       When::any,       {kYes,   kYes,   kYes,   kYes}},
    {LockType::spin,             Call::unlock,         When::rt,           When::any,       {kYes,   kYes,   kNo,    kNo}},

    {LockType::try_spin,         Call::lock,           When::not_rt,       When::any,       {kYes,   kYes,   kYes,   kNo}},
    {LockType::try_spin,         Call::lock,           When::rt,           When::any,       {kYes,   kNo,    kNo,    kNo}},
    {LockType::try_spin,         Call::try_lock,       When::not_rt,       When::any,       {kTruth, kTruth, kTruth, kTruth}},
    {LockType::try_spin,         Call::try_lock,       When::rt,           When::any,       {kTruth, kTruth, kGate,  kGate}},
    {LockType::try_spin,         Call::unlock,         When::not_rt,       When::any,       {kYes,   kYes,   kYes,   kYes}},
    {LockType::try_spin,         Call::unlock,         When::rt,           When::any,       {kYes,   kYes,   kNo,    kNo}},

    {LockType::shared_try_spin,  Call::try_lock,       When::not_rt,       When::any,       {kTruth, kTruth, kTruth, kTruth}},
    {LockType::shared_try_spin,  Call::try_lock,       When::rt,           When::any,       {kTruth, kTruth, kGate,  kGate}},
    {LockType::shared_try_spin,  Call::unlock,         When::not_rt,       When::any,       {kYes,   kYes,   kYes,   kYes}},
    {LockType::shared_try_spin,  Call::unlock,         When::rt,           When::any,       {kYes,   kYes,   kNo,    kNo}},

    {LockType::local,            Call::lock,           When::not_rt,       When::any,       {kYes,   kYes,   kYes,   kNo}},
    {LockType::local,            Call::lock,           When::rt,           When::any,       {kYes,   kNo,    kNo,    kNo}},
    {LockType::local,            Call::unlock,         When::not_rt,       When::any,       {kYes,   kYes,   kYes,   kNo}},
    {LockType::local,            Call::unlock,         When::rt,           When::any,       {kYes,   kNo,    kNo,    kNo}},
    {LockType::local,            Call::lock_nested_bh, When::not_rt,       When::any,       {kYes,   kYes,   kNo,    kNo}},
    {LockType::local,            Call::lock_nested_bh, When::rt,           When::any,       {kYes,   kNo,    kNo,    kNo}},

    {LockType::local_try,        Call::lock,           When::not_rt,       When::any,       {kYes,   kYes,   kYes,   kNo}},
    {LockType::local_try,        Call::lock,           When::rt,           When::any,       {kYes,   kNo,    kNo,    kNo}},
    {LockType::local_try,        Call::try_lock,       When::not_rt,       When::any,       {kTruth, kTruth, kTruth, kTruth}},
    {LockType::local_try,        Call::try_lock,       When::rt,           When::any,       {kTruth, kTruth, kGate,  kGate}},
    {LockType::local_try,        Call::unlock,         When::not_rt,       When::any,       {kYes,   kYes,   kYes,   kYes}},
    {LockType::local_try,        Call::unlock,         When::rt,           When::any,       {kYes,   kYes,   kNo,    kNo}},

    // The writer; a reader's calls stand where the writer's do.
    {LockType::rw_spin,          Call::lock,           When::any,          When::any,       {kYes,   kYes,   kYes,   kNo}},
    {LockType::rw_spin,          Call::try_lock,       When::any,          When::any,       {kTruth, kTruth, kTruth, kTruth}},
    {LockType::rw_spin,          Call::unlock,         When::any,          When::any,       {kYes,   kYes,   kYes,   kYes}},

    // lock() is bounded, and answers why it has not got it.
    {LockType::resilient_spin,   Call::lock,           When::any,          When::any,       {kYes,   kYes,   kYes,   kYes}},
    {LockType::resilient_spin,   Call::try_lock,       When::any,          When::any,       {kTruth, kTruth, kTruth, kTruth}},
    {LockType::resilient_spin,   Call::unlock,         When::any,          When::any,       {kYes,   kYes,   kYes,   kYes}},
    // clang-format on
};

// The table's word on a call; not allowed if it is not in the table.
constexpr Cell cell(LockType lock, Call call, Config config, Context context) noexcept {
  for (const Row& row : kTable)
    if (row.lock == lock && row.call == call && applies(row.when, config) &&
        applies(row.also, config))
      return row.cell[static_cast<unsigned>(context)];
  return kNo;
}

// The locks whose try_lock() tells the truth in every configuration and context.
constexpr bool promised(LockType lock) noexcept {
  for (const configs::Named& n : configs::all)
    for (Context c : kContexts)
      if (cell(lock, Call::try_lock, n.config, c).held != Answer::refused) return false;
  return true;
}

// Whether the lock has such a function at all.
constexpr bool has(LockType lock, Call call) noexcept {
  for (const Row& row : kTable)
    if (row.lock == lock && row.call == call) return true;
  return false;
}

}  // namespace nestlock::contexts
