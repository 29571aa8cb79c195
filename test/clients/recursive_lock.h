// A recursive lock on top of any of Nestlock's, for a client that wants one: Nestlock has none, for
// code that may be interrupted should know what it holds.
#pragma once

#include <atomic>

template <class Lock>
class RecursiveLock {
 public:
  // Only the owner finds its own name in owner_: it alone writes and removes that, inside the lock.
  // So relaxed loads suffice to ask "is it me?"; what the sections see is ordered by lock_.
  bool mine() const { return owner_.load(std::memory_order_relaxed) == me(); }
  void lock() {
    if (!mine()) lock_.lock(), owner_.store(me(), std::memory_order_relaxed);
    ++depth_;
  }
  bool try_lock() {
    if (!mine() && !lock_.try_lock()) return false;
    return owner_.store(me(), std::memory_order_relaxed), ++depth_, true;
  }
  void unlock() {
    if (--depth_ == 0) owner_.store(nullptr, std::memory_order_relaxed), lock_.unlock();
  }

 private:
  // The address of something that each thread has its own of.
  static const void* me() {
    static thread_local char name;
    return &name;
  }
  Lock lock_;
  std::atomic<const void*> owner_{nullptr};
  unsigned depth_ = 0;
};
