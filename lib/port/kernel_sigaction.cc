#include "kernel_sigaction.h"

#include <sys/syscall.h>
#include <unistd.h>

#include <cstring>

#include "nestlock/config/annotations.h"

namespace nestlock::signals {

// ThreadSanitizer's sigaction() defers handlers, keeps one arrival per signal number and passes a
// copy of the context, whose uc_sigmask is then ignored: a hold-back could not block its class. So
// under it the kernel is asked directly.
#if NESTLOCK_WITH_TSAN && defined(__x86_64__)

// In libc's very bytes, after a nop: by these an unwinder knows a signal's return.
extern "C" void nestlock_sigreturn();
asm(".text\n nop\n.weak nestlock_sigreturn\nnestlock_sigreturn:\n movq $15, %rax\n syscall\n");

namespace {
struct KernelAction {
  void (*handler)(int, siginfo_t*, void*);
  unsigned long flags;
  void (*restorer)();
  KernelMask mask;
};
constexpr unsigned long kRestorer = 0x04000000;

bool ask(int signo, const KernelAction* now, KernelAction* old) noexcept {
  return syscall(SYS_rt_sigaction, signo, now, old, sizeof(KernelMask)) == 0;
}
}  // namespace

bool query(int signo, struct sigaction& now) noexcept {
  KernelAction k{};
  if (!ask(signo, nullptr, &k)) return false;
  now = {};
  now.sa_sigaction = k.handler;
  now.sa_flags = static_cast<int>(k.flags & ~kRestorer);
  std::memcpy(&now.sa_mask, &k.mask, sizeof k.mask);
  return true;
}

bool install(int signo, void (*trampoline)(int, siginfo_t*, void*), KernelMask mask,
             int restart) noexcept {
  // Handlers run on stacks of their own (nestlock/port/hosted_tsan.h). From an alternate one they could not
  // leave for these: to the kernel it would be free. So only for those that may need it.
  const unsigned long stack = signo == SIGSEGV || signo == SIGBUS ? SA_ONSTACK : 0;
  const KernelAction k{trampoline, SA_SIGINFO | static_cast<unsigned>(restart) | stack | kRestorer,
                       nestlock_sigreturn, mask};
  return ask(signo, &k, nullptr);
}

bool restore(int signo, const struct sigaction& action) noexcept {
  KernelAction k{action.sa_sigaction, static_cast<unsigned>(action.sa_flags) | kRestorer,
                 nestlock_sigreturn, 0};
  std::memcpy(&k.mask, &action.sa_mask, sizeof k.mask);
  return ask(signo, &k, nullptr);
}

#else

bool query(int signo, struct sigaction& now) noexcept {
  return sigaction(signo, nullptr, &now) == 0;
}

bool install(int signo, void (*trampoline)(int, siginfo_t*, void*), KernelMask mask,
             int restart) noexcept {
  struct sigaction now{};
  now.sa_sigaction = trampoline;
  now.sa_flags = SA_SIGINFO | restart | SA_ONSTACK;
  std::memcpy(&now.sa_mask, &mask, sizeof mask);
  return sigaction(signo, &now, nullptr) == 0;
}

bool restore(int signo, const struct sigaction& action) noexcept {
  return sigaction(signo, &action, nullptr) == 0;
}

#endif

KernelMask real_mask(int how, KernelMask set) noexcept {
  KernelMask old = 0;
  syscall(SYS_rt_sigprocmask, how, &set, &old, sizeof set);
  return old;
}

}  // namespace nestlock::signals
