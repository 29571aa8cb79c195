// Whether the port keeps the rules of docs/porting.md. Each rule is tried with a real irq and, where the board
// has one, a real NMI; the first that is broken is told, and the status is 3. Waiting is bounded, so a mask that
// is never taken off is told, too, and does not hang.
//
// Then the same is asked of ports that break one rule each: whoever finds nothing wrong with these would find
// nothing in yours.
#include "machine.h"
#include "nestlock/nestlock.h"
#include "print.h"

namespace {

using Built = nestlock::BuiltPort;
using nestlock::Context;

constinit volatile unsigned irqs = 0, nmis = 0;
constinit volatile Context in_irq = Context::task, in_nmi = Context::task;
using Handle = Context (*)();
constinit Handle handle = nullptr;  // what a handler does with the port; its answer is where it is
constinit Built::IrqState open{};   // irqs are on, as in main()
constinit unsigned rules = 0;       // that were kept

// True when so many interrupts have come. What is pending comes long before the last turn.
bool come(volatile unsigned& count, unsigned wanted) {
  for (unsigned turn = 0; turn < 1000 && count < wanted; ++turn) asm volatile("");
  return count == wanted;
}

// Null, or the rule that is broken.
template <class Port>
const char* broken_rule() {
  irqs = 0;
  nmis = 0;
  handle = [] { return Port::context(); };
  unsigned kept = 0;
#define KEPT(right, rule)    \
  if (!(right)) return rule; \
  ++kept

  KEPT(Port::context() == Context::task, "context() is task in main()");
  machine::pend_irq(0);
  KEPT(come(irqs, 1), "irq_restore() unmasks irqs if they were on before");
  KEPT(in_irq == Context::hardirq, "context() is hardirq in an irq's handler");
  KEPT(Port::context() == Context::task, "context() is task again after it");

  const auto outer = Port::irq_save();
  machine::pend_irq(0);
  KEPT(!come(irqs, 2), "irq_save() masks irqs on this CPU");
  Port::irq_restore(Port::irq_save());
  KEPT(!come(irqs, 2),
       "irq_restore() brings back what was before: an inner section leaves irqs masked");
  Port::preempt_disable();
  Port::preempt_enable();
  KEPT(!come(irqs, 2), "preempt_enable() leaves irqs masked");
  if constexpr (machine::kHasNmi) {
    // The handler's own section must not take off the mask of what it interrupted.
    handle = [] {
      Port::irq_restore(Port::irq_save());
      return Port::context();
    };
    machine::pend_nmi();
    KEPT(come(nmis, 1), "irq_save() leaves NMIs on");
    KEPT(in_nmi == Context::nmi, "context() is nmi in an NMI's handler");
    KEPT(!come(irqs, 2), "a section in an NMI's handler leaves irqs masked");
  }
  Port::irq_restore(outer);
  const bool at_once = irqs == 2;
  KEPT(come(irqs, 2), "irq_restore() unmasks irqs if they were on before");
  KEPT(at_once, "what is pending runs before irq_restore() returns");

  Port::preempt_disable();
  machine::pend_irq(0);
  KEPT(come(irqs, 3), "preempt_disable() lets irqs come");
  Port::preempt_enable();
  KEPT(Port::cpu_id() < Port::kMaxCpus, "cpu_id() is below kMaxCpus");

  typename Port::template Atomic<std::uint32_t> word{1};
  std::uint32_t expected = 2;
  const bool wrongly = word.compare_exchange_strong(expected, 3);
  KEPT(!wrongly && expected == 1 && word.load() == 1,
       "a compare-exchange of another value is none");
  KEPT(word.compare_exchange_strong(expected, 3) && word.load() == 3, "a compare-exchange stores");
  KEPT(word.fetch_add(4) == 3 && word.exchange(9) == 7,
       "adding and exchanging give what was before");
#undef KEPT
  rules = kept;
  return nullptr;
}

// ---- ports that break a rule each ----

struct MasksNothing : Built {
  static IrqState irq_save() noexcept { return {}; }
  static void irq_restore(IrqState) noexcept {}
};
struct AlwaysUnmasks : Built {
  static void irq_restore(IrqState) noexcept { Built::irq_restore(open); }
};
struct NeverUnmasks : Built {
  static void irq_restore(IrqState) noexcept {}
};
struct AlwaysTask : Built {
  static Context context() noexcept { return Context::task; }
};
struct UnmasksByPreemption : Built {
  static void preempt_enable() noexcept { Built::irq_restore(open); }
};
struct StoresAnyway : Built {
  template <class T>
  struct Atomic : Built::Atomic<T> {
    using Built::Atomic<T>::Atomic;
    bool compare_exchange_strong(T&, T desired) { return this->store(desired), true; }
  };
};

constinit unsigned caught = 0;
template <class Port>
void must_be_caught(const char* name) {
  const bool is_caught = broken_rule<Port>() != nullptr;
  handle = Built::context;
  Built::irq_restore(open);
  (void)come(irqs, ~0u);  // what it has left pending
  // The built one still breaks none: so it was the port, and not what the last one had left behind.
  if (is_caught && !broken_rule<Built>()) return void(++caught);
  machine::put(name), machine::put(" was not caught\n");
  machine::end(4);
}

}  // namespace

void machine::interrupt(Source source, std::uintptr_t) {
  if (source != Source::irq0 && source != Source::nmi) {
    put("an exception that nobody asked for\n");
    end(3);
  }
  const bool is_irq = source == Source::irq0;
  volatile Context& here = is_irq ? in_irq : in_nmi;
  volatile unsigned& count = is_irq ? irqs : nmis;
  here = handle();
  count = count + 1;
}

int main() {
  handle = Built::context;
  machine::pend_irq(0);
  if (!come(irqs, 1)) {
    machine::put("no irq comes: the start-up code leaves them masked, or pend_irq(0) pends none\n");
    return 4;
  }
  open = Built::irq_save();
  Built::irq_restore(open);
  if (const char* rule = broken_rule<Built>()) {
    machine::put("the port breaks this rule of docs/porting.md: ");
    machine::put(rule), machine::put("\n");
    return 3;
  }
  must_be_caught<MasksNothing>("a port that masks nothing");
  must_be_caught<AlwaysUnmasks>("a port whose irq_restore() always unmasks");
  must_be_caught<NeverUnmasks>("a port whose irq_restore() never unmasks");
  must_be_caught<AlwaysTask>("a port whose context() is always task");
  must_be_caught<UnmasksByPreemption>("a port whose preempt_enable() unmasks");
  must_be_caught<StoresAnyway>("a port whose compare-exchange always stores");
  firmware::print("rules that the port keeps", rules);
  firmware::print("ports that break one, caught", caught);
  return 0;
}
