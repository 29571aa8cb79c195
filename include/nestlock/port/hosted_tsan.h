// Hosted port, part 4: ThreadSanitizer sees interrupts. Without it everything here is empty.
//
// To the tool a signal handler is the thread that it interrupts, so a missing mask is no race. Here
// each level of a thread's handlers is a fibre of its own, which is a thread to the tool, entered
// and left without synchronisation. What really excludes a level, masking it, is told: unmasking
// releases and masking acquires an address of that level, and so do the level's exit and entry. The
// argument for each is in lib/port/README.md.
//
// A fibre has a stack of its own: on the interrupted one its frames would lie where the task's dead
// frames lay, and the tool would call that a race. Neither may a handler be left by a jump.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "nestlock/config/annotations.h"
#include "nestlock/port/hosted_thread.h"

namespace nestlock::hosted {

enum class TsanLevel : unsigned char { softirq, irq, nmi, probe };

#if NESTLOCK_WITH_TSAN

inline constexpr unsigned kTsanLevels = 4;
inline constexpr std::size_t kTsanStack = std::size_t{1} << 20;  // filled lazily

struct TsanState {
  long order[kTsanLevels];  // an address each; the tool keeps the rest
  void* fiber[kTsanLevels];
  char* stack[kTsanLevels];
  bool running[kTsanLevels];
  void* task;  // while a level runs: the fibre that all levels interrupted; else null
};
NESTLOCK_ONE_COPY inline constinit thread_local TsanState tsan_state
    [[gnu::tls_model("initial-exec")]]{};

struct TsanCall {
  void (*body)(void*);
  const void* argument;
  std::size_t size;
  std::uint64_t mask;  // tsan_run()'s: the signals that are blocked in the body
};

// In lib/port/tsan_levels.cc.
void tsan_run(TsanLevel level, TsanCall* call) noexcept;  // with a copy of the argument
void tsan_copy(void* to, const void* from, std::size_t size) noexcept;    // past the tool
void tsan_unchecked(const volatile void* at, std::size_t size) noexcept;  // no races are told there
void tsan_create_levels() noexcept;            // of this thread; sooner is better
void tsan_end_levels() noexcept;               // no handler runs on this thread, and none will
void tsan_merge_levels(bool merged) noexcept;  // true: handlers are the thread they interrupt

#else
inline void tsan_unchecked(const volatile void*, std::size_t) noexcept {}
inline void tsan_merge_levels(bool) noexcept {}
inline void tsan_create_levels() noexcept {}
inline void tsan_end_levels() noexcept {}
#endif

// f() as a handler of `level`. f captures by value: what it refers to is the interrupted code's.
template <class F>
[[gnu::always_inline]] inline void as_level([[maybe_unused]] TsanLevel level, const F& f) {
#if NESTLOCK_WITH_TSAN
  static_assert(std::is_trivially_copyable_v<F>);
  TsanCall call{[](void* copy) { (*static_cast<const F*>(copy))(); }, &f, sizeof f, 0};
  tsan_run(level, &call);
#else
  f();
#endif
}

// Right after irqs were masked, and right before they are unmasked. Irqs off keep softirqs out,
// too. In an irq handler neither says anything: it is its level that excludes, not its irq_save().
// Still less in an nmi.
[[gnu::always_inline]] inline void tsan_irqs_off() noexcept {
#if NESTLOCK_WITH_TSAN
  if (self().context.load(kRelaxed) >= kInIrq) return;
  for (TsanLevel l : {TsanLevel::irq, TsanLevel::softirq})
    __tsan_acquire(&tsan_state.order[static_cast<unsigned>(l)]);
#endif
}
[[gnu::always_inline]] inline void tsan_irqs_on() noexcept {
#if NESTLOCK_WITH_TSAN
  if (self().context.load(kRelaxed) >= kInIrq) return;
  for (TsanLevel l : {TsanLevel::irq, TsanLevel::softirq})
    __tsan_release(&tsan_state.order[static_cast<unsigned>(l)]);
#endif
}
// The same for bottom halves.
[[gnu::always_inline]] inline void tsan_bh_off() noexcept {
#if NESTLOCK_WITH_TSAN
  if (self().context.load(kRelaxed) < kInIrq)
    __tsan_acquire(&tsan_state.order[static_cast<unsigned>(TsanLevel::softirq)]);
#endif
}
[[gnu::always_inline]] inline void tsan_bh_on() noexcept {
#if NESTLOCK_WITH_TSAN
  if (self().context.load(kRelaxed) < kInIrq)
    __tsan_release(&tsan_state.order[static_cast<unsigned>(TsanLevel::softirq)]);
#endif
}

// The program blocks or unblocks signals really. Whichever: a section begins or ends here.
[[gnu::always_inline]] inline void tsan_blocks_change() noexcept {
#if NESTLOCK_WITH_TSAN
  if (self().context.load(kRelaxed) >= kInIrq) return;
  for (long& order : tsan_state.order) __tsan_acquire(&order), __tsan_release(&order);
#endif
}

}  // namespace nestlock::hosted
