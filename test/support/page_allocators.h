// Page allocators of every kernel and lock policy as values: one virtual call each, so that a test
// is written and compiled once, not eight times. Blocks are named by their addresses.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "nestlock/page.h"

namespace nestlock::test_support {

class AnyPages {
 public:
  virtual ~AnyPages() = default;

  // Another allocator in place of this one, not set up. No more than its constructor costs.
  virtual void renew() = 0;

  virtual PageSetup set_up(const PageMemory& memory) = 0;
  virtual void* alloc(gfp flags, unsigned order, int node = kAnyNode,
                      Place where = Place::here()) = 0;
  virtual void* alloc_nolock(gfp flags, unsigned order, int node = kAnyNode,
                             PageRefusal* why = nullptr, Place where = Place::here()) = 0;
  // By the descriptor that page_of() finds, null if it finds none.
  virtual bool free(void* at, unsigned order, Place where = Place::here()) = 0;
  virtual bool free_nolock(void* at, unsigned order, Place where = Place::here()) = 0;
  // As free_nolock() where the gate refuses: parked, whatever the locks' state.
  virtual bool park(void* at, unsigned order) = 0;
  virtual bool free_at(void* at, unsigned order) = 0;
  // By the descriptor with that index, valid or not.
  virtual bool free_descriptor(std::ptrdiff_t index, unsigned order) = 0;

  virtual bool managed(const void* at) const = 0;  // page_of() finds a descriptor, and it is its
  virtual void* head_of(void* at) = 0;
  virtual PageState state(void* at) const = 0;
  virtual std::uintptr_t pages() const = 0;
  virtual void* page(std::uintptr_t index) = 0;  // its address
  virtual std::size_t descriptor_bytes(std::size_t size) const = 0;

  virtual void drain_cpu(unsigned cpu) = 0;
  virtual void drain_all() = 0;
  virtual void trim() = 0;
  virtual void unpark_all() = 0;
  virtual bool reserve(std::size_t bytes) = 0;
  virtual void isolate(void* at, bool isolated) = 0;
  virtual void pcp_disable(unsigned node) = 0;
  virtual void pcp_enable(unsigned node) = 0;
  virtual void set_allowed(gfp mask) = 0;
  virtual void fail_every(std::uint32_t k, std::uint32_t orders = ~0u) = 0;

  virtual PageStats stats(unsigned node = 0) const = 0;
  virtual std::uint32_t cached(unsigned node, unsigned cpu) const = 0;
  virtual std::size_t buddyinfo(char* out, std::size_t size) const = 0;
  virtual std::size_t zoneinfo(char* out, std::size_t size) const = 0;
  virtual bool consistent() = 0;
  virtual bool zone_locked(unsigned node = 0) const = 0;
  virtual unsigned cpu_id() const = 0;
};

// ---- which there are ----------------------------------------------------------------------------

struct PagesCase {
  Config config;
  const char* policy;
  std::unique_ptr<AnyPages> (*make)();
  friend void PrintTo(const PagesCase& c, std::ostream* os) {
    *os << name_of(c.config) << " on " << c.policy;
  }
};
// For INSTANTIATE_TEST_SUITE_P.
template <class Info>
std::string name_of_case(const Info& info) {
  return name_of(info.param.config);
}

// The eight kernels on the library's own locks.
std::vector<PagesCase> all_pages();
// On one CPU, the six policies; with `debug` the three that promise.
std::vector<PagesCase> policies_on_one_cpu(bool debug = false);
// The eight kernels again, with an observer that calls lock_hook.
std::vector<PagesCase> observed_pages();
// The ones that `keep` says.
template <class Case, class Keep>
std::vector<Case> only(std::vector<Case> all, Keep keep) {
  std::erase_if(all, [&](const Case& c) { return !keep(c.config); });
  return all;
}
// The ones that have a second CPU.
template <class Case>
std::vector<Case> on_cpus(std::vector<Case> all) {
  return only(std::move(all), [](Config c) { return c.smp; });
}
std::unique_ptr<AnyPages> make_pages(Config config);

// ---- at a lock ----------------------------------------------------------------------------------

enum class LockEvent : std::uint8_t { acquiring, acquired, refused, releasing };

// What an observed allocator calls on this thread; not called again by what it does itself.
// `acquired` and `releasing` come with the lock held.
using LockHook = std::function<void(LockEvent, const LockRef&)>;
LockHook& lock_hook();

// Sets it while one of these lives.
class AtLocks {
 public:
  explicit AtLocks(LockHook hook) { lock_hook() = std::move(hook); }
  ~AtLocks() { lock_hook() = nullptr; }
  AtLocks(const AtLocks&) = delete;
  AtLocks& operator=(const AtLocks&) = delete;
};

}  // namespace nestlock::test_support
