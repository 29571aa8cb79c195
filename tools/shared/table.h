// Text in columns, coloured only where asked for.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace nestlock::tools {

enum class Ink { plain, bold, dim, red, green };

struct Text {
  std::string text;
  Ink ink = Ink::plain;
  bool right = false;  // aligned
};

class Painter {
 public:
  explicit Painter(bool colours) : colours_(colours) {}
  std::string operator()(const std::string& text, Ink ink) const;

 private:
  bool colours_;
};

class Table {
 public:
  // A first column at least that wide.
  explicit Table(std::size_t first = 0) : first_(first) {}
  // A column is as wide as its widest text in a row.
  void row(std::vector<Text> cells) { lines_.push_back({std::move(cells), false}); }
  // A line whose texts may run over the empty cells on their right, and widen nothing.
  void line(std::vector<Text> cells) { lines_.push_back({std::move(cells), true}); }
  bool empty() const { return lines_.empty(); }
  std::string print(const Painter& paint) const;

 private:
  struct Line {
    std::vector<Text> cells;
    bool over;
  };
  std::size_t first_;
  std::vector<Line> lines_;
};

}  // namespace nestlock::tools
