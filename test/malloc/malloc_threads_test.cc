// Kind 9: threads that come and go, many at a time, and beyond the number of virtual CPUs: what they leave behind.
#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <latch>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/malloc.h"
#include "nestlock/system_slab.h"

namespace nestlock {
namespace {

// Allocates, waits for `others` while it has it all, looks at it, frees it. False: something was null or
// was changed.
bool use(unsigned seed, std::latch* others = nullptr) {
  struct Block {
    unsigned char* at;
    std::size_t size;
  } blocks[24];
  bool right = true;
  for (Block& b : blocks) {
    seed = seed * 1664525u + 1013904223u;
    b.size = 1 + (seed >> 8) % 2000;
    b.at = static_cast<unsigned char*>(nestlock_malloc(b.size));
    right &= b.at != nullptr;
    if (b.at) std::memset(b.at, static_cast<int>(seed >> 24), b.size);
  }
  if (others) others->arrive_and_wait();
  for (Block& b : blocks) {
    for (std::size_t i = 0; b.at && i < b.size; ++i) right &= b.at[i] == b.at[0];
    nestlock_free(b.at);
  }
  return right;
}

// A hundred thousand by NESTLOCK_LONG=1.
TEST(MallocThreads, ThatAreOverLeaveNothing) {
  const int rounds = std::getenv("NESTLOCK_LONG") ? 10000 : 500;
  bool right = true;
  std::size_t committed = 0, in_use = 0;
  for (int round = 0; round < rounds; ++round) {
    std::vector<std::thread> threads;
    std::atomic<bool> all{true};
    std::latch others(
        10);  // so that each round needs as much as the next, whoever is scheduled when
    for (unsigned i = 0; i < 10; ++i)
      threads.emplace_back([&all, &others, i, round] {
        if (!use(static_cast<unsigned>(round) * 10 + i, &others)) all.store(false);
      });
    for (std::thread& t : threads) t.join();
    right &= all.load();
    if (round == rounds / 10) {  // from here on there is enough
      nestlock_malloc_trim(0);   // what is in store says nothing
      const nestlock_malloc_counts_t c = nestlock_malloc_counts();
      committed = c.committed, in_use = c.in_use;
    }
  }
  EXPECT_TRUE(right);
  nestlock_malloc_trim(0);
  const nestlock_malloc_counts_t c = nestlock_malloc_counts();
  EXPECT_LE(c.committed, committed + (std::size_t{8} << 20));  // a page of each would be 18 MiB
  EXPECT_LE(c.in_use, in_use + (32u << 10));
  EXPECT_EQ(c.mapped, 0u);
}

// A thread's CPU is another's before the last of its destructors has run: what that frees is not the other's.
struct Last {
  void* block = nullptr;
  bool given_to_another = false;
};
TEST(MallocThreads, WhatOneFreesAtItsEndIsNotAnothers) {
  constexpr std::size_t kSize = 48;
  const auto use_some = [] {
    void* all[50];
    for (void*& p : all) p = nestlock_malloc(kSize);
    for (void* p : all) nestlock_free(p);
  };
  use_some();  // the library's own key comes before this one
  static constexpr auto use = +use_some;
  pthread_key_t key;
  ASSERT_EQ(pthread_key_create(&key,
                               [](void* p) {
                                 Last& last = *static_cast<Last*>(p);
                                 std::latch has_cpu(1), freed(1);
                                 std::thread other([&] {
                                   use();
                                   has_cpu.count_down();
                                   freed.wait();
                                   void* all[60];
                                   for (void*& b : all) {
                                     b = nestlock_malloc(kSize);
                                     last.given_to_another |= b == last.block;
                                   }
                                   for (void* b : all) nestlock_free(b);
                                 });
                                 has_cpu.wait();
                                 nestlock_free(last.block);
                                 freed.count_down();
                                 other.join();
                               }),
            0);
  Last last;
  std::thread([&] {
    use();
    last.block = nestlock_malloc(kSize);
    pthread_setspecific(key, &last);
  }).join();
  EXPECT_NE(last.block, nullptr);
  EXPECT_FALSE(last.given_to_another);
  pthread_key_delete(key);
}

// More than there are virtual CPUs: those that find none share the slabs' lists.
TEST(MallocThreads, AThousandAtATime) {
  constexpr unsigned kThreads = 1000;
  static std::atomic<unsigned> ready, wrong;
  static std::atomic<bool> go;
  ready = 0, wrong = 0, go = false;
  pthread_attr_t small;
  pthread_attr_init(&small);
  pthread_attr_setstacksize(&small, std::size_t{256} << 10);
  std::vector<pthread_t> threads;
  for (unsigned i = 0; i < kThreads; ++i) {
    pthread_t t;
    const auto body = [](void* n) -> void* {
      const auto seed = static_cast<unsigned>(reinterpret_cast<std::uintptr_t>(n));
      if (!use(seed)) wrong.fetch_add(1);
      ready.fetch_add(1);
      ready.notify_one();
      go.wait(false);
      for (unsigned k = 1; k <= 5; ++k)
        if (!use(seed + k)) wrong.fetch_add(1);
      return nullptr;
    };
    if (pthread_create(&t, &small, body, reinterpret_cast<void*>(std::uintptr_t{i})) != 0) break;
    threads.push_back(t);
  }
  pthread_attr_destroy(&small);
  for (unsigned n; (n = ready.load()) != threads.size();) ready.wait(n);  // all are alive now
  go.store(true);
  go.notify_all();
  for (const pthread_t t : threads) pthread_join(t, nullptr);
  EXPECT_EQ(threads.size(), kThreads) << "the system gave no more threads";
  EXPECT_EQ(wrong.load(), 0u);
  EXPECT_TRUE(system_slab().consistent() && system_pages().consistent());
}

}  // namespace
}  // namespace nestlock
