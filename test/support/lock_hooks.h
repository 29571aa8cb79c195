// The observer that calls lock_hook(). For the support sources only.
#pragma once

#include "checked.h"
#include "page_allocators.h"

namespace nestlock::test_support {

struct Hooked {
  static void tell(LockEvent event, const LockRef& lock) noexcept {
    const Unchecked test;
    LockHook& hook = lock_hook();
    if (!hook) return;
    LockHook running;
    running.swap(hook);  // not again by what it does itself
    running(event, lock);
    running.swap(hook);
  }
  static void acquiring(const LockRef& l) noexcept { tell(LockEvent::acquiring, l); }
  static void acquired(const LockRef& l, bool) noexcept { tell(LockEvent::acquired, l); }
  static void refused(const LockRef& l) noexcept { tell(LockEvent::refused, l); }
  static void releasing(const LockRef& l) noexcept { tell(LockEvent::releasing, l); }
};

}  // namespace nestlock::test_support
