// Who goes through all caches (slabinfo(), shrink_all(), flush_cpu()) beside those who create and destroy
// some: each that stays is come upon exactly once, and nobody waits for the whole way.
#include <algorithm>
#include <atomic>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "nestlock/slab.h"
#include "test/support/kernels.h"
#include "test/support/slab_floors.h"

namespace nestlock {
namespace {

using test_support::Floors;
using test_support::HostedKernel;

unsigned times(std::string_view text, std::string_view name) {
  unsigned n = 0;
  for (std::size_t at = 0; (at = text.find(name, at)) != text.npos; ++at) ++n;
  return n;
}

template <class K>
struct Own : policy::PerLockByte<K> {};  // so that all is compiled here

template <class K>
struct SlabCaches : ::testing::Test {
  using Slabs = typename Floors<K, Own<K>>::Slabs;
  void SetUp() override { floors_.reset(); }
  Slabs& slabs() { return *floors_.slabs; }
  std::string table() {
    static thread_local char text[16'384];
    return {text, slabs().slabinfo(text, sizeof text)};
  }
  static Floors<K, Own<K>> floors_;
};
template <class K>
Floors<K, Own<K>> SlabCaches<K>::floors_;
using Several = ::testing::Types<HostedKernel<configs::smp>, HostedKernel<configs::smp_debug>,
                                 HostedKernel<configs::smp_rt>>;
TYPED_TEST_SUITE(SlabCaches, Several, test_support::KernelName);

TYPED_TEST(SlabCaches, ATableThatIsTooShortIsCutOff) {
  auto& s = this->slabs();
  for (const char* name : {"first", "second"}) ASSERT_NE(s.create(name, 64), nullptr);
  const std::string whole = this->table();
  EXPECT_EQ(times(whole, "first "), 1u);
  EXPECT_EQ(times(whole, "second "), 1u);
  for (std::size_t size :
       {std::size_t{1}, std::size_t{100}, whole.size() / 2, whole.size(), whole.size() + 1}) {
    std::vector<char> text(size + 1, '#');
    const std::size_t length = s.slabinfo(text.data(), size);
    EXPECT_EQ(length, std::min(size - 1, whole.size()));
    EXPECT_EQ(std::string(text.data(), length), whole.substr(0, length));
    EXPECT_EQ(text[size], '#');
  }
  EXPECT_EQ(s.slabinfo(nullptr, 0), 0u);
}

// More walk at once than have a place of their own.
TYPED_TEST(SlabCaches, WhoStaysIsMetOnceBesideWhoComesAndGoes) {
  auto& s = this->slabs();
  ASSERT_NE(s.create("first", 64), nullptr);
  constexpr unsigned kWalkers = 6, kRounds = 300;
  std::atomic<unsigned> walked{0};
  std::vector<std::thread> threads;
  for (unsigned i = 0; i < kWalkers; ++i)
    threads.emplace_back([&, i] {
      for (unsigned round = 0; round < kRounds; ++round) {
        if (i % 3 == 0) s.shrink_all();
        if (i % 3 == 1) s.flush_cpu();
        const std::string text = this->table();
        ASSERT_EQ(times(text, "first "), 1u) << text;
        for (const char* name : {"one ", "two ", "three "})
          ASSERT_LE(times(text, name), 1u) << text;
      }
      walked.fetch_add(1);
    });
  for (unsigned round = 0; walked.load() < kWalkers; ++round) {
    auto* const one = s.create("one", 64);
    auto* const two = s.create("two", 128);
    auto* const three = s.create("three", 256);
    ASSERT_TRUE(one && two && three);
    ASSERT_TRUE(s.destroy(round % 2 ? one : two));
    ASSERT_TRUE(s.destroy(three));
    ASSERT_TRUE(s.destroy(round % 2 ? two : one));
  }
  for (std::thread& t : threads) t.join();
  EXPECT_TRUE(s.consistent());
}

}  // namespace
}  // namespace nestlock
