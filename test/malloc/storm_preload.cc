// To preload into a real program, beside the allocator: a timer's handler allocates, changes and frees
// blocks whatever it interrupts. At the program's end it says on the file named by STORM_LOG how often it came,
// how often it found one of the allocator's locks held, and how many blocks were not as they were left.
#include <fcntl.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

// Of libnestlock_malloc.so (system_slab.h); another allocator has none.
extern "C" [[gnu::weak]] unsigned char nestlock_interrupted() noexcept;

namespace {

constexpr long kPeriod = 250'000;  // ns

struct Block {
  unsigned char* at;
  std::size_t size;
  unsigned char tag;
};
constexpr unsigned kBlocks = 128;
Block blocks[kBlocks];
std::atomic<bool> busy{false};
std::atomic<unsigned long> entries{0}, inside{0}, wrong{0}, nulls{0};
std::uint32_t random_state = 12345;

bool is_whole(const Block& b, std::size_t upto) {
  for (std::size_t i = 0; i < upto; ++i)
    if (b.at[i] != b.tag) return false;
  return true;
}

void turn() {
  random_state = random_state * 1664525u + 1013904223u;
  const std::uint32_t r = random_state >> 8;
  Block& b = blocks[r % kBlocks];
  const std::size_t size = 1 + (r >> 7) % (r % 16 ? 2000 : 100000);
  if (b.at && r % 3) {
    if (!is_whole(b, b.size)) ++wrong;
    free(b.at);
    b.at = nullptr;
    return;
  }
  auto* const at = static_cast<unsigned char*>(b.at ? realloc(b.at, size) : malloc(size));
  if (!at) {
    ++nulls;
    return;
  }
  const std::size_t kept = b.at ? (size < b.size ? size : b.size) : 0;
  b.at = at;
  if (!is_whole(b, kept)) ++wrong;
  b.size = size, b.tag = static_cast<unsigned char>(r >> 3);
  std::memset(b.at, b.tag, size);
}

void on_signal(int) {
  if (busy.exchange(true, std::memory_order_acquire)) return;  // another thread's handler
  const int saved = errno;
  ++entries;
  if (nestlock_interrupted && nestlock_interrupted()) ++inside;
  for (int i = 0; i < 4; ++i) turn();
  errno = saved;
  busy.store(false, std::memory_order_release);
}

[[gnu::constructor]] void start() {
  struct sigaction action{};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGPROF, &action, nullptr);
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGPROF;
  timer_t timer;
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) std::abort();
  const itimerspec often{.it_interval = {0, kPeriod}, .it_value = {0, kPeriod}};
  timer_settime(timer, 0, &often, nullptr);
}

[[gnu::destructor]] void say() {
  const char* const log = std::getenv("STORM_LOG");
  const int file = log ? open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
  if (file < 0) return;
  char text[100];
  const int n = std::snprintf(text, sizeof text, "%lu %lu %lu %lu\n", entries.load(), inside.load(),
                              wrong.load(), nulls.load());
  if (write(file, text, static_cast<std::size_t>(n)) != n) std::abort();
  close(file);
}

}  // namespace
