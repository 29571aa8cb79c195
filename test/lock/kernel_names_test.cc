// Each of the kernel's spellings does what its class does, in the configuration that it was built
// as; counts are as before after each pair and each refusal.
#include "nestlock/kernel_names.h"

#include <cstring>

#include "gtest/gtest.h"

namespace nestlock::kernel_names {
namespace {

constexpr bool kRt = kBuiltConfig.preempt_rt;

struct State {
  unsigned preempt = BuiltPort::preempt_count();
  bool irqs_off = irqs_disabled(), bh_off = BuiltPort::bh_disabled();
  bool operator==(const State&) const = default;
};

struct Cache {
  local_lock_t plain;
  local_trylock_t lock;
  int n = 0;
};

// Refusals are only seen where the lock has state.
template <class L>
constexpr bool kHasState = !std::is_empty_v<L>;

// As kernel code has them.
DEFINE_SPINLOCK(defined);
DEFINE_RAW_SPINLOCK(raw_defined);

TEST(KernelNames, SpellingsOfKernelCode) {
  const State before;
  unsigned long flags;
  spin_lock_irqsave(&defined, flags);
  EXPECT_EQ(irqs_disabled(), !kRt);
  spin_unlock_irqrestore(&defined, flags);
  raw_spin_lock_irqsave(&raw_defined, flags);
  EXPECT_TRUE(irqs_disabled());
  raw_spin_unlock_irqrestore(&raw_defined, flags);
  local_irq_save(flags);
  EXPECT_TRUE(irqs_disabled());
  local_irq_restore(flags);
  EXPECT_EQ(State{}, before);
}

// A lock made anew is free, whatever was there.
template <class L, class Init>
void expect_made_free(Init init) {
  alignas(L) static unsigned char memory[sizeof(L)];
  std::memset(memory, 0xa5, sizeof memory);
  L* const l = reinterpret_cast<L*>(memory);
  init(l);
  EXPECT_TRUE(l->try_lock());
  l->unlock();
}
TEST(KernelNames, InitMakesALockOfAnyMemory) {
  expect_made_free<spinlock_t>([](auto* l) { spin_lock_init(l); });
  expect_made_free<spin_trylock_t>([](auto* l) { spin_lock_init(l); });
  expect_made_free<raw_spinlock_t>([](auto* l) { raw_spin_lock_init(l); });
}

TEST(KernelNames, RawSpin) {
  static raw_spinlock_t l;
  const State before;
  irqflags_t flags{};
  raw_spin_lock(&l);
  assert_raw_spin_locked(&l);
  raw_spin_unlock(&l);
  raw_spin_lock_bh(&l);
  EXPECT_TRUE(BuiltPort::bh_disabled());
  raw_spin_unlock_bh(&l);
  raw_spin_lock_irq(&l);
  EXPECT_TRUE(irqs_disabled());
  raw_spin_unlock_irq(&l);
  raw_spin_lock_irqsave(&l, flags);
  EXPECT_TRUE(irqs_disabled());
  EXPECT_EQ(raw_spin_is_locked(&l), kHasState<raw_spinlock_t>);
  EXPECT_FALSE(raw_spin_is_contended(&l));
  raw_spin_unlock_irqrestore(&l, flags);
  EXPECT_TRUE(raw_spin_trylock(&l));
  raw_spin_unlock(&l);
  EXPECT_TRUE(raw_spin_trylock_bh(&l));
  raw_spin_unlock_bh(&l);
  EXPECT_TRUE(raw_spin_trylock_irq(&l));
  raw_spin_unlock_irq(&l);
  EXPECT_TRUE(raw_spin_trylock_irqsave(&l, flags));
  raw_spin_unlock_irqrestore(&l, flags);
  EXPECT_EQ(State{}, before);
}

template <class L>
void all_of_spin() {
  static L l;
  const State before;
  irqflags_t flags{};
  spin_lock(&l);
  assert_spin_locked(&l);
  spin_unlock(&l);
  spin_lock_bh(&l);
  EXPECT_TRUE(BuiltPort::bh_disabled());
  spin_unlock_bh(&l);
  spin_lock_irq(&l);
  EXPECT_EQ(irqs_disabled(), !kRt);
  spin_unlock_irq(&l);
  spin_lock_irqsave(&l, flags);
  EXPECT_EQ(irqs_disabled(), !kRt);
  EXPECT_EQ(spin_is_locked(&l), kHasState<L>);
  EXPECT_FALSE(spin_is_contended(&l));
  spin_unlock_irqrestore(&l, flags);
  EXPECT_TRUE(spin_trylock(&l));
  spin_unlock(&l);
  EXPECT_TRUE(spin_trylock_bh(&l));
  spin_unlock_bh(&l);
  EXPECT_TRUE(spin_trylock_irq(&l));
  spin_unlock_irq(&l);
  EXPECT_TRUE(spin_trylock_irqsave(&l, flags));
  spin_unlock_irqrestore(&l, flags);
  EXPECT_EQ(State{}, before);
}
TEST(KernelNames, Spin) { all_of_spin<spinlock_t>(); }
TEST(KernelNames, SpinTry) { all_of_spin<spin_trylock_t>(); }

// The promise; under the kernel's names: refused; and everything as before.
TEST(KernelNames, RefusedTriesUndoTheirContext) {
  static spin_trylock_t l;
  spin_lock(&l);
  const State before;
  irqflags_t flags{};
  EXPECT_FALSE(spin_trylock(&l));
  EXPECT_FALSE(spin_trylock_bh(&l));
  EXPECT_FALSE(spin_trylock_irq(&l));
  EXPECT_FALSE(spin_trylock_irqsave(&l, flags));
  EXPECT_EQ(State{}, before);
  spin_unlock(&l);
  EXPECT_TRUE(spin_trylock(&l));
  spin_unlock(&l);
}

TEST(KernelNames, Local) {
  static PerCpu<Cache> caches;
  const State before;
  irqflags_t flags{};
  Cache* const mine = local_lock<&Cache::lock>(caches);
  EXPECT_TRUE(local_lock_is_locked<&Cache::lock>(caches));
  EXPECT_EQ(local_trylock<&Cache::lock>(caches), nullptr);
  EXPECT_EQ((local_trylock_irqsave<&Cache::lock>(caches, flags)), nullptr);
  local_unlock<&Cache::lock>(caches);
  EXPECT_EQ(local_trylock<&Cache::lock>(caches), mine);
  local_unlock<&Cache::lock>(caches);
  EXPECT_EQ((local_trylock_irqsave<&Cache::lock>(caches, flags)), mine);
  EXPECT_EQ(irqs_disabled(), !kRt);
  local_unlock_irqrestore<&Cache::lock>(caches, flags);
  EXPECT_EQ(local_lock<&Cache::plain>(caches), mine);
  local_unlock<&Cache::plain>(caches);
  local_lock_irqsave<&Cache::plain>(caches, flags);
  EXPECT_EQ(irqs_disabled(), !kRt);
  local_unlock_irqrestore<&Cache::plain>(caches, flags);
  local_lock_irq<&Cache::plain>(caches);
  EXPECT_EQ(irqs_disabled(), !kRt);
  local_unlock_irq<&Cache::plain>(caches);
  local_bh_disable();
  local_lock_nested_bh(&mine->plain);
  local_unlock_nested_bh(&mine->plain);
  local_bh_enable();
  EXPECT_EQ(State{}, before);
}

TEST(KernelNames, Context) {
  const State before;
  irqflags_t flags{};
  EXPECT_TRUE(in_task() && !in_nmi() && !in_hardirq() && !in_serving_softirq());
  EXPECT_TRUE(can_spin_trylock());
  preempt_disable();
  EXPECT_EQ(BuiltPort::preempt_count(), before.preempt + 1);
  preempt_enable();
  local_irq_save(flags);
  EXPECT_TRUE(irqs_disabled());
  local_irq_restore(flags);
  local_irq_disable();
  EXPECT_TRUE(irqs_disabled());
  local_irq_enable();
  local_bh_disable();
  EXPECT_TRUE(BuiltPort::bh_disabled());
  local_bh_enable();
  EXPECT_EQ(State{}, before);
}

}  // namespace
}  // namespace nestlock::kernel_names
