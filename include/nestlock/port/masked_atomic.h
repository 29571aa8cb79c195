// What the library uses of std::atomic, for a core whose only atomic accesses are loads and stores
// (Cortex-M0, RISC-V without A): there a compiler calls functions named __atomic_*, which no
// library for bare metal has. One CPU only.
//
// Every read-modify-write is a loop over one compare-exchange, done with irqs masked. An NMI is not
// masked. If NMI handlers use the library (a nolock free pushes to a list, a refusal is counted),
// the port has a restartable compare-exchange, and the NMI's entry restarts it:
//
//     bool compare_exchange(std::uint32_t* word, std::uint32_t expected, std::uint32_t desired);
//
// a function of the machine's own, load - compare - store, which an NMI's entry finds by the
// interrupted address: if that lies behind the load and before the store has been done, it is set back
// to the load. So no store is ever done after a value that is not the present one, and the three
// instructions are one step to every context. (A program without such handlers leaves it out, and
// plain_compare_exchange() under masked irqs takes its place. examples/firmware/cortex_m0 has it.)
#pragma once

#include <atomic>
#include <bit>
#include <cstdint>

namespace nestlock {

namespace internal {
// Right where nothing comes in between.
inline bool plain_compare_exchange(volatile std::uint32_t* word, std::uint32_t expected,
                                   std::uint32_t desired) noexcept {
  if (*word != expected) return false;
  *word = desired;
  return true;
}
}  // namespace internal

// `M` is the machine: irq_save(), irq_restore() and swap(), the compare-exchange. All functions: any context, as std::atomic's of the same name. Orders are the compiler's only: one CPU sees its own
// accesses in program order.
template <class T, class M>
class MaskedAtomic {
 public:
  // Holds a value.
  constexpr MaskedAtomic() noexcept : word_(T{}) {}
  constexpr MaskedAtomic(T value) noexcept : word_(value) {}
  MaskedAtomic(const MaskedAtomic&) = delete;
  MaskedAtomic& operator=(const MaskedAtomic&) = delete;

  // One access.
  T load(std::memory_order order = std::memory_order_seq_cst) const noexcept {
    const T value = word_.load(std::memory_order_relaxed);
    std::atomic_signal_fence(order);
    return value;
  }
  void store(T value, std::memory_order order = std::memory_order_seq_cst) noexcept {
    std::atomic_signal_fence(order);
    word_.store(value, std::memory_order_relaxed);
  }

  // Masks irqs for a handful of instructions; fails only for a value that is not `expected`.
  bool compare_exchange_strong(T& expected, T desired, std::memory_order = {},
                               std::memory_order = {}) noexcept
    requires(sizeof(T) == sizeof(std::uint32_t))
  {
    const auto before = M::irq_save();
    auto* const word = reinterpret_cast<std::uint32_t*>(&word_);
    const bool done = M::swap(word, std::bit_cast<std::uint32_t>(expected),
                              std::bit_cast<std::uint32_t>(desired));
    M::irq_restore(before);
    if (!done) expected = load(std::memory_order_relaxed);
    return done;
  }
  bool compare_exchange_weak(T& expected, T desired, std::memory_order success = {},
                             std::memory_order failure = {}) noexcept {
    return compare_exchange_strong(expected, desired, success, failure);
  }

  // The value before. A turn more of the loop for each context that came in between.
  T exchange(T value, std::memory_order = {}) noexcept {
    return change([&](T) { return value; });
  }
  T fetch_add(T by, std::memory_order = {}) noexcept {
    return change([&](T old) { return static_cast<T>(old + by); });
  }
  T fetch_sub(T by, std::memory_order = {}) noexcept {
    return change([&](T old) { return static_cast<T>(old - by); });
  }
  T fetch_or(T bits, std::memory_order = {}) noexcept {
    return change([&](T old) { return static_cast<T>(old | bits); });
  }
  T fetch_and(T bits, std::memory_order = {}) noexcept {
    return change([&](T old) { return static_cast<T>(old & bits); });
  }

 private:
  template <class F>
  T change(F f) noexcept {
    T old = word_.load(std::memory_order_relaxed);
    while (!compare_exchange_strong(old, f(old))) {
    }
    return old;
  }
  std::atomic<T> word_;  // loads and stores alone
};

}  // namespace nestlock
