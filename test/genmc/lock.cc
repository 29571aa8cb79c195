// A lock of an SMP kernel between threads: THREADS of them, TRIES of which try once. What the
// section does is plain, so an order that is too weak is a race.
//
//   LOCK  BasicTrySpinLock, ...: any lock with one kernel as its parameter
#include "nestlock/nestlock.h"

namespace {

using namespace nestlock;

constinit LOCK<BuiltKernel> lock;
unsigned inside, granted[THREADS];

void visit() {
  inside = inside + 1;
  assert(inside == 1);
  inside = inside - 1;
}

void body(unsigned i) {
  if (TRIES < THREADS && i >= TRIES) {
    lock.lock();
  } else if (!lock.try_lock()) {
    return;
  }
  granted[i] = 1;
  visit();
  lock.unlock();
}

}  // namespace

int main() {
  genmc::run<body, THREADS>();
  unsigned all = 0;
  for (unsigned g : granted) all += g;
  assert(all >= THREADS - TRIES && all >= 1);  // a try fails only if somebody has it
  assert(!lock.is_locked() && !lock.is_contended());
}
