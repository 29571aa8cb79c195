// Slots: arrivals that were held back, and their replay by irq_restore(). Rules R4, R5: README.md.
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "delivery.h"
#include "signals_internal.h"

namespace nestlock::signals::internal {
namespace {

struct Arrival {
  int signo;      // 0: dropped
  pid_t process;  // where it arrived: a child by _Fork() has it, too, but it is not the child's
  std::uint32_t generation;  // of the registration that it arrived under
  siginfo_t info;
  alignas(16) unsigned char context[kContextSize];
};

// One slot is enough with the class blocked, unless a handler nobody registered interrupts an
// irq-off section: its return unblocks the class. Producer (a handler) interrupts the consumer.
constexpr std::uint32_t kSlots = 4;
struct Ring {
  std::atomic<std::uint32_t> head{0}, tail{0};
  Arrival slot[kSlots];
};
Ring rings[kHostedMaxCpus];

Ring* my_ring() noexcept {
  const unsigned cpu = hosted::cpu_id();
  return cpu < kHostedMaxCpus ? &rings[cpu] : nullptr;
}

void drain(Ring& ring, Delivery& delivery) noexcept {
  for (std::uint32_t h; (h = ring.head.load(kRelaxed)) != ring.tail.load(kRelaxed);) {
    // Copy out, then advance: once head moves, a handler may fill the slot again.
    nestlock::internal::tsan_acquire(&ring);
    const Arrival& slot = ring.slot[h % kSlots];
    const int signo = slot.signo;
    siginfo_t info = slot.info;
    ucontext_t uc;
    const bool due = signo && slot.process == getpid() &&
                     slot.generation == signal_table[signo].generation.load(kRelaxed);
    std::memcpy(&uc, slot.context, kContextSize);
    if (kContextSize < sizeof uc)  // the mask's other words; behind it only what fpregs would name
      std::memset(reinterpret_cast<char*>(&uc.uc_sigmask) + sizeof(KernelMask), 0,
                  sizeof uc.uc_sigmask - sizeof(KernelMask));
    nestlock::internal::tsan_release(&ring);
    fence();
    ring.head.store(h + 1, kRelaxed);
    if (due) delivery.call_irq(signo, &info, &uc);
  }
}

// Returns what is blocked for us, and still to be unblocked.
KernelMask replay_all(Delivery& delivery) noexcept {
  do {
    self().soft.store(1, kRelaxed);
    fence();
    self().held.store(0, kRelaxed);
    fence();
    if (Ring* const ring = my_ring()) drain(*ring, delivery);
    self().soft.store(0, kRelaxed);
    fence();  // first enable, then look, as in irq_restore()
  } while (self().held.load(kRelaxed));
  const KernelMask added = self().added.exchange(0, kRelaxed);
  run_softirqs(added, /*close=*/false);
  return added;
}

}  // namespace

// irq_restore() found something held back (R5), or a softirq is due. No signal frame is around it,
// so errno is ours to keep, and the rest is Delivery's. Never inside an irq or an nmi, where a
// wrong restore is all that could lead here.
void replay() noexcept {
  if (self().context.load(kRelaxed) & (hosted::kInIrq | hosted::kInNmi)) return;
  const int saved = errno;
  const NotCancelled whole;
  if (self().held.load(kRelaxed)) {
    // Unblocked last: what comes then interrupts what the program does with modes and stack of its own.
    const KernelMask added = Delivery::run(replay_all);
    if (added) real_mask(SIG_UNBLOCK, added);  // what we blocked, never what the user had (R7)
  } else {
    run_softirqs(0, /*close=*/false);
  }
  errno = saved;
}

bool send_to(std::uint32_t thread, int signo, const siginfo_t* info) noexcept {
  signal_table[signo].sent.store(true, kRelaxed);
  return syscall(SYS_rt_tgsigqueueinfo, getpid(), thread, signo, info) == 0;
}

// An irq arrived while masked: keep it in a slot, and let this handler's return block the class, so
// that the kernel queues what follows, in order (R4).
void hold_back(int signo, siginfo_t* info, ucontext_t* uc) noexcept {
  const KernelMask all = irq_class.load(kRelaxed), user = mask_in(*uc);
  count(counts.held_back);
  self().added.fetch_or(all & ~user, kRelaxed);
  set_mask_in(*uc, user | all);
  Ring* const ring = my_ring();
  const std::uint32_t t = ring ? ring->tail.load(kRelaxed) : 0;
  if (!ring || t - ring->head.load(kRelaxed) == kSlots) {
    // No slot: back to the kernel's queue, behind those already there.
    count(counts.requeued);
    if (!send_to(hosted::thread_id(), signo, info)) count(counts.lost);
  } else {
    nestlock::internal::tsan_acquire(ring);
    Arrival& a = ring->slot[t % kSlots];
    a.signo = signo;
    a.process = getpid();
    a.generation = signal_table[signo].generation.load(kRelaxed);
    a.info = *info;
    ucontext_t copy;
    std::memcpy(&copy, uc, kContextSize);
    set_mask_in(copy, user);
    forget_what_lies_outside(copy);
    std::memcpy(a.context, &copy, kContextSize);
    nestlock::internal::tsan_release(ring);
    fence();
    ring->tail.store(t + 1, kRelaxed);
  }
  fence();
  self().held.store(1, kRelaxed);  // last: whoever sees it finds the slot
}

// The program blocked them after they were held back: they wait where blocked signals wait. All
// signals are blocked meanwhile, so nobody uses the ring. One that the kernel refuses stays.
void give_to_the_kernel(KernelMask blocked) noexcept {
  Ring* const ring = my_ring();
  if (!ring) return;
  for (std::uint32_t h = ring->head.load(kRelaxed); h != ring->tail.load(kRelaxed); ++h) {
    Arrival& a = ring->slot[h % kSlots];
    if (a.signo && (blocked & mask_of(a.signo)) && send_to(hosted::thread_id(), a.signo, &a.info))
      a.signo = 0;
  }
}

bool any_in_my_slots() noexcept {
  const std::uint32_t cpu = self().cpu.load(kRelaxed);  // claims none
  return cpu && rings[cpu - 1].head.load(kRelaxed) != rings[cpu - 1].tail.load(kRelaxed);
}

void empty_slots(unsigned cpu) noexcept {
  rings[cpu].head.store(rings[cpu].tail.load(kRelaxed), kRelaxed);
}

}  // namespace nestlock::signals::internal
