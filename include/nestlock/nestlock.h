// Nestlock: the locks of the built configuration, under their plain names.
//
// Floors: config -> port -> lock (here) -> lockdep -> page -> slab -> malloc. README.md beside
// this file shows each lock in each configuration and context.
#pragma once

#include "nestlock/config/annotations.h"
#include "nestlock/config/config.h"
#include "nestlock/lock/contexts.h"
#include "nestlock/lock/event.h"
#include "nestlock/lock/guard.h"
#include "nestlock/lock/irq.h"
#include "nestlock/lock/local_lock.h"
#include "nestlock/lock/local_trylock.h"
#include "nestlock/lock/lock_concepts.h"
#include "nestlock/lock/percpu.h"
#include "nestlock/lock/raw_spinlock.h"
#include "nestlock/lock/recursive_lock.h"
#include "nestlock/lock/resilient_spinlock.h"
#include "nestlock/lock/rw_spinlock.h"
#include "nestlock/lock/seqlock.h"
#include "nestlock/lock/shared_try_spinlock.h"
#include "nestlock/lock/spinlock.h"
#include "nestlock/lock/try_spinlock.h"
#include "nestlock/lock/tsan_lock_order.h"
#include "nestlock/port/kernel.h"
#include "nestlock/port/port.h"
#include "nestlock/port/report.h"
#include NESTLOCK_PORT_HEADER

namespace nestlock {

// What the build has chosen (config.h): its port, its kernel, and the locks over it.
using BuiltPort = DefaultPort<kBuiltConfig>;

// Nobody's, but where ThreadSanitizer is to see the order of locks.
using BuiltObserver = std::conditional_t<kTsanLockOrder, TsanLockOrder, NullObserver>;

// Files of one program that use the plain names below were built for one choice, or they do not link
// (config/one_choice.h). Hence a type of its own for each choice.
template <Config kC, unsigned kCpus, unsigned kShift, bool kLeanPages>
struct BuiltKernelOf : KernelOf<kC, DefaultPort<kC>, BuiltObserver> {
  // That these are the plain names'.
  static constexpr bool kPlainNames = true;
};
// The plain names'.
using BuiltKernel = BuiltKernelOf<kBuiltConfig, kHostedMaxCpus, kPageShift, kLean>;
// The allocators' own, of which several choices may stand in one program.
using LibraryKernel = KernelOf<kBuiltConfig, BuiltPort>;

// The locks, each described in its header. Beside what is named there all have unlock(), is_locked(),
// is_contended() and assert_held(), described in nestlock/lock/core.h.
using RawSpinLock = BasicRawSpinLock<BuiltKernel>;
using SpinLock = BasicSpinLock<BuiltKernel>;
using TrySpinLock = BasicTrySpinLock<BuiltKernel>;
template <class Class>
using SharedTrySpinLock = BasicSharedTrySpinLock<BuiltKernel, Class>;
using ResilientSpinLock = BasicResilientSpinLock<BuiltKernel>;
using LocalLock = BasicLocalLock<BuiltKernel>;
using LocalTryLock = BasicLocalTryLock<BuiltKernel>;
using RwSpinLock = BasicRwSpinLock<BuiltKernel>;
using Event = BasicEvent<BuiltKernel>;
template <class Lock = TrySpinLock>
using RecursiveLock = BasicRecursiveLock<Lock>;
using SeqCount = BasicSeqCount<BuiltKernel>;
template <class T, class Lock = TrySpinLock>
using SeqLock = BasicSeqLock<BuiltKernel, T, Lock>;
template <class T, class Lock = TrySpinLock>
using SeqLatch = BasicSeqLatch<BuiltKernel, T, Lock>;
template <class T>
using PerCpu = BasicPerCpu<BuiltKernel, T>;

// Whether a TrySpinLock of this kernel may be taken in the present context at all: false on RT in
// hardirq and NMI. The kernel's gate is false on UP in NMI, too; ours need not be.
template <Kernel K = BuiltKernel>
bool can_spin_trylock() noexcept {
  // A bit for each context: the table is read by the compiler, not by each call.
  constexpr unsigned kMay = [] {
    unsigned may = 0;
    for (Context c : kContexts)
      if (contexts::cell(LockType::try_spin, contexts::Call::try_lock, K::kConfig, c).free ==
          contexts::Answer::granted)
        may |= 1u << static_cast<unsigned>(c);
    return may;
  }();
  constexpr unsigned kAll = (1u << sizeof kContexts / sizeof kContexts[0]) - 1;
  return kMay == kAll || (kMay >> static_cast<unsigned>(K::Port::context()) & 1);
}

}  // namespace nestlock
