// The program of `./nest lockstat`: two threads, one hot lock and two that are not, watched by LockStat.
// Prints the table and beside it the program's own count; --svg=FILE draws both histograms of the
// hot one.
#include <algorithm>
#include <atomic>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "nestlock/lock/guard.h"
#include "nestlock/lock/spinlock.h"
#include "nestlock/lock/try_spinlock.h"
#include "nestlock/port/hosted.h"
#include "nestlock/testing/lockstat.h"

namespace {

using namespace nestlock;
using Clock = testing::MonotonicClock;
using Stat = testing::LockStat<>;
using K = KernelOf<kBuiltConfig, HostedPort<kBuiltConfig>, Stat>;

BasicTrySpinLock<K> hot;
BasicTrySpinLock<K> cold;  // on a line of its own: a class of its own
BasicSpinLock<K> rare;
std::atomic<std::uint64_t> own_wait{0}, own_hold{0}, own_sections{0};

void work(std::uint64_t ns) {
  for (const std::uint64_t end = Clock::now() + ns; Clock::now() < end;) {
  }
}

// The hot lock's sections, counted by the program itself, too.
void run(unsigned sections) {
  for (unsigned i = 0; i < sections; ++i) {
    const std::uint64_t asked = Clock::now();
    {
      Guard g(hot);
      const std::uint64_t had = Clock::now();
      own_wait += had - asked;
      work(20'000);
      own_hold += Clock::now() - had;
    }
    ++own_sections;
    if (i % 4 == 0) {
      Guard g(cold);
      work(1'000);
    }
    if (i % 64 == 0) {
      Guard g(rare);
    }
  }
}

// The upper end of the bucket in which the q-th part of the durations lies, in us.
double quantile(const testing::Durations& d, double q) {
  const double wanted = q * static_cast<double>(d.count);
  double seen = 0;
  for (unsigned b = 0; b < d.kBuckets; ++b) {
    seen += static_cast<double>(d.bucket[b]);
    if (seen >= wanted) return static_cast<double>(std::uint64_t{1} << b) / 1e3;
  }
  return 0;
}

std::string name_of_class(const testing::LockClass& c) {
  char text[160];
  if (const char* const file = c.file) {
    const char* const slash = std::strrchr(file, '/');
    std::snprintf(text, sizeof text, "%s:%u", slash ? slash + 1 : file, c.line.load());
  } else {
    std::snprintf(text, sizeof text, "%p", c.lock.load());
  }
  return text;
}

void print(const testing::LockClass& c) {
  const auto us = [](std::uint64_t ns) { return static_cast<double>(ns) / 1e3; };
  std::printf("%-22s %-12s %9" PRIu64 " %8" PRIu64 " %12.0f %8.1f %9.0f %12.0f %8.1f %9.0f\n",
              name_of_class(c).c_str(), name_of(c.type), c.hold.count.load(), c.refused.load(),
              us(c.wait.sum), quantile(c.wait, 0.99), us(c.wait.most), us(c.hold.sum),
              quantile(c.hold, 0.99), us(c.hold.most));
}

void bars(std::FILE* out, const testing::Durations& d, const char* title, int top) {
  std::uint64_t most = 1;
  for (const auto& b : d.bucket) most = std::max(most, b.load());
  std::fprintf(out, "<text x='10' y='%d' font-weight='bold'>%s</text>\n", top, title);
  for (unsigned b = 0; b < 32; ++b) {
    const double height = 120.0 * static_cast<double>(d.bucket[b]) / static_cast<double>(most);
    std::fprintf(out, "<rect x='%u' y='%.1f' width='18' height='%.1f' fill='#4477aa'/>\n",
                 10 + b * 22, top + 140 - height, height);
    if (b % 4 == 0)
      std::fprintf(out, "<text x='%u' y='%d'>2^%u ns</text>\n", 10 + b * 22, top + 156, b);
  }
}

bool draw(const char* path, const testing::LockClass& c) {
  std::FILE* const out = std::fopen(path, "we");
  if (!out) return false;
  std::fprintf(out,
               "<svg xmlns='http://www.w3.org/2000/svg' width='730' height='380' "
               "font-family='sans-serif' font-size='11'>\n");
  bars(out, c.wait, ("waits for " + name_of_class(c)).c_str(), 20);
  bars(out, c.hold, "sections", 205);
  std::fprintf(out, "</svg>\n");
  return std::fclose(out) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  const char* svg = nullptr;
  unsigned sections = 5'000;
  for (int i = 1; i < argc; ++i) {
    if (std::strncmp(argv[i], "--svg=", 6) == 0) {
      svg = argv[i] + 6;
    } else if (std::sscanf(argv[i], "--sections=%u", &sections) != 1) {
      std::fprintf(stderr, "lockstat: unknown argument '%s'\n", argv[i]);
      return 2;
    }
  }
  std::thread other(run, sections);
  run(sections);
  other.join();

  std::printf("%-22s %-12s %9s %8s %12s %8s %9s %12s %8s %9s\n", "class", "lock", "taken",
              "refused", "waited us", "p99 <", "most", "held us", "p99 <", "most");
  // Where most time went, waiting or in sections.
  const auto time = [](const testing::LockClass& c) { return c.wait.sum + c.hold.sum; };
  const testing::LockClass* hottest = nullptr;
  Stat::for_each([&](const testing::LockClass& c) {
    print(c);
    if (!hottest || time(c) > time(*hottest)) hottest = &c;
  });
  if (Stat::lost()) std::printf("no room for %" PRIu64 "\n", Stat::lost());
  if (!hottest) return 1;
  const auto percent = [](std::uint64_t is, const std::atomic<std::uint64_t>& own) {
    return 100.0 * static_cast<double>(is) / static_cast<double>(own);
  };
  std::printf(
      "hottest: %s. Of the program's own count of the hot lock: sections %.1f %%, waits "
      "%.1f %%, held %.1f %%\n",
      name_of_class(*hottest).c_str(), percent(hottest->hold.count, own_sections),
      percent(hottest->wait.sum, own_wait), percent(hottest->hold.sum, own_hold));
  if (svg && !draw(svg, *hottest)) return std::perror(svg), 1;
  return 0;
}
