// Other CPUs' sheaves, emptied from here, for what they hold is missed when memory runs short. Included by slab.h.
//
// A CPU's sheaves are its own. Its lock is a byte that it alone writes, by plain loads and stores, so nobody else can
// take it; and its task may be idle, and never come. So who reaches for them turns the owner away, and looks whether he
// is inside:
//
//   1. under way          slow paths, which look at this behind the lock, leave the sheaves alone
//   2. barrier on all CPUs
//   3. lock free?         no slow path is inside, and none comes: bottom and limit are ours
//   4. bottom, limit shut the fast paths find main empty, and full
//   5. barrier on all CPUs
//   6. lock free?         no fast path is inside either: the sheaves are ours, and taken
//                         held: both are put back; what main holds is as it was
//   7. not under way      the owner's next slow path finds a CPU without sheaves
//
// Why that is enough: a barrier meets a CPU before or behind its store to its lock. Behind, we see the lock held at the
// next step, or free again with all that was done under it (release and acquire). Before, it sees what we stored ahead
// of the barrier, for its look comes behind its store. That is Dekker's way to keep two apart, with the fence of the
// one who is often there paid by the other (asymmetric; Dice, Huang, Yang 2001).
//
// A fast path that has read `top` and is held up at its comparison, for however long, is turned away at it: a taken
// CPU stays shut until its own slow path opens it, which is behind that fast path in the same task's order. So what is
// taken is never put back.
//
// Premises: contexts of a CPU nest (words.h). Nothing leaves a reach by a jump: signals are blocked meanwhile
// (SlabReach NoHandlerRunsMeanwhile); a task that ended in the middle would keep the slow paths of this cache from all
// sheaves. The caller is a task.
#pragma once

#include <utility>

#include "nestlock/slab.h"

namespace nestlock {

// Links what it takes before `chain`, and returns the first. Two barriers (none where no other CPU has used the
// cache since the last time), and two looks at each CPU.
template <Kernel K, LockPolicy L>
internal::Sheaf* BasicKmemCache<K, L>::reach([[maybe_unused]] Sheaf* chain) noexcept {
  if constexpr (internal::kReaches<K, L>) {
    using P = typename K::Port;
    const unsigned seen = internal::cpus_seen<P>(), mine = internal::claimed_cpu<P>();
    const auto each_other = [&](auto f) {
      for (unsigned cpu = 0; cpu < seen; ++cpu)
        if (cpu != mine) f(cpu);
    };
    // A look without order.
    bool some = false;
    each_other([&](unsigned cpu) {
      if (!place_.was_used_on(cpu)) return;
      void** const bottom = cpu_.on(cpu).bottom.load(internal::kRelaxed);
      some |= bottom && bottom != CpuSheaves::shut();
    });
    if (!some) return chain;
    // Pinned, for whose turn it is may stand for the CPU, and what interrupts us uses its sheaves.
    internal::Pin<K, false>::enter();
    if (const internal::UninterruptedOf<P> alone; reach_.begin()) {
      std::uint64_t shut[(P::kMaxCpus + 63) / 64] = {};
      const bool first = P::barrier_on_all_cpus();
      if (first)
        each_other([&](unsigned cpu) {
          CpuSheaves& c = cpu_.on(cpu);
          if (c.lock.is_locked_acquire() || !c.main) return;
          if (c.main == &internal::no_sheaf && !c.spare) return;
          shut[cpu / 64] |= std::uint64_t{1} << cpu % 64;
          c.set_room(CpuSheaves::shut(), nullptr);
        });
      const bool second = first && P::barrier_on_all_cpus();
      each_other([&](unsigned cpu) {
        CpuSheaves& c = cpu_.on(cpu);
        if (!(shut[cpu / 64] >> cpu % 64 & 1)) return;
        Sheaf* const main = c.main;
        if (!main) return;  // its thread was lost meanwhile
        void** const bottom = main->object();
        if (!second || c.lock.is_locked_acquire())
          return c.set_room(bottom, bottom + main->capacity);
        const auto had = c.top.load(internal::kRelaxed) - bottom;
        internal::bump_locked(c.moved, -static_cast<std::uintptr_t>(had));
        c.main = &internal::no_sheaf;
        c.top.store(c.main->object(), internal::kRelaxed);
        if (main != &internal::no_sheaf) main->size = static_cast<std::uint32_t>(had);
        for (Sheaf* const s : {main, std::exchange(c.spare, nullptr)}) {
          if (!s || s == &internal::no_sheaf) continue;
          internal::bump(counters_.reached);
          s->next = chain;
          chain = s;
        }
      });
      reach_.end();
    }
    internal::Pin<K, false>::leave();
  }
  return chain;
}

}  // namespace nestlock
