// Findings: what a misuse is called, where it happened, and how it is printed.
//
// A finding is a value. The port's report sink gets it (callable from any context, NMI included);
// tests read it, the default sinks print it with to_text(). After the sink returns, a finding that
// is `fatal` ends in the port's die(): going on would hang or corrupt. All others go on.
#pragma once

#include <cstddef>
#include <cstdint>

#include "nestlock/config/config.h"

namespace nestlock {

// Where the code is: task, or the innermost interrupt level. A probe (kprobe, breakpoint, a signal
// handler nobody registered) reports what it interrupted.
enum class Context : std::uint8_t { task, softirq, hardirq, nmi };
// All of them, from the outermost.
inline constexpr Context kContexts[] = {Context::task, Context::softirq, Context::hardirq,
                                        Context::nmi};

// For people.
constexpr const char* name_of(Context c) noexcept {
  constexpr const char* names[] = {"task", "softirq", "hardirq", "nmi"};
  return names[static_cast<unsigned>(c)];
}

// A place in the source; as a default argument it is the caller's.
struct Place {
  const char* file = nullptr;  // null: not known
  unsigned line = 0;           // from 1
  // The caller's, when it is called without arguments.
  static constexpr Place here(const char* f = __builtin_FILE(),
                              unsigned l = __builtin_LINE()) noexcept {
    return {f, l};
  }
};

// What configurations without debug pass instead: nothing.
struct NoPlace {
  // Nothing.
  static constexpr NoPlace here() noexcept { return {}; }
};

// What is wrong.
enum class Finding : std::uint8_t {
  recursion,           // lock() of a lock that the same task holds
  never_returns,       // lock() from a context that interrupted the holder
  not_promised,        // try_lock() there, on a lock type that does not promise the answer
  wrong_context,       // the contexts table forbids the call here
  uninitialised,       // a zero-filled or overwritten lock
  not_held,            // unlock() or assert_held() of a lock that nobody holds
  wrong_owner,         // ... that another task holds
  wrong_cpu,           // ... that was taken on another CPU
  bh_not_disabled,     // lock_nested_bh() with bottom halves enabled
  deadlock,            // the kernel found a cycle of priority-inheriting locks
  owner_gone,          // the owner's thread is gone; nobody can release the lock
  owner_died,          // lock obtained, but its owner died inside the section
  irq_unbalanced,      // irq_restore() without, or out of order with, its irq_save()
  irq_enable_in_nmi,   // enabling irqs inside an NMI
  preempt_unbalanced,  // preempt_enable() / bh_enable() without its disable
  bad_signal,          // a signal that cannot be an irq or an nmi
  holder_abandoned,    // a handler was left by siglongjmp, an exception or swapcontext
  no_cpu,              // no virtual CPU left for this thread, and the call needs one
  second_thread,       // a uniprocessor configuration used by two threads
  left_open,           // a handler returned or a thread ended inside a section
  destroyed,           // a lock was destroyed while somebody held it
  foreign_pointer,     // freed memory that is not this allocator's, or not aligned
  double_free,         // freed memory that is free
  wrong_order,         // pages freed with another order than they were allocated with
  use_after_free,      // free memory was written to
  wrong_gfp,           // allocation flags that the call does not take
  overflow,            // written before or behind an object
  leaked,              // still out when its cache was destroyed
  wrong_size,          // freed with another size than it was allocated with
};

// As the reports' text says it.
constexpr const char* name_of(Finding f) noexcept {
  constexpr const char* names[] = {
      "lock() can never return: the caller holds it already",
      "lock() can never return: the interrupted code holds it",
      "nested try_lock() on a lock type that does not promise the answer",
      "not allowed in this context",
      "lock is not initialised (or overwritten)",
      "lock is not held",
      "lock is held by another task",
      "lock was taken on another CPU",
      "bottom halves are not disabled",
      "deadlock between priority-inheriting locks",
      "the owner's thread is gone",
      "the owner died inside the locked section",
      "irq_restore() without its irq_save()",
      "enabling irqs in an NMI",
      "enable without its disable",
      "signal cannot be used",
      "a handler was left without returning from it",
      "no virtual CPU left (raise NESTLOCK_MAX_CPUS)",
      "a uniprocessor configuration is used by a second thread",
      "a handler returned, or a thread ended, with a section open",
      "a lock was destroyed while it was held",
      "not a pointer of this allocator",
      "freed twice",
      "freed with another order than it was allocated with",
      "free memory was written to",
      "allocation flags that this call does not take",
      "written outside the object",
      "still allocated when its cache was destroyed",
      "freed with another size than it was allocated with",
  };
  return names[static_cast<unsigned>(f)];
}

struct Report {
  Finding finding{};                // what is wrong
  bool fatal = false;               // the program cannot go on after it
  Config config{};                  // of the lock or allocator
  Context context = Context::task;  // of the caller
  unsigned cpu = 0;                 // of the caller
  const char* type = nullptr;       // "TrySpinLock", "PageAllocator"; null: the port
  const char* call = nullptr;       // "lock", "try_lock", "irq_restore", ...
  const void* lock = nullptr;       // or the memory in question
  Place here;                       // of the call
  Place taken_at;  // where the present holder took the lock; where the memory was last freed
  Place born_at;   // where the lock was initialised: its class; where the memory was allocated
  Context taken_in = Context::task;  // by the present holder
  std::uintptr_t owner = 0;          // as the port's self() names it; 0 = nobody
  const char* detail = nullptr;      // more about it, for people: a literal, or the name of a cache
  int signo = 0;  // of whose handler, where it is about a handler of the hosted port
};

// Writes `r` as lines of text, at most `size` bytes with the final NUL; returns the length.
// Any context; no allocation, no locale, no lock.
inline std::size_t to_text(const Report& r, char* out, std::size_t size) noexcept {
  std::size_t n = 0;
  auto put = [&](const char* s) {
    for (; s && *s && n + 1 < size; ++s) out[n++] = *s;
  };
  auto number = [&](std::uintptr_t v, unsigned base) {
    char digits[24];
    unsigned k = 0;
    do digits[k++] = "0123456789abcdef"[v % base];
    while (v /= base);
    while (k && n + 1 < size) out[n++] = digits[--k];
  };
  auto place = [&](const char* label, const Place& p) {
    if (!p.file) return;
    put(label), put(p.file), put(":"), number(p.line, 10);
  };
  put("nestlock: "), put(name_of(r.finding));
  if (r.detail) put(": "), put(r.detail);
  if (r.signo) put(", by the handler of signal "), number(static_cast<unsigned>(r.signo), 10);
  put("\n  in ");
  if (r.type) put(r.type), put("::");
  put(r.call ? r.call : "?"), put("()"), place(" at ", r.here);
  put(", context "), put(name_of(r.context));
  put(", CPU "), number(r.cpu, 10);
  put(", configuration "), put(name_of(r.config)), put("\n");
  if (r.lock) {
    const bool memory = r.finding >= Finding::foreign_pointer;
    put(memory ? "  memory 0x" : "  lock 0x");
    number(reinterpret_cast<std::uintptr_t>(r.lock), 16);
    place(memory ? ", allocated at " : ", initialised at ", r.born_at);
    if (r.owner) put(", held by 0x"), number(r.owner, 16), put(" from "), put(name_of(r.taken_in));
    place(memory ? ", freed at " : ", taken at ", r.taken_at);
    put("\n");
  }
  if (size) out[n] = '\0';
  return n;
}

}  // namespace nestlock
