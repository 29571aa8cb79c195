// Who leaves the queue of the SMP word that parks its waiters without a word: by a jump, a handler that waits, a
// fork(). It blocks nobody for longer than a sleep's limit.
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "gtest/gtest.h"
#include "test/lock/park_testing.h"

namespace nestlock::test_support {
namespace {

constexpr Parking kShort{.passes = 10, .park_limit_ns = 20'000'000};
using Short = CountedPort<kShort>;

// Nothing but the limit of a sleep helps; then the word is as new.
template <class Word>
bool goes_on(Word& word) {
  for (unsigned i = 0; i < 5 * kShort.passes; ++i) {
    word.acquire();
    word.release();
  }
  return !word.held() && !word.contended();
}

sigjmp_buf left;
void jump(int) { siglongjmp(left, 1); }

TEST(ParkLeft, AJumpOutOfWaitingBlocksNobody) {
  if (nestlock::internal::kWithTsan)
    GTEST_SKIP() << "a jump out of a handler is the tool's trouble";
  struct sigaction action{};
  action.sa_handler = jump;
  sigaction(SIGALRM, &action, nullptr);
  for (const bool asleep : {false, true}) {
    WordOn<Short> word;
    Short::forget();
    word.acquire();
    std::thread head;
    if (asleep) {
      head = std::thread([&] { word.acquire(), word.release(); });
      wait_until([&] { return word.contended(); });
    }
    std::thread leaves([&] {
      if (sigsetjmp(left, 1) == 0) word.acquire();
    });
    wait_until([&] { return asleep ? sleepers(&word) + Short::slept >= 1 : word.contended(); });
    pthread_kill(leaves.native_handle(), SIGALRM);
    leaves.join();
    word.release();
    if (asleep) head.join();
    EXPECT_TRUE(goes_on(word)) << asleep;
  }
}

// A head in a hurry has closed the lock to all others.
using Quick =
    CountedPort<Parking{.first_nap_ns = 1000, .longest_nap_ns = 1000, .park_limit_ns = 10'000'000}>;
bool in_a_hurry(const WordOn<Quick>& word) {
  // While the head writes it.
  const auto* const bytes = reinterpret_cast<const unsigned char*>(&word);
  return (__atomic_load_n(bytes + 1, __ATOMIC_RELAXED) & 4) != 0;
}

TEST(ParkLeft, AHeadThatWasInAHurryAndHasTheLockIsNoneAnyMore) {
  WordOn<Quick> word;
  word.acquire();
  std::thread head([&] {
    word.acquire();
    EXPECT_FALSE(word.contended());
    word.release();
  });
  wait_until([&] { return in_a_hurry(word); });
  word.release();
  head.join();
  EXPECT_FALSE(word.held() || word.contended());
}

// The head cannot lead while its own handler waits: the limit of a sleep ends that.
TEST(ParkLeft, AHandlerOfAHeadInAHurryMayWait) {
  if (nestlock::internal::kWithTsan) GTEST_SKIP() << "a signal that comes by itself, see crowd()";
  static WordOn<Quick> word;
  static std::atomic<bool> arrived{false};
  struct sigaction action{};
  action.sa_handler = [](int) {
    arrived = true;
    word.acquire();  // which the head below would be next to have
    word.release();
  };
  sigaction(SIGALRM, &action, nullptr);
  word.acquire();
  std::thread head([] { word.acquire(), word.release(); });
  wait_until([] { return in_a_hurry(word); });
  pthread_kill(head.native_handle(), SIGALRM);
  wait_until([] { return arrived.load(); });
  word.release();
  head.join();
  EXPECT_TRUE(goes_on(word));
}

TEST(ParkLeft, AJumpOfAHeadInAHurryBlocksNobody) {
  if (nestlock::internal::kWithTsan)
    GTEST_SKIP() << "a jump out of a handler is the tool's trouble";
  struct sigaction action{};
  action.sa_handler = jump;
  sigaction(SIGALRM, &action, nullptr);
  WordOn<Quick> word;
  word.acquire();
  std::thread leaves([&] {
    if (sigsetjmp(left, 1) == 0) word.acquire();
  });
  wait_until([&] { return in_a_hurry(word); });
  pthread_kill(leaves.native_handle(), SIGALRM);
  leaves.join();
  word.release();
  EXPECT_TRUE(in_a_hurry(word));
  EXPECT_TRUE(word.try_acquire());
  word.release();
  EXPECT_TRUE(goes_on(word));
}

// `in_child` in a child that has the lock, three waiters of which are the parent's alone.
template <class Port>
void fork_beside_waiters(bool (*in_child)(WordOn<Port>&)) {
  if (nestlock::internal::kWithTsan) GTEST_SKIP() << "the tool does not follow a fork()";
  WordOn<Port> word;
  word.acquire();
  int status = 0;
  {
    const Waiters<Port> all(word, 3, [](unsigned) {});
    const pid_t child = fork();
    if (child == 0) {
      word.release();
      _exit(in_child(word) ? 0 : 1);
    }
    waitpid(child, &status, 0);
    word.release();
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_TRUE(goes_on(word));
}

TEST(ParkLeft, AForkedChildGoesOnWithoutTheWaiters) { fork_beside_waiters<Short>(goes_on); }

// Its note of sleepers is no longer true, and who has had its turn asks: nothing is left to sleepers that are not
// there, and it takes the lock as often as any other.
TEST(ParkLeft, AForkedChildLeavesNoTurnToWaitersThatAreNotThere) {
  // (A head that is never in a hurry: that would close the lock, too.)
  using Port = CountedPort<Parking{
      .passes = 1000, .longest_nap_ns = kMinute, .park_limit_ns = 20'000'000, .turn_us = 0}>;
  fork_beside_waiters<Port>([](WordOn<Port>& word) {
    Port::forget();
    for (unsigned i = 0; i < 500; ++i) {
      word.acquire();
      word.release();
    }
    return Port::slept == 0 && Port::asked > 0;
  });
}

}  // namespace
}  // namespace nestlock::test_support
