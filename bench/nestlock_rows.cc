// Every lock of every configuration, and the irq mask: all eight kernels in one program.
#include <utility>

#include "nestlock/nestlock.h"
#include "peers.h"
#include "rows.h"

namespace bench {
namespace {

using namespace nestlock;

template <class K>
struct ClassOfLocks {};
template <class K>
struct WithLocalLock {
  BasicLocalLock<K> lock;
};
template <class K>
struct WithLocalTryLock {
  BasicLocalTryLock<K> lock;
};

template <Config kC>
struct Rows {
  using Port = HostedPort<kC>;
  using K = KernelOf<kC, Port>;

  static std::string name(const char* row) {
    return std::string(kNestlock) + "/" + row + "/" + name_of(kC);
  }

  template <class Lock>
  static void add_lock(const char* row) {
    add_pair(name(row), [] {
      the<Lock>.lock.lock();
      section();
      the<Lock>.lock.unlock();
    });
  }

  template <class Lock>
  static void add_try(const char* row) {
    add_pair(name(row), [] {
      if (!the<Lock>.lock.try_lock()) refused();
      section();
      the<Lock>.lock.unlock();
    });
  }

  template <class Lock, class Tag>
  static void add_guard(const char* row, Tag) {
    add_pair(name(row), [] {
      Guard guard(the<Lock>.lock, Tag{});
      section();
    });
  }

  static void add_masks() {
    add_pair(name("irq_save+irq_restore"), [] {
      const auto state = Port::irq_save();
      section();
      Port::irq_restore(state);
    });
    add_pair(name("preempt_disable+enable"), [] {
      Port::preempt_disable();
      section();
      Port::preempt_enable();
    });
  }

  // Not through `the`: an own-CPU lock is found by its CPU first.
  static void add_local() {
    add_pair(name("LocalLock lock_here"), [] {
      using Slot = WithLocalLock<K>;
      const auto here = the<BasicPerCpu<K, Slot>>.lock.template lock_here<&Slot::lock>();
      section();
    });
    add_pair(name("LocalTryLock lock_here"), [] {
      using Slot = WithLocalTryLock<K>;
      const auto here = the<BasicPerCpu<K, Slot>>.lock.template lock_here<&Slot::lock>();
      section();
    });
    add_pair(name("LocalTryLock try_lock_here"), [] {
      using Slot = WithLocalTryLock<K>;
      const auto here = the<BasicPerCpu<K, Slot>>.lock.template try_lock_here<&Slot::lock>();
      if (!here) refused();
      section();
    });
  }

  static void add() {
    add_masks();
    add_lock<BasicRawSpinLock<K>>("RawSpinLock lock");
    add_try<BasicRawSpinLock<K>>("RawSpinLock try_lock");
    add_lock<BasicSpinLock<K>>("SpinLock lock");
    add_guard<BasicSpinLock<K>>("SpinLock Guard irq_save", irq_save);
    add_try<BasicSpinLock<K>>("SpinLock try_lock");
    add_lock<BasicTrySpinLock<K>>("TrySpinLock lock");
    add_try<BasicTrySpinLock<K>>("TrySpinLock try_lock");
    add_try<BasicSharedTrySpinLock<K, ClassOfLocks<K>>>("SharedTrySpinLock try_lock");
    add_try<BasicResilientSpinLock<K>>("ResilientSpinLock try_lock");
    add_pair(name("ResilientSpinLock lock"), [] {
      if (!the<BasicResilientSpinLock<K>>.lock.lock(Spins{1000})) refused();
      section();
      the<BasicResilientSpinLock<K>>.lock.unlock();
    });
    add_local();
  }
};

template <std::size_t... kIndex>
void add_all(std::index_sequence<kIndex...>) {
  (Rows<configs::all[kIndex].config>::add(), ...);
}

}  // namespace

void add_nestlock() { add_all(std::make_index_sequence<std::size(configs::all)>()); }

}  // namespace bench
