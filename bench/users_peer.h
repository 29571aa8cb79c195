// A lock of the user's own as one more peer: ./nest bench lock --peer=FILE copies the header beside this one,
// into a folder that git ignores, while the program is built.
#pragma once

#if __has_include("users/peer.h")
#include "users/peer.h"
#define NESTLOCK_BENCH_USERS_PEER 1

#include <sched.h>

#include <concepts>
#include <string>

namespace bench {

template <class L>
concept ComparedPeer = std::default_initializable<L> && requires(L l) {
  { L::kName } -> std::convertible_to<const char*>;
  { l.try_lock() } -> std::same_as<bool>;
  l.unlock();
};
static_assert(ComparedPeer<ComparedLock>,
              "ComparedLock needs kName, bool try_lock(), unlock() and a default constructor");

// Its lock(), or, where it has none, turns on its try_lock(): it looks again at once for a while, and then
// lets others run, for the holder may have no processor.
template <ComparedPeer L>
class UsersPeer {
 public:
  void lock() {
    if constexpr (requires { inner_.lock(); }) {
      inner_.lock();
    } else {
      for (unsigned turn = 1; !inner_.try_lock(); ++turn)
        if (turn % kLooks == 0)
          sched_yield();
        else
          pause_for_a_moment();
    }
  }
  bool try_lock() { return inner_.try_lock(); }
  void unlock() { inner_.unlock(); }

 private:
  static constexpr unsigned kLooks = 100;  // some microseconds
  static void pause_for_a_moment() {
#ifdef __x86_64__
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    asm volatile("yield" ::: "memory");
#endif
  }

  L inner_;
};

// Its name in the tables, whose names a slash divides, and in the figures, which commas do.
inline std::string users_peer_name() {
  std::string name = ComparedLock::kName;
  for (char& c : name)
    if (c == '/' || c == ',') c = ' ';
  return name;
}

}  // namespace bench
#else
#define NESTLOCK_BENCH_USERS_PEER 0
#endif
