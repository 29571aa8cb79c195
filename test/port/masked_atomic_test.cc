// The read-modify-writes of a core that has none (port/masked_atomic.h), on a machine that interrupts
// where it hurts: between the look at a value and its exchange.
#include "nestlock/port/masked_atomic.h"

#include <gtest/gtest.h>

#include <cstdint>

namespace nestlock {
namespace {

// Masks are counted; and once, when armed, an interrupt adds to the word just before it is compared.
struct Machine {
  static inline int masked = 0, sections = 0;
  static inline std::uint32_t interrupt_adds = 0;
  static bool irq_save() noexcept { return ++sections, masked++ != 0; }
  static void irq_restore(bool before) noexcept { masked = before; }
  static bool swap(std::uint32_t* word, std::uint32_t expected, std::uint32_t desired) noexcept {
    EXPECT_EQ(masked, 1);
    *word += interrupt_adds;
    interrupt_adds = 0;
    return internal::plain_compare_exchange(word, expected, desired);
  }
};
using Word = MaskedAtomic<std::uint32_t, Machine>;

struct MaskedAtomicTest : testing::Test {
  MaskedAtomicTest() { Machine::masked = Machine::sections = 0, Machine::interrupt_adds = 0; }
  ~MaskedAtomicTest() override { EXPECT_EQ(Machine::masked, 0); }
};

TEST_F(MaskedAtomicTest, EachOperationChangesWhatItSaysAndReturnsWhatWas) {
  Word w{0b0110};
  EXPECT_EQ(w.load(), 0b0110u);
  EXPECT_EQ(w.fetch_add(1), 0b0110u);
  EXPECT_EQ(w.fetch_sub(1), 0b0111u);
  EXPECT_EQ(w.fetch_or(1), 0b0110u);
  EXPECT_EQ(w.fetch_and(0b0011), 0b0111u);
  EXPECT_EQ(w.exchange(9), 0b0011u);
  EXPECT_EQ(Machine::sections, 5);
  w.store(8);
  EXPECT_EQ(w.load(), 8u);
}

TEST_F(MaskedAtomicTest, CompareExchangeSaysWhatIsThere) {
  Word w{1};
  std::uint32_t expected = 2;
  EXPECT_FALSE(w.compare_exchange_strong(expected, 3));
  EXPECT_EQ(expected, 1u);
  EXPECT_TRUE(w.compare_exchange_weak(expected, 3));
  EXPECT_EQ(w.load(), 3u);
}

TEST_F(MaskedAtomicTest, NothingThatCameInBetweenIsLost) {
  Word w{0};
  Machine::interrupt_adds = 100;
  EXPECT_EQ(w.fetch_add(1), 100u);
  EXPECT_EQ(w.load(), 101u);
  Machine::interrupt_adds = 1000;
  EXPECT_EQ(w.exchange(7), 1101u);
  EXPECT_EQ(w.load(), 7u);
}

}  // namespace
}  // namespace nestlock
