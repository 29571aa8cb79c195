// The main program of a benchmark: options, context, rows, tables.
#pragma once

#include <string>
#include <vector>

#include "ratio_table.h"

namespace bench {

struct RunOptions {
  bool parked_thread = true;
  int round_ms = 200;
  double other_load = 0.1;  // processors that others may use in a round of several threads
};

struct Program {
  std::string context;  // a line that is printed before the tables
  std::vector<Goal> goals;
  void (*add_rows)(const RunOptions&);
};

int run(int argc, char** argv, const Program& program);

}  // namespace bench
