#include "nestlock/system_pages.h"

#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "nestlock/port/hosted_once.h"

namespace nestlock {
namespace {

constinit PageAllocator pages;

bool commit(void* start, std::size_t size) noexcept {
  const int saved = errno;
  const bool ok = mprotect(start, size, PROT_READ | PROT_WRITE) == 0;
  errno = saved;
  return ok;
}

// Any part: its first and its last page belong to the neighbours, too.
bool commit_descriptors(void* start, std::size_t size) noexcept {
  const auto page = static_cast<std::uintptr_t>(getpagesize());
  const auto at = reinterpret_cast<std::uintptr_t>(start);
  const std::uintptr_t begin = at & ~(page - 1), end = (at + size + page - 1) & ~(page - 1);
  return commit(reinterpret_cast<void*>(begin), end - begin);
}

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

// ---- under a limit of addresses -----------------------------------------------------------------
//
// RLIMIT_AS counts what is only reserved, too: a range would leave nothing to mappings and to threads' stacks, or be
// too small for what the program wants in small blocks. So under a limit none is reserved. The range lies where the
// system puts nothing by itself, and each step of it is mapped when it is committed. Whoever has mapped something
// there all the same keeps it: that step fails, as one for which there is no memory.

bool commit_by_mapping(void* start, std::size_t size) noexcept {
  const int saved = errno;
  void* const p = mmap(start, size, PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
  // (A kernel before 4.17 does not know the flag, and may map elsewhere.)
  if (p != MAP_FAILED && p != start) munmap(p, size);
  errno = saved;
  return p == start;
}

// Addresses for a range of this size or, where there are not as many, of what is left in `size`. The range begins
// half-way to where the system maps, and ends at five eighths of the way at most: Linux puts a program with its heap
// at two thirds, or far below, and all else above. Null: the place is taken, or nothing can be mapped.
void* unreserved(std::size_t& size) noexcept {
  constexpr std::size_t kStep = std::size_t{2} << 20;
  const auto page = static_cast<std::size_t>(getpagesize());
  void* const probe = reserve(page);
  if (!probe) return nullptr;
  munmap(probe, page);
  const auto top = reinterpret_cast<std::uintptr_t>(probe);
  void* const range = reinterpret_cast<void*>(top / 2 & ~(kStep - 1));
  if (size > top / 8) size = top / 8 & ~(kStep - 1);
  if (!commit_by_mapping(range, page)) return nullptr;
  munmap(range, page);
  return range;
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

std::size_t wanted(std::size_t asked) noexcept {
  if (asked) return asked;
  const long have = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  return have > 0 && page > 0 ? 4 * static_cast<std::size_t>(have) * static_cast<std::size_t>(page)
                              : std::size_t{1} << 30;
}

// On these addresses, of which nothing is committed.
bool set_up_on(void* range, std::size_t size,
               bool (*commit_range)(void*, std::size_t) noexcept) noexcept {
  // Untouched they cost no memory, but all that can be read or written would after mlockall().
  void* const descriptors = reserve(PageAllocator::descriptor_bytes(size));
  if (!descriptors) return false;
  if (pages.set_up({.start = range,
                    .size = size,
                    .commit = commit_range,
                    .release = release,
                    .now = now,
                    .descriptors = descriptors,
                    .commit_descriptors = commit_descriptors}) != PageSetup::ok) {
    munmap(descriptors, PageAllocator::descriptor_bytes(size));
    return false;
  }
  pages.reserve(0);  // the first memory, so that a handler gets some also in a fresh process
  prefer_small_pages(range, kLeastMib << 20);
  internal::lsan_root(range, size);
  return true;
}

bool set_up_under_a_limit(std::size_t size) noexcept {
  void* const range = unreserved(size);
  return range && set_up_on(range, size, commit_by_mapping);
}

// An address space too small for the range gets half, until it fits.
bool set_up_reserved(std::size_t size) noexcept {
  for (; size >= kLeastMib << 20; size /= 2) {
    void* const range = reserve(size);
    if (!range) continue;
    if (set_up_on(range, size, commit)) return true;
    munmap(range, size);
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
  const bool ready = (addresses != SIZE_MAX && set_up_under_a_limit(size)) || set_up_reserved(size);
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
