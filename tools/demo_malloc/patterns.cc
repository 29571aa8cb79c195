// What real programs do in signal handlers, one pattern each, on whatever malloc() this process has.
//
//   patterns NAME SECONDS LIBRARY...
//
// A thread allocates, marks, looks at and frees blocks all the time; its timer's handler does what the pattern
// says, 5000 times a second or as often as the environment's HANDLERS_PER_SECOND asks. Ends with 0 and says how
// often the handler came, and how many blocks the thread looked at; or with 1, if a block was not as it was
// left. A hang is for the caller to end.
#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

long period = 200'000;  // ns between handlers
constexpr unsigned kBlocks = 512;

std::atomic<unsigned long> handlers{0}, looked_at{0};
std::atomic<bool> over{false};
int (*touch)(int);
char** libraries;  // copies of lazy_tls.cc's, not loaded yet
int libraries_left;

[[noreturn]] void corrupt(const char* where) {
  const char* const text[] = {"a block was overwritten: ", where, "\n"};
  for (const char* t : text)
    if (write(STDERR_FILENO, t, std::strlen(t)) < 0) break;
  _exit(1);
}

// ---- what handlers do ----

// A profiler: each sample is a block on a list, until the list is long.
struct Sample {
  Sample* next;
  std::uint64_t mark;
  std::uint64_t frames[30];
};
Sample* samples;
unsigned number_of_samples;
void keep_a_sample() {
  auto* const s = static_cast<Sample*>(std::malloc(sizeof(Sample)));
  if (!s) return;
  s->mark = reinterpret_cast<std::uintptr_t>(s) ^ 0x5a5a;
  std::memset(s->frames, 0x33, sizeof s->frames);
  s->next = samples;
  samples = s;
  if (++number_of_samples < 100) return;
  while (Sample* const first = samples) {
    if (first->mark != (reinterpret_cast<std::uintptr_t>(first) ^ 0x5a5a)) corrupt("a sample");
    samples = first->next;
    std::free(first);
  }
  number_of_samples = 0;
}

// A time limit's handler, which composes a message.
void compose_a_message() {
  char* text = nullptr;
  std::size_t length = 0;
  for (int i = 0; i < 12; ++i) {
    char* const longer = static_cast<char*>(std::realloc(text, length + 60));
    if (!longer) break;
    text = longer;
    std::memset(text + length, 'a' + i, 60);
    length += 60;
  }
  for (std::size_t i = 0; i < length; ++i)
    if (text[i] != static_cast<char>('a' + i / 60)) corrupt("the message");
  std::free(text);
}

// A crash reporter's stack, with names.
void name_the_stack() {
  void* frames[16];
  const int n = backtrace(frames, 16);
  std::free(backtrace_symbols(frames, n));
}

void touch_lazy_data() {
  if (touch) touch(7);
}

// ---- what the interrupted thread does ----

struct Block {
  unsigned char* at;
  std::size_t size;
  unsigned char mark;
};

void allocate_and_look(Block* blocks, unsigned turns, std::uint32_t& seed) {
  for (unsigned i = 0; i < turns; ++i) {
    seed = seed * 1664525u + 1013904223u;
    Block& b = blocks[(seed >> 8) % kBlocks];
    if (b.at) {
      for (std::size_t k = 0; k < b.size; ++k)
        if (b.at[k] != b.mark) corrupt("the thread's");
      std::free(b.at);
    }
    b.size = 16 + (seed >> 17) % 1000;
    b.mark = static_cast<unsigned char>(seed >> 11);
    b.at = static_cast<unsigned char*>(std::malloc(b.size));
    if (!b.at) corrupt("none was given");
    std::memset(b.at, b.mark, b.size);
  }
  looked_at.fetch_add(turns, std::memory_order_relaxed);
}

void set_timer(bool on) {
  static thread_local timer_t timer [[gnu::tls_model("initial-exec")]];
  if (!on) {
    timer_delete(timer);
    return;
  }
  sigevent event{};
  event.sigev_notify = SIGEV_THREAD_ID;
  event.sigev_signo = SIGPROF;
  event._sigev_un._tid = static_cast<pid_t>(syscall(SYS_gettid));
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) _exit(2);
  const itimerspec often{.it_interval = {0, period}, .it_value = {0, period}};
  timer_settime(timer, 0, &often, nullptr);
}

void* one_long_thread(void*) {
  static Block blocks[kBlocks];
  std::uint32_t seed = 1;
  set_timer(true);
  while (!over.load()) allocate_and_look(blocks, 100, seed);
  set_timer(false);
  return nullptr;
}

// Each thread's first touch of the lazy data is in a handler.
void* a_short_thread(void*) {
  static Block blocks[kBlocks];
  static std::uint32_t seed = 2;
  set_timer(true);
  const unsigned long until = handlers.load() + 3;
  while (handlers.load() < until) allocate_and_look(blocks, 20, seed);
  set_timer(false);
  return nullptr;
}

// A library that is loaded later makes the C library grow what it knows of each thread's data, at its next touch.
void load_one_more() {
  if (!libraries_left) return;
  --libraries_left;
  void* const library = dlopen(*libraries++, RTLD_NOW);
  void* const function = library ? dlsym(library, "touch_lazy_data") : nullptr;
  if (!function) _exit(2);
  std::memcpy(&touch, &function, sizeof touch);
}

struct Pattern {
  const char* name;
  void (*in_handler)();
  bool short_threads;
  unsigned loaded_at_first, loaded_later;
};
constexpr Pattern kPatterns[] = {
    {"sample", keep_a_sample, false, 0, 0},     {"message", compose_a_message, false, 0, 0},
    {"backtrace", name_the_stack, false, 0, 0}, {"lazy-data", touch_lazy_data, true, 1, 0},
    {"dlopen", touch_lazy_data, true, 1, 1},
};
const Pattern* pattern;

void on_signal(int) {
  const int saved = errno;
  pattern->in_handler();
  handlers.fetch_add(1);
  errno = saved;
}

double now() {
  timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

}  // namespace

int main(int argc, char** argv) {
  for (const Pattern& p : kPatterns)
    if (argc > 2 && std::strcmp(argv[1], p.name) == 0) pattern = &p;
  if (!pattern) {
    std::fprintf(stderr, "usage: patterns NAME SECONDS LIBRARY...; NAME is one of:");
    for (const Pattern& p : kPatterns) std::fprintf(stderr, " %s", p.name);
    std::fprintf(stderr, "\n");
    return 2;
  }
  const char* const rate = std::getenv("HANDLERS_PER_SECOND");
  if (rate) {
    const long asked = std::atol(rate);
    if (asked < 2 || asked > 100'000) {
      std::fprintf(stderr, "HANDLERS_PER_SECOND is 2 to 100000\n");
      return 2;
    }
    period = 1'000'000'000 / asked;
  }
  libraries = argv + 3, libraries_left = argc - 3;
  for (unsigned i = 0; i < pattern->loaded_at_first; ++i) load_one_more();
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGPROF, &action, nullptr);
  const double end = now() + std::atof(argv[2]);
  pthread_t t;
  if (pattern->short_threads) {
    while (now() < end) {
      if (pthread_create(&t, nullptr, a_short_thread, nullptr) != 0) return 2;
      pthread_join(t, nullptr);
      for (unsigned i = 0; i < pattern->loaded_later; ++i) load_one_more();
    }
  } else {
    if (pthread_create(&t, nullptr, one_long_thread, nullptr) != 0) return 2;
    while (now() < end) usleep(20000);
    over.store(true);
    pthread_join(t, nullptr);
  }
  std::printf("%lu handlers %lu blocks\n", handlers.load(), looked_at.load());
  return 0;
}
