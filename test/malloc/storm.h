// A storm of signals on threads that allocate: each thread has a timer of its own whose handler allocates
// as well, as often as asked for, whatever it interrupts. Every block has a tag in words all over it, which
// are looked at before it is freed or has grown: blocks that overlap show.
//
// For any allocator: it is given as functions.
#pragma once

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace nestlock::test_support {

struct MallocFunctions {
  void* (*malloc)(std::size_t);
  void* (*calloc)(std::size_t, std::size_t);
  void* (*realloc)(void*, std::size_t);
  void* (*aligned_alloc)(std::size_t, std::size_t);
  void (*free)(void*);
};

struct StormOptions {
  MallocFunctions use{};
  std::size_t least = 16, most = 1024;  // sizes, evenly in their logarithm
  unsigned threads = 1;
  long period_ns = 100'000;  // from the end of one handler to the next
  double seconds = 1;
  double hang_after = 20;  // seconds without progress of a thread
  // Called again and again meanwhile, on the thread that called run_storm(); the storm goes on while it
  // says so.
  bool (*more)() = nullptr;
  bool (*lock_held)() =
      nullptr;  // asked by each handler: whether it interrupted one of the allocator's locks
};

struct StormResult {
  std::uint64_t turns = 0;    // of the threads' loops
  std::uint64_t entries = 0;  // of handlers
  std::uint64_t inside = 0;   // of these, in an allocator's function of the same thread
  std::uint64_t held = 0;     // of these, where that holds a lock
  std::uint64_t overlaps = 0, nulls = 0, misaligned = 0, errnos = 0;
  bool hung = false;
  bool ok() const { return !overlaps && !nulls && !misaligned && !errnos && !hung; }
};

namespace storm {

// What one context, a thread's loop or its handler, allocates.
class Owner {
 public:
  Owner() = default;
  // `in_call` says whether one of its calls is under way.
  void start(const StormOptions& o, std::uint32_t seed, std::atomic<bool>& in_call) {
    options_ = &o, random_ = seed * 2654435761u | 1, in_call_ = &in_call;
  }

  std::uint64_t overlaps = 0, nulls = 0, misaligned = 0;

  void turn() {
    Block& b = blocks_[next() % kBlocks];
    if (!b.at) {
      b.size = a_size();
      b.at = allocate(b.size);
      if (b.at) mark(b);
    } else if (next() % 3 == 0) {
      const std::size_t size = a_size();
      auto* const at =
          static_cast<unsigned char*>(called([&] { return options_->use.realloc(b.at, size); }));
      if (!at) {
        ++nulls;
        return;
      }
      b.at = at;
      look(b, size < b.size ? size : b.size);
      b.size = size;
      mark(b);
    } else {
      give_back(b);
    }
  }
  void give_all_back() {
    for (Block& b : blocks_)
      if (b.at) give_back(b);
  }

 private:
  struct Block {
    unsigned char* at = nullptr;
    std::size_t size = 0;
    std::uint64_t tag = 0;
  };
  static constexpr unsigned kBlocks = 256, kWords = 48;

  std::uint32_t next() {
    random_ ^= random_ << 13, random_ ^= random_ >> 17, random_ ^= random_ << 5;
    return random_ >> 3;
  }
  std::size_t a_size() {
    std::size_t size = options_->least;
    while (size * 2 <= options_->most && next() % 8) size *= 2;
    return size + (size < options_->most ? next() % size : 0);
  }
  template <class F>
  void* called(F f) {
    in_call_->store(true, std::memory_order_relaxed);
    std::atomic_signal_fence(std::memory_order_seq_cst);
    void* const p = f();
    std::atomic_signal_fence(std::memory_order_seq_cst);
    in_call_->store(false, std::memory_order_relaxed);
    return p;
  }
  unsigned char* allocate(std::size_t size) {
    const MallocFunctions& use = options_->use;
    const std::uint32_t how = next() % 16;
    const std::size_t align = how == 0 ? std::size_t{16} << next() % 6 : 16;
    void* const p = called([&] {
      return how == 0   ? use.aligned_alloc(align, size)
             : how == 1 ? use.calloc(1, size)
                        : use.malloc(size);
    });
    if (!p) return ++nulls, nullptr;
    misaligned += reinterpret_cast<std::uintptr_t>(p) % align != 0;
    auto* const bytes = static_cast<unsigned char*>(p);
    if (how == 1)
      for (std::size_t i = 0; i < size; i += 8) overlaps += bytes[i] != 0;
    return bytes;
  }
  // f(word's place, k) for the words of a block.
  template <class F>
  static void each_word(const Block& b, std::size_t upto, F f) {
    const std::size_t step = (b.size / kWords & ~std::size_t{7}) + 8;
    for (std::size_t at = 0, k = 0; at + 8 <= upto; at += step, ++k) f(b.at + at, k);
  }
  void mark(Block& b) {
    b.tag = (std::uint64_t{next()} << 32) ^ reinterpret_cast<std::uintptr_t>(b.at);
    each_word(b, b.size, [&](unsigned char* p, std::uint64_t k) {
      const std::uint64_t word = b.tag + k;
      std::memcpy(p, &word, sizeof word);
    });
  }
  void look(const Block& b, std::size_t upto) {
    each_word(b, upto, [&](const unsigned char* p, std::uint64_t k) {
      std::uint64_t word;
      std::memcpy(&word, p, sizeof word);
      overlaps += word != b.tag + k;
    });
  }
  void give_back(Block& b) {
    look(b, b.size);
    called([&] { return options_->use.free(b.at), nullptr; });
    b.at = nullptr;
  }

  const StormOptions* options_ = nullptr;
  std::atomic<bool>* in_call_ = nullptr;
  std::uint32_t random_ = 1;
  Block blocks_[kBlocks]{};
};

struct Thread {
  Owner loop, handler;
  timer_t timer{};
  std::atomic<std::uint64_t> turns{0}, entries{0}, inside{0}, held{0}, errnos{0};
  std::atomic<bool> in_call{false}, handler_in_call{false}, over{false};
};

// initial-exec, so that the handler's first look allocates nothing.
inline thread_local Thread* here [[gnu::tls_model("initial-exec")]] = nullptr;
inline long period_ns;
inline bool (*lock_held)();

inline void set_timer(Thread& t) {
  const itimerspec once{.it_interval = {}, .it_value = {0, period_ns}};
  timer_settime(t.timer, 0, &once, nullptr);
}

inline void on_signal(int) {
  Thread* const t = here;
  if (!t || t->over.load(std::memory_order_relaxed)) return;
  const int saved = errno;
  const auto count = [](std::atomic<std::uint64_t>& n) {
    n.store(n.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  };
  count(t->entries);
  if (t->in_call.load(std::memory_order_relaxed)) count(t->inside);
  if (lock_held && lock_held()) count(t->held);
  for (int i = 0; i < 4; ++i) t->handler.turn();
  if (errno != saved && errno != ENOMEM) count(t->errnos);
  errno = saved;
  // Not periodically: however slow the handler is, the loop has its share.
  set_timer(*t);
}

inline void run(Thread& t, const std::atomic<bool>& stop) {
  here = &t;
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGPROF;
  event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
  if (timer_create(CLOCK_MONOTONIC, &event, &t.timer) != 0) std::abort();
  set_timer(t);
  for (std::uint64_t n = 0; !stop.load(std::memory_order_relaxed); ++n) {
    t.loop.turn();
    t.turns.store(n + 1, std::memory_order_relaxed);
  }
  t.over.store(true, std::memory_order_relaxed);
  timer_delete(t.timer);
  t.loop.give_all_back();
  t.handler.give_all_back();
  here = nullptr;
}

}  // namespace storm

// For the seconds that were asked for, and until a handler found the allocator interrupted. A hang leaves its
// threads behind.
inline StormResult run_storm(const StormOptions& options) {
  storm::period_ns = options.period_ns;
  storm::lock_held = options.lock_held;
  struct sigaction action{};
  action.sa_handler = storm::on_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGPROF, &action, nullptr);

  const auto now = [] {
    timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  };
  // Not by the allocator that is looked at: it may be broken.
  static storm::Thread threads[64];
  static std::atomic<bool> stop;
  stop.store(false);
  std::vector<std::thread> running;
  for (unsigned i = 0; i < options.threads; ++i) {
    storm::Thread& t = *new (&threads[i]) storm::Thread;
    t.loop.start(options, 2 * i + 1, t.in_call);
    t.handler.start(options, 2 * i + 2, t.handler_in_call);
    running.emplace_back([&t] { storm::run(t, stop); });
  }
  StormResult r;
  std::vector<std::uint64_t> seen(options.threads, 0);
  double moved = now();
  const double end = now() + options.seconds;
  const auto inside = [&] {
    std::uint64_t n = 0;
    for (unsigned i = 0; i < options.threads; ++i) n += threads[i].inside.load();
    return n;
  };
  for (;;) {
    const bool more = options.more && options.more();
    if (!more && now() >= end && inside() > 0) break;
    if (!more) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    bool all_moved = true;
    for (unsigned i = 0; i < options.threads; ++i) all_moved &= threads[i].turns.load() != seen[i];
    if (all_moved) {
      for (unsigned i = 0; i < options.threads; ++i) seen[i] = threads[i].turns.load();
      moved = now();
    }
    if (now() - moved > options.hang_after) {
      r.hung = true;
      for (std::thread& t : running) t.detach();
      return r;
    }
  }
  stop.store(true);
  for (std::thread& t : running) t.join();
  for (unsigned i = 0; i < options.threads; ++i) {
    const storm::Thread& t = threads[i];
    r.turns += t.turns, r.entries += t.entries, r.inside += t.inside, r.held += t.held;
    r.errnos += t.errnos;
    for (const storm::Owner* o : {&t.loop, &t.handler})
      r.overlaps += o->overlaps, r.nulls += o->nulls, r.misaligned += o->misaligned;
  }
  return r;
}

}  // namespace nestlock::test_support
