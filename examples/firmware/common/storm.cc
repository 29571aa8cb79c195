// The demonstration: the main loop allocates, fills, checks and frees; so do the handlers of a timer, of
// two irqs and of the NMI, each from inside what it interrupted. Whoever has memory keeps his stamp in
// each eighth byte of it (no object is smaller), so memory that has two owners is seen.
//
// FIRMWARE_LOCKS is the policy whose locks everything stands on: nestlock::policy::PerLockByte, the
// library's own, or nestlock::testing::Stateless, which is what spinlocks were on one CPU. The first
// corruption ends the program with status 3; a storm in which nothing met anything is none, and ends with 4.
#include <array>
#include <cstdint>

#include "machine.h"
#include "nestlock/slab.h"
#include "nestlock/testing/unpromised_policies.h"
#include "print.h"

namespace {

using Locks = FIRMWARE_LOCKS<nestlock::BuiltKernel>;
using Pages = nestlock::BasicPageAllocator<nestlock::BuiltKernel, Locks>;
using Slabs = nestlock::BasicSlabAllocator<nestlock::BuiltKernel, Locks>;
using machine::Source;

alignas(nestlock::kPageSize) constinit unsigned char memory[machine::kMemory]{};
constinit Pages pages;
constinit Slabs slabs;
constinit typename Locks::Zone lock;       // of the program's own
constinit std::uint32_t one = 0, two = 0;  // guarded by it: equal outside of sections

constexpr unsigned kSteps = FIRMWARE_STEPS;  // of the main loop
constexpr unsigned kStuckAfter = 20'000;     // timer interrupts without one
constexpr std::uint32_t kLongest = 30'000;   // between two of a kind, in the timers' ticks
constinit volatile unsigned steps = 0, ticks_since_step = 0;

struct Counts {
  std::uint32_t irqs, irqs_inside, nmis, nmis_inside, refused, granted, served, not_served;
};
constinit Counts counts{};

[[noreturn]] void finish(unsigned status, const char* what) {
  machine::timer(0);
  if (status) machine::put(what), machine::put("\n");
  firmware::print("steps of the main loop", steps);
  firmware::print("irqs taken", counts.irqs);
  firmware::print("  inside a locked section", counts.irqs_inside);
  firmware::print("NMIs taken", counts.nmis);
  firmware::print("  inside a locked section", counts.nmis_inside);
  firmware::print("nested trylocks refused", counts.refused);
  firmware::print("nested trylocks granted", counts.granted);
  firmware::print("nested allocations served", counts.served);
  firmware::print("nested allocations refused", counts.not_served);
  firmware::print("corruption", status == 3);
  machine::end(status);
}
void insist(bool right, const char* what) {
  if (!right) finish(3, what);
}

std::uint32_t random(std::uint32_t& state) {
  state ^= state << 13, state ^= state >> 17, state ^= state << 5;
  return state;
}

// What one level (the task, an irq, the NMI) has at present. Levels nest and return before what they
// interrupted goes on, so each needs no lock for what is its own.
class Owner {
 public:
  constexpr explicit Owner(std::uint32_t seed) : random_(seed) {}

  // Allocates into an empty place, or frees what a taken one has.
  template <bool kNested>
  void step() {
    Held& h = held_[random(random_) % held_.size()];
    if (h.at)
      give_back<kNested>(h);
    else
      take<kNested>(h);
  }
  void give_all_back() {
    for (Held& h : held_)
      if (h.at) give_back<false>(h);
  }
  std::uint32_t next() { return random(random_); }

 private:
  struct Held {
    unsigned char* at;
    typename Pages::Page* page;  // null: an object of kmalloc
    std::uint32_t size;
    unsigned char stamp;
  };

  template <bool kNested>
  void take(Held& h) {
    const std::uint32_t r = random(random_);
    h.page = nullptr;
    if (r % 4 == 0) {
      h.page = kNested ? pages.alloc_pages_nolock(nestlock::gfp::none, 0)
                       : pages.alloc_pages(nestlock::gfp::kernel, 0);
      h.at = h.page ? static_cast<unsigned char*>(pages.address(h.page)) : nullptr;
      h.size = nestlock::kPageSize;
    } else {
      h.size = 1 + (r >> 8) % machine::kLargest;
      h.at = static_cast<unsigned char*>(kNested ? slabs.kmalloc_nolock(h.size, nestlock::gfp::none)
                                                 : slabs.kmalloc(h.size, nestlock::gfp::kernel));
    }
    if constexpr (kNested) ++(h.at ? counts.served : counts.not_served);
    if (!h.at) return;
    insist(h.at >= memory && h.at + h.size <= memory + sizeof memory, "memory from elsewhere");
    h.stamp = static_cast<unsigned char>(r >> 24);
    for (std::uint32_t i = 0; i < h.size; i += 8) h.at[i] = h.stamp;
  }

  template <bool kNested>
  void give_back(Held& h) {
    for (std::uint32_t i = 0; i < h.size; i += 8)
      insist(h.at[i] == h.stamp, "memory with two owners");
    const bool taken =
        h.page ? (kNested ? pages.free_pages_nolock(h.page, 0) : pages.free_pages(h.page, 0))
               : (kNested ? slabs.kfree_nolock(h.at) : slabs.kfree(h.at));
    insist(taken, "a free that was refused");
    h.at = nullptr;
  }

  std::uint32_t random_;
  std::array<Held, machine::kHeld> held_{};
};

constinit Owner task(0x9e3779b9), level[4] = {Owner(0x243f6a88), Owner(0x85a308d3),
                                              Owner(0x13198a2e), Owner(0x03707344)};

// A section of the program's own: whoever is in it finds both counts equal.
void section() {
  insist(one == two, "two owners of a lock");
  one = one + 1;
  asm volatile("" : : : "memory");
  two = two + 1;
}

void nested(Owner& owner, std::uint32_t& inside) {
  if (lock.is_locked() || slabs.interrupted() != nestlock::Floor::none) ++inside;
  if (lock.try_lock()) {
    ++counts.granted;
    section();
    lock.unlock();
  } else {
    ++counts.refused;
  }
  owner.step<true>();
}

}  // namespace

void machine::interrupt(Source source, std::uintptr_t) {
  if (source == Source::fault) finish(3, "a fault");
  Owner& owner = level[static_cast<unsigned>(source)];
  if (source == Source::nmi) {
    ++counts.nmis;
    nested(owner, counts.nmis_inside);
    machine::nmi_after(1 +
                       owner.next() % kLongest);  // not before: it must not come during this one
    return;
  }
  ++counts.irqs;
  if (source == Source::timer) {
    ticks_since_step = ticks_since_step + 1;
    insist(ticks_since_step < kStuckAfter, "the main loop is stuck");
    machine::pend_irq(owner.next() % 2);
  }
  if (owner.next() % 8 == 0) machine::pend_nmi();
  nested(owner, counts.irqs_inside);
  if (source == Source::timer) machine::timer(1 + owner.next() % kLongest);
}

int main() {
  insist(pages.set_up({.start = memory, .size = sizeof memory}) == nestlock::PageSetup::ok &&
             slabs.set_up(pages),
         "the allocators were not set up");
  slabs.shrink_all();
  pages.drain_all_pages();
  const std::uint32_t free_at_first = pages.stats(0).free;

  machine::timer(1000);
  machine::nmi_after(1000);
  while (steps < kSteps) {
    task.step<false>();
    {
      // Irqs are masked, so that none is refused all the time; an NMI cannot be.
      nestlock::Guard held(lock, nestlock::irq_save);
      if (steps % 4 == 0) machine::pend_nmi();
      section();
    }
    steps = steps + 1;
    ticks_since_step = 0;
  }
  machine::timer(0);
  machine::nmi_after(0);

  task.give_all_back();
  for (Owner& owner : level) owner.give_all_back();
  insist(slabs.consistent() && pages.consistent(), "lists or counts that do not agree");
  slabs.shrink_all();
  pages.drain_all_pages();
  insist(pages.stats(0).free == free_at_first, "memory that nobody has");
  const bool nmis = !machine::kHasNmi || (counts.nmis && counts.nmis_inside);
  const bool shown = nmis && counts.irqs && counts.irqs_inside && counts.refused &&
                     counts.granted && counts.served;
  finish(shown ? 0 : 4, "a count that is nought: nothing was shown");
}
