#include "nestlock/system_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
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

void* reserve(std::size_t size) noexcept {
  void* const p =
      mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
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

std::size_t wanted() noexcept {
  if (const std::size_t asked = asked_for()) return asked;
  const long have = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  return have > 0 && page > 0 ? 4 * static_cast<std::size_t>(have) * static_cast<std::size_t>(page)
                              : std::size_t{1} << 30;
}

// An address space too small for the range gets half, until it fits.
void set_up() noexcept {
  bool ready = false;
  for (std::size_t size = wanted(); !ready && size >= kLeastMib << 20; size /= 2) {
    void* const range = reserve(size);
    if (!range) continue;
    // Untouched they cost no memory, but all that can be read or written would after mlockall().
    void* const descriptors = reserve(PageAllocator::descriptor_bytes(size));
    if (descriptors && pages.set_up({.start = range,
                                     .size = size,
                                     .commit = commit,
                                     .release = release,
                                     .now = now,
                                     .descriptors = descriptors,
                                     .commit_descriptors = commit_descriptors}) == PageSetup::ok) {
      pages.reserve(0);  // the first memory, so that a handler gets some also in a fresh process
      internal::lsan_root(range, size);
      ready = true;
      continue;
    }
    munmap(range, size);
    if (descriptors) munmap(descriptors, PageAllocator::descriptor_bytes(size));
  }
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

PageAllocator& system_pages() noexcept { return pages; }

}  // namespace nestlock
