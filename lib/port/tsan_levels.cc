// The levels of nestlock/port/hosted_tsan.h as fibres, and on stacks of their own. Empty without the tool.
#include "tsan_fibers.h"

#if NESTLOCK_WITH_TSAN

#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>

#include "signals_internal.h"

extern "C" void AnnotateBenignRaceSized(const char* file, int line, const volatile void* at,
                                        std::size_t size, const char* why);

namespace nestlock::hosted {
namespace {

// Asked for, or the child of a fork: there the tool ignores the one thread, but not its fibres.
constinit std::atomic<bool> tsan_merged{false};

#if defined(__x86_64__)
// body(argument) on the stack that ends at `top`, so that an unwinder finds back.
extern "C" void nestlock_tsan_call_on(void (*body)(void*), void* argument, char* top);
asm(R"(
  .pushsection nestlock_unseen,"ax",@progbits
  .type nestlock_tsan_call_on,@function
nestlock_tsan_call_on:
  .cfi_startproc
  pushq %rbp
  .cfi_def_cfa_offset 16
  .cfi_offset 6, -16
  movq %rsp, %rbp
  .cfi_def_cfa_register 6
  movq %rdx, %rsp
  movq %rdi, %rax
  movq %rsi, %rdi
  callq *%rax
  leave
  .cfi_def_cfa 7, 8
  ret
  .cfi_endproc
  .size nestlock_tsan_call_on, .-nestlock_tsan_call_on
  .popsection
)");
#else
void nestlock_tsan_call_on(void (*body)(void*), void* argument, char*) { body(argument); }
#endif

// Not from where the tool's runtime was interrupted, like all instrumented code. Ordered behind
// what the caller has done so far, so it is better done early.
NESTLOCK_INTERNAL_NOT_IN_TSAN void tsan_create_level(unsigned n) noexcept {
  TsanState& t = tsan_state;
  void* const stack = mmap(nullptr, kTsanStack, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (stack == MAP_FAILED) __builtin_trap();
  t.stack[n] = static_cast<char*>(stack);
  t.fiber[n] = __tsan_create_fiber(0);
}

NESTLOCK_INTERNAL_NOT_IN_TSAN bool tsan_on_alternate_stack() noexcept {
  stack_t now;
  return syscall(SYS_sigaltstack, nullptr, &now) == 0 && (now.ss_flags & SS_ONSTACK);
}

// The argument, too, moves to this stack past the tool.
NESTLOCK_INTERNAL_NOT_IN_TSAN void tsan_call(const TsanCall& call) noexcept {
  alignas(std::max_align_t) char copy[256];
  if (call.size > sizeof copy) __builtin_trap();
  tsan_copy(copy, call.argument, call.size);
  call.body(copy);
}

// Entered and left with the signals held back.
NESTLOCK_INTERNAL_NOT_IN_TSAN void tsan_call_here(void* what) noexcept {
  auto& call = *static_cast<TsanCall*>(what);
  tsan_let_signals_in(call.mask);
  tsan_call(call);
  call.mask = tsan_hold_signals();  // as the body has left it
}

}  // namespace

NESTLOCK_INTERNAL_NOT_IN_TSAN std::uint64_t tsan_hold_signals() noexcept {
  const std::uint64_t all = ~signals::internal::kFaults;
  std::uint64_t was = 0;
  syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, &was, sizeof all);
  return was;
}

NESTLOCK_INTERNAL_NOT_IN_TSAN void tsan_let_signals_in(std::uint64_t mask) noexcept {
  syscall(SYS_rt_sigprocmask, SIG_SETMASK, &mask, nullptr, sizeof mask);
}

void tsan_unchecked(const volatile void* at, std::size_t size) noexcept {
  AnnotateBenignRaceSized(__FILE__, __LINE__, at, size, "by design");
}

void tsan_merge_levels(bool merged) noexcept { tsan_merged.store(merged, kRelaxed); }

NESTLOCK_INTERNAL_NOT_IN_TSAN void tsan_create_levels() noexcept {
  if (tsan_merged.load(kRelaxed)) return;
  const std::uint64_t mask = tsan_hold_signals();
  for (unsigned n = 0; n < kTsanLevels; ++n)
    if (!tsan_state.fiber[n]) tsan_create_level(n);
  tsan_let_signals_in(mask);
  // Every handler gives it back as it was, so who was interrupted sees its own.
  tsan_unchecked(&errno, sizeof errno);
}

// What the handlers did came before.
NESTLOCK_INTERNAL_NOT_IN_TSAN void tsan_end_levels() noexcept {
  TsanState& t = tsan_state;
  const std::uint64_t mask = tsan_hold_signals();
  for (unsigned n = 0; n < kTsanLevels; ++n) {
    if (!t.fiber[n] || t.running[n]) continue;
    __tsan_acquire(&t.order[n]);
    __tsan_destroy_fiber(t.fiber[n]);
    t.fiber[n] = nullptr;
    munmap(t.stack[n], kTsanStack);
  }
  tsan_let_signals_in(mask);
}

NESTLOCK_INTERNAL_NOT_IN_TSAN void tsan_copy(void* to, const void* from,
                                             std::size_t size) noexcept {
  for (std::size_t i = 0; i < size; ++i)  // volatile: no memcpy(), whose bytes the tool would see
    static_cast<volatile char*>(to)[i] = static_cast<const volatile char*>(from)[i];
}

NESTLOCK_INTERNAL_NOT_IN_TSAN void tsan_run(TsanLevel level, TsanCall* call) noexcept {
  const auto n = static_cast<unsigned>(level);
  TsanState& t = tsan_state;
  // A handler that let its own level in again is one thread with what it interrupts.
  if (t.running[n] || tsan_merged.load(kRelaxed)) return tsan_call(*call);
  if (!t.fiber[n]) tsan_create_levels();
  void* const from = __tsan_get_current_fiber();
  void* const task = t.task;
  if (!task) t.task = from;
  t.running[n] = true;
  call->mask = tsan_hold_signals();
  __tsan_switch_to_fiber(t.fiber[n], kTsanNoSync);
  __tsan_acquire(&t.order[n]);
  // From an alternate stack we may not go: to the kernel it would be free.
  if (tsan_on_alternate_stack())
    tsan_call_here(call);
  else
    nestlock_tsan_call_on(tsan_call_here, call, t.stack[n] + kTsanStack);
  __tsan_release(&t.order[n]);
  __tsan_switch_to_fiber(from, kTsanNoSync);
  tsan_let_signals_in(call->mask);
  t.running[n] = false;
  t.task = task;
}

}  // namespace nestlock::hosted

#endif
