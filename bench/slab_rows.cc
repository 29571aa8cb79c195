// kmalloc() beside the mallocs, and kmalloc_nolock() in a signal handler beside the arena of Abseil
// that may be used there.
#include <signal.h>

#include <memory>

#include "absl/base/internal/low_level_alloc.h"
#include "nestlock/signals.h"
#include "nestlock_allocators.h"
#include "workloads.h"

namespace bench {
namespace {

const std::string kMalloc = "malloc";

void add_loads(const Allocator& a, const RunOptions& options) {
  const auto name = [&](const char* load) { return kMalloc + "/" + a.name + "/" + load; };
  const char* const loads[] = {"pair 64",         "64 x 64 in order", "64 x 64 against",
                               "random 16..1024", "pair 4096",        "random, class sizes"};
  if (!a.alloc) {
    for (const char* load : loads) add_absent(name(load), a.why_absent);
    if (options.parked_thread) add_absent(name("to another CPU"), a.why_absent);
    return;
  }
  add_row(name(loads[0]), [a](benchmark::State& s) {
    for (auto _ : s) pair(a, 64);
  });
  for (const Order order : {Order::in, Order::against})
    add_row(name(order == Order::in ? loads[1] : loads[2]), [a, order](benchmark::State& s) {
      // One of kBatch is an iteration.
      while (s.KeepRunningBatch(kBatch)) batch(a, order);
    });
  for (const auto of : {RandomSizes::Of::any, RandomSizes::Of::kernel_classes}) {
    const auto random = std::make_shared<RandomSizes>(of);
    add_row(name(loads[of == RandomSizes::Of::any ? 3 : 5]), [a, random](benchmark::State& s) {
      random->fill(a);
      for (auto _ : s) random->step(a);
    });
  }
  add_row(name(loads[4]), [a](benchmark::State& s) {
    for (auto _ : s) pair(a, 4096);
  });
  if (!a.one_cpu && options.parked_thread)
    add_timed(name("to another CPU"), [a] { return ProducerConsumer::run(a, 64); });
}

// ---- inside a signal handler --------------------------------------------------------------------

void (*in_handler)(void*) = nullptr;
void* in_handler_argument = nullptr;

// Runs `f` in a handler of class nmi on this thread.
template <class F>
void run_in_handler(F f) {
  [[maybe_unused]] static const auto registered = nestlock::signals::register_nmi(
      SIGUSR2, [](int, siginfo_t*, void*) { in_handler(in_handler_argument); });
  in_handler = [](void* p) { (*static_cast<F*>(p))(); };
  in_handler_argument = &f;
  raise(SIGUSR2);
}

template <class Pair>
void add_handler_pair(const char* row, const char* column, Pair pair) {
  add_row(std::string("handler/") + row + "/" + column, [pair](benchmark::State& state) {
    run_in_handler([&] {
      for (auto _ : state) {
        pair();
        section();
      }
    });
  });
}

template <class K>
void add_nolock(const char* column) {
  using nestlock::gfp;
  static constexpr auto& slabs = TheSlabs<K>::slabs;
  add_handler_pair("kmalloc+kfree 64", column, [] {
    void* const p = slabs.kmalloc(64, gfp::nowait);
    touch(p);
    slabs.kfree(p);
  });
  add_handler_pair("kmalloc_nolock+kfree_nolock 64", column, [] {
    void* const p = slabs.kmalloc_nolock(64, gfp::none);
    touch(p);
    slabs.kfree_nolock(p);
  });
}

void add_handlers() {
  add_nolock<Up>("up");
  add_nolock<Smp>("smp");
  using Arenas = absl::base_internal::LowLevelAlloc;
  static Arenas::Arena* const arena = Arenas::NewArena(Arenas::kAsyncSignalSafe);
  add_handler_pair("absl LowLevelAlloc, signal-safe arena 64", "smp", [] {
    void* const p = Arenas::AllocWithArena(64, arena);
    touch(p);
    Arenas::Free(p);
  });
}

// A cache of its own by its flags: what the checks of hardened and debug ones cost.
template <nestlock::slab kFlags>
Allocator cache_of(const char* name) {
  static auto* cache = static_cast<decltype(TheSlabs<Smp>::slabs.create("", 0))>(nullptr);
  if (!cache) cache = TheSlabs<Smp>::set_up().create(name, 64, 0, kFlags);
  return {name, [](std::size_t) { return cache->alloc(nestlock::gfp::nowait); },
          [](void* p) { cache->free(p); }};
}
void add_caches() {
  using nestlock::slab;
  for (const Allocator& a : {cache_of<slab::none>("smp"), cache_of<slab::hardened>("smp hardened"),
                             cache_of<slab::debug>("smp debug")}) {
    add_row(std::string("cache/") + a.name + "/pair 64", [a](benchmark::State& s) {
      for (auto _ : s) pair(a, 64);
    });
    add_row(std::string("cache/") + a.name + "/64 x 64 in order", [a](benchmark::State& s) {
      while (s.KeepRunningBatch(kBatch)) batch(a, Order::in);
    });
  }
}

// The loads alone: what no allocator can beat.
void* next_of_pool(std::size_t) {
  static char pool[1 << 16];
  static std::size_t at = 0;
  at = (at + 1024) % (sizeof pool - 4096);
  return pool + at;
}
void forget(void* p) { benchmark::DoNotOptimize(p); }

}  // namespace

void add_slab(const RunOptions& options) {
  add_loads({"(the loop alone)", next_of_pool, forget}, options);
  for (const Allocator& a : allocators()) add_loads(a, options);
  add_caches();
  add_handlers();
}

}  // namespace bench
