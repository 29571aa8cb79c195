// LockFreeList: THREADS push a node each, the last of them takes the whole list before that. What a
// node carries is plain: the taker must see it. Nothing is lost, nothing is seen twice.
#include "nestlock/nestlock.h"
#include "nestlock/page/lock_free_list.h"

namespace {

using namespace nestlock;

constinit internal::LockFreeList<BuiltKernel> list;
unsigned next[THREADS], contents[THREADS], seen[THREADS];

void take() {
  for (unsigned n = list.take_all(); n != list.kNil; n = next[n]) {
    assert(contents[n] == n + 1);
    assert(++seen[n] == 1);
  }
}

void body(unsigned i) {
  if (i == THREADS - 1) take();
  contents[i] = i + 1;
  list.push(i, [](unsigned n) -> unsigned& { return next[n]; });
}

}  // namespace

int main() {
  genmc::run<body, THREADS>();
  take();
  for (unsigned s : seen) assert(s == 1);
  assert(list.empty());
}
