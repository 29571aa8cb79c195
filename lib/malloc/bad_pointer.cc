#include "bad_pointer.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstdlib>

#include "callers.h"
#include "nestlock/config/text.h"

namespace nestlock::heap {

// No stdio: it locks and allocates. No write(): it is a cancellation point.
void bad_pointer(const char* call, const void* block, const char* what,
                 const void* caller) noexcept {
  char text[512];
  internal::Text t(text, sizeof text);
  t.put("nestlock malloc: ").put(call).put("(0x");
  t.number(reinterpret_cast<std::uintptr_t>(block), 0, 16).put("): ").put(what);
  if (caller && callers::watched()) t.put(", called by"), callers::put(t, caller);
  t.put("\n");
  syscall(SYS_write, STDERR_FILENO, text, t.length());
  std::abort();
}

}  // namespace nestlock::heap
