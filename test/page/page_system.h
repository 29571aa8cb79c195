// A page allocator on a system that counts what it gives and whose clock stands.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/page.h"

namespace nestlock::test_support {

inline constexpr std::size_t kMiB = std::size_t{1} << 20;

// A system that counts what it gives, page by page, and a clock that stands until it is set.
struct System {
  static constexpr std::size_t kSize = std::size_t{32} << 20;
  static inline std::vector<bool> has = std::vector<bool>(kSize >> kPageShift);
  static inline std::uint64_t time = 0;
  static inline bool refuses = false;
  static void* memory() {
    static void* const m = std::aligned_alloc(std::size_t{4} << 20, kSize);
    return m;
  }
  static std::size_t page(const void* at) {
    return static_cast<std::size_t>(static_cast<const char*>(at) - static_cast<char*>(memory())) >>
           kPageShift;
  }
  static bool release(void* start, std::size_t size) noexcept {
    if (refuses) return false;
    for (std::size_t i = 0; i < size >> kPageShift; ++i) has[page(start) + i] = false;
    return true;
  }
  static std::uint64_t now() noexcept { return time; }
  static std::size_t resident() {
    std::size_t n = 0;
    for (const bool b : has) n += b;
    return n;
  }
};

template <class K>
struct CountedPages : ::testing::Test {
  using Pages = BasicPageAllocator<K>;
  void SetUp() override {
    System::has.assign(System::has.size(), false);
    System::time = 0;
    System::refuses = false;
    pages = std::make_unique<Pages>();
    descriptors.assign(Pages::descriptor_bytes(System::kSize), 0);
    ASSERT_EQ(pages->set_up({.start = System::memory(),
                             .size = System::kSize,
                             .commit = [](void*, std::size_t) noexcept { return true; },
                             .release = System::release,
                             .now = System::now,
                             .descriptors = descriptors.data()}),
              PageSetup::ok);
  }
  void TearDown() override { EXPECT_TRUE(pages->consistent()); }
  // Takes and touches blocks, then frees them.
  void use(std::size_t bytes, unsigned order, gfp flags = gfp::kernel) {
    std::vector<typename Pages::Page*> all;
    for (std::size_t i = 0; i < bytes >> kPageShift >> order; ++i) {
      all.push_back(pages->alloc_pages(flags, order));
      ASSERT_NE(all.back(), nullptr);
      for (std::size_t p = 0; p < std::size_t{1} << order; ++p)
        System::has[System::page(pages->address(all.back())) + p] = true;
    }
    for (auto* b : all) EXPECT_TRUE(pages->free_pages(b, order));
  }
  // Free pages that are not clean are at least those that are resident.
  void expect_true_counts() {
    const PageStats s = pages->stats(0);
    EXPECT_LE(System::resident(), s.free - s.clean + s.cached);
  }
  std::vector<unsigned char> descriptors;
  std::unique_ptr<Pages> pages;
};

}  // namespace nestlock::test_support
