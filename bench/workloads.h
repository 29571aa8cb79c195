// What is done with an allocator, one step a call; `touch` writes what a user would.
#pragma once

#include <sched.h>

#include <atomic>
#include <bit>
#include <chrono>
#include <cstdint>
#include <thread>

#include "allocators.h"
#include "cpus.h"
#include "rows.h"

namespace bench {

inline void touch(void* p) {
  if (!p) refused();
  *static_cast<volatile char*>(p) = 1;
}

inline void pair(const Allocator& a, std::size_t size) {
  void* const p = a.alloc(size);
  touch(p);
  section();
  a.free(p);
  section();
}

inline constexpr int kBatch = 64;
enum class Order { in, against };
inline void batch(const Allocator& a, Order order) {
  void* p[kBatch];
  for (void*& b : p) touch(b = a.alloc(64));
  section();
  for (int i = 0; i < kBatch; ++i) a.free(p[order == Order::in ? i : kBatch - 1 - i]);
  section();
}

// One of 10,000 blocks of 16..1024 bytes is freed, and another taken for it. Rounded up to the
// classes that the kernel has, the last byte, which is written, is the block's: what is left of the
// difference is the allocator's, and not that of lines which finer classes would not touch.
class RandomSizes {
 public:
  enum class Of { any, kernel_classes };
  explicit RandomSizes(Of of) : of_(of) {}

  void step(const Allocator& a) {
    seed_ ^= seed_ << 13, seed_ ^= seed_ >> 7, seed_ ^= seed_ << 17;
    char*& slot = slot_[(seed_ >> 32) % kSlots];
    std::size_t size = 16 + (seed_ & 0xffffff) % 1009;
    if (of_ == Of::kernel_classes)
      size = size > 64 && size <= 96 ? 96 : size > 128 && size <= 192 ? 192 : std::bit_ceil(size);
    if (slot) a.free(slot);
    slot = static_cast<char*>(a.alloc(size));
    touch(slot);
    slot[size - 1] = 1;
  }
  void fill(const Allocator& a) {
    if (filled_) return;
    for (int i = 0; i < 20 * kSlots; ++i) step(a);
    filled_ = true;
  }

 private:
  static constexpr int kSlots = 10'000;
  char* slot_[kSlots] = {};
  std::uint64_t seed_ = 88172645463325252;
  Of of_;
  bool filled_ = false;
};

// Blocks allocated on one CPU and freed on another, through a ring; ns for each block.
class ProducerConsumer {
 public:
  static constexpr unsigned kRing = 256, kBlocks = 100'000;

  static double run(const Allocator& a, std::size_t size) {
    static ProducerConsumer pc;
    pc.head_ = pc.tail_ = 0;
    std::thread consumer([&] {
      pin_to_nth_cpu(0);
      pc.consume(a);
    });
    const auto start = std::chrono::steady_clock::now();
    for (unsigned i = 0; i < kBlocks; ++i) {
      void* const p = a.alloc(size);
      touch(p);
      wait([&] { return i - pc.tail_.load(std::memory_order_acquire) != kRing; });
      pc.ring_[i % kRing] = p;
      pc.head_.store(i + 1, std::memory_order_release);
    }
    wait([&] { return pc.tail_.load(std::memory_order_acquire) == kBlocks; });
    const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start;
    consumer.join();
    return time.count() / kBlocks;
  }

 private:
  void consume(const Allocator& a) {
    for (unsigned i = 0; i < kBlocks; ++i) {
      wait([&] { return head_.load(std::memory_order_acquire) != i; });
      a.free(ring_[i % kRing]);
      tail_.store(i + 1, std::memory_order_release);
    }
  }
  template <class Done>
  static void wait(Done done) {
    for (int turns = 0; !done();)
      if (++turns > 2000) sched_yield(), turns = 0;
  }
  alignas(64) std::atomic<unsigned> head_{0};
  alignas(64) std::atomic<unsigned> tail_{0};
  alignas(64) void* ring_[kRing];
};

// Two threads, each with pairs of its own; ns for a pair of one of them.
inline double two_threads(const Allocator& a, std::size_t size, int round_ms) {
  std::atomic<int> ready{0};
  std::atomic<bool> stop{false};
  std::uint64_t pairs[2] = {};
  std::thread threads[2];
  for (unsigned t = 0; t < 2; ++t)
    threads[t] = std::thread([&, t] {
      pin_to_nth_cpu(t);
      ready.fetch_add(1);
      while (ready.load() != 2) sched_yield();
      std::uint64_t n = 0;
      for (; !stop.load(std::memory_order_relaxed); ++n) pair(a, size);
      pairs[t] = n;
    });
  while (ready.load() != 2) sched_yield();
  const auto start = std::chrono::steady_clock::now();
  std::this_thread::sleep_for(std::chrono::milliseconds(round_ms));
  stop.store(true);
  const std::chrono::duration<double, std::nano> time = std::chrono::steady_clock::now() - start;
  for (std::thread& t : threads) t.join();
  return 2 * time.count() / static_cast<double>(pairs[0] + pairs[1] + 1);
}

// A row whose body says how long an operation took.
template <class Run>
void add_timed(const std::string& name, Run run) {
  add_row(name,
          [run](benchmark::State& state) {
            for (auto _ : state) state.SetIterationTime(run() / 1e9);
          })
      ->Iterations(1)
      ->UseManualTime();
}

}  // namespace bench
