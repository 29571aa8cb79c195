// In the place of Abseil's header of this name; see notification.h.
#pragma once

#include <latch>

namespace absl {

class BlockingCounter {
 public:
  explicit BlockingCounter(int count) : left_(count) {}
  void DecrementCount() { left_.count_down(); }
  void Wait() { left_.wait(); }

 private:
  std::latch left_;
};

}  // namespace absl
