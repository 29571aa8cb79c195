// The C face of the hosted port's signals and report sink.
#include <atomic>

#include "face.h"
#include "nestlock/c/signals.h"
#include "nestlock/signals.h"

namespace signals = nestlock::signals;

namespace {

using Error = signals::Error;
constexpr bool same(nestlock_signal_error_t c, Error cxx) noexcept {
  return static_cast<Error>(c) == cxx;
}
static_assert(same(NESTLOCK_SIGNAL_OK, Error::none) &&
              same(NESTLOCK_SIGNAL_NOT_A_SIGNAL, Error::not_a_signal) &&
              same(NESTLOCK_SIGNAL_UNMASKABLE, Error::unmaskable) &&
              same(NESTLOCK_SIGNAL_FAULT, Error::fault) &&
              same(NESTLOCK_SIGNAL_TAKEN, Error::taken) &&
              same(NESTLOCK_SIGNAL_NOT_TAKEN, Error::not_taken) &&
              same(NESTLOCK_SIGNAL_REFUSED, Error::refused) &&
              same(NESTLOCK_SIGNAL_NO_HANDLER, Error::no_handler));
static_assert(NESTLOCK_MAX_SOFTIRQS == signals::kMaxSoftirqs);

// C's handlers have another type (see c/signals.h), so a function of ours stands between.
constexpr int kSignals = 65;
std::atomic<nestlock_handler_t> handlers[kSignals];

void call(int signo, siginfo_t* info, void* context) {
  // acquire: pairs with the release of set(), so that the handler sees what was set up for it.
  if (const auto handler = handlers[signo].load(std::memory_order_acquire))
    handler(signo, info, context);
}

using Register = Error (*)(int, signals::Handler) noexcept;
nestlock_signal_error_t set(int signo, nestlock_handler_t handler, Register with) noexcept {
  if (!handler) return static_cast<nestlock_signal_error_t>(with(signo, nullptr));
  // Set before it is registered, since it may arrive at once; a signal that has one keeps it.
  nestlock_handler_t none = nullptr;
  const bool in_range = signo > 0 && signo < kSignals;
  if (in_range && !handlers[signo].compare_exchange_strong(none, handler, std::memory_order_release,
                                                           std::memory_order_relaxed))
    return NESTLOCK_SIGNAL_TAKEN;
  const Error error = with(signo, call);
  if (in_range && error != Error::none) handlers[signo].store(nullptr, std::memory_order_relaxed);
  return static_cast<nestlock_signal_error_t>(error);
}

using Sink = void (*)(const char*, bool);
std::atomic<Sink> text_sink{nullptr};

void print_to_sink(const nestlock::Report& r) noexcept {
  char text[768];
  nestlock::to_text(r, text, sizeof text);
  if (const Sink sink = text_sink.load(std::memory_order_acquire)) sink(text, r.fatal);
}

}  // namespace

nestlock_signal_error_t nestlock_register_irq(int signo, nestlock_handler_t handler) noexcept {
  return set(signo, handler,
             [](int s, signals::Handler h) noexcept { return signals::register_irq(s, h); });
}
nestlock_signal_error_t nestlock_register_nmi(int signo, nestlock_handler_t handler) noexcept {
  return set(signo, handler,
             [](int s, signals::Handler h) noexcept { return signals::register_nmi(s, h); });
}
nestlock_signal_error_t nestlock_unregister_signal(int signo) noexcept {
  const Error error = signals::unregister(signo);
  if (error == Error::none) handlers[signo].store(nullptr, std::memory_order_relaxed);
  return static_cast<nestlock_signal_error_t>(error);
}
const char* nestlock_signal_error_name(nestlock_signal_error_t error) noexcept {
  return signals::name_of(static_cast<Error>(error));
}

bool nestlock_register_softirq(unsigned nr, void (*run)()) noexcept {
  return signals::register_softirq(nr, run);
}
void nestlock_raise_softirq(unsigned nr) noexcept { signals::raise_softirq(nr); }
void nestlock_wait_irq() noexcept { signals::wait_irq(); }
int nestlock_set_signal_mask(int how, const void* set, void* old) noexcept {
  return signals::set_signal_mask(how, static_cast<const sigset_t*>(set),
                                  static_cast<sigset_t*>(old));
}

void nestlock_signal_stats(nestlock_signal_stats_t* stats) noexcept {
  const signals::Stats s = signals::stats();
  *stats = {s.irqs, s.nmis, s.softirqs, s.held_back, s.requeued, s.lost, s.forwarded};
}

void nestlock_set_report_sink(void (*sink)(const char* text, bool fatal)) noexcept {
  text_sink.store(sink, std::memory_order_release);
  nestlock::hosted::set_report_sink(sink ? print_to_sink : nullptr);
}
