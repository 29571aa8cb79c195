// Hosted port, part 8: a barrier on all processors that run a thread of this process, by Linux membarrier().
//
// The process registers for it with its first call: until then no context switch pays for it. Where the kernel has no
// such call (before 4.14), or a sandbox forbids it, there is no barrier, and the caller does without. errno stays as it
// was; any context.
#pragma once

#include <linux/membarrier.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <initializer_list>

namespace nestlock::hosted {

// See UninterruptedPort. Handlers of faults and traps are not kept out: a fault that is blocked kills.
class Uninterrupted {
 public:
  Uninterrupted() noexcept {
    std::uint64_t all = ~std::uint64_t{0};
    for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS})
      all &= ~(std::uint64_t{1} << (fault - 1));
    set(SIG_SETMASK, &all, &before_);
  }
  ~Uninterrupted() { set(SIG_SETMASK, &before_, nullptr); }
  Uninterrupted(const Uninterrupted&) = delete;
  Uninterrupted& operator=(const Uninterrupted&) = delete;

 private:
  // The C library's own signals, too, which its functions leave out: one of them cancels threads.
  static void set(int how, const std::uint64_t* mask, std::uint64_t* before) noexcept {
    const int saved = errno;
    syscall(SYS_rt_sigprocmask, how, mask, before, sizeof *mask);
    errno = saved;
  }
  std::uint64_t before_ = 0;
};

// The operation of BarrierPort. A thread that does not run has had its barrier when it was switched away from.
struct Barriers {
  using Uninterrupted = hosted::Uninterrupted;
  static bool barrier_on_all_cpus() noexcept {
    const int saved = errno;
    long r = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    if (r == -1 && errno == EPERM && !membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED))
      r = membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED);
    errno = saved;
    return r == 0;
  }

 private:
  static long membarrier(int command) noexcept { return syscall(SYS_membarrier, command, 0, 0); }
};

}  // namespace nestlock::hosted
