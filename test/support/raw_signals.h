// The kernel's signal actions, past the C library and sanitizers.
#pragma once

#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

namespace nestlock::test_support {

using Mask = std::uint64_t;
using RawHandler = void (*)(int, siginfo_t*, void*);

// The kernel's action: sanitizers' sigaction() shows and installs handlers of its own, which run
// later and with everything blocked.
#if defined(__x86_64__)
extern "C" void nestlock_test_sigreturn();
asm(".text\n.weak nestlock_test_sigreturn\nnestlock_test_sigreturn:\n mov $15, %eax\n syscall\n");
struct KernelAction {
  RawHandler handler;
  unsigned long flags;
  void (*restorer)();
  Mask mask;
};
inline bool install_raw(int signo, RawHandler handler, int flags, Mask mask) {
  const KernelAction k{handler, static_cast<unsigned>(flags) | 0x04000000ul,
                       nestlock_test_sigreturn, mask};
  return syscall(SYS_rt_sigaction, signo, &k, nullptr, sizeof mask) == 0;
}
inline RawHandler installed(int signo, Mask* mask = nullptr) {
  KernelAction k{};
  syscall(SYS_rt_sigaction, signo, nullptr, &k, sizeof k.mask);
  if (mask) *mask = k.mask;
  return k.handler;
}
#else
inline bool install_raw(int signo, RawHandler handler, int flags, Mask mask) {
  struct sigaction action{};
  action.sa_sigaction = handler;
  action.sa_flags = flags;
  std::memcpy(&action.sa_mask, &mask, sizeof mask);
  return sigaction(signo, &action, nullptr) == 0;
}
inline RawHandler installed(int signo, Mask* mask = nullptr) {
  struct sigaction action{};
  sigaction(signo, nullptr, &action);
  if (mask) std::memcpy(mask, &action.sa_mask, sizeof *mask);
  return action.sa_sigaction;
}
#endif

}  // namespace nestlock::test_support
