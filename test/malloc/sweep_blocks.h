// What the sweeps of malloc's functions allocate: blocks that know what is to be in them, and a handler that
// calls all of malloc's functions and keeps what it gets.
#pragma once

#include <cstddef>
#include <cstring>

#include "nestlock/malloc.h"

namespace nestlock::test_support {

// A block whose bytes are all `tag`.
class Block {
 public:
  void set(void* p, std::size_t size, unsigned char tag) {
    at_ = static_cast<unsigned char*>(p), size_ = size, tag_ = tag;
    if (at_) std::memset(at_, tag_, size_);
  }
  // `p` has its contents so far, and takes its place.
  bool grow(void* p, std::size_t size) {
    const bool whole = p && (at_ = static_cast<unsigned char*>(p), intact());
    size_ = size;
    if (p) std::memset(at_, tag_, size_);
    return whole;
  }
  bool intact() const {
    if (!at_) return false;
    for (std::size_t i = 0; i < size_; i += 1 + size_ / 512)
      if (at_[i] != tag_) return false;
    return true;
  }
  void* at() const { return at_; }
  void* release() {
    void* const p = at_;
    at_ = nullptr;
    return p;
  }
  void give_back() { nestlock_free(release()); }

 private:
  unsigned char* at_ = nullptr;
  std::size_t size_ = 0;
  unsigned char tag_ = 0;
};

inline constexpr std::size_t kSize = 64, kLarge = std::size_t{2} << 20;

// What a handler had before (it frees one and grows the other), and what it keeps.
struct Level {
  Block freed, grown, got, zeroed;
  bool wrong = false;
  void prepare(unsigned char tag) {
    freed.set(nestlock_malloc(kSize), kSize, tag);
    grown.set(nestlock_malloc(kSize), kSize, static_cast<unsigned char>(tag + 1));
    wrong = false;
  }
  void run(unsigned char tag) {
    got.set(nestlock_malloc(kSize), kSize, static_cast<unsigned char>(tag + 2));
    wrong |= !grown.grow(nestlock_realloc(grown.at(), 300), 300);
    auto* const zeroes = static_cast<unsigned char*>(nestlock_calloc(1, kSize));
    for (std::size_t i = 0; zeroes && i < kSize; ++i) wrong |= zeroes[i] != 0;
    zeroed.set(zeroes, kSize, static_cast<unsigned char>(tag + 3));
    wrong |= !freed.intact();
    freed.give_back();
  }
  // It ran to its end, and nobody touched what it has.
  bool right() const {
    return !wrong && !freed.at() && grown.intact() && got.intact() && zeroed.intact();
  }
  void clean_up() {
    for (Block* b : {&freed, &grown, &got, &zeroed}) b->give_back();
  }
};

}  // namespace nestlock::test_support
