// Pieces of JSON, and the option that asks for it.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>

namespace nestlock::tools {

std::string quoted(const std::string& text);
inline std::string truth(bool b) { return b ? "true" : "false"; }

// --json: the figures instead of the tables. --json=FILE: into FILE besides, from the same run.
class JsonOption {
 public:
  // Whether `argument` is the option. FILE is opened at once: what cannot be written is known before
  // anything is tried; see error().
  bool take(std::string_view argument);
  // What is wrong with the option; empty: nothing.
  const std::string& error() const { return error_; }

  bool instead_of_tables() const { return instead_; }
  bool wanted() const { return instead_ || file_; }
  // Whether all of it was written.
  bool write(const std::string& text);

 private:
  bool instead_ = false;
  std::FILE* file_ = nullptr;
  std::string error_{};
};

}  // namespace nestlock::tools
