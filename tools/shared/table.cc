#include "tools/shared/table.h"

#include <algorithm>

namespace nestlock::tools {

std::string Painter::operator()(const std::string& text, Ink ink) const {
  constexpr const char* kCodes[] = {"", "\033[1m", "\033[2m", "\033[31;1m", "\033[32m"};
  if (!colours_ || ink == Ink::plain) return text;
  return kCodes[static_cast<unsigned>(ink)] + text + "\033[0m";
}

std::string Table::print(const Painter& paint) const {
  constexpr std::size_t kGap = 2;
  std::vector<std::size_t> width{first_};
  for (const Line& l : lines_) {
    if (l.over) continue;
    if (width.size() < l.cells.size()) width.resize(l.cells.size());
    for (std::size_t i = 0; i < l.cells.size(); ++i)
      width[i] = std::max(width[i], l.cells[i].text.size());
  }
  std::string out;
  for (const Line& l : lines_) {
    std::size_t at = 0, column = 0;  // where we are, where the column begins
    for (std::size_t i = 0; i < l.cells.size(); ++i) {
      const Text& t = l.cells[i];
      const std::size_t w = i < width.size() ? width[i] : 0;
      if (!t.text.empty()) {
        std::size_t begin = column;
        if (t.right && t.text.size() < w) begin += w - t.text.size();
        if (at != 0 && begin <= at) begin = at + 1;
        out.append(begin > at ? begin - at : 0, ' ');
        out += paint(t.text, t.ink);
        at = std::max(begin, at) + t.text.size();
      }
      column += w + kGap;
    }
    out += '\n';
  }
  return out;
}

}  // namespace nestlock::tools
