#include "nestlock/system_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
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

bool release(void* start, std::size_t size) noexcept {
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

void* reserve(std::size_t size, int protection) noexcept {
  void* const p =
      mmap(nullptr, size, protection, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  return p == MAP_FAILED ? nullptr : p;
}

std::size_t wanted() noexcept {
  if (const char* const mib = std::getenv("NESTLOCK_RESERVE_MIB")) {
    const unsigned long n = std::strtoul(mib, nullptr, 10);
    if (n) return std::size_t{n} << 20;
  }
  const long have = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  return have > 0 && page > 0 ? 4 * static_cast<std::size_t>(have) * static_cast<std::size_t>(page)
                              : std::size_t{1} << 30;
}

// An address space too small for the range gets half, until it fits.
void set_up() noexcept {
  for (std::size_t size = wanted(); size >= (std::size_t{4} << 20); size /= 2) {
    void* const range = reserve(size, PROT_NONE);
    if (!range) continue;
    // Untouched descriptors cost no memory.
    void* const descriptors =
        reserve(PageAllocator::descriptor_bytes(size), PROT_READ | PROT_WRITE);
    if (descriptors && pages.set_up({.start = range,
                                     .size = size,
                                     .commit = commit,
                                     .release = release,
                                     .now = now,
                                     .descriptors = descriptors}) == PageSetup::ok) {
      pages.reserve(0);  // the first memory, so that a handler gets some also in a fresh process
      break;
    }
    munmap(range, size);
    if (descriptors) munmap(descriptors, PageAllocator::descriptor_bytes(size));
  }
  static constinit hosted::OfflineHook hook{
      [](hosted::OfflineHook&, unsigned cpu) noexcept { pages.drain_cpu(cpu); }, nullptr};
  hosted::on_cpu_offline(hook);
}

// Before the first ordinary constructor.
[[gnu::constructor(101)]] void set_up_early() { internal::set_up_system_pages(); }

}  // namespace

bool internal::set_up_system_pages() noexcept {
  static constinit hosted::Once once;
  return once.run(set_up);
}

PageAllocator& system_pages() noexcept { return pages; }

}  // namespace nestlock
