// Contexts, entered by real signals that are raised at the place of the interruption.
//
//   interrupt(Where::nmi, [&] { EXPECT_FALSE(lock.try_lock()); });
//
// The body runs in a handler of that class, on this thread, before interrupt() returns; that it did
// is checked. Levels nest as the hardware's do: a body may interrupt() again, higher up.
#pragma once

#include <pthread.h>

#include <atomic>
#include <csignal>
#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>

#include "checked.h"
#include "gtest/gtest.h"
#include "nestlock/port/hosted.h"
#include "nestlock/signals.h"
#include "raw_signals.h"

namespace nestlock::test_support {

// A probe is a handler that nobody registered: the library takes it for what it interrupted.
enum class Where : std::uint8_t { task, probe, softirq, hardirq, nmi };
inline constexpr Where kWheres[] = {Where::task, Where::probe, Where::softirq, Where::hardirq,
                                    Where::nmi};

constexpr const char* name_of(Where w) noexcept {
  constexpr const char* names[] = {"task", "probe", "softirq", "hardirq", "nmi"};
  return names[static_cast<unsigned>(w)];
}

// As seen from a task.
constexpr Context context_of(Where w) noexcept {
  constexpr Context contexts[] = {Context::task, Context::task, Context::softirq, Context::hardirq,
                                  Context::nmi};
  return contexts[static_cast<unsigned>(w)];
}

namespace detail {

inline constexpr int kIrqSignal = SIGUSR1, kNmiSignal = SIGUSR2, kProbeSignal = SIGURG;
inline constexpr unsigned kSoftirq = 7;

struct Body {
  void (*call)(void*);
  void* object;
};
struct Slot {
  const Body* body;
  unsigned runs;
};
// The innermost body of each kind, per thread.
inline constinit thread_local Slot slots[5]{};

// What signals do that come from elsewhere, where there is no body for them.
inline constinit std::atomic<void (*)()> defaults[5]{};

inline bool has_body(Where w) { return slots[static_cast<unsigned>(w)].body; }
inline void run(Where w) {
  Slot& s = slots[static_cast<unsigned>(w)];
  if (s.body) {
    ++s.runs;
    s.body->call(s.body->object);
  } else if (const auto f = defaults[static_cast<unsigned>(w)].load()) {
    f();
  }
}
inline void on_irq(int, siginfo_t*, void*) {
  if (has_body(Where::softirq) && !has_body(Where::hardirq))
    signals::raise_softirq(kSoftirq);
  else
    run(Where::hardirq);
}
inline void on_nmi(int, siginfo_t*, void*) { run(Where::nmi); }
inline void on_probe(int, siginfo_t*, void*) {
  hosted::as_level(hosted::TsanLevel::probe, [] { run(Where::probe); });
}
inline void on_softirq() { run(Where::softirq); }

// What a body shares with the test, or the body, around it is the test's to order: it runs where
// that raised it, and nowhere else. So ThreadSanitizer leaves out what is on their stacks; all else
// it checks.
inline void leave_out_the_stacks() {
#if NESTLOCK_WITH_TSAN
  hosted::tsan_create_levels();
  if (!hosted::tsan_state.fiber[0]) return;  // they are merged
  static constinit thread_local std::atomic<bool> done{false};
  if (done.exchange(true, std::memory_order_relaxed)) return;
  pthread_attr_t attributes;
  void* low = nullptr;
  std::size_t size = 0;
  ASSERT_EQ(pthread_getattr_np(pthread_self(), &attributes), 0);
  pthread_attr_getstack(&attributes, &low, &size);
  pthread_attr_destroy(&attributes);
  hosted::tsan_unchecked(low, size);
  for (const char* stack : hosted::tsan_state.stack)
    hosted::tsan_unchecked(stack, hosted::kTsanStack);
  hosted::tsan_unchecked(&slots, sizeof slots);
#endif
}

inline bool register_all() {
  static const bool done = [] {
    // To ThreadSanitizer a body is part of the test that raises it; not in an InterruptTest, nor
    // while one is LibraryChecked: there a missing mask is seen.
    hosted::tsan_merge_levels(true);
    return signals::register_irq(kIrqSignal, on_irq) == signals::Error::none &&
           signals::register_nmi(kNmiSignal, on_nmi) == signals::Error::none &&
           signals::register_softirq(kSoftirq, on_softirq) &&
           install_raw(kProbeSignal, on_probe, SA_SIGINFO | SA_NODEFER | SA_RESTART, 0);
  }();
  return done;
}

}  // namespace detail

// What the handlers of `w` do when they come unasked; null: nothing.
inline void set_default(Where w, void (*f)()) { detail::defaults[static_cast<unsigned>(w)] = f; }

// Raises the signal of `w` with `f` as what its handler does; returns how often it ran.
template <class F>
unsigned try_interrupt(Where w, F&& f) {
  if (w == Where::task) return f(), 1;
  if (!detail::register_all()) return 0;
  detail::leave_out_the_stacks();
  const auto on_level = [&f, unchecked = detail::is_unchecked()] { on_its_level(unchecked, f); };
  using Object = decltype(on_level);
  const detail::Body body{[](void* o) { (*static_cast<Object*>(o))(); },
                          const_cast<void*>(static_cast<const void*>(&on_level))};
  detail::Slot& slot = detail::slots[static_cast<unsigned>(w)];
  const detail::Slot before = slot;
  slot = {&body, 0};
  std::raise(w == Where::nmi     ? detail::kNmiSignal
             : w == Where::probe ? detail::kProbeSignal
                                 : detail::kIrqSignal);
  const unsigned runs = slot.runs;
  slot = before;
  return runs;
}

// The same; that it ran once, here and now, is checked.
template <class F>
void interrupt(Where w, F&& f) {
  EXPECT_EQ(try_interrupt(w, f), 1u) << "the handler did not run: " << name_of(w);
}

// ---- what a test must leave as it was ----------------------------------------------------------

// The thread's counts and masks, in every configuration.
struct ThreadCounts {
  std::uint32_t masked, context, preempt, migrate, bh, depth, levels;
  friend bool operator==(const ThreadCounts&, const ThreadCounts&) = default;
  friend void PrintTo(const ThreadCounts& c, std::ostream* os) {
    *os << "irqs masked " << c.masked << ", context " << c.context << ", preempt " << c.preempt
        << ", migrate " << c.migrate << ", bh " << c.bh << ", irq_save depth " << c.depth
        << ", levels " << c.levels;
  }
};
inline ThreadCounts counts() noexcept {
  using hosted::kRelaxed;
  using hosted::self;
  return {self().soft.load(kRelaxed) | self().held.load(kRelaxed),
          self().context.load(kRelaxed),
          self().preempt.load(kRelaxed),
          self().migrate.load(kRelaxed),
          self().bh.load(kRelaxed),
          self().depth.load(kRelaxed),
          self().levels.load(kRelaxed)};
}
// After a failure, so that the next test does not fail for it.
inline void quieten() noexcept {
  using hosted::self;
  self().soft = self().held = self().context = self().preempt = self().migrate = self().bh = 0;
  self().depth = self().levels = self().softirqs = 0;
}

// While one of these lives, a test's handlers are threads of their own to ThreadSanitizer, and what
// it checks is the library's code (checked.h): a missing mask or order is seen there.
class LibraryChecked {
 public:
  LibraryChecked() {
    EXPECT_TRUE(detail::register_all());
    hosted::tsan_blocks_change();  // as in an InterruptTest
    hosted::tsan_merge_levels(false);
    detail::leave_out_the_stacks();
    detail::check_library(true);
    test_.emplace();
  }
  ~LibraryChecked() {
    test_.reset();
    detail::check_library(false);
    hosted::tsan_blocks_change();
    hosted::tsan_merge_levels(true);
  }
  LibraryChecked(const LibraryChecked&) = delete;
  LibraryChecked& operator=(const LibraryChecked&) = delete;

 private:
  std::optional<Unchecked> test_;
};

// Everything is on, before and after each test.
class InterruptTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(detail::register_all());
    ASSERT_EQ(counts(), ThreadCounts{});
    hosted::tsan_blocks_change();  // one test's handlers are behind another's, and its parameters
    hosted::tsan_merge_levels(false);
  }
  void TearDown() override {
    EXPECT_EQ(counts(), ThreadCounts{});
    quieten();
    hosted::tsan_blocks_change();
    hosted::tsan_merge_levels(true);
  }
};

}  // namespace nestlock::test_support
