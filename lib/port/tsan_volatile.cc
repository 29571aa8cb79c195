// A handler and its thread may share a volatile std::sig_atomic_t: ThreadSanitizer is told so, where the
// compiler tells volatile accesses apart (gcc: --param=tsan-distinguish-volatile=1; clang: -mllvm
// -tsan-distinguish-volatile=1). It then calls the functions below, which the tool's runtime lacks.
//
// By the standard ([intro.races]) such accesses are no data race if both happen in the same thread, in whichever
// of its handlers; between two threads they are one. So an access of that type is made as the thread, and not
// as the level that it is in (nestlock/port/hosted_tsan.h). What its type is no caller says: the size
// decides, so that any volatile of four bytes passes in a thread's own handlers. All other sizes are
// checked as they would be without the option.
#include "tsan_fibers.h"

#if NESTLOCK_WITH_TSAN

#include <csignal>

namespace nestlock::hosted {
namespace {

// `check` is one of the tool's, for an access by the code at `pc`.
NESTLOCK_INTERNAL_NOT_IN_TSAN void check_volatile(std::size_t size, void (*check)(void*, void*),
                                                  void* at, void* pc) noexcept {
  void* const task = tsan_state.task;
  if (!task || size != sizeof(std::sig_atomic_t)) return check(at, pc);
  void* const from = __tsan_get_current_fiber();
  const std::uint64_t mask = tsan_hold_signals();
  __tsan_switch_to_fiber(task, kTsanNoSync);
  check(at, pc);
  __tsan_switch_to_fiber(from, kTsanNoSync);
  tsan_let_signals_in(mask);
}

}  // namespace
}  // namespace nestlock::hosted

#define NESTLOCK_INTERNAL_VOLATILE(access, size)                                \
  extern "C" void __tsan_##access##size##_pc(void* at, void* pc);               \
  extern "C" NESTLOCK_INTERNAL_NOT_IN_TSAN void __tsan_volatile_##access##size( \
      void* at) noexcept {                                                      \
    nestlock::hosted::check_volatile(size, __tsan_##access##size##_pc, at,      \
                                     __builtin_return_address(0));              \
  }
// clang alone calls these.
#define NESTLOCK_INTERNAL_UNALIGNED(access, size)                                         \
  extern "C" void __tsan_unaligned_##access##size(void* at);                              \
  extern "C" NESTLOCK_INTERNAL_NOT_IN_TSAN void __tsan_unaligned_volatile_##access##size( \
      void* at) noexcept {                                                                \
    __tsan_unaligned_##access##size(at);                                                  \
  }

NESTLOCK_INTERNAL_VOLATILE(read, 1)
NESTLOCK_INTERNAL_VOLATILE(read, 2)
NESTLOCK_INTERNAL_VOLATILE(read, 4)
NESTLOCK_INTERNAL_VOLATILE(read, 8)
NESTLOCK_INTERNAL_VOLATILE(read, 16)
NESTLOCK_INTERNAL_VOLATILE(write, 1)
NESTLOCK_INTERNAL_VOLATILE(write, 2)
NESTLOCK_INTERNAL_VOLATILE(write, 4)
NESTLOCK_INTERNAL_VOLATILE(write, 8)
NESTLOCK_INTERNAL_VOLATILE(write, 16)
NESTLOCK_INTERNAL_UNALIGNED(read, 2)
NESTLOCK_INTERNAL_UNALIGNED(read, 4)
NESTLOCK_INTERNAL_UNALIGNED(read, 8)
NESTLOCK_INTERNAL_UNALIGNED(read, 16)
NESTLOCK_INTERNAL_UNALIGNED(write, 2)
NESTLOCK_INTERNAL_UNALIGNED(write, 4)
NESTLOCK_INTERNAL_UNALIGNED(write, 8)
NESTLOCK_INTERNAL_UNALIGNED(write, 16)

#endif
