// Pieces of JSON.
#pragma once

#include <string>

namespace nestlock::tools {

std::string quoted(const std::string& text);
inline std::string truth(bool b) { return b ? "true" : "false"; }

}  // namespace nestlock::tools
