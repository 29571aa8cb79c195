// The functions of nestlock/signals.h. Several objects of a process may hold this library, and one of them
// handles its signals, for all: the first that registers something. It is never unloaded then. What a
// library registered with it ends when that library is unloaded.
#include "signals_internal.h"

namespace nestlock::signals {
using namespace internal;

namespace {

constexpr Engine kMine{add,          remove,           wait_for_handlers, add_softirq,     raise,
                       wait_for_irq, drop_left_levels, change_mask,       count_up_to_now, forget};

const Engine* others() noexcept {
  // acquire: pairs with the exchange below, by the thread that made it ready.
  return static_cast<const Engine*>(hosted::process().engine.load(std::memory_order_acquire));
}

// Without one nothing is registered, and what these do needs no state but the thread's.
const Engine& engine() noexcept {
  const Engine* const e = others();
  return e ? *e : kMine;
}

const Engine& engine_to_register() noexcept {
  if (const Engine* const e = others()) return *e;
  hosted::stay_loaded();
  const void* none = nullptr;
  if (hosted::process().engine.compare_exchange_strong(none, &kMine, std::memory_order_acq_rel))
    return kMine;
  return *static_cast<const Engine*>(none);
}

bool is_in_this_object(const void* function) noexcept { return hosted::in_this_object(function); }

// When this library is unloaded, before the rest of it goes.
[[gnu::destructor]] void end_what_is_ours() noexcept {
  const Engine* const e = others();
  if (e && e != &kMine) e->forget(is_in_this_object);
}

}  // namespace

Error register_irq(int signo, Handler handler, Calls calls) noexcept {
  return engine_to_register().add(signo, handler, true, calls);
}
Error register_nmi(int signo, Handler handler, Calls calls) noexcept {
  return engine_to_register().add(signo, handler, false, calls);
}
Error unregister(int signo) noexcept {
  const Error e = engine().remove(signo, "unregister");
  if (e == Error::none) synchronize(signo);
  return e;
}
Error unregister_nowait(int signo) noexcept { return engine().remove(signo, "unregister_nowait"); }
void synchronize(int signo) noexcept { engine().wait_for_handlers(signo); }
bool register_softirq(unsigned nr, void (*run)()) noexcept {
  return engine_to_register().add_softirq(nr, run);
}
void raise_softirq(unsigned nr) noexcept { engine().raise(nr); }
void wait_irq() noexcept { engine().wait_for_irq(); }
[[gnu::noinline]] void after_jump() noexcept {
  engine().drop_left_levels(reinterpret_cast<std::uintptr_t>(__builtin_frame_address(0)));
}
int set_signal_mask(int how, const sigset_t* set, sigset_t* old) noexcept {
  return engine().change_mask(how, set, old);
}
Stats stats() noexcept { return engine().stats(); }

}  // namespace nestlock::signals
