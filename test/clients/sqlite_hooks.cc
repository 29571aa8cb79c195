// SQLite on Nestlock: linked into a program beside SQLite, this makes Nestlock's locks its mutexes
// and kmalloc its allocator, before main. CLIENT_LOCK (SpinLock, RawSpinLock, TrySpinLock) says
// which lock. At the end of the program it says how often it was asked, and ends with 1 if it never
// was, or if memory is out that SQLite does not know of.
#include <sqlite3.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <new>

#include "nestlock/nestlock.h"
#include "nestlock/system_slab.h"

// SQLite declares it and leaves it to the methods below.
struct sqlite3_mutex {
  explicit sqlite3_mutex(int k) : kind(k) {}
  nestlock::RecursiveLock<nestlock::CLIENT_LOCK> lock;
  int kind;
};

namespace {

std::atomic<unsigned long> taken, waited, tried, allocated, freed, moved;

void count(std::atomic<unsigned long>& n) { n.fetch_add(1, std::memory_order_relaxed); }

[[noreturn]] void fail(const char* what) {
  std::fprintf(stderr, "clients: %s\n", what);
  std::_Exit(1);
}

// ---- the allocator ----------------------------------------------------------------------------

// SQLite allocates while it holds a mutex, and a section of a spinning lock may not sleep.
constexpr nestlock::gfp kFlags = nestlock::gfp::atomic;

void* mem_alloc(int n) {
  void* const p = nestlock::system_slab().kmalloc(static_cast<std::size_t>(n), kFlags);
  if (p) count(allocated);
  return p;
}
void mem_free(void* p) {
  count(freed);
  if (!nestlock::system_slab().kfree(p)) fail("kfree() refused a pointer of kmalloc()'s");
}
void* mem_realloc(void* p, int n) {
  count(moved);
  return nestlock::system_slab().krealloc(p, static_cast<std::size_t>(n), kFlags);
}
int mem_size(void* p) { return static_cast<int>(nestlock::system_slab().ksize(p)); }
// What ksize() will say of it.
int mem_roundup(int n) {
  using Slab = nestlock::SystemSlabAllocator;
  const auto size = static_cast<std::size_t>(n);
  const std::size_t has = Slab::kmalloc_size_roundup(size);
  return has ? static_cast<int>(has) : n;
}
int mem_init(void*) { return SQLITE_OK; }
void mem_shutdown(void*) {}

// ---- the mutexes ------------------------------------------------------------------------------

int mutex_init() { return SQLITE_OK; }
int mutex_end() { return SQLITE_OK; }

sqlite3_mutex* mutex_alloc(int kind) {
  if (kind == SQLITE_MUTEX_FAST || kind == SQLITE_MUTEX_RECURSIVE) {
    void* const memory = mem_alloc(sizeof(sqlite3_mutex));
    return memory ? ::new (memory) sqlite3_mutex(kind) : nullptr;
  }
  static sqlite3_mutex fixed[] = {sqlite3_mutex(2),  sqlite3_mutex(3),  sqlite3_mutex(4),
                                  sqlite3_mutex(5),  sqlite3_mutex(6),  sqlite3_mutex(7),
                                  sqlite3_mutex(8),  sqlite3_mutex(9),  sqlite3_mutex(10),
                                  sqlite3_mutex(11), sqlite3_mutex(12), sqlite3_mutex(13)};
  for (sqlite3_mutex& m : fixed)
    if (m.kind == kind) return &m;
  fail("SQLite asked for a static mutex of a kind that nobody knows");
}
void mutex_free(sqlite3_mutex* m) {
  m->~sqlite3_mutex();
  mem_free(m);
}
void check_not_twice(sqlite3_mutex* m) {
  if (m->kind != SQLITE_MUTEX_RECURSIVE && m->lock.held_by_caller())
    fail("a plain mutex was entered twice");
}
void mutex_enter(sqlite3_mutex* m) {
  count(taken);
  check_not_twice(m);
  if (m->lock.try_lock()) return;
  count(waited);
  m->lock.lock();
}
int mutex_try(sqlite3_mutex* m) {
  count(tried);
  check_not_twice(m);
  return m->lock.try_lock() ? SQLITE_OK : SQLITE_BUSY;
}
void mutex_leave(sqlite3_mutex* m) {
  if (!m->lock.held_by_caller()) fail("a mutex was left by a thread that had not entered it");
  m->lock.unlock();
}
// SQLite's own assertions (SQLITE_DEBUG) ask these.
int mutex_held(sqlite3_mutex* m) { return m->lock.held_by_caller(); }
int mutex_notheld(sqlite3_mutex* m) { return !m->lock.held_by_caller(); }

// ---- in and out -------------------------------------------------------------------------------

const sqlite3_mutex_methods mutexes = {mutex_init,  mutex_end,   mutex_alloc,
                                       mutex_free,  mutex_enter, mutex_try,
                                       mutex_leave, mutex_held,  mutex_notheld};
const sqlite3_mem_methods memory = {mem_alloc,   mem_free, mem_realloc,  mem_size,
                                    mem_roundup, mem_init, mem_shutdown, nullptr};

struct Hooks {
  Hooks() {
    if (sqlite3_config(SQLITE_CONFIG_MUTEX, &mutexes) != SQLITE_OK ||
        sqlite3_config(SQLITE_CONFIG_MALLOC, &memory) != SQLITE_OK)
      fail("SQLite does not take the methods");
  }
  ~Hooks() {
    sqlite3_shutdown();
    // What the program forgot to give back, as SQLite itself counts: mutexes are not among it.
    sqlite3_int64 forgotten = 0, most;
    sqlite3_status64(SQLITE_STATUS_MALLOC_COUNT, &forgotten, &most, 0);
    std::fprintf(stderr,
                 "clients: %s, taken %lu waited %lu tried %lu allocated %lu moved %lu freed %lu "
                 "forgotten %lld\n",
                 nestlock::name_of(nestlock::kBuiltConfig), taken.load(), waited.load(),
                 tried.load(), allocated.load(), moved.load(), freed.load(), forgotten);
    if (!taken || !allocated || !moved || !freed) fail("a method was never called");
    if (allocated - freed != static_cast<unsigned long>(forgotten))
      fail("what is still out is not what SQLite counts as forgotten");
    if (!nestlock::system_slab().consistent()) fail("the slab allocator's lists do not agree");
  }
} hooks;

}  // namespace
