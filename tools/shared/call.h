// A callable by reference: two words, no allocation, so a handler may call it.
#pragma once

namespace nestlock::tools {

class Call {
 public:
  // `f` must outlive the Call: pass a lambda as an argument, do not store it.
  template <class F>
  Call(const F& f) : run_([](const void* p) { (*static_cast<const F*>(p))(); }), object_(&f) {}
  void operator()() const { run_(object_); }

 private:
  void (*run_)(const void*);
  const void* object_;
};

}  // namespace nestlock::tools
