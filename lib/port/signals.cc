// The trampoline, the slots and the replay of the lazy mask. Rules R1..R10: README.md beside this.
#include "nestlock/signals.h"

#include <pthread.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "kernel_sigaction.h"

namespace nestlock::signals {
namespace {

using hosted::fence;
using hosted::kRelaxed;
using hosted::self;

// ---- registration: written in task context under `registering`, read by handlers ---------------

constexpr int kLastSignal = 64;
constinit std::atomic<KernelMask> irq_class{0}, nmi_class{0};
constinit std::atomic<Handler> handlers[kLastSignal + 1]{};
struct sigaction previous[kLastSignal + 1];  // under `registering` only
// What `previous` has to call: one of the two, or none. Another thread's handler may read it while
// the signal is unregistered and registered again, and then calls what was there before or after.
struct Chained {
  std::atomic<Handler> with_info{nullptr};
  std::atomic<void (*)(int)> plain{nullptr};
};
constinit Chained chained[kLastSignal + 1]{};
constinit std::atomic<void (*)()> softirq_run[kMaxSoftirqs]{};
pthread_mutex_t registering = PTHREAD_MUTEX_INITIALIZER;
constinit std::atomic<std::uint32_t> only_thread{0};  // uniprocessor: its thread id

// Statistics: handlers leave them behind, so they need a read-modify-write.
using Count = std::atomic<std::uint64_t>;
constinit Count irqs{0}, nmis{0}, softirqs{0}, held_back{0}, requeued{0}, lost{0}, forwarded{0};
void count(Count& c) noexcept { c.fetch_add(1, kRelaxed); }

// ---- slots: arrivals held back, a ring for each virtual CPU -------------------------------------

#if defined(__x86_64__)
// The kernel's frame ends with 8 bytes of mask; the C library's ucontext_t goes on.
constexpr std::size_t kContextSize = offsetof(ucontext_t, uc_sigmask) + sizeof(KernelMask);
#else
constexpr std::size_t kContextSize = sizeof(ucontext_t);
#endif

struct Arrival {
  int signo;
  siginfo_t info;
  alignas(16) unsigned char context[kContextSize];
};

// One slot is enough with the class blocked, unless a handler nobody registered interrupts an
// irq-off section: its return unblocks the class. Producer (a handler) interrupts the consumer.
constexpr std::uint32_t kSlots = 4;
struct Ring {
  std::atomic<std::uint32_t> head{0}, tail{0};
  Arrival slot[kSlots];
};
Ring rings[kHostedMaxCpus];

Ring* my_ring() noexcept {
  const unsigned cpu = hosted::cpu_id();
  return cpu < kHostedMaxCpus ? &rings[cpu] : nullptr;
}

// uc_sigmask has 8 bytes in the kernel's frame and 128 in the C library's: copy 8.
KernelMask mask_in(const ucontext_t& uc) noexcept {
  KernelMask m;
  std::memcpy(&m, &uc.uc_sigmask, sizeof m);
  return m;
}
void set_mask_in(ucontext_t& uc, KernelMask m) noexcept {
  std::memcpy(&uc.uc_sigmask, &m, sizeof m);
}

// ---- levels -------------------------------------------------------------------------------------

// One running handler: sets the context word, and records where it runs and what it interrupted
// (`soft`: the mask there), so that debug configurations can tell whether it was left by a jump.
class LevelScope {
 public:
  LevelScope(std::uint32_t bit, std::uint32_t soft, const void* frame,
             std::uintptr_t floor) noexcept
      : was_(self.context.load(kRelaxed)), depth_(self.levels.load(kRelaxed)) {
    if (depth_ < hosted::kMaxLevels) {
      // Reserve first, or an nmi in here would use the same entry; the frame last, for an entry
      // without one (it was cleared at the last pop) says nothing yet.
      self.levels.store(depth_ + 1, kRelaxed);
      fence();
      hosted::Level& level = self.level[depth_];
      level.stack_floor.store(floor, kRelaxed);
      level.context.store(was_, kRelaxed);
      level.soft.store(soft, kRelaxed);
      level.preempt.store(self.preempt.load(kRelaxed), kRelaxed);
      level.bh.store(self.bh.load(kRelaxed), kRelaxed);
      fence();
      level.frame.store(reinterpret_cast<std::uintptr_t>(frame), kRelaxed);
      fence();
    }
    self.context.store(was_ | bit, kRelaxed);
    fence();
  }
  ~LevelScope() {
    fence();
    self.context.store(was_, kRelaxed);
    if (depth_ < hosted::kMaxLevels) self.level[depth_].frame.store(0, kRelaxed);
    fence();
    self.levels.store(depth_, kRelaxed);
    fence();
  }
  LevelScope(const LevelScope&) = delete;
  LevelScope& operator=(const LevelScope&) = delete;

 private:
  const std::uint32_t was_, depth_;
};

// The lowest address of the alternate stack if `frame` lies on it, else 0.
std::uintptr_t stack_floor(const void* frame, const ucontext_t& uc) noexcept {
  const auto f = reinterpret_cast<std::uintptr_t>(frame);
  const auto low = reinterpret_cast<std::uintptr_t>(uc.uc_stack.ss_sp);
  return low && f >= low && f - low < uc.uc_stack.ss_size ? low : 0;
}

void call_handler(int signo, siginfo_t* info, void* uc) noexcept {
  // acquire: pairs with the release in add(), so `chained` is complete.
  const Handler h = handlers[signo].load(std::memory_order_acquire);
  if (!h) return;  // unregistered meanwhile
  h(signo, info, uc);
  // acquire, both: what is called was complete when it was installed, also if it is a later one.
  if (const Handler next = chained[signo].with_info.load(std::memory_order_acquire))
    next(signo, info, uc);
  else if (const auto plain = chained[signo].plain.load(std::memory_order_acquire))
    plain(signo);
}

// The same as a level of its own: to ThreadSanitizer what the kernel left on the interrupted stack
// lies where a dead frame lay, so it is copied past the tool, and back, for handlers may change it.
void call_handler_as_level(int signo, siginfo_t* info, ucontext_t* uc) noexcept {
#if NESTLOCK_WITH_TSAN
  siginfo_t own_info;
  ucontext_t own_uc;
  hosted::tsan_copy(&own_info, info, sizeof own_info);
  hosted::tsan_copy(&own_uc, uc, kContextSize);
  call_handler(signo, &own_info, &own_uc);
  hosted::tsan_copy(info, &own_info, sizeof own_info);
  hosted::tsan_copy(uc, &own_uc, kContextSize);
#else
  call_handler(signo, info, uc);
#endif
}

void run_irq(int signo, siginfo_t* info, ucontext_t* uc, std::uintptr_t floor) noexcept {
  hosted::as_level(hosted::TsanLevel::irq, [=]() noexcept {
    const LevelScope level(hosted::kInIrq, 0, __builtin_frame_address(0), floor);
    count(irqs);
    call_handler_as_level(signo, info, uc);
  });
}

// Runs what was raised, with irqs on. On entry the class is really blocked, `open` is what may be
// unblocked. `close`: at an irq's exit it is blocked again before the context is left, so that an
// arrival in the tail is not nested one deeper (R8); then look again, for an arrival in between
// left its softirq to us.
void run_softirqs(KernelMask open, bool close) noexcept {
  while (self.context.load(kRelaxed) == 0 && self.bh.load(kRelaxed) == 0 &&
         self.softirqs.load(kRelaxed) != 0) {
    hosted::as_level(hosted::TsanLevel::softirq, [=]() noexcept {
      const LevelScope level(hosted::kInSoftirq, 0, __builtin_frame_address(0), 0);
      self.soft.store(0, kRelaxed);
      fence();
      if (open) real_mask(SIG_UNBLOCK, open);
      while (std::uint32_t raised = self.softirqs.exchange(0, kRelaxed)) {
        for (; raised; raised &= raised - 1) {
          const auto run = softirq_run[std::countr_zero(raised)].load(std::memory_order_acquire);
          count(softirqs);
          if (run) run();
        }
      }
      if (close) {
        real_mask(SIG_BLOCK, irq_class.load(kRelaxed));
        fence();
        self.soft.store(1, kRelaxed);
      }
    });
  }
}

void drain(Ring& ring) noexcept {
  for (std::uint32_t h; (h = ring.head.load(kRelaxed)) != ring.tail.load(kRelaxed);) {
    // Copy out, then advance: once head moves, a handler may fill the slot again.
    nestlock::internal::tsan_acquire(&ring);
    const Arrival& slot = ring.slot[h % kSlots];
    const int signo = slot.signo;
    siginfo_t info = slot.info;
    ucontext_t uc;
    std::memcpy(&uc, slot.context, kContextSize);
    if (kContextSize < sizeof uc)  // the mask's other words; behind it only what fpregs would name
      std::memset(reinterpret_cast<char*>(&uc.uc_sigmask) + sizeof(KernelMask), 0,
                  sizeof uc.uc_sigmask - sizeof(KernelMask));
    nestlock::internal::tsan_release(&ring);
    fence();
    ring.head.store(h + 1, kRelaxed);
    run_irq(signo, &info, &uc, 0);
  }
}

// irq_restore() found something held back (R5), or a softirq is due. Runs on the interrupted code's
// stack without a signal frame, so errno is ours to keep. Never inside an irq or an nmi, where a
// wrong restore is all that could lead here.
void replay() noexcept {
  if (self.context.load(kRelaxed) & (hosted::kInIrq | hosted::kInNmi)) return;
  const int saved = errno;
  KernelMask added = 0;
  do {
    self.soft.store(1, kRelaxed);
    fence();
    self.held.store(0, kRelaxed);
    fence();
    if (Ring* const ring = my_ring()) drain(*ring);
    added |= self.added.exchange(0, kRelaxed);
    self.soft.store(0, kRelaxed);
    fence();  // first enable, then look, as in irq_restore()
  } while (self.held.load(kRelaxed));
  run_softirqs(added, /*close=*/false);
  if (added) real_mask(SIG_UNBLOCK, added);  // what we blocked, never what the user had (R7)
  errno = saved;
}

// ---- the trampoline -----------------------------------------------------------------------------

// An irq arrived while masked: keep it in a slot, and let this handler's return block the class, so
// that the kernel queues what follows, in order (R4).
void hold_back(int signo, siginfo_t* info, ucontext_t* uc) noexcept {
  const KernelMask all = irq_class.load(kRelaxed), user = mask_in(*uc);
  count(held_back);
  self.added.fetch_or(all & ~user, kRelaxed);
  set_mask_in(*uc, user | all);
  Ring* const ring = my_ring();
  const std::uint32_t t = ring ? ring->tail.load(kRelaxed) : 0;
  if (!ring || t - ring->head.load(kRelaxed) == kSlots) {
    // No slot: back to the kernel's queue, behind those already there.
    count(requeued);
    if (syscall(SYS_rt_tgsigqueueinfo, getpid(), hosted::thread_id(), signo, info)) count(lost);
  } else {
    nestlock::internal::tsan_acquire(ring);
    Arrival& a = ring->slot[t % kSlots];
    a.signo = signo;
    a.info = *info;
    ucontext_t copy;
    std::memcpy(&copy, uc, kContextSize);
#if defined(__x86_64__)
    copy.uc_mcontext.fpregs = nullptr;  // the frame that it points to is about to go
#endif
    set_mask_in(copy, user);
    std::memcpy(a.context, &copy, kContextSize);
    nestlock::internal::tsan_release(ring);
    fence();
    ring->tail.store(t + 1, kRelaxed);
  }
  fence();
  self.held.store(1, kRelaxed);  // last: whoever sees it finds the slot
}

// Its own signals, between the kernel's SIGRTMIN and the C library's: never handled nor blocked
// here.
KernelMask c_librarys_own() noexcept { return mask_of(SIGRTMIN) - mask_of(__SIGRTMIN); }

bool is_fault(int signo) noexcept {
  return signo == SIGSEGV || signo == SIGBUS || signo == SIGFPE || signo == SIGILL ||
         signo == SIGTRAP;
}

// Uniprocessor: the kernel may give a signal of the process to any thread; only one may use the
// library.
bool forward(int signo, siginfo_t* info) noexcept {
  if (kBuiltConfig.smp || is_fault(signo)) return false;
  const std::uint32_t one = only_thread.load(kRelaxed);
  if (!one || hosted::thread_id() == one) return false;
  siginfo_t sent = *info;
  if (sent.si_code >= 0 || sent.si_code == SI_TKILL) sent.si_code = SI_QUEUE;  // else EPERM
  count(forwarded);
  if (syscall(SYS_rt_tgsigqueueinfo, getpid(), one, signo, &sent)) count(lost);
  return true;
}

// The class can be open in a handler: it opened it itself (ppoll() with a mask, say), or the class
// grew while it ran. What arrived there was held back, and if the handler interrupted an unmasked
// place no irq_restore() will look: left so, (soft 0, held 1) would mask for ever (R2).
void look_again() noexcept {
  if (self.held.load(kRelaxed)) replay();
}

void run_nmi(int signo, siginfo_t* info, ucontext_t* uc, std::uintptr_t floor) noexcept {
  const std::uint32_t soft = self.soft.load(kRelaxed), held = self.held.load(kRelaxed);
  // Masked while it is an NMI: no irq_restore() in here ever unmasks (R6). From before it is one
  // until it is none any more, or a probe in between would find irqs on in an NMI.
  self.soft.store(1, kRelaxed);
  fence();
  hosted::as_level(hosted::TsanLevel::nmi, [=]() noexcept {
    const LevelScope level(hosted::kInNmi, soft, __builtin_frame_address(0), floor);
    count(nmis);
    call_handler_as_level(signo, info, uc);
  });
  fence();
  self.soft.store(soft, kRelaxed);
  fence();  // first enable, then look, as in irq_restore()
  if (!(soft | held)) look_again();
}

[[gnu::noinline]] void trampoline(int signo, siginfo_t* info, void* context) noexcept {
  const int saved = errno;
  auto* const uc = static_cast<ucontext_t*>(context);
  const void* const frame = __builtin_frame_address(0);
  if (forward(signo, info)) {
    errno = saved;
    return;
  }
  if (nmi_class.load(kRelaxed) & mask_of(signo)) {
    run_nmi(signo, info, uc, stack_floor(frame, *uc));
  } else if (self.soft.load(kRelaxed) | self.held.load(kRelaxed)) {
    hold_back(signo, info, uc);  // held counts: a direct run would overtake a slot (R6)
  } else {
    const KernelMask user = mask_in(*uc) & ~self.waiting.load(kRelaxed);
    const KernelMask open = irq_class.load(kRelaxed) & ~user;
    self.soft.store(1, kRelaxed);
    run_irq(signo, info, uc, stack_floor(frame, *uc));
    run_softirqs(open, /*close=*/true);
    self.soft.store(0, kRelaxed);
    fence();
    look_again();
  }
  errno = saved;
}

// ---- life cycle ---------------------------------------------------------------------------------

// No signal of ours may use the thread's virtual CPU after it was given back.
void on_thread_exit() noexcept {
  for (;;) {
    real_mask(SIG_BLOCK, irq_class.load(kRelaxed) | nmi_class.load(kRelaxed));
    if (!self.held.load(kRelaxed) || self.context.load(kRelaxed)) break;
    replay();  // unblocks: once more
  }
  hosted::tsan_end_levels();
}

// What was held back before the fork is the parent's; `held` stays, so that the child's restore
// unmasks (R10). The child is a thread with another id.
void in_forked_child() noexcept {
  hosted::tsan_merge_levels(true);
  if (Ring* const ring = my_ring()) ring->head.store(ring->tail.load(kRelaxed), kRelaxed);
  if (only_thread.load(kRelaxed))
    only_thread.store(static_cast<std::uint32_t>(syscall(SYS_gettid)), kRelaxed);
}

// Task context, under `registering`.
void set_up_once() noexcept {
  hosted::tsan_create_levels();
  static const bool done [[maybe_unused]] = [] {
    pthread_atfork(nullptr, nullptr, [] { in_forked_child(); });
    return true;
  }();
  // release: pairs with the acquire where they are called.
  hosted::replay_hook.store(replay, std::memory_order_release);
  hosted::thread_exit_hook.store(on_thread_exit, std::memory_order_release);
  if (!kBuiltConfig.smp && !only_thread.load(kRelaxed))
    only_thread.store(hosted::thread_id(), kRelaxed);
}

Error refuse(Error e, const char* call) noexcept {
  if (kBuiltConfig.debug) {
    Report r;
    r.finding = Finding::bad_signal;
    r.config = kBuiltConfig;
    r.context = hosted::context();
    r.call = call;
    r.detail = name_of(e);
    HostedPort<kBuiltConfig>::report(r);
  }
  return e;
}

Error check(int signo, bool irq) noexcept {
  if (signo < 1 || signo > kLastSignal || (c_librarys_own() & mask_of(signo)))
    return Error::not_a_signal;
  if (signo == SIGKILL || signo == SIGSTOP) return Error::unmaskable;
  if (irq && is_fault(signo)) return Error::fault;
  return Error::none;
}

KernelMask blocked_during(int signo) noexcept {
  const KernelMask irq = irq_class.load(kRelaxed), nmi = nmi_class.load(kRelaxed);
  return nmi & mask_of(signo) ? irq | nmi : irq;
}

// Every handler's mask holds its whole class, so all are installed again when a class grows.
bool install_all() noexcept {
  const KernelMask all = irq_class.load(kRelaxed) | nmi_class.load(kRelaxed);
  for (int s = 1; s <= kLastSignal; ++s)
    if ((all & mask_of(s)) && !install(s, trampoline, blocked_during(s))) return false;
  return true;
}

void chain(int signo) noexcept {
  const struct sigaction& p = previous[signo];
  const bool with_info = p.sa_flags & SA_SIGINFO;
  const bool plain = !with_info && p.sa_handler != SIG_DFL && p.sa_handler != SIG_IGN;
  // release: pairs with the acquire in call_handler().
  chained[signo].with_info.store(with_info ? p.sa_sigaction : nullptr, std::memory_order_release);
  chained[signo].plain.store(plain ? p.sa_handler : nullptr, std::memory_order_release);
}

Error add(int signo, Handler handler, std::atomic<KernelMask>& to, const char* call) noexcept {
  if (const Error e = check(signo, &to == &irq_class); e != Error::none) return refuse(e, call);
  pthread_mutex_lock(&registering);
  set_up_once();
  Error e = Error::none;
  if ((irq_class.load(kRelaxed) | nmi_class.load(kRelaxed)) & mask_of(signo)) {
    e = Error::taken;
  } else {
    // Complete before it is installed: the first arrival may come at once, in another thread.
    if (!query(signo, previous[signo])) e = Error::refused;
    chain(signo);
    handlers[signo].store(handler, std::memory_order_release);
    to.fetch_or(mask_of(signo), kRelaxed);
    if (e == Error::none && !install_all()) e = Error::refused;
    if (e != Error::none) to.fetch_and(~mask_of(signo), kRelaxed);
  }
  pthread_mutex_unlock(&registering);
  return e == Error::none ? e : refuse(e, call);
}

}  // namespace

Error register_irq(int signo, Handler handler) noexcept {
  return add(signo, handler, irq_class, "register_irq");
}

Error register_nmi(int signo, Handler handler) noexcept {
  return add(signo, handler, nmi_class, "register_nmi");
}

Error unregister(int signo) noexcept {
  if (signo < 1 || signo > kLastSignal) return refuse(Error::not_a_signal, "unregister");
  pthread_mutex_lock(&registering);
  Error e = Error::not_taken;
  if ((irq_class.load(kRelaxed) | nmi_class.load(kRelaxed)) & mask_of(signo)) {
    e = restore(signo, previous[signo]) ? Error::none : Error::refused;
    handlers[signo].store(nullptr, std::memory_order_release);
    irq_class.fetch_and(~mask_of(signo), kRelaxed);
    nmi_class.fetch_and(~mask_of(signo), kRelaxed);
    install_all();
    hosted::tsan_blocks_change();  // on this thread it comes no more
  }
  pthread_mutex_unlock(&registering);
  return e == Error::none ? e : refuse(e, "unregister");
}

bool register_softirq(unsigned nr, void (*run)()) noexcept {
  if (nr >= kMaxSoftirqs) return false;
  pthread_mutex_lock(&registering);
  set_up_once();
  pthread_mutex_unlock(&registering);
  softirq_run[nr].store(run, std::memory_order_release);
  return true;
}

void raise_softirq(unsigned nr) noexcept {
  if (nr >= kMaxSoftirqs || !softirq_run[nr].load(kRelaxed)) return;
  self.softirqs.fetch_or(1u << nr, kRelaxed);
  hosted::run_raised_softirqs();
}

void wait_irq() noexcept {
  const KernelMask all = irq_class.load(kRelaxed);
  // Really blocked from here, so nothing slips in between the look and the sleep.
  const KernelMask user = real_mask(SIG_BLOCK, all) & ~self.added.load(kRelaxed);
  hosted::tsan_irqs_on();
  self.soft.store(0, kRelaxed);
  fence();
  if (self.held.load(kRelaxed)) {
    replay();
  } else {
    self.waiting.store(all & ~user, kRelaxed);  // the irq's softirqs run with irqs on all the same
    syscall(SYS_rt_sigsuspend, &user, sizeof user);
    self.waiting.store(0, kRelaxed);
  }
  real_mask(SIG_SETMASK, user);
  hosted::irq_save();
}

int set_signal_mask(int how, const sigset_t* set, sigset_t* old) noexcept {
  if (set && how != SIG_BLOCK && how != SIG_UNBLOCK && how != SIG_SETMASK) return EINVAL;
  const KernelMask everything = ~KernelMask{0};
  const KernelMask real = real_mask(SIG_BLOCK, everything);  // no handler between the steps
  const KernelMask added = self.added.load(kRelaxed);
  KernelMask logical = real & ~added;
  if (old) {
    *old = {};
    std::memcpy(old, &logical, sizeof logical);
  }
  if (set) {
    KernelMask s;
    std::memcpy(&s, set, sizeof s);
    s &= ~c_librarys_own();
    if (how == SIG_BLOCK) logical |= s;
    if (how == SIG_UNBLOCK) logical &= ~s;
    if (how == SIG_SETMASK) logical = s;
  }
  // While something is held back the irq class stays blocked; what of it the program does not want
  // blocked is ours to unblock.
  const KernelMask ours = added ? irq_class.load(kRelaxed) & ~logical : 0;
  self.added.store(ours, kRelaxed);
  if (set) hosted::tsan_blocks_change();
  real_mask(SIG_SETMASK, logical | ours);
  return 0;
}

Stats stats() noexcept {
  return {irqs.load(kRelaxed),      nmis.load(kRelaxed),     softirqs.load(kRelaxed),
          held_back.load(kRelaxed), requeued.load(kRelaxed), lost.load(kRelaxed),
          forwarded.load(kRelaxed)};
}

}  // namespace nestlock::signals
