// A struct of a program's own with locks in it: its name says nothing of what it was built for.
#pragma once

#include "nestlock/nestlock.h"

#ifndef EXPLICIT
struct Holder {
  nestlock::TrySpinLock lock;
  long n;
};
#else
// With explicit kernels it is the same everywhere.
struct Holder {
  template <nestlock::Config kC>
  using Lock = nestlock::BasicTrySpinLock<nestlock::KernelOf<kC, nestlock::DefaultPort<kC>>>;
  Lock<nestlock::configs::up> small;
  Lock<nestlock::configs::smp_debug> large;
};
#endif
