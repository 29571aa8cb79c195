// The hosted port: Linux user space. A thread is a CPU's task, a signal handler its interrupt.
//
// irq signals are masked lazily: irq_save() is two loads and a store, no system call. A signal that
// arrives while masked is held back by the library's trampoline (lib/port/trampoline.cc) and replayed
// by the irq_restore() that unmasks. nmi signals are never masked. Registration is in
// nestlock/signals.h and needs lib/port; this header alone needs nothing.
//
// preempt_disable() counts and excludes nobody: no other task runs on this thread's virtual CPU.
// So swapcontext(), like sleeping, is forbidden in a section.
#pragma once

#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

#include "nestlock/port/hosted_barrier.h"
#include "nestlock/port/hosted_cpu.h"
#include "nestlock/port/hosted_park.h"
#include "nestlock/port/hosted_pi.h"
#include "nestlock/port/hosted_registry.h"
#include "nestlock/port/hosted_slice.h"
#include "nestlock/port/hosted_thread.h"
#include "nestlock/port/hosted_tsan.h"
#include "nestlock/port/port.h"

namespace nestlock {
namespace hosted {

// The default sink: text to standard error.
inline void print_report(const Report& r) noexcept {
  char text[768];
  const int saved = errno;
  const std::size_t n = to_text(r, text, sizeof text);
  syscall(SYS_write, STDERR_FILENO, text, n);  // write() is a cancellation point
  errno = saved;
}

// Any context. Returns the sink before. `sink` must be callable from a signal handler.
inline ReportSink set_report_sink(ReportSink sink) noexcept {
  const ReportSink was = process().report_sink.exchange(sink, std::memory_order_acq_rel);
  return was ? was : print_report;
}

inline Context context() noexcept {
  return static_cast<Context>(std::bit_width(self().context.load(kRelaxed)));
}

[[gnu::always_inline]] inline void count_up(Word& w) noexcept {
  w.store(w.load(kRelaxed) + 1, kRelaxed), fence();
}
[[gnu::always_inline]] inline void count_down(Word& w) noexcept {
  fence(), w.store(w.load(kRelaxed) - 1, kRelaxed);
}

// The rules R1..R11 of the lazy mask are stated and argued in lib/port/README.md.
//
// R2: (soft 0, held 1) exists only inside irq_restore(), between its store and its look. Whoever
// sees it has interrupted that irq_restore() and must leave the unmasking to it: a handler's
// sigreturn would undo it. So held counts as masked.
[[gnu::always_inline]] inline std::uint32_t irq_save() noexcept {
  ThreadState& me = self();
  const std::uint32_t masked = me.soft.load(kRelaxed) | me.held.load(kRelaxed);
  me.soft.store(1, kRelaxed);
  fence();  // the section's accesses stay behind the mask
  tsan_irqs_off();
  return masked;
}

[[gnu::always_inline]] inline void irq_restore(std::uint32_t masked) noexcept {
  tsan_irqs_on();
  fence();             // the section's accesses stay before the unmasking
  if (masked) return;  // it was 1 and is 1; storing it again would chain through memory
  ThreadState& me = self();
  me.soft.store(0, kRelaxed);
  fence();  // first enable, then look: an arrival in between runs directly, none is overlooked
  if (me.held.load(kRelaxed)) [[unlikely]]
    process().replay_hook.load(std::memory_order_acquire)();
}

// Softirqs that were raised and could not run yet. With irqs masked the irq_restore() that unmasks
// them runs them: marking `held` makes it look. An nmi may have interrupted an irq-off section, too.
inline void run_raised_softirqs() noexcept {
  const std::uint32_t context = self().context.load(kRelaxed);
  if (context >= kInNmi) return self().held.store(1, kRelaxed);
  if (self().bh.load(kRelaxed) || context) return;  // an outer level will
  if (self().soft.load(kRelaxed) | self().held.load(kRelaxed))
    self().held.store(1, kRelaxed);
  else
    process().replay_hook.load(std::memory_order_acquire)();
}

// One CPU: the first thread that asks, until it has ended; in a forked child whoever asks first there.
inline bool is_the_one_thread() noexcept {
  std::uint32_t one = process().one_thread.load(kRelaxed);
  const std::uint32_t me = thread_id();
  if (one == me) [[likely]]
    return true;
  const int saved = errno;
  const bool ended = !one || (syscall(SYS_tgkill, getpid(), one, 0) == -1 && errno == ESRCH);
  errno = saved;
  return ended && process().one_thread.compare_exchange_strong(one, me, kRelaxed);
}

inline bool on_alternate_stack() noexcept {
  stack_t now;
  return sigaltstack(nullptr, &now) == 0 && (now.ss_flags & SS_ONSTACK);
}

// Whether a handler was left by a jump, so that its level is stale: then goes back to what it had
// interrupted. A level records its frame and its stack's lowest address, if that is the alternate one;
// a call or a signal at `here`, from outside what lies below that frame, cannot be the handler's. (At
// a distance that no stack has it is one that the handler has switched to.)
inline void drop_level() noexcept {
  const std::uint32_t n = self().levels.load(kRelaxed) - 1;
  Level& top = self().level[n];
  top.frame.store(0, kRelaxed);
  self().levels.store(n, kRelaxed);
  self().context.store(top.context.load(kRelaxed), kRelaxed);
  self().preempt.store(top.preempt.load(kRelaxed), kRelaxed);
  self().bh.store(top.bh.load(kRelaxed), kRelaxed);
  self().soft.store(top.soft.load(kRelaxed), kRelaxed);
  if (n) return;
  if (const auto hook = process().all_left_hook.load(std::memory_order_acquire)) hook();
}
inline bool drop_left_level(std::uintptr_t here) noexcept {
  constexpr std::uintptr_t kAStack = std::uintptr_t{64} << 20;
  const std::uint32_t n = self().levels.load(kRelaxed);
  if (!n) return false;
  Level& top = self().level[n - 1];
  const std::uintptr_t frame = top.frame.load(kRelaxed);
  const std::uintptr_t floor = top.stack_floor.load(kRelaxed);
  if (!frame) return false;  // just being entered or left
  if (here < frame && here >= floor) return false;
  if (!floor && here - frame > kAStack) return false;
  if (!floor && on_alternate_stack()) return false;  // a probe: above, but elsewhere
  drop_level();
  return true;
}
// What came while the stale level masked it was held back, and no irq_restore() will look.
inline void look_after_a_jump() noexcept {
  fence();
  if (!self().soft.load(kRelaxed) && self().held.load(kRelaxed))
    process().replay_hook.load(std::memory_order_acquire)();
}

}  // namespace hosted

template <Config kC>
struct HostedPort : hosted::Parks, hosted::Slices, hosted::Barriers {
  static constexpr Config kConfig = kC;
  static constexpr unsigned kMaxCpus = kC.smp ? kHostedMaxCpus : 1;
  template <class T>
  using Atomic = std::atomic<T>;
  using SleepLock = hosted::PiLock;

  // ---- irqs. Debug packs the nesting depth above the mask bit, to check the restore ----
  using IrqState = std::uint32_t;

  static IrqState irq_save() noexcept {
    const std::uint32_t masked = hosted::irq_save();
    if constexpr (!kC.debug) return masked;
    watch_end();
    const std::uint32_t depth = hosted::self().depth.load(hosted::kRelaxed);
    hosted::self().depth.store(depth + 1, hosted::kRelaxed);
    return depth << 1 | masked;
  }

  static void irq_restore(IrqState s) noexcept {
    if constexpr (kC.debug) return restore_checked(s);
    hosted::irq_restore(s);
  }

  // Masks, whatever it was before; irq_enable() unmasks, also inside a nested section.
  static void irq_disable() noexcept {
    hosted::self().soft.store(1, hosted::kRelaxed);
    hosted::fence();
    hosted::tsan_irqs_off();
  }
  // Not in NMI: nothing happens there (reported in debug).
  static void irq_enable() noexcept {
    if (hosted::context() == Context::nmi) [[unlikely]] {
      if constexpr (kC.debug) misuse(Finding::irq_enable_in_nmi, "irq_enable");
      return;
    }
    if constexpr (kC.debug)
      if (hosted::self().depth.load(hosted::kRelaxed) != 0)
        misuse(Finding::irq_unbalanced, "irq_enable");  // and opens it, as in a release
    hosted::irq_restore(0);
  }
  static bool irqs_disabled() noexcept {
    return hosted::self().soft.load(hosted::kRelaxed) | hosted::self().held.load(hosted::kRelaxed);
  }

  // A thread is its CPU: nothing moves it, and no other thread comes between.
  static constexpr bool kTaskIsCpu = true;

  // ---- preemption, migration, bottom halves: counts ----
  static void preempt_disable() noexcept {
    watch_end();
    hosted::count_up(hosted::self().preempt);
  }
  static void preempt_enable() noexcept { leave(hosted::self().preempt, "preempt_enable"); }
  static std::uint32_t preempt_count() noexcept {
    return hosted::self().preempt.load(hosted::kRelaxed);
  }
  static void migrate_disable() noexcept {
    watch_end();
    hosted::count_up(hosted::self().migrate);
  }
  static void migrate_enable() noexcept { leave(hosted::self().migrate, "migrate_enable"); }
  static std::uint32_t migrate_count() noexcept {
    return hosted::self().migrate.load(hosted::kRelaxed);
  }
  static void bh_disable() noexcept {
    watch_end();
    hosted::count_up(hosted::self().bh);
    hosted::tsan_bh_off();
  }
  static void bh_enable() noexcept {
    hosted::tsan_bh_on();
    leave(hosted::self().bh, "bh_enable");
    if (hosted::self().softirqs.load(hosted::kRelaxed)) [[unlikely]]
      hosted::run_raised_softirqs();
  }
  static bool bh_disabled() noexcept {
    return hosted::self().bh.load(hosted::kRelaxed) || context() == Context::softirq;
  }

  // ---- who and where ----
  static Context context() noexcept { return hosted::context(); }
  static unsigned cpu_id() noexcept {
    if constexpr (!kC.smp) return 0;
    return hosted::cpu_id();
  }
  // The same, but ~0u for a thread that has claimed none yet: a load, no call.
  static unsigned claimed_cpu() noexcept {
    if constexpr (!kC.smp) return 0;
    return hosted::self().cpu.load(hosted::kRelaxed) - 1;
  }
  // One per thread, the same in its handlers.
  static std::uintptr_t self() noexcept {
    return reinterpret_cast<std::uintptr_t>(&hosted::self());
  }
  // The kernel's thread id, which is below 2^22. A forked child still has what its thread held as
  // the parent's.
  static std::uint32_t owner_id() noexcept { return hosted::thread_id(); }
  static bool owner_is_caller(std::uint32_t id) noexcept {
    return id == hosted::thread_id() || (id && id == hosted::self().was_tid.load(hosted::kRelaxed));
  }
  static bool owner_is_gone(std::uint32_t id) noexcept {
    const int saved = errno;
    const bool gone = syscall(SYS_tgkill, getpid(), id, 0) == -1 && errno == ESRCH;
    errno = saved;
    return gone;
  }
  static std::uint64_t now_ns() noexcept {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<std::uint64_t>(t.tv_sec) * 1'000'000'000 +
           static_cast<std::uint64_t>(t.tv_nsec);
  }
  static void pause() noexcept { hosted::pause(); }
  static void yield() noexcept { sched_yield(); }

  // ---- findings ----
  static void report(const Report& r) noexcept {
    const hosted::ReportSink sink = hosted::process().report_sink.load(std::memory_order_acquire);
    sink ? sink(r) : hosted::print_report(r);
  }
  [[noreturn]] static void die() noexcept { std::abort(); }

  // Debug: see ChangingPort. What is deeper than there is room for is not told apart.
  static void changing(const void* lock) noexcept {
    hosted::ThreadState& me = hosted::self();
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    std::uint32_t n = me.changes.load(hosted::kRelaxed);
    while (n && (n > hosted::kMaxChanges || me.change[n - 1].frame.load(hosted::kRelaxed) < here))
      --n;
    // Reserve first: an interrupt in here uses the next entry.
    me.changes.store(n + 1, hosted::kRelaxed);
    hosted::fence();
    if (n == hosted::kMaxChanges) return;
    me.change[n].frame.store(here, hosted::kRelaxed);
    me.change[n].lock.store(lock, hosted::kRelaxed);
    hosted::fence();
  }
  static void changed() noexcept {
    hosted::fence();
    hosted::ThreadState& me = hosted::self();
    if (const std::uint32_t n = me.changes.load(hosted::kRelaxed))
      me.changes.store(n - 1, hosted::kRelaxed);
  }
  static bool is_changing(const void* lock) noexcept {
    const hosted::ThreadState& me = hosted::self();
    for (std::uint32_t n = me.changes.load(hosted::kRelaxed); n; --n)
      if (n <= hosted::kMaxChanges && me.change[n - 1].lock.load(hosted::kRelaxed) == lock)
        return true;
    return false;
  }

  // Debug: by lib/port, too, where the thread ends: says what it has not left, and leaves it.
  static void close_at_threads_end() noexcept {
    hosted::ThreadState& me = hosted::self();
    const auto close = [](hosted::Word& count, const char* what) {
      if (!count.load(hosted::kRelaxed)) return;
      misuse(Finding::left_open, "thread", what);
      count.store(0, hosted::kRelaxed);
    };
    close(me.preempt, "preemption (a spinning lock?)");
    close(me.migrate, "migration (a sleeping lock?)");
    close(me.bh, "bottom halves");
    close(me.depth, "irq_save()");
  }

  // Debug: see StaticStoragePort and OneThreadPort.
  static bool is_static(const void* p) noexcept { return hosted::is_static_here(p); }
  static bool is_the_one_thread() noexcept { return hosted::is_the_one_thread(); }
  static bool is_alone() noexcept { return hosted::is_alone(); }
  static unsigned cpus_seen() noexcept { return kC.smp ? hosted::cpus_seen() : 1; }

  // Debug: whether a handler was left by a jump, so that the context word is stale; repairs it.
  // Each trampoline records its frame and the stack it runs on; a call that comes from outside
  // what lies below that frame cannot be the handler's. One from there is looked at more closely.
  static void check_abandoned() noexcept {
    if (!hosted::self().levels.load(hosted::kRelaxed)) [[likely]]
      return;
    bool any = false;
    const auto here = reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0));
    for (; hosted::drop_left_level(here) || drop_level_left_for_deeper(here); any = true)
      misuse(Finding::holder_abandoned, "check_abandoned");
    if (any) hosted::look_after_a_jump();
  }

 private:
  static bool drop_level_left_for_deeper(std::uintptr_t here) noexcept {
    const auto left = hosted::process().left_hook.load(std::memory_order_acquire);
    if (!left || !hosted::self().levels.load(hosted::kRelaxed) || !left(here)) return false;
    hosted::drop_level();
    return true;
  }

  // Debug: a section was entered. Its thread will be asked at its end whether it has left all.
  static void watch_end() noexcept {
    if constexpr (!kC.debug) return;
    if (hosted::self().watched.load(hosted::kRelaxed)) [[likely]]
      return;
    hosted::self().watched.store(1, hosted::kRelaxed);
    hosted::process().left_open_hook.store(close_at_threads_end, std::memory_order_release);
    hosted::internal::watch_exit();
  }

  static void restore_checked(IrqState s) noexcept {
    const std::uint32_t depth = hosted::self().depth.load(hosted::kRelaxed);
    if (depth == 0 || s >> 1 != depth - 1) {
      misuse(Finding::irq_unbalanced, "irq_restore");
      if (depth == 0) return;
    }
    if (!(s & 1) && context() == Context::nmi) {
      misuse(Finding::irq_enable_in_nmi, "irq_restore");
      s |= 1;
    }
    hosted::self().depth.store(s >> 1, hosted::kRelaxed);
    hosted::irq_restore(s & 1);
  }

  static void leave(hosted::Word& count, const char* call) noexcept {
    if constexpr (kC.debug)
      if (count.load(hosted::kRelaxed) == 0) return misuse(Finding::preempt_unbalanced, call);
    hosted::count_down(count);
  }

  static void misuse(Finding f, const char* call, const char* detail = nullptr) noexcept {
    Report r;
    r.finding = f;
    r.config = kC;
    r.context = context();
    r.cpu = cpu_id();
    r.call = call;
    r.detail = detail;
    report(r);
  }
};

// What it offers of the optional members (port.h): a misspelt one would be left out without a word.
static_assert(SelfPort<HostedPort<configs::smp>> && ClaimingPort<HostedPort<configs::smp>> &&
              TaskCpuPort<HostedPort<configs::smp>> && YieldingPort<HostedPort<configs::smp>> &&
              ParkingPort<HostedPort<configs::smp>> && AbandonmentPort<HostedPort<configs::smp>> &&
              ChangingPort<HostedPort<configs::smp>> &&
              StaticStoragePort<HostedPort<configs::smp>> &&
              OneThreadPort<HostedPort<configs::smp>> &&
              PreemptCountPort<HostedPort<configs::smp>> && ClockPort<HostedPort<configs::smp>> &&
              OwnerPort<HostedPort<configs::smp>> && ForkPort<HostedPort<configs::smp>> &&
              BarrierPort<HostedPort<configs::smp>> && UninterruptedPort<HostedPort<configs::smp>>);

template <Config kC>
using DefaultPort = HostedPort<kC>;

}  // namespace nestlock
