// The table in include/nestlock/README.md is the one in contexts.h. To write it anew:
//   NESTLOCK_WRITE_README=include/nestlock/README.md <this program>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/lock/contexts.h"

namespace nestlock::contexts {
namespace {

constexpr char kBegin[] = "<!-- begin: generated from contexts.h -->\n";
constexpr char kEnd[] = "<!-- end -->";
constexpr Call kCalls[] = {Call::lock, Call::try_lock, Call::unlock, Call::lock_nested_bh};

std::string text(Call call, const Cell& c) {
  if (!c.allowed) return "-";
  if (call != Call::try_lock) return "yes";
  const char* const held = c.held == Answer::granted ? "**TAKEN**" : "no";
  return std::string(held) + " / " + (c.free == Answer::granted ? "yes" : "no");
}

// Configurations with equal cells share a row.
std::string generated() {
  std::string out;
  for (LockType lock : kLockTypes) {
    out +=
        "\n### " + std::string(name_of(lock)) +
        (promised(lock) ? ": try_lock() promised\n\n" : "\n\n") +
        "| call | configurations | task | softirq | hardirq | nmi |\n|---|---|---|---|---|---|\n";
    for (Call call : kCalls) {
      if (!has(lock, call)) continue;
      std::vector<std::pair<std::string, std::string>> rows;  // cells, configurations
      for (const configs::Named& n : configs::all) {
        std::string cells;
        for (Context c : kContexts) cells += " | " + text(call, cell(lock, call, n.config, c));
        auto same = rows.begin();
        while (same != rows.end() && same->first != cells) ++same;
        if (same == rows.end())
          rows.emplace_back(cells, n.name);
        else
          same->second += std::string(" ") + n.name;
      }
      for (const auto& [cells, names] : rows)
        out += "| `" + std::string(name_of(call)) + "` | " + names + cells + " |\n";
    }
  }
  return out + "\n";
}

std::string read(const std::string& path) {
  std::ifstream in(path);
  std::stringstream s;
  s << in.rdbuf();
  return s.str();
}

TEST(ContextsReadme, TheTableIsTheOneInTheCode) {
  const char* const write_to = std::getenv("NESTLOCK_WRITE_README");
  const std::string path = write_to ? write_to : "include/nestlock/README.md";
  const std::string file = read(path);
  const auto begin = file.find(kBegin), end = file.find(kEnd);
  ASSERT_NE(begin, std::string::npos) << path << " has no generated block";
  ASSERT_NE(end, std::string::npos);
  const auto from = begin + sizeof kBegin - 1;
  if (write_to) std::ofstream(path) << file.substr(0, from) << generated() << file.substr(end);
  EXPECT_EQ(read(path).substr(from, read(path).find(kEnd) - from), generated())
      << "write it anew: NESTLOCK_WRITE_README=" << path;
}

}  // namespace
}  // namespace nestlock::contexts
