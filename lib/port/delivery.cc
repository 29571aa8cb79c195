// What the kernel does around a handler, for handlers that irq_restore() calls. Rule R11: README.md.
#include "delivery.h"

#include <cstdint>
#include <type_traits>

namespace nestlock::signals::internal {

// ---- floating point -----------------------------------------------------------------------------

#if defined(__x86_64__)

// The interrupted code's, as the kernel's frame has them: rounding, masks, flags. A handler gets those of a
// program's start. (The frame's vector registers are those of irq_restore()'s call.)
struct Delivery::Modes {
  alignas(
      16) std::remove_pointer_t<fpregset_t> state{};  // zero where it could say that more follows

  Modes() noexcept { asm volatile("fxsave64 %0" : "+m"(state)); }
  // With what the handlers have written there; what no processor takes is a fault, as from the kernel's frame.
  ~Modes() {
    asm volatile("fxrstor64 %0"
                 :
                 : "m"(state)
                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                   "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "st", "st(1)", "st(2)",
                   "st(3)", "st(4)", "st(5)", "st(6)", "st(7)");
  }
  Modes(const Modes&) = delete;
  Modes& operator=(const Modes&) = delete;
  void begin(ucontext_t& uc) noexcept {
    uc.uc_mcontext.fpregs = &state;
    constexpr std::uint32_t kAtStart = 0x1f80;
    asm volatile("fninit\n\tldmxcsr %0" : : "m"(kAtStart));
  }
};

#elif defined(__aarch64__)

// A handler starts with the interrupted code's, and its own changes end with it. The frame's are those of where
// the signal arrived, and what is written there is lost.
struct Delivery::Modes {
  std::uint64_t control = 0, flags = 0;

  Modes() noexcept { asm volatile("mrs %0, fpcr\n\tmrs %1, fpsr" : "=r"(control), "=r"(flags)); }
  ~Modes() { asm volatile("msr fpcr, %0\n\tmsr fpsr, %1" : : "r"(control), "r"(flags)); }
  Modes(const Modes&) = delete;
  Modes& operator=(const Modes&) = delete;
  void begin(ucontext_t&) noexcept {
    asm volatile("msr fpcr, %0\n\tmsr fpsr, %1" : : "r"(control), "r"(flags));
  }
};

#else

struct Delivery::Modes {
  void begin(ucontext_t&) noexcept {}
};

#endif

// ---- the alternate stack ------------------------------------------------------------------------

namespace {

// Calls f(argument) with the stack pointer at `top`. The frame's address, asked for, makes the compiler keep
// it in a register that a call preserves: so unwinders find the way back.
#if NESTLOCK_WITH_TSAN
constexpr bool kSwitchesStacks = false;  // its handlers have stacks of their own (hosted_tsan.h)
void call_on(void*, void (*f)(void*), void* argument) noexcept { f(argument); }
#elif defined(__x86_64__)
constexpr bool kSwitchesStacks = true;
[[gnu::noinline]] void call_on(void* top, void (*f)(void*), void* argument) noexcept {
  asm volatile("" : : "r"(__builtin_frame_address(0)));
  asm volatile("movq %%rsp, %%rbx\n\tmovq %[top], %%rsp\n\tcallq *%[f]\n\tmovq %%rbx, %%rsp"
               : "+D"(argument), [top] "+S"(top), [f] "+d"(f)
               :
               : "rbx", "rax", "rcx", "r8", "r9", "r10", "r11", "memory", "cc", "xmm0", "xmm1",
                 "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11",
                 "xmm12", "xmm13", "xmm14", "xmm15", "st", "st(1)", "st(2)", "st(3)", "st(4)",
                 "st(5)", "st(6)", "st(7)");
}
#elif defined(__aarch64__)
constexpr bool kSwitchesStacks = true;
[[gnu::noinline]] void call_on(void* top, void (*f)(void*), void* argument) noexcept {
  asm volatile("" : : "r"(__builtin_frame_address(0)));
  register void* a asm("x0") = argument;
  register void* t asm("x1") = top;
  register void (*called)(void*) asm("x2") = f;
  asm volatile("mov x19, sp\n\tmov sp, x1\n\tblr x2\n\tmov sp, x19"
               : "+r"(a), "+r"(t), "+r"(called)
               :
               : "x3", "x4", "x5", "x6", "x7", "x8", "x9", "x10", "x11", "x12", "x13", "x14", "x15",
                 "x16", "x17", "x18", "x19", "x30", "memory", "cc", "v0", "v1", "v2", "v3", "v4",
                 "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14", "v15", "v16",
                 "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28",
                 "v29", "v30", "v31");
}
#else
constexpr bool kSwitchesStacks = false;
void call_on(void*, void (*f)(void*), void* argument) noexcept { f(argument); }
#endif

// SS_AUTODISARM: the kernel takes the stack away while a handler is on it.
constexpr int kAutoDisarm = static_cast<int>(1u << 31);

}  // namespace

KernelMask Delivery::run(Body body) noexcept {
  Modes modes;
  Delivery delivery(&modes);
  stack_t stack{};
  if (!kSwitchesStacks || sigaltstack(nullptr, &stack) != 0 || (stack.ss_flags & SS_DISABLE))
    return body(delivery);
  delivery.floor_ = reinterpret_cast<std::uintptr_t>(stack.ss_sp);
  if (stack.ss_flags & SS_ONSTACK) return body(delivery);
  // To the kernel we are on it as soon as the stack pointer is: what comes then goes on below.
  const stack_t none{nullptr, SS_DISABLE, 0};
  if (stack.ss_flags & kAutoDisarm) sigaltstack(&none, nullptr);
  const std::uintptr_t top = (delivery.floor_ + stack.ss_size) & ~std::uintptr_t{15};
  struct Call {
    Body body;
    Delivery& delivery;
    KernelMask result = 0;
  } call{body, delivery};
  call_on(
      reinterpret_cast<void*>(top),
      [](void* c) {
        Call& the = *static_cast<Call*>(c);
        the.result = the.body(the.delivery);
      },
      &call);
  if (stack.ss_flags & kAutoDisarm) sigaltstack(&stack, nullptr);
  return call.result;
}

// ---- the mask -----------------------------------------------------------------------------------

void Delivery::call_irq(int signo, siginfo_t* info, ucontext_t* uc) noexcept {
  // As its sa_mask has it; mostly it is so already, since it was held back.
  const KernelMask at_entry = real_mask(SIG_BLOCK, irq_class.load(kRelaxed));
  const KernelMask programs = at_entry & ~self().added.load(kRelaxed);
  set_mask_in(*uc, programs);
  modes_->begin(*uc);
  run_irq(signo, info, uc, floor_);
  // Whatever comes between these steps is held back, and its block is among ours already.
  const KernelMask wanted = mask_in(*uc);
  if (wanted & ~programs) {
    real_mask(SIG_BLOCK, ~kFaults);
    give_to_the_kernel(wanted);
  }
  const KernelMask ours = (irq_class.load(kRelaxed) | self().added.load(kRelaxed)) & ~wanted;
  self().added.store(ours, kRelaxed);
  real_mask(SIG_SETMASK, wanted | ours);
}

}  // namespace nestlock::signals::internal
