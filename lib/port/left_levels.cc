// Whether a handler was left by a jump to where calls go deeper than its frame was: there addresses do not
// tell. Two things do. While a handler runs its signal is blocked, and siglongjmp() puts back the mask of
// where it goes to. And the stack, walked from here, comes by the frame that called the handler, or by
// another one at its place.
#include <unwind.h>

#include "signals_internal.h"

namespace nestlock::signals::internal {
namespace {

struct Walk {
  std::uintptr_t frame;        // of the level
  const void* function;        // whose it was
  std::uintptr_t sp = 0;       // of the frame seen last
  const void* seen = nullptr;  // and its function
  bool passed = false, found = false;
};

_Unwind_Reason_Code step(_Unwind_Context* at, void* walk) {
  auto& w = *static_cast<Walk*>(walk);
  const std::uintptr_t sp = _Unwind_GetCFA(at);
  if (w.sp && w.sp <= w.frame && w.frame < sp) {
    w.passed = true;
    w.found |= w.seen == w.function;
    return _URC_END_OF_STACK;
  }
  w.sp = sp;
  w.seen = _Unwind_FindEnclosingFunction(reinterpret_cast<void*>(_Unwind_GetIP(at) - 1));
  return _URC_NO_REASON;
}

}  // namespace

// Debug, any context. False where it cannot be known: code that tells nothing of its frames.
bool left_for_deeper(std::uintptr_t here) noexcept {
  const hosted::Level& top = self().level[self().levels.load(kRelaxed) - 1];
  const std::uintptr_t frame = top.frame.load(kRelaxed);
  if (!frame || top.stack_floor.load(kRelaxed) || here >= frame) return false;
  if (!(self().handled.load(kRelaxed) & ~real_mask(SIG_BLOCK, 0))) return false;
  Walk walk{frame, _Unwind_FindEnclosingFunction(const_cast<void*>(top.code.load(kRelaxed)))};
  _Unwind_Backtrace(step, &walk);
  return walk.passed && !walk.found;
}

}  // namespace nestlock::signals::internal
