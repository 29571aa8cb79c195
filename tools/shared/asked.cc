#include "tools/shared/asked.h"

#include <algorithm>

namespace nestlock::tools {
namespace {

constexpr unsigned kRounds = 100;  // interruptions by signals, held and free each

// The bytes of a lock, which the interrupted code may be about to write.
class Snapshot {
 public:
  explicit Snapshot(const Askable& s) : size_(std::min(s.object_bytes, sizeof bytes_)) {
    for (std::size_t i = 0; i < size_; ++i)
      bytes_[i] = __atomic_load_n(static_cast<const unsigned char*>(s.lock) + i, __ATOMIC_RELAXED);
  }
  bool operator==(const Snapshot& o) const {
    return std::equal(bytes_, bytes_ + size_, o.bytes_, o.bytes_ + o.size_);
  }

 private:
  std::size_t size_;
  unsigned char bytes_[128];
};

// The handler. It judges by the phase alone.
void ask(const Askable& s, Context expected, Asked& m) {
  const Phase p = phase.load(std::memory_order_relaxed);
  const Snapshot before(s);
  const bool granted = s.try_hold([] {});
  ++m.handlers;
  m.elsewhere += s.context() != expected;
  m.altered += !granted && !(Snapshot(s) == before);
  if (p == Phase::held)
    m.held.add(granted);
  else if (p == Phase::outside)
    m.free.add(granted);
  else
    ++m.either;
}

}  // namespace

Asked ask_by_signals(const Askable& s, Context c) {
  Asked m;
  const auto interrupt = [&] {
    ++m.interruptions;
    interrupt_with(c, [&] { ask(s, c, m); });
  };
  for (unsigned i = 0; i < kRounds; ++i) {
    m.code_refused += !s.hold(interrupt);
    interrupt();
  }
  return m;
}

Asked ask_by_probes(const Askable& s) {
  static constinit std::atomic<unsigned> work[4];
  const auto section = [] {
    for (auto& w : work) w.store(w.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  };
  Asked m;
  const Probed p =
      probe_through([&] { m.code_refused += !s.hold(section); }, [&] { ask(s, Context::task, m); });
  m.interruptions = p.instructions;
  m.trouble = p.trouble;
  return m;
}

}  // namespace nestlock::tools
