// SharedTrySpinLock has no lock(): every thread tries, and one at least is granted.
#include "nestlock/nestlock.h"

namespace {

using namespace nestlock;

constinit SharedTrySpinLock<struct AClass> lock;
unsigned inside, granted[THREADS];

void body(unsigned i) {
  if (!lock.try_lock()) return;
  inside = inside + 1;
  assert(inside == 1);
  inside = inside - 1;
  lock.unlock();
  granted[i] = 1;
}

}  // namespace

int main() {
  genmc::run<body, THREADS>();
  unsigned all = 0;
  for (unsigned g : granted) all += g;
  assert(all >= 1 && !lock.is_locked());
}
