// What page tests share: memory to manage, a model of who owns which block, and the fixture.
#pragma once

#include <sys/mman.h>

#include <cstdio>
#include <cstring>
#include <map>
#include <optional>
#include <random>
#include <sstream>

#include "findings.h"
#include "gtest/gtest.h"
#include "interrupts.h"
#include "page_allocators.h"

namespace nestlock::test_support {

inline constexpr std::size_t kBlockBytes = kPageSize << kMaxOrder;

// Address space, aligned to the largest block; committed when it is touched. The same for all
// tests: they find what others left in it.
class Arena {
 public:
  static constexpr std::size_t kSize = std::size_t{64} << 20;

  static char* memory() { return get().memory_; }
  // Zero-filled.
  static void* descriptors(std::size_t bytes) {
    std::memset(get().descriptors_, 0, bytes);
    return get().descriptors_;
  }

 private:
  Arena() {
    const std::size_t size = kSize + kBlockBytes + kDescriptors;
    auto* const p = static_cast<char*>(mmap(nullptr, size, PROT_READ | PROT_WRITE,
                                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    const auto at = reinterpret_cast<std::uintptr_t>(p);
    memory_ = p + (-at & (kBlockBytes - 1));
    descriptors_ = p + kSize + kBlockBytes;
  }
  static Arena& get() {
    static Arena arena;
    return arena;
  }
  static constexpr std::size_t kDescriptors = std::size_t{8} << 20;
  char* memory_;
  char* descriptors_;
};

// ---- the model ----------------------------------------------------------------------------------

// Writes a tag all over a block; has_tag() tells whether it is still there.
inline void fill(void* at, unsigned order, std::uint64_t tag) {
  for (std::size_t b = 0; b < kPageSize << order; b += 128)
    std::memcpy(static_cast<char*>(at) + b, &tag, sizeof tag);
}
inline bool has_tag(const void* at, unsigned order, std::uint64_t tag) {
  for (std::size_t b = 0; b < kPageSize << order; b += 128) {
    std::uint64_t found;
    std::memcpy(&found, static_cast<const char*>(at) + b, sizeof found);
    if (found != tag) return false;
  }
  return true;
}

// The blocks that a test has, each full of its tag. What is wrong stays in trouble().
class Owned {
 public:
  struct Block {
    char* at;
    unsigned order;
    std::uint64_t tag;
  };

  // False: not aligned, or given twice.
  bool add(void* p, unsigned order) {
    auto* const at = static_cast<char*>(p);
    if (reinterpret_cast<std::uintptr_t>(at) & ((kPageSize << order) - 1))
      return bad("not aligned", at, order);
    const auto next = blocks_.lower_bound(at);
    if (next != blocks_.end() && next->first < at + (kPageSize << order))
      return bad("given twice", at, order);
    if (next != blocks_.begin())
      if (const Block& before = std::prev(next)->second;
          before.at + (kPageSize << before.order) > at)
        return bad("given twice", at, order);
    const Block b{at, order, ++tags_ * 0x9e3779b97f4a7c15};
    fill(at, order, b.tag);
    blocks_.emplace(at, b);
    pages_ += std::uintptr_t{1} << order;
    return true;
  }
  bool intact() {
    for (const auto& [at, b] : blocks_)
      if (!has_tag(at, b.order, b.tag)) return bad("overwritten", b.at, b.order);
    return true;
  }
  // Takes a block out, its tag checked.
  Block take(void* p) {
    const auto i = blocks_.find(static_cast<char*>(p));
    const Block b = i->second;
    if (!has_tag(b.at, b.order, b.tag)) bad("overwritten", b.at, b.order);
    blocks_.erase(i);
    pages_ -= std::uintptr_t{1} << b.order;
    return b;
  }
  Block take_any(std::mt19937_64& random) {
    auto i = blocks_.lower_bound(Arena::memory() + random() % Arena::kSize);
    if (i == blocks_.end()) i = blocks_.begin();
    return take(i->first);
  }
  Block take_first() { return take(blocks_.begin()->first); }
  bool empty() const { return blocks_.empty(); }
  std::size_t size() const { return blocks_.size(); }
  std::uintptr_t pages() const { return pages_; }
  const std::string& trouble() const { return trouble_; }

 private:
  bool bad(const char* what, const char* at, unsigned order) {
    std::ostringstream s;
    s << "order " << order << " at " << static_cast<const void*>(at) << ": " << what << "; ";
    if (trouble_.size() < 1000) trouble_ += s.str();
    return false;
  }
  std::map<char*, Block> blocks_;
  std::uintptr_t pages_ = 0;
  std::uint64_t tags_ = 0;
  std::string trouble_;
};

// ---- the fixture --------------------------------------------------------------------------------

// One allocator; after the test it is consistent, nothing was reported but what the test took note
// of, and the thread's masks and counts are as they were.
class PagesTest : public ::testing::TestWithParam<PagesCase> {
 protected:
  void SetUp() override {
    allocator = GetParam().make();
    findings.emplace();
    ASSERT_EQ(counts(), ThreadCounts{});
  }
  void TearDown() override {
    if (findings) {
      EXPECT_EQ(findings->size(), 0u) << findings->text();
    }
    if (allocator) {
      EXPECT_TRUE(allocator->consistent()) << info();
    }
    EXPECT_EQ(counts(), ThreadCounts{});
    quieten();
  }

  Config config() const { return GetParam().config; }
  static PageMemory memory(std::size_t pages, unsigned nodes = 1) {
    return {.start = Arena::memory(),
            .size = pages * kPageSize,
            .commit = nullptr,
            .descriptors = Arena::descriptors(pages * 256 + 1024),
            .nodes = nodes};
  }
  void set_up(std::size_t pages, unsigned nodes = 1) {
    ASSERT_LE(allocator->descriptor_bytes(pages * kPageSize), pages * 256 + 1024);
    ASSERT_EQ(allocator->set_up(memory(pages, nodes)), PageSetup::ok);
    hosted::tsan_blocks_change();  // before any handler
  }

  // All that can be had so, and its return.
  void take_all(Owned& owned, gfp flags, unsigned order) {
    while (void* const p = allocator->alloc(flags, order)) ASSERT_TRUE(owned.add(p, order));
  }
  void give_back(Owned& owned) {
    while (!owned.empty()) {
      const Owned::Block b = owned.take_first();
      EXPECT_TRUE(allocator->free(b.at, b.order));
    }
    EXPECT_EQ(owned.trouble(), "");
  }

  std::string info() const {
    char text[8192];
    allocator->zoneinfo(text, sizeof text);
    return text;
  }
  // Free blocks of each order, from buddyinfo.
  std::vector<unsigned> blocks(unsigned node = 0) const {
    char text[1024];
    allocator->buddyinfo(text, sizeof text);
    std::istringstream lines(text);
    std::string line;
    for (unsigned n = 0; n <= node; ++n) std::getline(lines, line);
    std::istringstream numbers(line.substr(line.find(':') + 1));
    return {std::istream_iterator<unsigned>(numbers), {}};
  }
  // Everything that is free lies in the buddy, and it is all there is.
  void expect_all_free(unsigned node = 0) {
    allocator->drain_all();
    const PageStats s = allocator->stats(node);
    EXPECT_EQ(s.free + s.isolated, s.committed) << info();
    EXPECT_EQ(s.cached, 0u);
    EXPECT_EQ(s.parked, 0u);
    EXPECT_TRUE(allocator->consistent()) << info();
  }
  // What was reported; TearDown then has nothing to say about it.
  std::vector<Finding> take_findings() {
    std::vector<Finding> all = findings->all();
    findings.emplace();
    return all;
  }

  std::unique_ptr<AnyPages> allocator;
  std::optional<Findings> findings;
};

}  // namespace nestlock::test_support
