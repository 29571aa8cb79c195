// sigaction without the C library's or a sanitizer's interceptor, where that is needed.
#pragma once

#include <signal.h>

#include <cstdint>

namespace nestlock::signals {

using KernelMask = std::uint64_t;  // the kernel's sigset: bit n-1 is signal n

constexpr KernelMask mask_of(int signo) noexcept { return KernelMask{1} << (signo - 1); }

// The present action. False: errno tells.
bool query(int signo, struct sigaction& now) noexcept;

// Installs `trampoline` (SA_SIGINFO | SA_ONSTACK, and SA_RESTART or 0) with the given mask. False: errno.
bool install(int signo, void (*trampoline)(int, siginfo_t*, void*), KernelMask mask,
             int restart) noexcept;

// Puts an action back that query() gave. False: errno tells.
bool restore(int signo, const struct sigaction& action) noexcept;

// rt_sigprocmask on the kernel's own mask; returns the old one. Not interceptable.
KernelMask real_mask(int how, KernelMask set) noexcept;

}  // namespace nestlock::signals
