// One scene for every type of lock on the simulator's port: what a task and an interrupt may do
// with it, by the contexts table, and whether each answer was the truth.
//
//   auto& scene = sim.make<LockScene<BasicRawSpinLock<K>>>(sim);
//   sim.task(0, [&] { scene.waits(0, irq_save); });
//   sim.irq(0, [&] { scene.interrupts(0); });
#pragma once

#include <string>

#include "nestlock/nestlock.h"
#include "nestlock/testing/explorer.h"
#include "nestlock/testing/sim_port.h"

namespace nestlock::test_support {

template <class L>
class LockScene {
 public:
  using Lock = L;
  using K = typename L::Kernel;
  using P = typename K::Port;
  using Call = contexts::Call;

  static constexpr Config kConfig = K::kConfig;
  static constexpr LockType kType = L::kLockType;
  static constexpr bool kLocal = kType == LockType::local || kType == LockType::local_try;
  static constexpr bool kWaits = contexts::has(kType, Call::lock);
  static constexpr bool kTries = contexts::has(kType, Call::try_lock);
  // Whether an interrupt may try on top of its CPU's holder. The plain locks promise it nothing on
  // one CPU: there it keeps to the discipline, which is to mask, or to try what is free.
  static constexpr bool kOnTopOfHolder = L::kTryLockFromAnyContext || kConfig.smp;

  // A try ends within so many steps of its own, whatever others do: a look at the queue and at the
  // lock and the compare-exchange are the most; and what a debug configuration looks at and notes.
  static constexpr unsigned kTrySteps = kConfig.debug ? 8 : 3;

  static constexpr bool may(Call call, Context in) {
    return contexts::cell(kType, call, kConfig, in).allowed;
  }
  // Whether a try there can be granted at all: not at PREEMPT_RT's gate.
  static constexpr bool may_get(Context in) {
    return contexts::cell(kType, Call::try_lock, kConfig, in).free == contexts::Answer::granted;
  }

  explicit LockScene(testing::Sim& sim) : sim_(sim) {
    // A class lock's word outlives the execution that left it locked.
    if constexpr (kType == LockType::shared_try_spin)
      decltype(word_of(slots_.on(0).lock)){}.release();
  }

  // The section after lock(), with what `tag` masks; a type without lock() tries once. CPU `cpu` is
  // the caller's.
  template <class Tag = NoIrq>
  void waits(unsigned cpu, Tag tag = {}) {
    if constexpr (kWaits) {
      Use& use = use_[kLocal ? cpu : 0];
      ++use.now, ++use.begun;
      if constexpr (kLocal) {
        auto here = slots_.template lock_here<&Slot::lock>(tag);
        here->section.visit();
      } else {
        Guard g(slots_.on(0).lock, tag);
        slots_.on(0).section.visit();
      }
      --use.now;
    } else {
      tries(cpu);
    }
  }

  void tries(unsigned cpu) {
    if constexpr (kTries) {
      if (!may_get(P::context())) {
        sim_.check(!try_once(), "let through the gate");
        return sim_.count("refused at the gate");
      }
      Use& use = use_[kLocal ? cpu : 0];
      if (!kOnTopOfHolder && use.now) return sim_.count("kept away");
      const bool in_use = use.now++ != 0;
      const unsigned begun = ++use.begun;
      const bool got = try_once();
      --use.now;
      // A refusal when nobody has, or may have had, the lock is a lie.
      sim_.check(got || in_use || use.begun != begun, "refused a free lock");
      sim_.count(got ? "granted" : "refused");
    }
  }

  // An interrupt's part: it waits where the discipline lets it, else it tries.
  void interrupts(unsigned cpu) {
    if (kOnTopOfHolder || !may(Call::lock, P::context())) return tries(cpu);
    waits(cpu, irq_save);
    sim_.count("locked");
  }

  unsigned visits() const {
    unsigned sum = 0;
    for (unsigned cpu = 0; cpu < slots_.size(); ++cpu) sum += slots_.on(cpu).section.visits();
    return sum;
  }

 private:
  struct Slot {
    L lock;
    testing::Exclusive section;
  };
  struct Use {
    unsigned now = 0;    // those who have, or may have, the lock
    unsigned begun = 0;  // all there ever were
  };
  template <Kernel K2, class Class>
  static internal::SharedWord<K2, Class> word_of(BasicSharedTrySpinLock<K2, Class>&);

  bool try_once() NESTLOCK_NO_TSA {
    if constexpr (kLocal) {
      auto here =
          sim_.within(kTrySteps, [&] { return slots_.template try_lock_here<&Slot::lock>(); });
      if (here) here->section.visit();
      return static_cast<bool>(here);
    } else {
      Slot& s = slots_.on(0);
      if (!sim_.within(kTrySteps, [&]() NESTLOCK_NO_TSA { return s.lock.try_lock(); }))
        return false;
      s.section.visit();
      s.lock.unlock();
      return true;
    }
  }

  testing::Sim& sim_;
  BasicPerCpu<K, Slot> slots_;  // the locks that are not a CPU's use the first
  Use use_[P::kMaxCpus];
};

// f.template operator()<Lock>(name) for each type of lock of kernel K.
template <Kernel K, class F>
void each_lock(F f) {
  const auto one = [&f]<class Lock>() { f.template operator()<Lock>(name_of(Lock::kLockType)); };
  one.template operator()<BasicRawSpinLock<K>>();
  one.template operator()<BasicSpinLock<K>>();
  one.template operator()<BasicTrySpinLock<K>>();
  one.template operator()<BasicSharedTrySpinLock<K, struct ExploredClass>>();
  one.template operator()<BasicRwSpinLock<K>>();
  one.template operator()<BasicLocalTryLock<K>>();
  one.template operator()<BasicLocalLock<K>>();
}

}  // namespace nestlock::test_support
