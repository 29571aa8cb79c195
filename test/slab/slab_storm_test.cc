// The kernel's own scenario, on one CPU: a loop of kmalloc() and kfree(), while an nmi-class timer
// does kmalloc_nolock() and kfree_nolock() as often as the host lets it. Each word of each live
// object holds a tag that is verified before the free. Once with a handler that is registered with
// the library, once with one that is not.
//
// Four seconds each; NESTLOCK_STORM_SECONDS says otherwise.
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <random>

#include "gtest/gtest.h"
#include "nestlock/signals.h"
#include "nestlock/slab.h"
#include "test/support/kernels.h"

namespace nestlock::test_support {
namespace {

constexpr long kPeriod = 20'000;  // ns from one interrupt's end to the next

template <class K>
struct Storm {
  using Pages = BasicPageAllocator<K>;
  using Slabs = BasicSlabAllocator<K>;

  struct Object {
    std::uint64_t* words = nullptr;
    std::size_t size = 0;
    std::uint64_t tag = 0;
  };
  // Some objects of one context; the handler has its own.
  struct Owner {
    static constexpr unsigned kMax = 64;
    Object objects[kMax];
    std::minstd_rand random{1};
    std::uint64_t tags = 0, served = 0, refused = 0, freed = 0, bad = 0;

    static std::size_t words_of(const Object& o) { return o.size / sizeof(std::uint64_t); }
    template <class Alloc, class Free>
    void turn(Alloc alloc, Free free) {
      Object& o = objects[random() % kMax];
      if (o.words) {
        for (std::size_t i = 0; i < words_of(o); ++i) bad += o.words[i] != o.tag + i;
        bad += !free(o.words);
        o.words = nullptr, ++freed;
        return;
      }
      o.size = std::size_t{8} << random() % 9;  // to 2 KiB
      o.words = static_cast<std::uint64_t*>(alloc(o.size));
      if (!o.words) {
        ++refused;
        return;
      }
      ++served;
      o.tag = ++tags << 20 ^ reinterpret_cast<std::uintptr_t>(this);
      for (std::size_t i = 0; i < words_of(o); ++i) o.words[i] = o.tag + i;
    }
    void give_back(Slabs& to) {
      for (Object& o : objects)
        if (o.words) bad += !to.kfree(o.words), o.words = nullptr, ++freed;
    }
  };

  static inline Slabs* slabs = nullptr;
  static inline Owner task, handler;
  static inline std::uint64_t entries = 0, inside = 0, unnamed = 0;
  static inline timer_t timer;

  static void on_timer(int, siginfo_t*, void*) { interrupted(); }
  static void on_unregistered(int) { interrupted(); }
  static void interrupted() {
    ++entries;
    const std::uint64_t busy = refused_locks();
    for (int i = 0; i < 8; ++i)
      handler.turn(
          [](std::size_t size) {
            SlabRefusal why{};
            void* const p = slabs->kmalloc_nolock(size, gfp::none, kAnyNode, &why);
            if (!p) unnamed += why == SlabRefusal::none;
            return p;
          },
          [](void* p) { return slabs->kfree_nolock(p); });
    inside += refused_locks() != busy;
    set_timer();
  }
  // Once, and again at the handler's end: however slow the handler is, the loop has its share.
  static void set_timer() {
    const itimerspec once{.it_interval = {}, .it_value = {0, kPeriod}};
    timer_settime(timer, 0, &once, nullptr);
  }
  // How often a lock was found held.
  static std::uint64_t refused_locks() {
    std::uint64_t n = 0;
    for (unsigned i = 0; i < Slabs::kClasses; ++i) {
      const SlabStats s = slabs->kmalloc_cache(i).stats();
      n += s.local_busy + s.barn_busy + s.list_busy;
    }
    return n;
  }
};

double seconds() {
  const char* const s = std::getenv("NESTLOCK_STORM_SECONDS");
  return s ? std::atof(s) : 4;
}
double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

template <class K>
void storm(int signal) {
  using S = Storm<K>;
  static typename S::Pages pages;
  static typename S::Slabs slabs;
  static void* const memory = std::aligned_alloc(std::size_t{1} << 22, std::size_t{8} << 20);
  if (!S::slabs) {
    ASSERT_EQ(pages.set_up({.start = memory, .size = std::size_t{8} << 20}), PageSetup::ok);
    ASSERT_TRUE(slabs.set_up(pages));
    S::slabs = &slabs;
  }
  S::task = {}, S::handler = {}, S::entries = S::inside = S::unnamed = 0;

  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = signal;
  ASSERT_EQ(timer_create(CLOCK_MONOTONIC, &event, &S::timer), 0);
  S::set_timer();

  const double end = now() + seconds();
  std::uint64_t turns = 0;
  while (now() < end || S::inside == 0)  // until an entry has found a lock held
    for (int i = 0; i < 100; ++i, ++turns)
      S::task.turn([](std::size_t size) { return S::slabs->kmalloc(size, gfp::kernel); },
                   [](void* p) { return S::slabs->kfree(p); });
  timer_delete(S::timer);

  std::printf(
      "%s: %llu turns, %llu handler entries, a lock found held in %llu; served %llu, "
      "refused %llu\n",
      name_of(K::kConfig), static_cast<unsigned long long>(turns),
      static_cast<unsigned long long>(S::entries), static_cast<unsigned long long>(S::inside),
      static_cast<unsigned long long>(S::handler.served),
      static_cast<unsigned long long>(S::handler.refused));
  EXPECT_EQ(S::task.bad + S::handler.bad, 0u) << "words overwritten, or frees refused";
  EXPECT_EQ(S::task.refused, 0u);
  EXPECT_EQ(S::unnamed, 0u);
  EXPECT_GT(S::handler.served * 10, (S::handler.served + S::handler.refused) * 9);
  S::task.give_back(slabs), S::handler.give_back(slabs);
  std::uintptr_t live = 0;
  for (unsigned i = 0; i < S::Slabs::kClasses; ++i) {
    std::uintptr_t n = 0;
    EXPECT_TRUE(slabs.kmalloc_cache(i).consistent(&n));
    live += n;
  }
  EXPECT_EQ(live, 0u);
  EXPECT_TRUE(slabs.consistent() && pages.consistent());
}

using Up = HostedKernel<configs::up>;

TEST(SlabStorm, AnNmiOnOneCpu) {
  ASSERT_EQ(signals::register_nmi(SIGUSR2, Storm<Up>::on_timer), signals::Error::none);
  storm<Up>(SIGUSR2);
}

TEST(SlabStorm, AHandlerThatTheLibraryDoesNotKnow) {
  struct sigaction unknown{};
  unknown.sa_handler = Storm<Up>::on_unregistered;
  unknown.sa_flags = SA_RESTART;
  ASSERT_EQ(sigaction(SIGURG, &unknown, nullptr), 0);
  storm<Up>(SIGURG);
  std::signal(SIGURG, SIG_IGN);
}

}  // namespace
}  // namespace nestlock::test_support
