// Hosted port, part 7: asks Linux (7.0 and later) not to take the processor away in a section that others wait
// for. Where the kernel does not know how, nothing here does anything.
//
// Each thread has an area that it shares with the kernel (restartable sequences; glibc registers it). In the word
// `slice_ctrl` of it one byte is the thread's wish: the kernel, about to give the processor to another thread,
// clears it, sets the next byte, and lets this thread go on for some 5 us more. Who is through takes the wish back,
// and, if it was granted, gives the processor up. Forgotten wishes (a section left by a jump) cost the others those
// 5 us, once: any system call ends a grant. This byte is the only one that is written here.
//
// Facts: Documentation/userspace-api/rseq.rst of Linux 7.0.
#pragma once

#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstdint>

#include "nestlock/port/hosted_registry.h"
#include "nestlock/port/hosted_thread.h"

// glibc 2.35 and later: where the area is, from the thread pointer, and how much of it is registered.
extern "C" {
[[gnu::weak]] extern const std::ptrdiff_t __rseq_offset;  // NOLINT(bugprone-reserved-identifier)
[[gnu::weak]] extern const unsigned int __rseq_size;      // NOLINT(bugprone-reserved-identifier)
}

namespace nestlock::hosted {

struct SliceControl {
  std::atomic<std::uint8_t> request, granted;
};

namespace slice {

inline constexpr std::size_t kControlAt = 28;      // of slice_ctrl in the area
inline constexpr std::size_t kControlEndsAt = 32;  // an older kernel's area ends before
inline constexpr long kYield = 471;                // rseq_slice_yield()
inline constexpr std::uint32_t kUnknown = 0, kAbsent = 1, kThere = 2;  // ThreadState::slice

inline std::byte* area() noexcept {
  if (&__rseq_offset == nullptr || &__rseq_size == nullptr || __rseq_size == 0) return nullptr;
  std::byte* thread = nullptr;
#if defined(__x86_64__)
  asm("movq %%fs:0, %0" : "=r"(thread));
#elif defined(__aarch64__)
  asm("mrs %0, tpidr_el0" : "=r"(thread));
#endif
  return thread ? thread + __rseq_offset : nullptr;
}

// A system call, for each thread's first section that others wait for; none where the kernel is too old for it:
// a sandbox may kill for calls that it does not know.
[[gnu::noinline]] inline std::uint32_t find_out() noexcept {
  constexpr unsigned long kFeatureSize = 27;  // AT_RSEQ_FEATURE_SIZE
  constexpr int kSliceExtension = 79;         // PR_RSEQ_SLICE_EXTENSION
  constexpr unsigned long kSet = 2, kEnable = 1;
  if (!area() || getauxval(kFeatureSize) < kControlEndsAt) return kAbsent;
  const int saved = errno;
  const int r = prctl(kSliceExtension, kSet, kEnable, 0ul, 0ul);
  errno = saved;
  return r == 0 ? kThere : kAbsent;
}

inline SliceControl& control(std::byte* area) noexcept {
  return *reinterpret_cast<SliceControl*>(area + kControlAt);
}

// relaxed, of both bytes: they order nothing, and only this processor's kernel writes them. The fences keep the
// compiler from moving the section out from between them.
inline void begin(SliceControl& c) noexcept {
  c.request.store(1, kRelaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
}
inline void end(SliceControl& c) noexcept {
  std::atomic_signal_fence(std::memory_order_seq_cst);
  c.request.store(0, kRelaxed);
  if (c.granted.load(kRelaxed) == 0) return;
  const int saved = errno;
  syscall(kYield);
  errno = saved;
}

}  // namespace slice

// The operations of SlicePort.
struct Slices {
  static bool slice_begins() noexcept {
    ThreadState& s = self();
    std::uint32_t there = s.slice.load(kRelaxed);
    if (there == slice::kUnknown) s.slice.store(there = slice::find_out(), kRelaxed);
    if (there != slice::kThere) return false;
    return slice::begin(slice::control(slice::area())), true;
  }
  static void slice_ends() noexcept { slice::end(slice::control(slice::area())); }
};

}  // namespace nestlock::hosted
