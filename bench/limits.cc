// The limits: the bare instructions that a lock of each kind cannot do without.
#include <cstdint>

#include "rows.h"

namespace bench {
namespace {

struct alignas(128) Line {
  std::uint32_t word;
};
Line line;
thread_local std::uint32_t count [[gnu::tls_model("initial-exec")]];

std::uint32_t exchange(std::uint32_t value) {
  return __atomic_exchange_n(&line.word, value, __ATOMIC_ACQUIRE);
}
bool compare_exchange(std::uint32_t from, std::uint32_t to) {
  return __atomic_compare_exchange_n(&line.word, &from, to, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED);
}
void store(std::uint32_t value) { __atomic_store_n(&line.word, value, __ATOMIC_RELEASE); }
std::uint32_t load() { return __atomic_load_n(&line.word, __ATOMIC_RELAXED); }

}  // namespace

void add_limits() {
  const std::string table = std::string(kLimit) + "/";
  add_pair(table + "empty loop", [] {});
  add_pair(table + "xchg+store", [] {  // any SMP spin lock
    if (exchange(1)) refused();
    section();
    store(0);
  });
  add_pair(table + "cmpxchg+store", [] {
    if (!compare_exchange(0, 1)) refused();
    section();
    store(0);
  });
  add_pair(table + "cmpxchg+cmpxchg", [] {  // any lock on a PI futex
    if (!compare_exchange(0, 1234)) refused();
    section();
    if (!compare_exchange(1234, 0)) refused();
  });
  add_pair(table + "load+2 stores", [] {  // a truthful trylock on one CPU
    if (load()) refused();
    store(1);
    section();
    store(0);
  });
  add_pair(table + "count up+down", [] {  // a preempt count
    count = count + 1;
    section();
    count = count - 1;
  });
  add_pair(table + "count, load+2 stores", [] {  // the two together
    count = count + 1;
    if (load()) refused();
    store(1);
    section();
    store(0);
    count = count - 1;
  });
}

}  // namespace bench
