// The page and slab floors on a lock policy, on one CPU: what a nested call gets there, and whether
// anything is handed out twice.
//
// A run is code that gets interrupted after each of its instructions in turn, by an irq, an NMI or
// a probe whose handler allocates, too, and keeps what it gets. (A balanced pair, take and give
// back, would hide every error.) Whatever is allocated after that is compared with what is out
// already.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "tools/shared/asked.h"

namespace nestlock::tools {

struct Nested {
  std::uint64_t instructions = 0;  // interrupted
  std::uint64_t handlers = 0;      // that ran
  std::uint64_t asked = 0, served = 0;
  std::uint64_t busy = 0;     // handlers that found a lock held
  std::uint64_t twice = 0;    // instructions after which something had two owners
  std::uint64_t damaged = 0;  // of the others, those after which something was lost
  std::uint64_t crashed = 0;  // those that ended the process, or hung
  const char* trouble = nullptr;

  bool sound() const { return twice + damaged + crashed == 0; }
};

// The parts of a run; the counts are those of this one interruption.
struct FloorRun {
  void (*prepare)();
  void (*code)();
  void (*handler)(Nested&);
  void (*check)(Nested&);
};

// Interrupts it everywhere, in a child process: a corrupt allocator may end it.
Nested interrupt_everywhere(const FloorRun& run, Context by);

// The ways to be interrupted; a probe comes in the task itself.
inline constexpr Context kInterruptions[] = {Context::hardirq, Context::nmi, Context::task};
inline constexpr const char* kInterruptionNames[] = {"irq", "NMI", "probe"};

struct Policy {
  const char* name;
  bool corrupts[3];            // what is known of it, by kInterruptions
  bool refuses[3];             // ... and whether it serves nothing there
  std::size_t lock_bytes = 0;  // of all locks of both floors, for one CPU and one node
  std::size_t locks = 0;       // how many these are
  const char* type = nullptr;  // of the policy, mangled: its functions' names hold it
  Askable lock{};              // the per-CPU pages' lock, or the zone's where there are none
  FloorRun pages{}, objects{};
  void (*kmalloc_pair)() = nullptr;
};

// Why it is not what is known of the policy; empty if it is.
const char* why_unlike_known(const Nested& n, const Policy& p, unsigned by);

// The six proposals of the list, on one CPU. Each has a file of its own: among others the compiler
// inlines less of it, and the figures would not be comparable.
Policy stateless();
Policy irqs_off();
Policy refused_in_nmi();
Policy per_lock_atomic();
Policy class_atomic();
Policy per_lock_byte();
std::span<const Policy> policies();

}  // namespace nestlock::tools
