// How long a bounded wait lasts: so many looks at the lock, or, where the port has a clock, a time.
#pragma once

#include <concepts>
#include <cstdint>

#include "nestlock/port/kernel.h"

namespace nestlock {

// So many looks at the lock after the first, a pause before each.
struct Spins {
  std::uint64_t count;  // 0: only the first
};

// std::chrono::duration, without its header: freestanding libraries have none.
template <class D>
concept DurationLike = requires(const D d) {
  d.count();
  D::period::num;
  D::period::den;
};

namespace internal {

// What a bounded wait may be given on this kernel.
template <class T, class K>
concept TimeoutOf = std::same_as<T, Spins> || (DurationLike<T> && ClockPort<typename K::Port>);

// A wait that goes on. Where its owner can sleep (ParkingPort) a wait for a time does so after a while,
// by itself and shortly: nobody has to wake it, so that it leaves nothing in the lock.
template <Kernel K>
class Patience {
  using Port = typename K::Port;

 public:
  constexpr explicit Patience(Spins s) noexcept : left_(s.count), timed_(false) {}
  template <DurationLike D>
    requires ClockPort<Port>
  explicit Patience(D d) noexcept : until_(Port::now_ns() + ns_of(d)), timed_(true) {}

  // Whether it is over; else one look more is granted. The clock is read at the first of 16 looks.
  bool over() noexcept {
    if constexpr (ClockPort<Port>)
      if (timed_) return looks_++ % 16 == 0 && Port::now_ns() >= until_;
    return left_-- == 0;
  }

  // Before the next look. True: has slept meanwhile.
  bool turn(const void* word) noexcept {
    if constexpr (ClockPort<Port> && ParkingPort<Port>) {
      if (timed_ && looks_ >= Port::kParking.looks) return nap(word), true;
    }
    Port::pause();
    return false;
  }

 private:
  static constexpr std::uint64_t kLongestNap_ns = 200'000;
  static constexpr std::uint64_t kAges_ns = std::uint64_t{1} << 62;

  template <class D>
  static std::uint64_t ns_of(D d) noexcept {
    const double ns = static_cast<double>(d.count()) * static_cast<double>(D::period::num) * 1e9 /
                      static_cast<double>(D::period::den);
    if (!(ns > 0)) return 0;
    return ns < static_cast<double>(kAges_ns) ? static_cast<std::uint64_t>(ns) : kAges_ns;
  }

  void nap(const void* word) noexcept {
    const std::uint64_t now = Port::now_ns();
    looks_ = 0;
    if (now >= until_) return;
    Port::nap(word, nap_ns_ < until_ - now ? nap_ns_ : until_ - now);
    if (nap_ns_ < kLongestNap_ns) nap_ns_ *= 2;
  }

  std::uint64_t left_ = 0, until_ = 0, nap_ns_ = 10'000;
  unsigned looks_ = 0;
  bool timed_;
};

}  // namespace internal
}  // namespace nestlock
