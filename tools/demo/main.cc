// The demonstration: ./nest demo. Runs its sections, prints their tables, and ends with PASS only
// if every cell is as promised and the historic bug was really seen.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "json.h"
#include "section.h"
#include "tools/shared/interrupts.h"

namespace nestlock::demo {
namespace {

constexpr const char* kHelp =
    R"(Who gets a lock that is already held? Every lock in every configuration, tried for real.

usage: ./nest demo [--config NAME] [--all] [--json[=FILE]]

  --config NAME   one configuration only, of:
                  )";
constexpr const char* kMoreHelp = R"(
  --all           a row for each configuration, even where they answer alike
  --json          the figures for programs; =FILE: into FILE, besides the tables
  --help          this

Exit status: 0 all is as promised and the historic bug was seen, 1 it is not, 2 it was not tried.
Colours on a terminal only, and none with NO_COLOR set.
)";

std::string all_names() {
  std::string s;
  for (const auto& n : configs::all) s += (s.empty() ? "" : " ") + std::string(n.name);
  return s;
}

[[noreturn]] void refuse(const std::string& why) {
  std::fprintf(stderr, "demo: %s; --help says more\n", why.c_str());
  std::exit(2);
}

Config config_named(std::string_view name) {
  for (const auto& n : configs::all)
    if (name == n.name) return n.config;
  refuse("no configuration '" + std::string(name) + "'");
}

Options read(int argc, char** argv) {
  constexpr std::string_view kConfig = "--config=";
  Options o;
  for (int i = 1; i < argc; ++i) {
    const std::string_view a = argv[i];
    if (a == "--help" || a == "-h") {
      std::printf("%s%s%s", kHelp, all_names().c_str(), kMoreHelp);
      std::exit(0);
    } else if (a == "--config") {
      if (++i == argc) refuse("--config wants a name");
      o.only = config_named(argv[i]);
    } else if (a.substr(0, kConfig.size()) == kConfig) {
      o.only = config_named(a.substr(kConfig.size()));
    } else if (a == "--all") {
      o.all_rows = true;
    } else if (o.json.take(a)) {
      if (!o.json.error().empty()) refuse(o.json.error());
    } else {
      refuse("unknown argument '" + std::string(a) + "'");
    }
  }
  return o;
}

constexpr std::size_t kFailuresShown = 10;

struct Tally {
  std::size_t cells = 0, failed = 0, bugs = 0, bugs_seen = 0;
  std::string not_tried;
  bool pass = false;
};

Tally count(const std::vector<Section>& sections, const Options& options) {
  Tally t;
  for (const Section& s : sections) {
    if (!s.not_tried.empty()) t.not_tried = s.not_tried;
    for (const Cell& c : s.cells) {
      ++t.cells, t.failed += !c.ok;
      t.bugs += c.bug, t.bugs_seen += c.bug && c.ok;
    }
  }
  // A configuration by itself may have no lock without state.
  t.pass = t.cells != 0 && t.failed == 0 && (t.bugs != 0 || options.only);
  return t;
}

void print(const Section& s, const Painter& paint) {
  for (std::size_t i = 0; i < s.heading.size(); ++i)
    std::printf("%s\n", paint(s.heading[i], i == 0 ? Ink::bold : Ink::plain).c_str());
  std::printf("\n");
  if (s.table.empty()) std::printf("  %s\n", s.not_tried.c_str());
  std::printf("%s\n", s.table.print(paint).c_str());
  for (const std::string& line : s.legend) std::printf("%s\n", paint(line, Ink::dim).c_str());
  if (!s.legend.empty()) std::printf("\n");
}

void print_end(const std::vector<Section>& sections, const Tally& t, const Painter& paint) {
  std::size_t shown = 0;
  for (const Section& s : sections)
    for (const Cell& c : s.cells)
      if (!c.ok && ++shown <= kFailuresShown)
        std::printf("%s  %s: %s\n      measured %s; promised %s\n", paint("FAIL", Ink::red).c_str(),
                    c.name.c_str(), c.why.c_str(), c.value.c_str(), c.promised.c_str());
  if (shown > kFailuresShown)
    std::printf("      and %zu more; --json has them all\n", shown - kFailuresShown);
  if (!t.not_tried.empty())
    std::printf("Probes were not tried, so this rests on the rest: %s\n", t.not_tried.c_str());
  std::string text = std::to_string(t.cells - t.failed) + " of " + std::to_string(t.cells) +
                     " cells are as promised; ";
  text += t.bugs == 0 ? "the historic bug has no place in this configuration"
                      : "the historic bug was seen in " + std::to_string(t.bugs_seen) + " of the " +
                            std::to_string(t.bugs) + " where it lives";
  std::printf("%s  %s\n", paint(t.pass ? "PASS" : "FAIL", t.pass ? Ink::green : Ink::red).c_str(),
              text.c_str());
  std::printf(
      "\nNext:\n"
      "  ./nest demo --all   each configuration by itself\n"
      "  ./nest compare      the locks that were proposed, and one of your own, in figures\n"
      "  ./nest test         all tests, in all configurations\n"
      "  ./nest lint         the rules of the house\n"
      "  ./nest bench        what it costs\n"
      "  README.md           how to use it\n");
}

int demonstrate(Options options) {
  if (const char* const why = set_up_interrupts()) {
    std::fprintf(stderr, "demo: signals cannot be set up: %s\n", why);
    return 2;
  }
  const char* const no_colour = std::getenv("NO_COLOR");
  const bool colours = isatty(STDOUT_FILENO) && !(no_colour && *no_colour);
  const Painter paint(colours);
  std::vector<Section> sections;
  for (Section (*const run)(const Options&) :
       {nested_try, free_list, nested_pages, nested_objects}) {
    sections.push_back(run(options));
    if (!options.json.instead_of_tables() && !sections.back().empty())
      print(sections.back(), paint), std::fflush(stdout);
  }
  const Tally tally = count(sections, options);
  if (!options.json.instead_of_tables()) print_end(sections, tally, paint);
  if (options.json.wanted() && !options.json.write(to_json(sections, tally.pass))) {
    std::fprintf(stderr, "demo: the figures could not be written\n");
    return 2;
  }
  return tally.pass ? 0 : 1;
}

}  // namespace

}  // namespace nestlock::demo

int main(int argc, char** argv) {
  return nestlock::demo::demonstrate(nestlock::demo::read(argc, argv));
}
