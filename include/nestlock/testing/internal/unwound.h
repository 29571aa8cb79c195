// The stack of code that is being stepped, twice: as the unwinder sees it, and as it is.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "nestlock/testing/code_ranges.h"
#include "nestlock/testing/internal/runner.h"

#if NESTLOCK_INTERNAL_CAN_STEP
#include <unwind.h>
#endif

namespace nestlock::testing::internal {

// A frame as its callee finds it: where to return to, and where the stack is then.
struct StackFrame {
  std::uintptr_t ip = 0, sp = 0;
  friend bool operator==(const StackFrame&, const StackFrame&) = default;
};

#if NESTLOCK_INTERNAL_CAN_STEP

// A stack's word, whatever a sanitizer thinks of the place.
NESTLOCK_UNSEEN inline std::uintptr_t stack_word(std::uintptr_t at) noexcept {
  using Word [[gnu::may_alias]] = std::uintptr_t;
  return *reinterpret_cast<const Word*>(at);
}

// Whether a call stands there: direct, or through a register or memory.
NESTLOCK_UNSEEN inline bool is_call(std::uintptr_t pc) noexcept {
  const auto* p = reinterpret_cast<const unsigned char*>(pc);
  // Prefixes: operand and address size, segments, bnd, REX.
  while (*p == 0x66 || *p == 0x67 || *p == 0x2e || *p == 0x3e || *p == 0xf2 || (*p & 0xf0) == 0x40)
    ++p;
  return *p == 0xe8 || (*p == 0xff && (p[1] & 0x38) == 0x10);
}

// What the unwinder sees from the interrupted instruction on. No allocation.
class UnwoundStack {
 public:
  // From the frame of the interrupted `pc`, which lies somewhere above; only that one frame, or
  // all. False if the unwinder did not come so far.
  bool unwind(std::uintptr_t pc, bool all) noexcept {
    pc_ = pc, all_ = all, size_ = 0, ended_ = false;
    const _Unwind_Reason_Code code = _Unwind_Backtrace(keep, this);
    // The end has no return address; a place of which nothing is known has one.
    if (code == _URC_END_OF_STACK && size_ > 1 && frame_[size_ - 1].ip == 0) ended_ = true, --size_;
    return size_ != 0;
  }
  std::size_t size() const noexcept { return size_; }
  const StackFrame& operator[](std::size_t i) const noexcept { return frame_[i]; }
  bool ended() const noexcept { return ended_; }

 private:
  static constexpr std::size_t kMost = 256;

  static _Unwind_Reason_Code keep(_Unwind_Context* context, void* to) noexcept {
    auto& u = *static_cast<UnwoundStack*>(to);
    const StackFrame f{static_cast<std::uintptr_t>(_Unwind_GetIP(context)),
                       static_cast<std::uintptr_t>(_Unwind_GetCFA(context))};
    if (u.size_ == 0 && f.ip != u.pc_) return _URC_NO_REASON;  // the handler's own
    if (u.size_ == kMost || (u.size_ != 0 && !u.all_)) return _URC_NORMAL_STOP;
    u.frame_[u.size_++] = f;
    return _URC_NO_REASON;
  }

  std::uintptr_t pc_ = 0;
  bool all_ = false, ended_ = false;
  std::size_t size_ = 0;
  StackFrame frame_[kMost];
};

// Told of each boundary in turn.
class UnwindCheck {
 public:
  // Whether the unwinder sees the stack that there is. With `compare` false it only keeps up.
  bool at(std::uintptr_t pc, bool compare) noexcept {
    // Nobody has interrupted anything before the first: its callers' tables hold at a call, and
    // the stack that they give is what all others must end with.
    const bool first = pc_ == 0;
    if (!unwound_.unwind(pc, first || compare)) return fail("the interrupted frame is not found");
    follow(pc, unwound_[0].sp);
    if (first) {
      for (std::size_t i = 1; i < unwound_.size() && base_size_ < kMost; ++i)
        base_[base_size_++] = unwound_[i];
      if (base_size_ == 0 || stack_word(sp_) != base_[0].ip || base_[0].sp != sp_ + kWord)
        return fail("the code does not begin at a function's first instruction");
    }
    if (!compare) return true;
    frames_ += unwound_.size();
    return same();
  }
  std::uint64_t frames() const noexcept { return frames_; }
  std::uint64_t depth() const noexcept { return depth_; }
  std::vector<const void*> callers() const {
    std::vector<const void*> v;
    v.reserve(base_size_);
    for (std::size_t i = 0; i < base_size_; ++i)
      v.push_back(reinterpret_cast<const void*>(base_[i].ip));
    return v;
  }
  // About the first that failed; empty if none did.
  std::string wrong() const {
    if (!why_) return {};
    std::string s = why_;
    if (is_.ip || should_.ip)
      s += ": frame " + std::to_string(where_) + " returns to " + name(is_) + ", should to " +
           name(should_);
    return s;
  }

 private:
  static constexpr std::size_t kMost = 256;
  static constexpr std::uintptr_t kWord = 8, kLongest = 15;  // bytes of an instruction

  // A call has put its return address below what was the stack; what lies below the stack is gone.
  void follow(std::uintptr_t pc, std::uintptr_t sp) noexcept {
    while (calls_ != 0 && call_[calls_ - 1].sp <= sp) --calls_;
    if (pc_ != 0 && sp == sp_ - kWord && is_call(pc_)) {
      const std::uintptr_t back = stack_word(sp);
      if (pc_ < back && back <= pc_ + kLongest && calls_ < kMost)
        call_[calls_++] = {back, sp + kWord};
    }
    depth_ = std::max<std::uint64_t>(depth_, calls_ + 1);
    pc_ = pc, sp_ = sp;
  }

  bool same() noexcept {
    const std::size_t size = 1 + calls_ + base_size_;
    for (std::size_t i = 1; i < size; ++i) {
      const StackFrame& should = i <= calls_ ? call_[calls_ - i] : base_[i - 1 - calls_];
      if (i == unwound_.size()) return fail("the unwinder stops early", i, {}, should);
      if (unwound_[i] != should)
        return fail(unwound_[i].ip == should.ip ? "a frame stands elsewhere" : "another caller", i,
                    unwound_[i], should);
    }
    if (unwound_.size() > size) return fail("more frames than calls", size, unwound_[size], {});
    return unwound_.ended() ? true : fail("the unwinder does not know that this is the end");
  }
  bool fail(const char* why, std::size_t where = 0, StackFrame is = {},
            StackFrame should = {}) noexcept {
    if (!why_) why_ = why, where_ = where, is_ = is, should_ = should;
    return false;
  }
  static std::string name(const StackFrame& f) {
    return f.ip ? describe(reinterpret_cast<const void*>(f.ip)) : "nowhere";
  }

  UnwoundStack unwound_;
  std::uintptr_t pc_ = 0, sp_ = 0;        // of the boundary before
  StackFrame base_[kMost], call_[kMost];  // innermost first; innermost last
  std::size_t base_size_ = 0, calls_ = 0;
  std::uint64_t frames_ = 0, depth_ = 0;
  const char* why_ = nullptr;
  std::size_t where_ = 0;
  StackFrame is_, should_;
};

#else

class UnwindCheck {
 public:
  bool at(std::uintptr_t, bool) noexcept { return false; }
  std::uint64_t frames() const noexcept { return 0; }
  std::uint64_t depth() const noexcept { return 0; }
  std::vector<const void*> callers() const { return {}; }
  std::string wrong() const { return {}; }
};

#endif

}  // namespace nestlock::testing::internal
