// --soak: hours of rounds. Each is a child, so it starts from nothing: what it finds, its seed
// finds again, a crash and a hang are found as well, and no round's memory is left behind.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <vector>

#include "nestlock/nestlock.h"
#include "tools/torture/run.h"

namespace nestlock::torture {
namespace {

std::atomic<bool> stopped{false};  // by ^C

struct Time {
  char text[32];
  explicit Time(double seconds) {
    const auto s = static_cast<unsigned>(seconds);
    std::snprintf(text, sizeof text, "%u:%02u:%02u", s / 3600, s / 60 % 60, s % 60);
  }
};

unsigned long long ull(std::uint64_t n) { return n; }

// The child's status; -1 if it had to be killed.
int wait_for(pid_t child, double seconds) {
  int status = 0;
  for (const double end = seconds_now() + seconds; waitpid(child, &status, WNOHANG) == 0;) {
    usleep(20'000);
    if (seconds_now() < end) continue;
    kill(child, SIGKILL);
    waitpid(child, &status, 0);
    return -1;
  }
  return status;
}

void tell_of_a_silent_end(const Named& s, int status) {
  char again[256];
  print_again(again, sizeof again, s.name);
  if (status == -1)
    std::printf("\ntorture: FOUND in %s, %s: it hung\n%s\n", nestlock::name_of(kBuiltConfig),
                s.name, again);
  else if (WIFSIGNALED(status))
    std::printf("\ntorture: FOUND in %s, %s: it crashed (%s)\n%s\n",
                nestlock::name_of(kBuiltConfig), s.name, strsignal(WTERMSIG(status)), again);
  else if (WEXITSTATUS(status) != 1)  // not by trouble(), which has told
    std::printf("\ntorture: FOUND in %s, %s: it ended with %d\n%s\n",
                nestlock::name_of(kBuiltConfig), s.name, WEXITSTATUS(status), again);
}

}  // namespace

int soak(std::span<const Named> all, double seconds) {
  struct Sum {
    Worker::Counts counts;
    unsigned rounds = 0;
  };
  std::vector<Sum> sums(all.size());
  void* const shared = mmap(nullptr, sizeof(Worker::Counts), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED) trouble("no memory for the counts");
  struct sigaction on_interrupt{};
  on_interrupt.sa_handler = [](int) { stopped = true; };
  sigaction(SIGINT, &on_interrupt, nullptr);

  const std::uint64_t first = options.seed;
  Caller seeds{.state = first};
  const double each = options.seconds, begin = seconds_now();
  std::printf("soak of %s, --seed %llu, %s in rounds of %g s\n", nestlock::name_of(kBuiltConfig),
              ull(first), Time(seconds).text, each);
  unsigned rounds = 0;
  int failed = 0;
  for (double now = begin; now < begin + seconds && !failed && !stopped;
       now = seconds_now(), ++rounds) {
    const unsigned i = rounds % static_cast<unsigned>(all.size());
    const Named& s = all[i];
    options.seed = 1 + seeds.random(999'999'999);
    std::printf("%s of %s: %s, --seed %llu: ", Time(now - begin).text, Time(seconds).text, s.name,
                ull(options.seed));
    std::fflush(stdout);
    auto* const counts = new (shared) Worker::Counts;
    const pid_t child = fork();
    if (child == 0) {
      signal(SIGINT, SIG_DFL);
      const int status = torture(s, std::min(each, begin + seconds - now + 0.1), counts);
      std::fflush(stdout);
      _exit(status);
    }
    const int status = wait_for(child, 4 * each + 60);
    if (stopped) break;
    if (status != 0) {
      tell_of_a_silent_end(s, status);
      failed = 1;
      break;
    }
    std::printf("%llu operations, %llu handlers, %llu found a lock held\n", ull(counts->steps),
                ull(counts->all_entries()), ull(counts->all_at_a_held_lock()));
    std::fflush(stdout);
    sums[i].counts += *counts;
    ++sums[i].rounds;
  }
  std::printf("%ssoak of %s: %s, %u rounds, %s\n", stopped ? "\n" : "",
              nestlock::name_of(kBuiltConfig), Time(seconds_now() - begin).text, rounds,
              failed    ? "ended by an error"
              : stopped ? "stopped, no error"
                        : "no error");
  for (std::size_t i = 0; i < all.size(); ++i)
    if (sums[i].rounds)
      std::printf("  %-18s%5u rounds %15llu operations %12llu handlers %12llu found a lock held\n",
                  all[i].name, sums[i].rounds, ull(sums[i].counts.steps),
                  ull(sums[i].counts.all_entries()), ull(sums[i].counts.all_at_a_held_lock()));
  std::fflush(stdout);
  return stopped && !failed ? 130 : failed;
}

}  // namespace nestlock::torture
