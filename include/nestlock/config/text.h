// Text into a buffer: no allocation, no locale, no lock; callable from NMI. Always terminated.
#pragma once

#include <cstddef>
#include <cstdint>

namespace nestlock::internal {

class Text {
 public:
  Text(char* out, std::size_t size) noexcept : out_(out), size_(size) {
    if (size_) out_[0] = '\0';
  }
  // `width`: padded with spaces on the right (text) or left (numbers).
  Text& put(const char* s, unsigned width = 0) noexcept {
    unsigned n = 0;
    for (; s && s[n]; ++n) add(s[n]);
    for (; n < width; ++n) add(' ');
    return *this;
  }
  Text& number(std::uintptr_t v, unsigned width = 0, unsigned base = 10) noexcept {
    char digits[24];
    unsigned n = 0;
    do digits[n++] = "0123456789abcdef"[v % base];
    while (v /= base);
    for (unsigned i = n; i < width; ++i) add(' ');
    while (n) add(digits[--n]);
    return *this;
  }
  std::size_t length() const noexcept { return length_; }
  bool full() const noexcept { return length_ + 1 >= size_; }

 private:
  void add(char c) noexcept {
    if (full()) return;
    out_[length_++] = c;
    out_[length_] = '\0';
  }
  char* out_;
  std::size_t size_, length_ = 0;
};

}  // namespace nestlock::internal
