// Workloads on whatever malloc() this process has, written from their published descriptions. For each named on
// the command line (all, if none is) it prints
//
//   NAME  NANOSECONDS-OF-PROCESSOR-TIME  NANOSECONDS  PEAK-KIB
//
// the first two for an operation, which is a malloc() and its free(); of all threads together. The last is the
// process's largest resident memory so far. For
//
//   workloads --program NAME COMMAND [ARGUMENT]...
//
// it prints the same of that command, which it runs once, with milliseconds in place of nanoseconds; it fails if the
// command does.
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

double now(clockid_t clock) {
  timespec t;
  clock_gettime(clock, &t);
  return static_cast<double>(t.tv_sec) * 1e9 + static_cast<double>(t.tv_nsec);
}

// So that no compiler leaves a pair out.
void* volatile seen;
void* get(std::size_t size) {
  void* const p = std::malloc(size);
  if (!p) std::abort();
  seen = p;
  *static_cast<volatile char*>(p) = 1;
  return p;
}

struct Random {
  std::uint32_t state;
  std::uint32_t next() { return (state = state * 1664525u + 1013904223u) >> 8; }
};

unsigned long pairs(std::size_t size, unsigned long n) {
  for (unsigned long i = 0; i < n; ++i) std::free(get(size));
  return n;
}
unsigned long pair_64() { return pairs(64, 5'000'000); }
unsigned long pair_4096() { return pairs(4096, 3'000'000); }

unsigned long batch() {
  static void* p[1000];
  for (int round = 0; round < 2000; ++round) {
    for (void*& x : p) x = get(64);
    for (void* const x : p) std::free(x);
  }
  return 2'000'000;
}

unsigned long random_sizes() {
  static void* p[4000];
  Random r{1};
  constexpr unsigned long kTurns = 2'000'000;
  for (unsigned long i = 0; i < kTurns; ++i) {
    void*& x = p[r.next() % 4000];
    std::free(x);
    x = get(16 + r.next() % 1009);
  }
  for (void*& x : p) std::free(x), x = nullptr;
  return kTurns;
}

constexpr unsigned kThreads = 2;
template <class Body>
void on_threads(Body body) {
  struct Argument {
    Body* body;
    unsigned number;
  } arguments[kThreads];
  pthread_t threads[kThreads];
  for (unsigned i = 0; i < kThreads; ++i) {
    arguments[i] = {&body, i};
    const auto run = [](void* a) -> void* {
      auto* const argument = static_cast<Argument*>(a);
      (*argument->body)(argument->number);
      return nullptr;
    };
    if (pthread_create(&threads[i], nullptr, run, &arguments[i]) != 0) std::abort();
  }
  for (const pthread_t t : threads) pthread_join(t, nullptr);
}

// larson: a server's threads replace random blocks of a table; each generation of threads takes over the
// table of the one before.
unsigned long larson() {
  static void* table[kThreads][1000];
  constexpr unsigned kGenerations = 20, kTurns = 25'000;
  for (unsigned g = 0; g < kGenerations; ++g)
    on_threads([g](unsigned i) {
      Random r{g * 7 + i};
      auto& mine = table[(i + g) % kThreads];
      for (unsigned k = 0; k < kTurns; ++k) {
        void*& x = mine[r.next() % 1000];
        std::free(x);
        x = get(8 + r.next() % 500);
      }
    });
  for (auto& t : table)
    for (void*& x : t) std::free(x), x = nullptr;
  return kGenerations * kTurns * kThreads;
}

// xmalloc: one thread allocates, the other frees.
unsigned long xmalloc() {
  constexpr unsigned kRing = 1024;
  static std::atomic<void*> ring[kRing];
  constexpr unsigned long kBlocks = 1'000'000;
  on_threads([](unsigned i) {
    for (unsigned long k = 0; k < kBlocks; ++k) {
      std::atomic<void*>& slot = ring[k % kRing];
      if (i == 0) {
        void* const p = get(64);
        while (slot.load(std::memory_order_relaxed)) sched_yield();
        slot.store(p, std::memory_order_release);
      } else {
        void* p;
        while (!(p = slot.load(std::memory_order_acquire))) sched_yield();
        slot.store(nullptr, std::memory_order_relaxed);
        std::free(p);
      }
    }
  });
  return kBlocks;
}

// cache-scratch: threads get a neighbouring block each from one thread, then work in blocks of their own.
unsigned long cache_scratch() {
  static void* first[kThreads];
  for (void*& p : first) p = get(8);
  constexpr unsigned kRounds = 20'000, kWrites = 50;
  on_threads([](unsigned i) {
    std::free(first[i]);
    for (unsigned k = 0; k < kRounds; ++k) {
      auto* const p = static_cast<volatile char*>(get(8));
      for (unsigned w = 0; w < kWrites; ++w) p[w % 8] = static_cast<char>(w);
      std::free(const_cast<char*>(p));
    }
  });
  return kRounds * kThreads;
}

// sh8: batches of small blocks of changing sizes. A third of a batch goes at once, the oldest first; the rest of it goes
// with the next batch, the youngest first.
unsigned long sh8() {
  constexpr unsigned kBatch = 2000, kBatches = 300;
  on_threads([](unsigned) {
    auto* const p = static_cast<void**>(get(2 * kBatch * sizeof(void*)));
    std::memset(p, 0, 2 * kBatch * sizeof(void*));
    for (unsigned b = 0; b < kBatches; ++b) {
      void** const mine = p + (b % 2) * kBatch;
      void** const last = p + (b + 1) % 2 * kBatch;
      for (unsigned i = 0; i < kBatch; ++i) mine[i] = get(1 + (i * 7 + b) % (i % 8 ? 40 : 400));
      for (unsigned i = 0; i < kBatch; i += 3) std::free(mine[i]), mine[i] = nullptr;
      for (unsigned i = kBatch; i > 0; --i) std::free(last[i - 1]), last[i - 1] = nullptr;
    }
    for (unsigned i = 0; i < 2 * kBatch; ++i) std::free(p[i]);
    std::free(p);
  });
  return static_cast<unsigned long>(kBatch) * kBatches * kThreads;
}

// mstress: threads of a few generations keep a part of what they allocate for as long as they live, and exchange some
// of it with the others by a table that outlives them. Most blocks are small, few have some ten thousand bytes.
unsigned long mstress() {
  constexpr unsigned kGenerations = 10, kBlocks = 50'000, kKept = 5000, kShared = 1000;
  static std::atomic<void*> shared[kShared];
  for (unsigned g = 0; g < kGenerations; ++g)
    on_threads([g](unsigned t) {
      Random r{g * 11 + t};
      auto* const kept = static_cast<void**>(get(kKept * sizeof(void*)));
      std::memset(kept, 0, kKept * sizeof(void*));
      for (unsigned i = 0; i < kBlocks; ++i) {
        const unsigned kind = r.next() % 100;
        void* p = get(kind == 0   ? 1000 + r.next() % 30'000
                      : kind < 10 ? 200 + r.next() % 800
                                  : 8 + r.next() % 120);
        if (i % 4 == 0) p = shared[r.next() % kShared].exchange(p, std::memory_order_acq_rel);
        void*& slot = kept[r.next() % kKept];
        if (r.next() % 2) {
          std::free(slot);
          slot = p;
        } else {
          std::free(p);
        }
      }
      for (unsigned i = 0; i < kKept; ++i) std::free(kept[i]);
      std::free(kept);
    });
  for (auto& s : shared) std::free(s.exchange(nullptr, std::memory_order_acq_rel));
  return static_cast<unsigned long>(kGenerations) * kBlocks * kThreads;
}

// A new thread for a few blocks each.
unsigned long threads_churn() {
  for (unsigned k = 0; k < 500; ++k)
    on_threads([k](unsigned i) {
      void* p[20];
      Random r{k * 2 + i};
      for (void*& x : p) x = get(16 + r.next() % 1000);
      for (void* const x : p) std::free(x);
    });
  return 500 * kThreads * 20;
}

struct Workload {
  const char* name;
  unsigned long (*run)();
};
constexpr Workload kWorkloads[] = {
    {"pair-64", pair_64},
    {"pair-4096", pair_4096},
    {"batch-64", batch},
    {"random", random_sizes},
    {"larson", larson},
    {"xmalloc", xmalloc},
    {"cache-scratch", cache_scratch},
    {"threads", threads_churn},
    {"sh8", sh8},
    {"mstress", mstress},
};

int program(const char* name, char** command) {
  const double begin = now(CLOCK_MONOTONIC);
  const pid_t child = fork();
  if (child < 0) return std::perror("fork"), 1;
  if (child == 0) {
    const int nothing = open("/dev/null", O_RDWR);
    if (nothing < 0 || dup2(nothing, 0) < 0 || dup2(nothing, 1) < 0) std::abort();
    execvp(command[0], command);
    std::perror(command[0]);
    _exit(127);
  }
  int status = 0;
  rusage use;
  if (wait4(child, &status, 0, &use) != child) return std::perror("wait4"), 1;
  const double wall = now(CLOCK_MONOTONIC) - begin;
  if (status != 0) return std::fprintf(stderr, "%s failed: status %#x\n", command[0], status), 1;
  const auto ms = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_usec) / 1e3;
  };
  std::printf("%s %.3f %.3f %ld\n", name, ms(use.ru_utime) + ms(use.ru_stime), wall / 1e6,
              use.ru_maxrss);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 3 && std::strcmp(argv[1], "--program") == 0) return program(argv[2], argv + 3);
  for (const Workload& w : kWorkloads) {
    bool wanted = argc == 1;
    for (int i = 1; i < argc; ++i) wanted |= std::strcmp(argv[i], w.name) == 0;
    if (!wanted) continue;
    w.run();  // once to warm up
    const double begin = now(CLOCK_MONOTONIC), begin_cpu = now(CLOCK_PROCESS_CPUTIME_ID);
    const auto n = static_cast<double>(w.run());
    const double cpu = now(CLOCK_PROCESS_CPUTIME_ID) - begin_cpu;
    const double wall = now(CLOCK_MONOTONIC) - begin;
    rusage use;
    getrusage(RUSAGE_SELF, &use);
    std::printf("%s %.3f %.3f %ld\n", w.name, cpu / n, wall / n, use.ru_maxrss);
  }
  return 0;
}
