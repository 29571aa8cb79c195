// c++ -std=c++20 -Iinclude -DNESTLOCK_CONFIG=up plain.cc
#include <cstdio>
#include <mutex>

#include "nestlock/nestlock.h"

int main() {
  static nestlock::TrySpinLock lock;
  const std::scoped_lock held(lock);
  std::puts(nestlock::name_of(nestlock::kBuiltConfig));
}
