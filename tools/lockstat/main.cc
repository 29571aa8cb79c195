// The program of `./nest lockstat`: two threads, one hot lock and two that are not, watched by LockStat.
// Prints the table and beside it the program's own count; --svg=FILE draws both histograms of the
// hot one.
#include <algorithm>
#include <atomic>
#include <charconv>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <system_error>
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

// A histogram. Bucket b has what took 2^(b-1) ns or more, and less than 2^b; the last bar has all that is longer.
void bars(std::FILE* out, const testing::Durations& d, const std::string& title, int top) {
  constexpr unsigned kBars = 33;
  constexpr int kLeft = 10, kStep = 22, kBar = 18;
  std::uint64_t count[kBars] = {}, most = 1;
  for (unsigned b = 0; b < d.kBuckets; ++b) count[std::min(b, kBars - 1)] += d.bucket[b];
  for (const std::uint64_t n : count) most = std::max(most, n);
  std::fprintf(out, "<text x='%d' y='%d' font-weight='bold'>%s: %" PRIu64 "</text>\n", kLeft, top,
               title.c_str(), d.count.load());
  const int base = top + 140;
  for (unsigned b = 0; b < kBars; ++b) {
    const int x = kLeft + static_cast<int>(b) * kStep;
    const bool last = b == kBars - 1;
    if (count[b]) {
      // What is rare is seen, too.
      const double height =
          std::max(1.0, 115.0 * static_cast<double>(count[b]) / static_cast<double>(most));
      const std::uint64_t from = b ? std::uint64_t{1} << (b - 1) : 0;
      char range[64];
      if (last)
        std::snprintf(range, sizeof range, "%" PRIu64 " ns and more", from);
      else
        std::snprintf(range, sizeof range, "%" PRIu64 " to %" PRIu64 " ns", from,
                      (std::uint64_t{1} << b) - 1);
      std::fprintf(out,
                   "<rect x='%d' y='%.1f' width='%d' height='%.1f' fill='#4477aa'>"
                   "<title>%" PRIu64 ": %s</title></rect>\n",
                   x, base - height, kBar, height, count[b], range);
      std::fprintf(out,
                   "<text x='%d' y='%.1f' font-size='7' text-anchor='middle'>%" PRIu64 "</text>\n",
                   x + kBar / 2, base - height - 2, count[b]);
    }
    // Between this bar and the next, where 2^b ns is.
    if ((b % 4 == 0 && b < kBars - 8) || b == kBars - 2)
      std::fprintf(out,
                   "<line x1='%d' x2='%d' y1='%d' y2='%d' stroke='#222'/>"
                   "<text x='%d' y='%d' text-anchor='middle'>2^%u ns%s</text>\n",
                   x + kStep - 2, x + kStep - 2, base, base + 5, x + kStep - 2, base + 16, b,
                   b == kBars - 2 ? " and more" : "");
  }
}

[[noreturn]] void refuse(const std::string& why) {
  std::fprintf(stderr, "lockstat: %s\n", why.c_str());
  std::exit(2);
}

bool draw(const char* path, const testing::LockClass& c) {
  std::FILE* const out = std::fopen(path, "we");
  if (!out) return false;
  std::fprintf(out,
               "<svg xmlns='http://www.w3.org/2000/svg' width='770' height='380' "
               "font-family='sans-serif' font-size='11'>\n");
  bars(out, c.wait, "waits for " + name_of_class(c), 20);
  bars(out, c.hold, "sections", 205);
  std::fprintf(out, "</svg>\n");
  return std::fclose(out) == 0;
}

}  // namespace

int main(int argc, char** argv) {
  const char* svg = nullptr;
  unsigned sections = 5'000;
  for (int i = 1; i < argc; ++i) {
    constexpr std::string_view kSvg = "--svg=", kSections = "--sections=";
    const std::string_view a = argv[i];
    if (a.substr(0, kSvg.size()) == kSvg) {
      svg = argv[i] + kSvg.size();
      if (*svg == '\0') refuse("--svg= wants the name of a file");
    } else if (a.substr(0, kSections.size()) == kSections) {
      const std::string_view n = a.substr(kSections.size());
      const auto [end, error] = std::from_chars(n.data(), n.data() + n.size(), sections);
      if (error != std::errc() || end != n.data() + n.size() || sections == 0)
        refuse("--sections= wants a number, 1 or more, not '" + std::string(n) + "'");
    } else {
      refuse("unknown argument '" + std::string(a) + "'");
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
