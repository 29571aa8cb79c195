#include "callers.h"

#include <fcntl.h>
#include <link.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "nestlock/system_slab.h"

namespace nestlock::heap::callers {
namespace {

constexpr auto kRelaxed = std::memory_order_relaxed;
constexpr auto& slabs = internal::system_slab_object;
using Track = internal::SlabTrack<LibraryKernel>;

constinit std::atomic<bool> watching{false};
constinit std::atomic<hosted::ReportSink> before{nullptr};

void say(const internal::Text& text, const char* out) noexcept {
  syscall(SYS_write, STDERR_FILENO, out, text.length());
}

// What was said before, and who.
void report(const Report& r) noexcept {
  if (const hosted::ReportSink sink = before.load(kRelaxed)) sink(r);
  const int saved = errno;
  const Track* const t = slabs.debug_track(r.lock);
  if (!t || r.finding < Finding::foreign_pointer) return;
  char out[512];
  internal::Text text(out, sizeof out);
  text.put("  allocated by"), put(text, t->allocated_by);
  if (t->freed_by) text.put(", freed by"), put(text, t->freed_by);
  text.put("\n");
  say(text, out);
  errno = saved;
}

// ---- /proc/self/maps ----------------------------------------------------------------------------

struct Module {
  char name[128];
  std::uintptr_t base;  // what is added to the file's own addresses
};

// A line at a time, past the C library.
class Maps {
 public:
  Maps() noexcept
      : file_(static_cast<int>(
            syscall(SYS_openat, AT_FDCWD, "/proc/self/maps", O_RDONLY | O_CLOEXEC))) {}
  ~Maps() {
    if (file_ >= 0) syscall(SYS_close, file_);
  }
  Maps(const Maps&) = delete;
  Maps& operator=(const Maps&) = delete;

  // False: there is none. What is longer is cut.
  bool next(char* line, std::size_t size) noexcept {
    std::size_t n = 0;
    for (char c; get(c);) {
      if (c == '\n') return line[n] = '\0', true;
      if (n + 1 < size) line[n++] = c;
    }
    return false;
  }

 private:
  bool get(char& c) noexcept {
    if (at_ == end_) {
      const long n = file_ < 0 ? 0 : syscall(SYS_read, file_, buffer_, sizeof buffer_);
      if (n <= 0) return false;
      at_ = buffer_, end_ = buffer_ + n;
    }
    c = *at_++;
    return true;
  }
  const int file_;
  char buffer_[1024];
  const char *at_ = buffer_, *end_ = buffer_;
};

std::uintptr_t hexadecimal(const char*& at) noexcept {
  std::uintptr_t n = 0;
  for (;; ++at) {
    if (*at >= '0' && *at <= '9')
      n = n * 16 + static_cast<std::uintptr_t>(*at - '0');
    else if (*at >= 'a' && *at <= 'f')
      n = n * 16 + static_cast<std::uintptr_t>(*at - 'a' + 10);
    else
      return n;
  }
}

// A program that is not position-independent has its addresses in itself. `at`: where its file begins. (The kernel
// reads it: another thread may unmap it.)
bool has_fixed_addresses(std::uintptr_t at) noexcept {
  ElfW(Ehdr) header{};
  const iovec to{&header, sizeof header}, from{reinterpret_cast<void*>(at), sizeof header};
  return syscall(SYS_process_vm_readv, syscall(SYS_getpid), &to, 1ul, &from, 1ul, 0ul) ==
             static_cast<long>(sizeof header) &&
         header.e_type == ET_EXEC;
}

// START-END PERMISSIONS OFFSET DEVICE INODE    PATH: a file's segments follow one another, its beginning first.
bool find(std::uintptr_t code, Module& m) noexcept {
  Maps maps;
  std::uintptr_t begins = 0;
  char of[128] = "";  // whose beginning: DEVICE INODE PATH
  for (char line[512]; maps.next(line, sizeof line);) {
    const char* at = line;
    const std::uintptr_t start = hexadecimal(at);
    if (*at++ != '-') continue;
    const std::uintptr_t end = hexadecimal(at);
    const char* const path = std::strchr(line, '/');
    if (!path || *at++ != ' ') continue;
    const bool readable = *at == 'r';
    while (*at && *at != ' ') ++at;
    if (!*at++) continue;
    const bool first = hexadecimal(at) == 0;
    if (first || std::strncmp(of, at, sizeof of - 1) != 0) {
      begins = first && readable ? start : 0;
      std::strncpy(of, at, sizeof of - 1);
    }
    if (code < start || code >= end) continue;
    m = {};
    std::strncpy(m.name, std::strrchr(path, '/') + 1, sizeof m.name - 1);
    if (begins && !has_fixed_addresses(begins)) m.base = begins;
    return true;
  }
  return false;
}

// ---- what is out --------------------------------------------------------------------------------

struct Group {
  const void* caller;
  std::size_t blocks, bytes;
};
constexpr std::size_t kGroups = 256;
constexpr std::size_t kShown = 20;

}  // namespace

void begin() noexcept {
  watching.store(true, kRelaxed);
  before.store(hosted::set_report_sink(report), kRelaxed);
}
bool watched() noexcept { return watching.load(kRelaxed); }

void allocated(void* block, const void* caller) noexcept {
  if (Track* const t = slabs.debug_track(block)) t->allocated_by = caller, t->freed_by = nullptr;
}

// Of a second free the first one's caller stays.
void freed(void* block, const void* caller) noexcept {
  Track* const t = slabs.debug_track(block);
  if (t && t->is_out()) t->freed_by = caller;
}

const void* allocated_by(const void* block) noexcept {
  const Track* const t = slabs.debug_track(block);
  return t ? t->allocated_by : nullptr;
}

void put(internal::Text& text, const void* code) noexcept {
  const auto at = reinterpret_cast<std::uintptr_t>(code);
  text.put(" ");
  if (!code) {
    text.put("the allocator itself");
    return;
  }
  Module m;
  if (find(at, m)) {
    text.put(m.name).put("+0x").number(at - m.base, 0, 16);
  } else {
    text.put("0x").number(at, 0, 16);
  }
}

std::size_t still_out(char* out, std::size_t size) noexcept {
  Group groups[kGroups], others{nullptr, 0, 0};
  std::size_t n = 0, blocks = 0, bytes = 0;
  slabs.each_debug_object_out([&](void*, Track& t) {
    std::size_t i = 0;
    while (i < n && groups[i].caller != t.allocated_by) ++i;
    if (i == n && n < kGroups) groups[n++] = {t.allocated_by, 0, 0};
    Group& g = i < n ? groups[i] : others;
    ++g.blocks, g.bytes += t.asked;
    ++blocks, bytes += t.asked;
  });
  std::sort(groups, groups + n, [](const Group& a, const Group& b) { return a.bytes > b.bytes; });
  internal::Text text(out, size);
  text.put("still out: ")
      .number(blocks)
      .put(" blocks up to ")
      .number(SystemSlabAllocator::kLargestClass)
      .put(" bytes, ")
      .number(bytes)
      .put(" bytes\n");
  text.put("    blocks         bytes  allocated by\n");
  for (std::size_t i = kShown; i < n; ++i)
    others.blocks += groups[i].blocks, others.bytes += groups[i].bytes;
  for (std::size_t i = 0; i < n && i < kShown; ++i) {
    text.number(groups[i].blocks, 10).number(groups[i].bytes, 14).put(" ");
    put(text, groups[i].caller);
    text.put("\n");
  }
  if (others.blocks) text.number(others.blocks, 10).number(others.bytes, 14).put("  all others\n");
  return text.length();
}

}  // namespace nestlock::heap::callers
