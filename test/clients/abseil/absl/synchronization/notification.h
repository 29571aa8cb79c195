// In the place of Abseil's header of this name, for its tests of spinlocks: they tell threads apart
// by it, and the original would need forty more of Abseil's files.
#pragma once

#include <latch>

namespace absl {

class Notification {
 public:
  void Notify() { done_.count_down(); }
  void WaitForNotification() const { done_.wait(); }

 private:
  std::latch done_{1};
};

}  // namespace absl
