#include "tools/shared/floors.h"

#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nestlock/port/hosted.h"
#include "tools/shared/interrupts.h"

namespace nestlock::tools {
namespace {

constexpr unsigned kPatience = 5;         // seconds for one instruction; it takes microseconds
constexpr std::uint64_t kCrashes = 1000;  // then the rest is not tried

// In memory shared with the child.
struct Progress {
  Nested sum;
  std::uint64_t k = 1;  // the instruction to interrupt next
  bool done = false;
};

void sweep(const FloorRun& run, Context by, Instructions which, Progress& p) {
  Nested now;
  const Probed r = interrupt_each(
      by, which, p.k,
      [&] {
        alarm(kPatience);
        now = {};
        run.prepare();
      },
      run.code,
      [&] {
        ++now.handlers;
        run.handler(now);
      },
      [&] {
        run.check(now);
        ++p.sum.instructions, ++p.k;
        p.sum.handlers += now.handlers, p.sum.busy += now.busy;
        p.sum.asked += now.asked, p.sum.served += now.served;
        p.sum.twice += now.twice != 0;
        p.sum.damaged += now.twice == 0 && now.damaged != 0;
      });
  p.sum.trouble = r.trouble;
  p.done = r.complete || r.trouble;
}

[[noreturn]] void be_the_child(const FloorRun& run, Context by, Instructions which, Progress& p) {
  const rlimit no_core{0, 0};
  setrlimit(RLIMIT_CORE, &no_core);
  prctl(PR_SET_DUMPABLE, 0);
  for (const int s : {SIGSEGV, SIGBUS, SIGABRT, SIGALRM}) signal(s, SIG_DFL);
  hosted::set_report_sink([](const Report& r) noexcept {
    if (r.fatal) _exit(1);
  });
  sweep(run, by, which, p);
  _exit(0);
}

}  // namespace

Nested interrupt_everywhere(const FloorRun& run, Context by) {
  void* const shared =
      mmap(nullptr, sizeof(Progress), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  Nested failed;
  failed.trouble = "no memory to share with a child";
  if (shared == MAP_FAILED) return failed;
  Progress& p = *new (shared) Progress;
  Instructions which = Instructions::rest;
  while (!p.done && p.sum.crashed < kCrashes) {
    const std::uint64_t k = p.k;
    const pid_t child = fork();
    if (child == 0) be_the_child(run, by, which, p);
    failed.trouble = child < 0 ? "cannot fork" : "too many crashes";
    if (child < 0) break;
    int status = 0;
    waitpid(child, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
      which = Instructions::rest;
      failed.trouble = "a child did nothing";
      if (p.k == k) break;
    } else {  // it died of the instruction p.k; likely so will the next one
      ++p.sum.instructions, ++p.sum.crashed, ++p.k;
      which = Instructions::one;
    }
  }
  const Nested sum = p.done ? p.sum : failed;
  munmap(shared, sizeof(Progress));
  return sum;
}

const char* why_unlike_known(const Nested& n, const Policy& p, unsigned by) {
  if (n.trouble) return n.trouble;
  if (n.instructions == 0) return "no instruction was interrupted";
  if (p.corrupts[by]) return n.twice ? "" : "the historic bug was not seen";
  if (n.twice) return "memory was handed out twice";
  if (n.crashed) return "the allocator crashed";
  if (n.damaged) return "memory was lost";
  if (n.handlers != n.instructions) return "the handler did not run at each instruction";
  if (p.refuses[by]) return n.served ? "was to refuse everything" : "";
  if (n.served * 4 < n.asked * 3) return "less than 3 in 4 of the nested allocations were served";
  return "";
}

}  // namespace nestlock::tools
