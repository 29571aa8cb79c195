// Hosted port: whose turn it is among the waiters of a priority-inheriting lock (hosted_pi.h).
//
// Of those without a priority to lend one looks for the lock, the leader; the others sleep, first come
// first served. Who has it takes it again and again for a turn (PiWaiting::turn_us), and then sleeps behind the
// others as soon as it finds it held. Without turns the lock is whose nap ends at the right moment, and of many
// threads some had it a thousand times more often than others.
// A leader that was woken on a processor that another thread has waits there for the scheduler's next tick; whose
// turn is over goes on until it runs. If it slept, its processor would have nothing to do (Linux moves no thread
// there that ran a moment ago), and of four threads on two processors they did nothing for a third of the time.
// Nor does the only other waiter sleep while the leader does not run: it stands in for it. With two threads on one
// processor and one on another that one slept while the two exchanged the lock, a scheduler's tick each time, and had
// it a quarter as often.
//
// The lock's word is the kernel's to the last bit, so who leads is kept by the process, by the lock's
// address: 64 queues of the kernel's, and a bit in each for 32 locks. All of it is advice, so relaxed but for the
// wake-ups; who is in the lock the word alone says. Two locks may share a bit, and a leader may be gone by a
// jump, or with its process's other threads by a fork. Then a waiter sleeps for PiWaiting::longest_us, and leads
// whatever the bit says; it is right again when that one leaves. Sleepers who are gone by either stay counted: turns
// of that queue's locks are shorter from then on, and each leader asks the kernel whether there is one to be woken.
#pragma once

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>

#include "nestlock/port/hosted_park.h"
#include "nestlock/port/hosted_process.h"

namespace nestlock::hosted {

inline timespec later(timespec t, std::uint64_t ns) noexcept {
  const std::uint64_t all = static_cast<std::uint64_t>(t.tv_nsec) + ns;
  t.tv_sec += static_cast<time_t>(all / 1'000'000'000);
  t.tv_nsec = static_cast<long>(all % 1'000'000'000);
  return t;
}

class PiTurn {
 public:
  explicit PiTurn(const void* lock) noexcept {
    const auto a = reinterpret_cast<std::uintptr_t>(lock);
    queue_ = &process().pi_queues[(a >> 7 ^ a >> 12) % kPiQueues];
    bit_ = std::uint32_t{1} << (a >> 2 ^ a >> 17) % 32;
  }
  ~PiTurn() {
    if (leads_) leave();
  }
  PiTurn(const PiTurn&) = delete;
  PiTurn& operator=(const PiTurn&) = delete;

  // Whether others wait and the caller, who finds the lock held, has had it long enough.
  bool is_over() const noexcept {
    const std::uint32_t sleepers = queue_->sleepers.load(kRelaxed);
    if (!sleepers && !(queue_->leads.load(kRelaxed) & bit_)) return false;
    const std::uint32_t had = Parks::turn_us(), share = share_us(sleepers);
    if (had >= share) return true;
    return had >= process().pi_waiting.turn_us.load(kRelaxed) &&
           (queue_->awake.load(kRelaxed) & bit_);
  }
  // The caller's wait for one is over: it has the lock, or goes on to wait in the kernel.
  static void begins() noexcept { Parks::turn_begins(); }

  static std::uint64_t longest_ns() noexcept {
    return std::uint64_t{1000} * process().pi_waiting.longest_us.load(kRelaxed);
  }
  // Where a wait for it that begins now ends at the latest (CLOCK_MONOTONIC).
  static timespec latest() noexcept {
    timespec t{};
    clock_gettime(CLOCK_MONOTONIC, &t);
    return later(t, longest_ns());
  }

  // Whether the caller leads now. Else it has slept, or something has changed: to be asked again. From
  // `latest` on it leads.
  bool leads_or_sleeps(const timespec& latest) noexcept {
    // seq_cst, here and in leave(): either `sleepers` is seen there, or its new number here, by the kernel.
    const std::uint32_t changes = queue_->changes.load();
    if (!(queue_->leads.fetch_or(bit_) & bit_)) return lead();
    // Counted as one that sleeps, so that there is no second: several that lead end in the kernel's queue, all of them.
    if (std::uint32_t none = 0; !(queue_->awake.load(kRelaxed) & bit_) &&
                                queue_->sleepers.compare_exchange_strong(none, 1)) {
      stands_in_ = true;
      return lead();
    }
    queue_->sleepers.fetch_add(1);
    const int saved = errno;
    const long r = syscall(SYS_futex, &queue_->changes, FUTEX_WAIT_BITSET_PRIVATE, changes, &latest,
                           nullptr, bit_);
    const bool leads = r == 0 || errno == ETIMEDOUT;  // who is woken is woken to lead
    errno = saved;
    queue_->sleepers.fetch_sub(1);
    return leads && lead();
  }

  // The leader's: another thread may have the processor. Meanwhile it does not run.
  void yield() noexcept {
    queue_->awake.fetch_and(~bit_, kRelaxed);
    sched_yield();
    queue_->awake.fetch_or(bit_, kRelaxed);
  }

 private:
  bool lead() noexcept {
    queue_->awake.fetch_or(bit_, kRelaxed);
    return leads_ = true;
  }

  // The longest turn where so many sleep: the last of them should be woken before its time is up, or several lead
  // at once, and who gets the lock is luck again.
  static std::uint32_t share_us(std::uint32_t sleepers) noexcept {
    return process().pi_waiting.longest_us.load(kRelaxed) / 4 * 3 / (sleepers + 1);
  }

  // The bit stays for the one who is woken, or a third would lead before him. Who has seen it and falls
  // asleep before it goes is found by asking again.
  void leave() noexcept {
    // relaxed: before the wake-up, or it would take back what the next one says. That is a system call.
    queue_->awake.fetch_and(~bit_, kRelaxed);
    if (stands_in_) {  // the leader is there, and wakes the next
      queue_->sleepers.fetch_sub(1);
      return;
    }
    queue_->changes.fetch_add(1);
    if (queue_->sleepers.load() && wakes_one()) return;
    queue_->leads.fetch_and(~bit_);
    queue_->changes.fetch_add(1);
    if (queue_->sleepers.load() && wakes_one()) queue_->leads.fetch_or(bit_);
  }

  bool wakes_one() noexcept {
    const int saved = errno;
    const long n =
        syscall(SYS_futex, &queue_->changes, FUTEX_WAKE_BITSET_PRIVATE, 1, nullptr, nullptr, bit_);
    errno = saved;
    return n > 0;
  }

  PiQueue* queue_;
  std::uint32_t bit_;
  bool leads_ = false, stands_in_ = false;
};

}  // namespace nestlock::hosted
