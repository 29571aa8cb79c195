#include "bad_pointer.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "callers.h"
#include "nestlock/config/text.h"

namespace nestlock::heap {
namespace {

constexpr std::size_t kLongest = 512;

internal::Text begin(char (&out)[kLongest], const char* call, const void* block) noexcept {
  internal::Text t(out, sizeof out);
  t.put("nestlock malloc: ").put(call).put("(0x");
  t.number(reinterpret_cast<std::uintptr_t>(block), 0, 16).put("): ");
  return t;
}

// No stdio: it locks and allocates. No write(): it is a cancellation point.
[[noreturn]] void end(internal::Text& t, const char* out, const void* caller) noexcept {
  if (caller && callers::watched()) t.put(", called by"), callers::put(t, caller);
  t.put("\n");
  syscall(SYS_write, STDERR_FILENO, out, t.length());
  std::abort();
}

}  // namespace

void bad_pointer(const char* call, const void* block, const char* what,
                 const void* caller) noexcept {
  char out[kLongest];
  internal::Text t = begin(out, call, block);
  t.put(what);
  end(t, out, caller);
}

void bad_size(const char* call, const void* block, std::size_t size, SizeIs what, std::size_t is,
              const void* caller) noexcept {
  char out[kLongest];
  internal::Text t = begin(out, call, block);
  t.put("freed as ").number(size).put(" bytes, but ");
  if (what == SizeIs::asked_for)
    t.number(is).put(" were asked for");
  else
    t.put("the block has ").number(is);
  if (const void* const by = callers::allocated_by(block))
    t.put(", allocated by"), callers::put(t, by);
  end(t, out, caller);
}

}  // namespace nestlock::heap
