// Names of sets of configurations, short enough for a table.
#include <algorithm>

#include "section.h"

namespace nestlock::demo {
namespace {

struct Group {
  const char* name;
  bool (*holds)(Config);
};
constexpr Group kGroups[] = {
    {"all eight", [](Config) { return true; }},
    {"the four _rt", [](Config c) { return c.preempt_rt; }},
    {"all but _rt", [](Config c) { return !c.preempt_rt; }},
    {"the four smp", [](Config c) { return c.smp; }},
};

bool has(const std::vector<Config>& some, Config c) {
  return std::find(some.begin(), some.end(), c) != some.end();
}

}  // namespace

std::string names_of(const std::vector<Config>& some) {
  for (const Group& g : kGroups)
    if (std::all_of(std::begin(configs::all), std::end(configs::all), [&](const configs::Named& n) {
          return g.holds(n.config) == has(some, n.config);
        }))
      return g.name;
  const bool most = some.size() > std::size(configs::all) / 2;
  std::string s = most ? "all but" : "";
  for (const configs::Named& n : configs::all)
    if (has(some, n.config) != most) s += (s.empty() ? "" : " ") + std::string(n.name);
  return s;
}

}  // namespace nestlock::demo
