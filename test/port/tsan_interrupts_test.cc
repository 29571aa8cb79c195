// ThreadSanitizer sees interrupts (nestlock/port/hosted_tsan.h). Only with it.
//
// Expected failures, kept for good: each missing mask below must be reported. Beside them stands
// correct code, which must be silent. Each case is a child process; how it ended says which it was.
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <thread>

#include "gtest/gtest.h"
#include "nestlock/lock/guard.h"
#include "nestlock/nestlock.h"
#include "nestlock/signals.h"
#include "test/port/tsan_cases.h"
#include "test/support/kernels.h"

namespace nestlock {
namespace {

using namespace tsan_cases;
using test_support::HostedKernel;

// ---- cases --------------------------------------------------------------------------------------

template <class K>
struct Code {
  using P = typename K::Port;

  static constexpr Case kRaces[] = {
      {"TaskThenIrq", irq,
       [] {
         add();
         arrive(irq, add);
       }},
      {"IrqThenTask", irq,
       [] {
         arrive(irq, add);
         add();
       }},
      {"ReplayedIrqThenTask", irq,
       [] {
         {
           const Masked<P> section;
           arrive(irq, add);
         }
         add();
       }},
      {"BottomHalvesOffAndAnIrq", irq,
       [] {
         P::bh_disable();
         add();
         arrive(irq, add);
         P::bh_enable();
       }},
      {"TaskThenSoftirq", softirq,
       [] {
         add();
         arrive(softirq, add);
       }},
      {"SoftirqThenTask", softirq,
       [] {
         arrive(softirq, add);
         add();
       }},
      {"SoftirqRaisedByTheTaskThenTask", softirq,
       [] {
         bodies[softirq].store(add, kRelaxed);
         P::bh_disable();
         signals::raise_softirq(kSoftirq);
         P::bh_enable();
         add();
       }},
      {"IrqInASoftirq", irq,
       [] {
         arrive(softirq, [] {
           add();
           bodies[softirq].store(nullptr, kRelaxed);
           arrive(irq, add);
         });
       }},
      {"IrqsOffAndAnNmi", nmi,
       [] {
         const Masked<P> section;
         add();
         arrive(nmi, add);
       }},
      {"NmiThenIrqsOff", nmi,
       [] {
         arrive(nmi, add);
         const Masked<P> section;
         add();
       }},
      {"NmiInAnIrq", nmi,
       [] {
         arrive(irq, [] {
           add();
           arrive(nmi, add);
         });
       }},
      {"NmiInASoftirq", nmi,
       [] {
         arrive(softirq, [] {
           const Masked<P> section;
           add();
           arrive(nmi, add);
         });
       }},
      {"IrqsOffAndAProbe", probe,
       [] {
         const Masked<P> section;
         add();
         arrive(probe, add);
       }},
      {"ALockOnOneSide", irq,
       [] {
         Guard g(Locks<K>::lock);
         add();
         arrive(irq, add);
       }},
      {"ALockWithoutState", irq,  // this kernel's, on one CPU: it needs irq_save
       [] {
         Guard g(Locks<HostedKernel<configs::up>>::raw);
         add();
         arrive(irq, [] {
           Guard inner(Locks<HostedKernel<configs::up>>::raw);
           add();
         });
       }},
      {"AVolatileThatIsNoSigAtomic", irq,
       [] {
         add_to_wider();
         arrive(irq, add_to_wider);
       }},
      {"ASigAtomicOfTwoThreads", irq,
       [] {
         static std::atomic<bool> handled{false};
         std::thread other([] {
           while (!handled.load(kRelaxed)) std::this_thread::yield();
           add_to_flag();
         });
         arrive(irq, add_to_flag);
         handled.store(true, kRelaxed);
         other.join();
       }},
  };

  static constexpr Case kSilent[] = {
      {"SigAtomic", nmi,
       [] {
         add_to_flag();
         arrive(irq, [] {
           add_to_flag();
           arrive(nmi, add_to_flag);
         });
         add_to_flag();
         arrive(softirq, add_to_flag);
         arrive(probe, add_to_flag);
         add_to_flag();
       }},
      {"IrqSave", irq,
       [] {
         add_masked<P>();
         arrive(irq, add);
         add_masked<P>();
         {
           const Masked<P> section;
           add();
           arrive(irq, add);
           const Masked<P> nested;
           add();
         }
         add_masked<P>();
       }},
      {"IrqDisable", irq,
       [] {
         for (int i = 0; i < 2; ++i) {
           P::irq_disable();
           add();
           arrive(irq, add);
           add();
           P::irq_enable();
         }
       }},
      {"WaitIrq", irq,
       [] {
         const Masked<P> section;
         add();
         arrive(irq, add);
         signals::wait_irq();
         add();
       }},
      {"LockIrqSave", irq,
       [] {
         constexpr auto locked = [] {
           Guard g(Locks<K>::raw, irq_save);
           add();
         };
         for (int i = 0; i < 2; ++i) {
           locked();
           arrive(irq, locked);
           Guard g(Locks<K>::raw, irq_save);
           add();
           arrive(irq, locked);
         }
       }},
      {"OneIrqAfterAnother", irq,
       [] {
         arrive(irq, add);
         arrive(irq, add);
       }},
      {"Errno", nmi,
       [] {
         errno = 1;
         arrive(irq, [] {
           errno = 2;
           arrive(nmi, [] { errno = 3; });
         });
         errno = 4;
       }},
      {"BottomHalvesOff", softirq,
       [] {
         add_with_bh_off<P>();
         arrive(softirq, add);
         add_with_bh_off<P>();
         P::bh_disable();
         add();
         arrive(softirq, add);
         P::bh_enable();
         add_with_bh_off<P>();
       }},
      {"IrqsOffAndASoftirq", softirq,
       [] {
         add_masked<P>();
         arrive(softirq, add);
         const Masked<P> section;
         add();
         arrive(softirq, add);
       }},
      {"IrqInASoftirqThatMasks", irq,
       [] {
         arrive(softirq, [] {
           add_masked<P>();
           bodies[softirq].store(nullptr, kRelaxed);
           arrive(irq, add);
           add_masked<P>();
         });
         add_masked<P>();
       }},
      {"SetSignalMask", nmi,
       [] {
         sigset_t all;
         sigfillset(&all);
         for (int i = 0; i < 2; ++i) {
           signals::set_signal_mask(SIG_BLOCK, &all, nullptr);
           add();
           signals::set_signal_mask(SIG_UNBLOCK, &all, nullptr);
           arrive(nmi, add);
         }
       }},
      // A thread's end is behind its last handler.
      {"WhatAThreadsHandlersDid", irq,
       [] {
         if (K::kConfig.smp != kBuiltConfig.smp || !K::kConfig.smp) return void(runs[irq] = 1);
         std::thread([] {
           hosted::cpu_id();
           arrive(irq, add);
         }).join();
         add();
       }},
      // Those of another thread come wherever an irq's handler begins and ends.
      {"NmisAnywhereInAnIrq", nmi,
       [] {
         constexpr unsigned kAll = 100;
         static std::atomic<bool> enough{false};
         bodies[nmi].store([] {}, kRelaxed);
         std::thread other([task = pthread_self()] {
           for (unsigned n = 0; !enough.load(kRelaxed); ++n)
             for (pthread_kill(task, SIGUSR2); runs[nmi].load(kRelaxed) == n;) {
             }
         });
         while (runs[irq].load(kRelaxed) < kAll || runs[nmi].load(kRelaxed) < kAll)
           arrive(irq, add_to_flag);
         enough.store(true, kRelaxed);
         other.join();
       }},
      {"TriedByAnIrq", irq, tried<K, irq>},
      {"TriedByASoftirq", softirq, tried<K, softirq>},
      {"TriedByAnNmi", nmi, tried<K, nmi>},
      {"TriedByAProbe", probe, tried<K, probe>},
      {"TriedByAnNmiInAnIrq", nmi,
       [] {
         try_add<K>();
         arrive(irq, [] {
           if (TryGuard g(Locks<K>::lock); g) {
             add();
             arrive(nmi, try_add<K>);
           }
           arrive(nmi, try_add<K>);
         });
         try_add<K>();
       }},
  };
};

template <class K>
class TsanInterrupts : public ::testing::Test {};
TYPED_TEST_SUITE(TsanInterrupts, test_support::AllKernels, test_support::KernelName);

TYPED_TEST(TsanInterrupts, WhatLacksAMaskIsReported) {
  for (const Case& c : Code<TypeParam>::kRaces) {
    SCOPED_TRACE(c.name);
    EXPECT_EXIT(run_case(c), ::testing::ExitedWithCode(66), "data race");
  }
}

TYPED_TEST(TsanInterrupts, WhatIsCorrectIsSilent) {
  for (const Case& c : Code<TypeParam>::kSilent) {
    SCOPED_TRACE(c.name);
    EXPECT_EXIT(run_case(c), ::testing::ExitedWithCode(0), "");
  }
}

}  // namespace
}  // namespace nestlock

// Whatever the environment says: run_case() counts on it.
extern "C" const char* __tsan_default_options() {
  return "halt_on_error=1:atexit_sleep_ms=0:symbolize=0";
}
