// Handlers run as levels: softirq, irq, nmi; ours first, then what is chained to it.
#include <bit>
#include <type_traits>

#include "signals_internal.h"

namespace nestlock::signals::internal {

constinit Signal signal_table[kLastSignal + 1]{};
constinit Counts counts{};
constinit std::atomic<void (*)()> softirq_run[kMaxSoftirqs]{};

void Chained::set(const struct sigaction& was) noexcept {
  const bool info = was.sa_flags & SA_SIGINFO;
  const bool old_kind = !info && was.sa_handler != SIG_DFL && was.sa_handler != SIG_IGN;
  // release: pairs with the acquire in call().
  with_info.store(info ? was.sa_sigaction : nullptr, std::memory_order_release);
  plain.store(old_kind ? was.sa_handler : nullptr, std::memory_order_release);
}

void Chained::copy(const Chained& other) noexcept {
  with_info.store(other.with_info.load(kRelaxed), std::memory_order_release);
  plain.store(other.plain.load(kRelaxed), std::memory_order_release);
}

void Chained::call(int signo, siginfo_t* info, void* uc) const {
  // So that the trampoline knows this chain if it leads back to it.
  const void* const was = self().chained_from.load(kRelaxed);
  const void* const was_frame = self().chained_frame.load(kRelaxed);
  self().chained_frame.store(__builtin_frame_address(0), kRelaxed);
  self().chained_from.store(uc, kRelaxed);
  fence();
  // acquire, both: what is called was complete when it was installed, also if it is a later one.
  if (const Handler f = with_info.load(std::memory_order_acquire))
    f(signo, info, uc);
  else if (const auto f_plain = plain.load(std::memory_order_acquire))
    f_plain(signo);
  fence();
  self().chained_from.store(was, kRelaxed);
  self().chained_frame.store(was_frame, kRelaxed);
}

namespace {

// What a handler gives back before it returns.
struct Open {
  std::uint32_t preempt, migrate, bh, irq;

  static Open now() noexcept {
    return {self().preempt.load(kRelaxed), self().migrate.load(kRelaxed), self().bh.load(kRelaxed),
            self().depth.load(kRelaxed)};
  }
};

}  // namespace

void tell(Finding finding, const char* call, const char* detail, int signo) noexcept {
  Report r;
  r.finding = finding;
  r.config = kBuiltConfig;
  r.context = hosted::context();
  r.cpu = hosted::cpu_id();
  r.call = call;
  r.detail = detail, r.signo = signo;
  HostedPort<kBuiltConfig>::report(r);
}

namespace {

// `what` by the handler of `signo`; 0: by a softirq.
void tell_left_open(const char* what, int signo) noexcept {
  tell(Finding::left_open, signo ? "handler" : "softirq", what, signo);
}

// Debug: says so, and closes it, so that the interrupted code finds what it left.
[[gnu::noinline, maybe_unused]] void close_what_is_open(const Open& before, int signo) noexcept {
  const Open now = Open::now();
  if (now.preempt != before.preempt) tell_left_open("preemption (a spinning lock?)", signo);
  if (now.migrate != before.migrate) tell_left_open("migration (a sleeping lock?)", signo);
  if (now.bh != before.bh) tell_left_open("bottom halves", signo);
  if (now.irq != before.irq) tell_left_open("irq_save()", signo);
  self().preempt.store(before.preempt, kRelaxed);
  self().migrate.store(before.migrate, kRelaxed);
  self().bh.store(before.bh, kRelaxed);
  self().depth.store(before.irq, kRelaxed);
}

[[gnu::noinline]] const void* caller() noexcept { return __builtin_return_address(0); }

// Where the function runs that asks, and in debug a place in its code. The byte behind the frame's address: above
// the stack pointer all through the function and at the entry of what it calls, and below its caller's. (The
// address itself is the stack pointer on AArch64: an nmi there would take the function for left.)
struct Frame {
  const void* at;
  const void* code;

  [[gnu::always_inline]] static Frame here() noexcept {
    return {static_cast<const char*>(__builtin_frame_address(0)) + 1,
            kBuiltConfig.debug ? caller() : nullptr};
  }
};

// One running handler: sets the context word, and records where it runs and what it interrupted
// (`soft`: the mask there), so that debug configurations can tell whether it was left by a jump.
// `signo`: whose handler; 0: a softirq's.
class LevelScope {
 public:
  LevelScope(std::uint32_t bit, int signo, std::uint32_t soft, Frame frame,
             std::uintptr_t floor) noexcept
      : was_(self().context.load(kRelaxed)), depth_(self().levels.load(kRelaxed)), signo_(signo) {
    if (depth_ < hosted::kMaxLevels) {
      // Reserve first, or an nmi in here would use the same entry; the frame last, for an entry
      // without one (it was cleared at the last pop) says nothing yet.
      self().levels.store(depth_ + 1, kRelaxed);
      fence();
      hosted::Level& level = self().level[depth_];
      level.stack_floor.store(floor, kRelaxed);
      level.context.store(was_, kRelaxed);
      level.soft.store(soft, kRelaxed);
      if constexpr (kBuiltConfig.debug) level.code.store(frame.code, kRelaxed);
      level.preempt.store(self().preempt.load(kRelaxed), kRelaxed);
      level.bh.store(self().bh.load(kRelaxed), kRelaxed);
      fence();
      level.frame.store(reinterpret_cast<std::uintptr_t>(frame.at), kRelaxed);
      fence();
    }
    self().context.store(was_ | bit, kRelaxed);
    fence();
    if constexpr (kBuiltConfig.debug) open_ = Open::now();
  }
  ~LevelScope() {
    if constexpr (kBuiltConfig.debug) close_what_is_open(open_, signo_);
    fence();
    self().context.store(was_, kRelaxed);
    if (depth_ < hosted::kMaxLevels) self().level[depth_].frame.store(0, kRelaxed);
    fence();
    self().levels.store(depth_, kRelaxed);
    fence();
  }
  LevelScope(const LevelScope&) = delete;
  LevelScope& operator=(const LevelScope&) = delete;

 private:
  const std::uint32_t was_, depth_;
  [[maybe_unused]] const int signo_;
  Open open_{};
};

void call_handler(int signo, siginfo_t* info, void* uc) {
  Signal& s = signal_table[signo];
  const KernelMask outer = self().handled.load(kRelaxed);
  self().handled.store(outer | mask_of(signo), kRelaxed);
  // seq_cst, both: unregister() empties the handler first and then looks who runs. Either it sees
  // this one counted, or this one sees the handler gone.
  s.running.fetch_add(1, std::memory_order_seq_cst);
  if (const Handler h = s.handler.load(std::memory_order_seq_cst)) {
    h(signo, info, uc);
    s.next.call(signo, info, uc);
  }  // else unregistered meanwhile
  s.running.fetch_sub(1, std::memory_order_release);  // whoever waited sees what the handler did
  self().handled.store(outer, kRelaxed);
}

// The same as a level of its own: to ThreadSanitizer what the kernel left on the interrupted stack
// lies where a dead frame lay, so it is copied past the tool, and back, for handlers may change it.
void call_handler_as_level(int signo, siginfo_t* info, ucontext_t* uc) {
#if NESTLOCK_WITH_TSAN
  siginfo_t own_info;
  ucontext_t own_uc;
  hosted::tsan_copy(&own_info, info, sizeof own_info);
  hosted::tsan_copy(&own_uc, uc, kContextSize);
#if defined(__x86_64__)
  // Without the words that say that more follows: it does not.
  std::remove_pointer_t<fpregset_t> own_modes{}, *const modes = own_uc.uc_mcontext.fpregs;
  constexpr std::size_t kModes = 464;  // of fxsave's 512 bytes
  if (modes) {
    hosted::tsan_copy(&own_modes, modes, kModes);
    own_uc.uc_mcontext.fpregs = &own_modes;
  }
#endif
  call_handler(signo, &own_info, &own_uc);
#if defined(__x86_64__)
  if (modes) {
    hosted::tsan_copy(modes, &own_modes, kModes);
    own_uc.uc_mcontext.fpregs = modes;
  }
#endif
  hosted::tsan_copy(info, &own_info, sizeof own_info);
  hosted::tsan_copy(uc, &own_uc, kContextSize);
#else
  call_handler(signo, info, uc);
#endif
}

}  // namespace

void nobody_handles() noexcept {
  const KernelMask left = self().handled.exchange(0, kRelaxed);
  for (int signo = 1; signo <= kLastSignal; ++signo)
    if (left & mask_of(signo)) signal_table[signo].running.fetch_sub(1, std::memory_order_release);
  // A replay was left with them: what it had still to run, and to unblock, is to be looked at again.
  if (self().added.load(kRelaxed) || any_in_my_slots()) self().held.store(1, kRelaxed);
}

void run_irq(int signo, siginfo_t* info, ucontext_t* uc, std::uintptr_t floor) {
  hosted::as_level(hosted::TsanLevel::irq, [=]() {
    const LevelScope level(hosted::kInIrq, signo, 0, Frame::here(), floor);
    count(counts.irqs);
    call_handler_as_level(signo, info, uc);
  });
}

void run_nmi(int signo, siginfo_t* info, ucontext_t* uc, std::uintptr_t floor) {
  const std::uint32_t soft = self().soft.load(kRelaxed), held = self().held.load(kRelaxed);
  // Masked while it is an NMI: no irq_restore() in here ever unmasks (R6). From before it is one
  // until it is none any more, or a probe in between would find irqs on in an NMI.
  self().soft.store(1, kRelaxed);
  fence();
  hosted::as_level(hosted::TsanLevel::nmi, [=]() {
    const LevelScope level(hosted::kInNmi, signo, soft, Frame::here(), floor);
    count(counts.nmis);
    call_handler_as_level(signo, info, uc);
  });
  fence();
  self().soft.store(soft, kRelaxed);
  fence();  // first enable, then look, as in irq_restore()
  // What it left (an irq held back, a softirq raised) is ours to look for, unless the code that it
  // interrupted will: an irq_restore(), or one already between its store and its look.
  if (!(soft | held) && self().held.load(kRelaxed)) replay();
}

// Runs what was raised, with irqs on. On entry the class is really blocked, `open` is what may be
// unblocked. `close`: at an irq's exit it is blocked again before the context is left, so that an
// arrival in the tail is not nested one deeper (R8); then look again, for an arrival in between
// left its softirq to us. One that raises itself gets so many turns; then it waits for the next
// irq's exit, bh_enable(), raise_softirq() or the thread's end, or the task would never go on.
void run_softirqs(KernelMask open, bool close) noexcept {
  constexpr unsigned kTurns = 10;
  for (unsigned turn = 0; turn < kTurns && self().context.load(kRelaxed) == 0 &&
                          self().bh.load(kRelaxed) == 0 && self().softirqs.load(kRelaxed) != 0;
       ++turn) {
    hosted::as_level(hosted::TsanLevel::softirq, [=]() noexcept {
      const LevelScope level(hosted::kInSoftirq, 0, 0, Frame::here(), 0);
      const NotCancelled whole;
      self().soft.store(0, kRelaxed);
      fence();
      if (open) real_mask(SIG_UNBLOCK, open);
      for (std::uint32_t raised = self().softirqs.exchange(0, kRelaxed); raised;
           raised &= raised - 1) {
        const auto run = softirq_run[std::countr_zero(raised)].load(std::memory_order_acquire);
        count(counts.softirqs);
        if (run) run();
      }
      if (close) {
        real_mask(SIG_BLOCK, irq_class.load(kRelaxed));
        fence();
        self().soft.store(1, kRelaxed);
      }
    });
  }
}

}  // namespace nestlock::signals::internal
