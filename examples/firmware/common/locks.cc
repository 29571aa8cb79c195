// The locks as they are compiled, to be counted by ./nest firmware: one function for each operation.
#include "nestlock/nestlock.h"

namespace {

struct Guarded {
  [[no_unique_address]] nestlock::RawSpinLock lock;
  int value;
};
struct Tried {
  nestlock::TrySpinLock lock;
};

}  // namespace

extern "C" {

// Objects of these sizes: what a lock takes as a member.
char raw_spin_lock_member[1 + sizeof(Guarded) -
                          sizeof(int)];  // and one, for there is no empty array
char try_spin_lock[sizeof(Tried)];

bool try_lock(nestlock::TrySpinLock& l) NESTLOCK_NO_TSA { return l.try_lock(); }
void unlock(nestlock::TrySpinLock& l) NESTLOCK_NO_TSA { l.unlock(); }

// In a handler, or wherever else irqs are masked already.
void raw_spin_lock_section(Guarded& g) {
  nestlock::Guard held(g.lock);
  g.value = 1;
}
void no_lock_section(Guarded& g) { g.value = 1; }

}  // extern "C"
