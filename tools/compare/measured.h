// What is compared of a lock policy.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "tools/shared/floors.h"

namespace nestlock::tools {

// How try_lock() answers a handler.
enum class Answer { refused, granted, mixed, never_asked };
const char* name_of_held(Answer a);
const char* name_of_free(Answer a);

struct Column {  // an interruption
  Answer held, free;
  Nested pages, objects;
  std::string unlike_known;  // what is not as it was to be; empty: nothing

  bool true_both_ways() const {
    return (held == Answer::refused || held == Answer::never_asked) && free == Answer::granted;
  }
  bool sound() const { return pages.sound() && objects.sound(); }
};

struct Measured {
  const char* name;
  bool users = false;
  std::size_t lock_bytes, locks, text_bytes;
  std::uint64_t pair_instructions;
  Column by[3];  // see kInterruptions

  bool sound() const { return by[0].sound() && by[1].sound() && by[2].sound(); }
  bool true_everywhere() const {
    return by[0].true_both_ways() && by[1].true_both_ways() && by[2].true_both_ways();
  }
  // Sound, true, and nearly all is served in every context.
  bool keeps_the_promise() const;
};

Measured measure(const Policy& p, bool users);

// What it says to a reader: lines below the table.
std::vector<std::string> meaning(const std::vector<Measured>& all);

}  // namespace nestlock::tools
