// The lazy mask with an event after every machine instruction of irq_save(), the section,
// irq_restore(), replay, the irq handlers that replay calls, and the trampoline itself.
#include <sched.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <thread>
#include <utility>

#include "nestlock/testing/instruction_sweep.h"
#include "test/port/port_testing.h"
#include "test/support/verify_line.h"

namespace nestlock::port_testing {

int probe_that_sends() { return SIGRTMIN + 7; }

// Not through the linker's stubs, which are part of the program and would be swept.
long (*volatile system_call)(long, ...) noexcept = syscall;
const pid_t the_process = getpid(), the_thread = thread_id();

// Not swept: between counting and sending, another would send a later number first. Nor does TSan
// see it: the trap that sends and the handler that comes share an alternate stack.
NESTLOCK_UNSEEN inline void send_numbered(int signo, int* sent) {
  siginfo_t info;
  __builtin_memset(&info, 0, sizeof info);
  info.si_signo = signo;
  info.si_code = SI_QUEUE;
  info.si_value.sival_int = __atomic_add_fetch(sent, 1, __ATOMIC_RELAXED);
  system_call(SYS_rt_tgsigqueueinfo, the_process, the_thread, signo, &info);
}

namespace {

using testing::SweepOptions;
using testing::SweepResult;

// Under TSan the runtime is stepped, too: a sample of the boundaries, and of the events.
constexpr std::uint64_t kEvery = internal::kWithTsan ? 211 : 1;

int sent[65];
void send(int signo) { send_numbered(signo, &sent[signo]); }

// What handlers found wrong: a probe, an nmi or an irq may be at work at any moment.
std::atomic<int> irq_in_irq, irq_in_nmi, irq_in_tail, softirq_in_softirq, errno_lost;
std::atomic<int> irqs_running, softirqs_running, in_trampoline;

void irq_extra(int signo, siginfo_t*, void*) {
  if (irqs_running.fetch_add(1, kRelaxed)) irq_in_irq.store(1, kRelaxed);
  const std::uint32_t context = self().context.load(kRelaxed);
  if (context & hosted::kInNmi) irq_in_nmi.store(1, kRelaxed);
  // An irq on top of the trampoline is right in the softirqs' window and nowhere else (R8).
  if (in_trampoline.load(kRelaxed) > 1 && !(context & hosted::kInSoftirq))
    irq_in_tail.store(1, kRelaxed);
  if (in_trampoline.load(kRelaxed) == 1) in_trampoline.store(2, kRelaxed);  // the first is its own
  if (signo == irq(2) || signo == irq(3)) signals::raise_softirq(0);
  irqs_running.fetch_sub(1, kRelaxed);
}

template <unsigned kNr>
void softirq_extra() {
  if (softirqs_running.fetch_add(1, kRelaxed)) softirq_in_softirq.store(1, kRelaxed);
  softirqs_running.fetch_sub(1, kRelaxed);
}

// ---- what is swept ------------------------------------------------------------------------------

struct Expected {
  unsigned irqs = 0, nmis = 0;
  std::vector<int> softirqs{};
};

// Events are signals that the trap sends: blocked there, they arrive at the very boundary.
struct Event {
  const char* name;
  void (*send)();
  RawHandler probe, nmi;
  Expected expected;
};

struct Op {
  const char* name;
  void (*run)();
  Expected expected;
};

std::atomic<int> work;

template <class P>
void pair() {
  const auto s = P::irq_save();
  work.store(work.load(kRelaxed) + 1, kRelaxed);
  P::irq_restore(s);
}

template <class P>
void plain() {
  const auto s = P::irq_save();
  in_section.store(1, kRelaxed);
  work.store(work.load(kRelaxed) + 1, kRelaxed);
  pair<P>();
  in_section.store(0, kRelaxed);
  P::irq_restore(s);
}

template <class P, int kIrq>
void held() {
  const auto s = P::irq_save();
  in_section.store(1, kRelaxed);
  send(irq(kIrq));
  pair<P>();
  in_section.store(0, kRelaxed);
  P::irq_restore(s);
}

// The irq comes in a probe, whose return opens the class again: what comes next is not the first.
template <class P>
void held_by_a_probe() {
  const auto s = P::irq_save();
  in_section.store(1, kRelaxed);
  send(probe_that_sends());
  in_section.store(0, kRelaxed);
  P::irq_restore(s);
}

template <class P>
void raised() {
  P::bh_disable();
  signals::raise_softirq(0);
  P::bh_enable();
}

template <class P>
void raised_in_section() {
  const auto s = P::irq_save();
  signals::raise_softirq(0);
  P::irq_restore(s);
}

template <class P>
void waited() {
  const auto s = P::irq_save();
  send(irq(0));
  signals::wait_irq();
  P::irq_restore(s);
}

// An irq that is not masked, as the kernel would deliver it: the library's own handler, called.
RawHandler the_trampoline;
Mask blocked_meanwhile, blocked_in_nmi;
ucontext_t interrupted;
siginfo_t arrival;

void delivered() {
  Mask mask = real_mask(SIG_BLOCK, blocked_meanwhile | bit(irq(3)));
  std::memcpy(&interrupted.uc_sigmask, &mask, sizeof mask);
  in_trampoline.store(1, kRelaxed);
  the_trampoline(irq(3), &arrival, &interrupted);
  in_trampoline.store(0, kRelaxed);
  std::memcpy(&mask, &interrupted.uc_sigmask, sizeof mask);  // the handler may have changed it
  real_mask(SIG_SETMASK, mask);
}

// An nmi likewise.
void delivered_nmi() {
  const Mask mask = real_mask(SIG_BLOCK, blocked_in_nmi | bit(nmi()));
  the_trampoline(nmi(), &arrival, &interrupted);
  real_mask(SIG_SETMASK, mask);
}

// ---- what comes in between ----------------------------------------------------------------------

template <class P>
void pair_in_handler(int, siginfo_t*, void*) {
  pair<P>();
}
template <class P>
void pair_between_irqs(int, siginfo_t*, void*) {
  send(irq(0));
  pair<P>();
  send(irq(0));
}
void raise_softirq_1(int, siginfo_t*, void*) { signals::raise_softirq(1); }

template <class P>
std::vector<const Event*> events() {
  static const Event irqs{
      "two irqs", [] { send(irq(0)), send(irq(0)); }, nullptr, nullptr, {.irqs = 2}};
  static const Event irq_softirq{"an irq that raises a softirq",
                                 [] { send(irq(2)); },
                                 nullptr,
                                 nullptr,
                                 {.irqs = 1, .softirqs = {0}}};
  static const Event nmi_irqs{"an nmi with a section and irqs in it",
                              [] { send(nmi()); },
                              nullptr,
                              pair_between_irqs<P>,
                              {.irqs = 2, .nmis = 1}};
  static const Event section{
      "a probe with a section", [] { send(probe()); }, pair_in_handler<P>, nullptr, {}};
  static const Event section_irqs{"a probe with a section and irqs in it",
                                  [] { send(probe()); },
                                  pair_between_irqs<P>,
                                  nullptr,
                                  {.irqs = 2}};
  static const Event softirq{"a probe that raises a softirq",
                             [] { send(probe()); },
                             raise_softirq_1,
                             nullptr,
                             {.softirqs = {1}}};
  static const Event at_once{"an irq, an nmi and a probe at once",
                             [] { send(irq(0)), send(nmi()), send(probe()); },
                             pair_between_irqs<P>,
                             pair_between_irqs<P>,
                             {.irqs = 5, .nmis = 1}};
  if (internal::kWithTsan) return {&at_once};
  return {&irqs, &irq_softirq, &nmi_irqs, &section, &section_irqs, &softirq, &at_once};
}

template <class P>
std::vector<Op> ops() {
  std::vector<Op> v{
      {"a section", plain<P>, {}},
      {"a section that holds an irq back", held<P, 0>, {.irqs = 1}},
      {"the same, with a softirq", held<P, 3>, {.irqs = 1, .softirqs = {0}}},
      {"a softirq raised in an irq section", raised_in_section<P>, {.softirqs = {0}}},
      {"a section in which a probe lets an irq in", held_by_a_probe<P>, {.irqs = 1}},
  };
  // Not under ThreadSanitizer: to it the trampoline's frames are the task's here, and lie where
  // those of a real handler lay.
  constexpr bool kByHand = !internal::kWithTsan;
  if (kByHand) v.push_back({"the trampoline of an nmi", delivered_nmi, {.nmis = 1}});
  if (P::kConfig.debug && internal::kWithTsan) v.resize(1);
  if (P::kConfig.debug) return v;  // the others have no part that depends on it
  v.push_back({"a softirq raised in a bh section", raised<P>, {.softirqs = {0}}});
  v.push_back({"wait_irq()", waited<P>, {.irqs = 1}});
  if (kByHand)
    v.push_back({"the trampoline, with a softirq", delivered, {.irqs = 1, .softirqs = {0}}});
  return v;
}

std::string wrong_after(const Op& op, const Event& event) {
  std::string why = not_quiet();
  auto expect = [&](const char* what, std::uint64_t is, std::uint64_t should) {
    if (is != should)
      why +=
          std::string(what) + " " + std::to_string(is) + ", not " + std::to_string(should) + "; ";
  };
  // The nmi that is delivered does what the event's does: it lets two irqs in.
  const unsigned more = op.run == delivered_nmi && event.nmi ? 2 : 0;
  expect("irqs", irqs.size(), op.expected.irqs + event.expected.irqs + more);
  expect("nmis", nmis.size(), op.expected.nmis + event.expected.nmis);
  unsigned masked = 0, out_of_order = 0;
  for (unsigned i = 0; i < irqs.size(); ++i) masked += irqs[i].in_section;
  expect("irqs in a section", masked, 0);
  for (int s : {irq(0), irq(2), irq(3)}) {
    const auto v = irqs.values(s);
    for (unsigned i = 0; i < v.size(); ++i) out_of_order += v[i] != static_cast<int>(i) + 1;
  }
  expect("irqs out of order", out_of_order, 0);
  expect("irq in irq", irq_in_irq, 0);
  expect("irq in nmi", irq_in_nmi, 0);
  expect("irq in the trampoline's tail", irq_in_tail, 0);
  expect("softirq in softirq", softirq_in_softirq, 0);
  // Two raises of one softirq may run it once.
  for (int nr : {0, 1}) {
    const auto count = [nr](const std::vector<int>& v) {
      return std::count(v.begin(), v.end(), nr);
    };
    const auto ran = count(softirqs.values());
    const auto raises = count(op.expected.softirqs) + count(event.expected.softirqs);
    if (ran > raises || (raises && !ran)) why += "softirq " + std::to_string(nr) + " ran wrong; ";
  }
  for (unsigned i = 0; i < softirqs.size(); ++i)
    if (softirqs[i].context != Context::softirq) why += "softirq in a wrong context; ";
  if (errno_lost) why += "errno lost; ";
  return why;
}

class PortSweepTest : public PortTest {
 protected:
  template <class P>
  void sweep_all() {
    for (const Op& op : ops<P>()) {
      std::uint64_t boundaries = 0, runs = 0, traps = 0;
      for (const Event* event : events<P>()) {
        // Raised in an nmi it waits for the next chance, as raise_softirq() says.
        if (op.run == delivered_nmi && event->probe == raise_softirq_1) continue;
        const SweepResult r = sweep(op, *event);
        std::string text = r.text();
        ASSERT_TRUE(r.ok() && r.complete)
            << op.name << " X " << event->name << ": " << text << "\n  " << first_wrong_;
        boundaries = std::max(boundaries, r.boundaries), runs += r.runs;
        traps += r.traps;
      }
      test_support::VerifyLine("sweep", "the port's masks", name_of(P::kConfig))
          .put("case", op.name)
          .ok(true)
          .put("boundaries", boundaries)
          .put("complete", kEvery == 1 ? "yes" : "no")
          .put("runs", runs);
      std::printf("%-36s %5lu boundaries, %6lu runs, %8lu traps\n", op.name,
                  static_cast<unsigned long>(boundaries), static_cast<unsigned long>(runs),
                  static_cast<unsigned long>(traps));
    }
  }

 private:
  SweepResult sweep(const Op& op, const Event& event) {
    if (event.probe) install_probe(probe(), event.probe);
    install_probe(probe_that_sends(), [](int, siginfo_t*, void*) { send(irq(0)); });
    SweepOptions options{.blocked = testing::kAllSignals};
    // What a handler does besides is one boundary.
    for (const char* name : {"on_irq", "on_nmi", "on_softirq", "keep"})
      options.ranges.remove(
          testing::CodeRanges::function(std::string("nestlock::port_testing::") + name));
    options.boundaries.every = kEvery;
    first_wrong_.clear();
    Findings findings;  // nothing here is a misuse
    return testing::sweep_each(
        [&] {
          quieten(), findings.clear();
          irqs.clear(), nmis.clear(), softirqs.clear();
          for (int& s : sent) s = 0;
          irq_in_irq = irq_in_nmi = irq_in_tail = softirq_in_softirq = errno_lost = 0;
          irqs_running = softirqs_running = in_trampoline = 0;
          in_irq = irq_extra, in_nmi = event.nmi;
          in_softirq[0] = softirq_extra<0>, in_softirq[1] = softirq_extra<1>;
          installed(nmi(), &blocked_in_nmi);
          the_trampoline = installed(irq(3), &blocked_meanwhile);
          interrupted = {}, arrival = {};
          arrival.si_value.sival_int = 1;
          sent[irq(3)] = op.run == delivered;
        },
        [&] {
          errno = 7;
          op.run();
          if (errno != 7) errno_lost = 1;
        },
        event.send,
        [&] {
          std::string why = wrong_after(op, event);
          if (findings.size()) why += std::string("reported: ") + name_of(findings[0].finding);
          if (!why.empty() && first_wrong_.empty()) first_wrong_ = why;
          return why.empty();
        },
        options);
  }

  std::string first_wrong_;
};

TEST_F(PortSweepTest, EveryInstructionOfAReleaseConfiguration) {
  sweep_all<HostedPort<configs::up>>();
}
// R9: an irq that comes after any instruction before the sleep ends the sleep, or there is none.
// Whoever sleeps for good is woken from outside, and told on.
TEST_F(PortSweepTest, WaitIrqSleepsOnNoIrqThatHasCome) {
  using P = HostedPort<configs::up>;
  std::atomic<std::uint64_t> round{0}, woken{0};
  std::atomic<bool> quit{false};
  std::thread waker([&, sleeper = thread_id()] {
    real_mask(SIG_BLOCK, ~Mask{0});
    std::uint64_t looked_at = 0;
    while (!quit) {
      usleep(100'000);
      const std::uint64_t now = round.load();
      if (is_asleep(sleeper) && std::exchange(looked_at, now) == now) {
        woken.store(now);
        queue_to(sleeper, irq(1), 1);
      }
    }
  });
  std::uint64_t k = 0;
  for (bool slept_before = false; !slept_before; ++k) {
    quieten();
    irqs.clear();
    for (int& s : sent) s = 0;
    const std::uint64_t mine = round.load() + 1;
    round.store(mine);
    const auto r = testing::run_interrupted_at(
        1 + k * kEvery,
        [] {
          const auto s = P::irq_save();
          while (irqs.size() == 0) signals::wait_irq();
          P::irq_restore(s);
        },
        [&] {
          slept_before = woken.load() == mine;
          if (!slept_before) send(irq(0));
        },
        {.blocked = testing::kAllSignals});
    if (!r.supported) break;
    EXPECT_TRUE(r.ok()) << r.text();
    EXPECT_EQ(slept_before, woken.load() == mine) << "slept on it: " << r.text();
    if (HasFailure()) break;
  }
  quit = true;
  waker.join();
  EXPECT_GT(k, 10u / kEvery);
  std::printf("wait_irq(): %lu boundaries before its sleep\n", static_cast<unsigned long>(k - 1));
}

TEST_F(PortSweepTest, EveryInstructionOfADebugConfiguration) {
  sweep_all<HostedPort<configs::smp_debug>>();
}

}  // namespace
}  // namespace nestlock::port_testing
