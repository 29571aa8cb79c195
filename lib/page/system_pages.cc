#include "nestlock/system_pages.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "nestlock/port/hosted_once.h"

namespace nestlock {
namespace {

constinit PageAllocator pages;

// A part of one of the system's pages (of 64 KiB, where a kernel for AArch64 is built so) stays: madvise() would
// take the rest of it, too, which is somebody else's. A block of a page or more begins with one.
bool release(void* start, std::size_t size) noexcept {
  if (size < static_cast<std::size_t>(getpagesize())) return false;
  const int saved = errno;
  const bool ok = madvise(start, size, MADV_DONTNEED) == 0;
  errno = saved;
  return ok;
}

std::uint64_t now() noexcept {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
  return static_cast<std::uint64_t>(t.tv_sec) * 1000 +
         static_cast<std::uint64_t>(t.tv_nsec) / 1000000;
}

using internal::prefer_small_pages;

void* reserve(std::size_t size) noexcept {
  void* const p =
      mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}

// ---- a place for the range, of which nothing is mapped before it is committed -------------------
//
// The system counts what is only reserved where it counts addresses: for RLIMIT_AS, for the limit of what may be
// locked in memory (mlockall() without the privilege is refused then), in the figures of its tools. So the range and
// its descriptors lie where the system puts nothing by itself, and each step of them is mapped when it is wanted.
// Whoever has mapped something there all the same keeps it: that step fails, as one for which there is no memory.

// Whole blocks of the buddy, whose descriptors are whole pages of the system's.
constexpr std::size_t kBlock =
    std::max(std::size_t{2} << 20, static_cast<std::size_t>(kPageSize) << kMaxOrder);

// 0, or errno's value.
int map_at(void* start, std::size_t size) noexcept {
  const int saved = errno;
  void* const p = mmap(start, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  const int error = p == MAP_FAILED ? errno : p == start ? 0 : EEXIST;
  // (A kernel before 4.17 does not know the flag, and may map elsewhere.)
  if (p != MAP_FAILED && p != start) munmap(p, size);
  errno = saved;
  return error;
}

bool commit(void* start, std::size_t size) noexcept { return map_at(start, size) == 0; }

// How far the descriptors, and the tags behind them, are mapped.
constinit std::atomic<std::uintptr_t> descriptors_to{0}, tags_to{0};
constinit std::uintptr_t tags_begin = 0;

// In order of their addresses, but two threads may be at the same part: then the second one waits until the first one
// has said how far it got. If that one is gone meanwhile (in a child of fork()) there are no more descriptors, and so no
// more memory in the range.
bool commit_descriptors(void* start, std::size_t size) noexcept {
  const auto page = static_cast<std::uintptr_t>(getpagesize());
  const auto at = reinterpret_cast<std::uintptr_t>(start);
  const std::uintptr_t end = (at + size + page - 1) & ~(page - 1);
  std::atomic<std::uintptr_t>& mapped_to = at < tags_begin ? descriptors_to : tags_to;
  for (int tries = 1000; tries > 0; --tries) {
    // acquire, and release below: what is read here is mapped, for whoever reads it.
    const std::uintptr_t from = mapped_to.load(std::memory_order_acquire);
    if (from >= end) return true;
    const int error = map_at(reinterpret_cast<void*>(from), end - from);
    if (error == 0) {
      mapped_to.store(end, std::memory_order_release);
      return true;
    }
    if (error != EEXIST) return false;
    sched_yield();
  }
  return false;
}

// Addresses for a range of this size and its descriptors. The places begin half-way to where the system maps, and end
// at five eighths of the way: Linux puts a program with its heap at two thirds, or far below, and all else above. Each
// copy of the library in a process finds one of its own. Null: they are taken or too small, or nothing can be mapped.
void* place_for(std::size_t size) noexcept {
  const auto page = static_cast<std::size_t>(getpagesize());
  void* const probe = reserve(page);
  if (!probe) return nullptr;
  munmap(probe, page);
  const auto top = reinterpret_cast<std::uintptr_t>(probe);
  const std::uintptr_t first = top / 2 & ~(kBlock - 1), all = top / 8;
  const std::size_t need = size + PageAllocator::descriptor_bytes(size);
  const std::size_t apart = std::max(need + kBlock, all / 4) & ~(kBlock - 1);
  for (std::uintptr_t at = 0; size < all && at + need <= all; at += apart) {
    void* const range = reinterpret_cast<void*>(first + at);
    if (!commit(range, page)) continue;
    munmap(range, page);
    return range;
  }
  return nullptr;
}

// ---- where there is none: reserved at once ------------------------------------------------------

bool commit_reserved(void* start, std::size_t size) noexcept {
  const int saved = errno;
  const bool ok = mprotect(start, size, PROT_READ | PROT_WRITE) == 0;
  errno = saved;
  return ok;
}

// Any part: its first and its last page belong to the neighbours, too.
bool commit_reserved_descriptors(void* start, std::size_t size) noexcept {
  const auto page = static_cast<std::uintptr_t>(getpagesize());
  const auto at = reinterpret_cast<std::uintptr_t>(start);
  const std::uintptr_t begin = at & ~(page - 1), end = (at + size + page - 1) & ~(page - 1);
  return commit_reserved(reinterpret_cast<void*>(begin), end - begin);
}

// To standard error, in pieces; nothing allocates, and errno is kept.
template <class... Texts>
void say(Texts... texts) noexcept {
  const int saved = errno;
  for (const char* text : {texts...})
    if (write(STDERR_FILENO, text, std::strlen(text)) < 0) break;
  errno = saved;
}

constexpr std::size_t kLeastMib = 4, kMostMib = std::size_t{1} << (sizeof(void*) == 8 ? 27 : 11);

// What the environment asks for, or 0.
std::size_t asked_for() noexcept {
  const char* const text = std::getenv("NESTLOCK_RESERVE_MIB");
  if (!text) return 0;
  std::size_t n = 0;
  const char* at = text;
  for (; *at >= '0' && *at <= '9' && n <= kMostMib; ++at)
    n = 10 * n + static_cast<std::size_t>(*at - '0');
  if (at != text && !*at && n >= kLeastMib && n <= kMostMib) return n << 20;
  say("nestlock: NESTLOCK_RESERVE_MIB=", text,
      sizeof(void*) == 8 ? " is no number from 4 to 134217728" : " is no number from 4 to 2048",
      "; the default is taken\n");
  return 0;
}

// SIZE_MAX: there is none.
std::size_t limit_of(decltype(RLIMIT_AS) resource) noexcept {
  rlimit limit{};
  if (getrlimit(resource, &limit) != 0 || limit.rlim_cur > SIZE_MAX) return SIZE_MAX;
  return static_cast<std::size_t>(limit.rlim_cur);  // RLIM_INFINITY is the largest number
}

// (Not by sysconf(): its tables are 64 KiB of the C library that a small program has no other use for.)
std::size_t wanted(std::size_t asked) noexcept {
  if (asked) return asked;
  struct sysinfo machine{};
  return sysinfo(&machine) == 0 ? 4 * static_cast<std::size_t>(machine.totalram) * machine.mem_unit
                                : std::size_t{1} << 30;
}

// On these addresses, of which nothing is committed. (Descriptors that are untouched cost no memory, but all that can
// be read or written would after mlockall().)
bool set_up_on(const PageMemory& memory) noexcept {
  if (pages.set_up(memory) != PageSetup::ok) return false;
  pages.reserve(0);  // the first memory, so that a handler gets some also in a fresh process
  prefer_small_pages(memory.start, kLeastMib << 20);
  internal::lsan_root(memory.start, memory.size);
  return true;
}

bool set_up_in_place(std::size_t size) noexcept {
  size = (size + kBlock - 1) & ~(kBlock - 1);
  void* const range = place_for(size);
  const std::uintptr_t descriptors = reinterpret_cast<std::uintptr_t>(range) + size;
  tags_begin = descriptors + size / kPageSize * sizeof(Page);
  // relaxed, both: nobody else knows of the range yet.
  descriptors_to.store(descriptors, std::memory_order_relaxed);
  tags_to.store(tags_begin, std::memory_order_relaxed);
  return range && set_up_on({.start = range,
                             .size = size,
                             .commit = commit,
                             .release = release,
                             .now = now,
                             .descriptors = reinterpret_cast<void*>(descriptors),
                             .commit_descriptors = commit_descriptors});
}

// An address space too small for the range gets half, until it fits.
bool set_up_reserved(std::size_t size) noexcept {
  for (; size >= kLeastMib << 20; size /= 2) {
    void *const range = reserve(size), *const descriptors =
                                           reserve(PageAllocator::descriptor_bytes(size));
    if (range && descriptors &&
        set_up_on({.start = range,
                   .size = size,
                   .commit = commit_reserved,
                   .release = release,
                   .now = now,
                   .descriptors = descriptors,
                   .commit_descriptors = commit_reserved_descriptors}))
      return true;
    if (range) munmap(range, size);
    if (descriptors) munmap(descriptors, PageAllocator::descriptor_bytes(size));
  }
  return false;
}

// More than a limit allows can never be in use, and each page of the range costs: a byte of the limit for data,
// which is writable from the beginning, and a descriptor's bytes of the limit for addresses.
void set_up() noexcept {
  prefer_small_pages(&pages, sizeof pages);
  const std::size_t addresses = limit_of(RLIMIT_AS), data = limit_of(RLIMIT_DATA);
  const std::size_t asked = asked_for();
  const std::size_t size = std::max(std::min({wanted(asked), addresses, data}), kLeastMib << 20);
  const bool ready = set_up_in_place(size) || set_up_reserved(size);
  if (ready && pages.pages() << kPageShift < asked)
    say("nestlock: NESTLOCK_RESERVE_MIB: not so many addresses can be had; fewer are taken\n");
  if (!ready)
    say("nestlock: not even 4 MiB of addresses can be had: system_pages() has no memory\n");
  static constinit hosted::OfflineHook hook{
      [](hosted::OfflineHook&, unsigned cpu) noexcept { pages.drain_cpu(cpu); }, nullptr};
  hosted::on_cpu_offline(hook);
}

// Before the first ordinary constructor.
[[gnu::constructor(101)]] void set_up_pages_early() { internal::set_up_system_pages(); }

}  // namespace

bool internal::set_up_system_pages() noexcept {
  static constinit hosted::Once once;
  return once.run(set_up);
}

// Of which a program that wants little touches a page here and there: where the system gives huge pages to whoever
// asks for none, each of them would cost 2 MiB. A kernel without them knows no such advice.
void internal::prefer_small_pages(void* start, std::size_t size) noexcept {
  const int saved = errno;
  const auto page = static_cast<std::uintptr_t>(getpagesize());
  const auto at = reinterpret_cast<std::uintptr_t>(start);
  const std::uintptr_t begin = at & ~(page - 1), end = (at + size + page - 1) & ~(page - 1);
  madvise(reinterpret_cast<void*>(begin), end - begin, MADV_NOHUGEPAGE);
  errno = saved;
}

PageAllocator& system_pages() noexcept { return pages; }

}  // namespace nestlock
