// A thread that does what it is asked to, step by step, and is idle in between: another CPU, of which a test says what it
// is at.
#pragma once

#include <functional>
#include <semaphore>
#include <thread>
#include <utility>

namespace nestlock::test_support {

class AskedThread {
 public:
  explicit AskedThread(std::function<void()> what = [] {})
      : what_(std::move(what)), thread_([this] { run(); }) {}
  // What it began has ended.
  ~AskedThread() {
    over_ = true;
    asked_.release();
    thread_.join();
  }
  AskedThread(const AskedThread&) = delete;
  AskedThread& operator=(const AskedThread&) = delete;

  void begins(std::function<void()> what) {
    what_ = std::move(what);
    asked_.release();
  }
  void ends() { done_.acquire(); }
  void does(std::function<void()> what) { begins(std::move(what)), ends(); }
  // The same as last time. Nothing is allocated, so a handler may ask.
  void does_again() { asked_.release(), ends(); }

 private:
  void run() {
    for (asked_.acquire(); !over_; asked_.acquire()) what_(), done_.release();
  }
  std::function<void()> what_;
  std::binary_semaphore asked_{0}, done_{0};
  bool over_ = false;
  std::thread thread_;  // after what it uses
};

}  // namespace nestlock::test_support
