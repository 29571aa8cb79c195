// Nestlock's locks beside their peers and beside what no lock can beat, in one run.
#include "absl/base/config.h"
#include "absl/synchronization/mutex.h"
#include "nestlock/nestlock.h"
#include "rows.h"
#include "run.h"

namespace {

std::string context() {
#ifdef ABSL_LTS_RELEASE_VERSION
  const std::string version =
      std::to_string(ABSL_LTS_RELEASE_VERSION) + "." + std::to_string(ABSL_LTS_RELEASE_PATCH_LEVEL);
#else
  const std::string version = "(no release)";
#endif
  return "Abseil " + version + ", absl::Mutex: deadlock detection off (kIgnore)\n" +
         "smp: a registered waiter with p before it is passed by lock() at most (p + 1) x " +
         std::to_string(nestlock::hosted::Parks::kParking.passes) + " times";
}

}  // namespace

int main(int argc, char** argv) {
  // Also without NDEBUG, when its default is to check for deadlocks.
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
  return bench::run(argc, argv,
                    {context(),
                     {
                         {"nestlock/irq_save+irq_restore/up", 0.10, "limit/load+2 stores"},
                         {"nestlock/irq_save+irq_restore/smp", 0.10, "limit/load+2 stores"},
                         {"nestlock/TrySpinLock try_lock/up", 0.15, "limit/count, load+2 stores"},
                     },
                     [](const bench::RunOptions& o) {
                       bench::add_limits();
                       bench::add_nestlock();
                       bench::add_peers();
                       if (o.parked_thread) bench::add_contended(o);
                     }});
}
