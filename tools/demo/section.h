// A section of the demonstration: a table for people and the cells behind it for programs. One file
// a section; main.cc lists them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "nestlock/config/config.h"
#include "tools/shared/json_text.h"
#include "tools/shared/table.h"

namespace nestlock::demo {

using namespace tools;

struct Options {
  std::optional<Config> only;  // --config
  bool all_rows = false;       // --all
  JsonOption json{};           // --json

  bool wanted(Config c) const { return !only || *only == c; }
};

// One thing that was tried.
struct Cell {
  std::string name;      // "TrySpinLock, up: irq"
  std::string value;     // what was measured
  std::string promised;  // what had to be
  bool ok = false;       // whether it was
  // A cell that shows the historic bug: `promised` is that it is seen.
  bool bug = false;
  std::string why{};  // if not ok
  std::vector<std::pair<std::string, std::uint64_t>> figures{};
};

struct Section {
  std::string name;                  // for programs
  std::vector<std::string> heading;  // lines above the table; the first is its title
  Table table;
  std::vector<std::string> legend;  // lines below it
  std::vector<Cell> cells;
  std::string not_tried;                                             // what this machine cannot do
  bool empty() const { return cells.empty() && not_tried.empty(); }  // none of these configurations
};

Section nested_try(const Options& options);
Section free_list(const Options& options);
Section nested_pages(const Options& options);
Section nested_objects(const Options& options);

// "up up_debug", "the four _rt", "all but up".
std::string names_of(const std::vector<Config>& some);

}  // namespace nestlock::demo
