#include "tools/shared/json_text.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

namespace nestlock::tools {

std::string quoted(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\', out += c;
    } else if (static_cast<unsigned char>(c) < 0x20) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", static_cast<unsigned>(c));
      out += escape;
    } else {
      out += c;
    }
  }
  return out + '"';
}

bool JsonOption::take(std::string_view argument) {
  constexpr std::string_view kInto = "--json=";
  if (argument == "--json") return instead_ = true;
  if (argument.substr(0, kInto.size()) != kInto) return false;
  const std::string name(argument.substr(kInto.size()));
  if (file_)
    error_ = "--json= is given twice";
  else if (!(file_ = std::fopen(name.c_str(), "we")))
    error_ = "cannot write to '" + name + "': " + std::strerror(errno);
  return true;
}

bool JsonOption::write(const std::string& text) {
  bool good = true;
  if (file_) {
    good = std::fputs(text.c_str(), file_) >= 0;
    good &= std::fclose(std::exchange(file_, nullptr)) == 0;
  }
  if (instead_) good &= std::fputs(text.c_str(), stdout) >= 0;
  return good;
}

}  // namespace nestlock::tools
