/* The C face as a C99 program uses it. See calls.h. */
#define _POSIX_C_SOURCE 200809L

#include "calls.h"

#include <signal.h>
#include <string.h>

#define TEXT2(x) #x
#define TEXT(x) TEXT2(x)
/* Leaves the calling check with what was wrong. */
#define CHECK(condition)                                                \
  do {                                                                  \
    if (!(condition)) return "calls.c:" TEXT(__LINE__) ": " #condition; \
  } while (0)

/* A line each: the first is the line after static_line's, and so in make_all(). */
const unsigned static_line = __LINE__ + 1;
nestlock_raw_spinlock_t static_raw_spin = NESTLOCK_RAW_SPINLOCK_INIT;
nestlock_spinlock_t static_spin = NESTLOCK_SPINLOCK_INIT;
nestlock_spin_trylock_t static_tryspin = NESTLOCK_SPIN_TRYLOCK_INIT;
nestlock_local_lock_t static_local = NESTLOCK_LOCAL_LOCK_INIT;
nestlock_local_trylock_t static_trylocal = NESTLOCK_LOCAL_TRYLOCK_INIT;

unsigned make_all(struct made *m) {
  const unsigned line = __LINE__ + 1;
  nestlock_raw_spin_lock_init(&m->raw_spin);
  nestlock_spin_lock_init(&m->spin);
  nestlock_tryspin_lock_init(&m->tryspin);
  nestlock_local_lock_init(&m->local);
  nestlock_trylocal_lock_init(&m->trylocal);
  return line;
}

/* C99 has no _Alignof: the alignment is where a member stands behind one byte. */
#define BEHIND_A_CHAR(type) \
  struct behind_##type {    \
    char c;                 \
    type t;                 \
  }
BEHIND_A_CHAR(nestlock_raw_spinlock_t);
BEHIND_A_CHAR(nestlock_spinlock_t);
BEHIND_A_CHAR(nestlock_spin_trylock_t);
BEHIND_A_CHAR(nestlock_local_lock_t);
BEHIND_A_CHAR(nestlock_local_trylock_t);
#define LAYOUT(type) {sizeof(type), offsetof(struct behind_##type, t)}
const struct layout layouts[5] = {LAYOUT(nestlock_raw_spinlock_t), LAYOUT(nestlock_spinlock_t),
                                  LAYOUT(nestlock_spin_trylock_t), LAYOUT(nestlock_local_lock_t),
                                  LAYOUT(nestlock_local_trylock_t)};

const char *check_contexts(void) {
  nestlock_irqflags_t flags, inner;
  CHECK(nestlock_in_task() && !nestlock_in_serving_softirq() && !nestlock_in_hardirq());
  CHECK(!nestlock_in_nmi() && nestlock_can_spin_trylock() && !nestlock_irqs_disabled());
  nestlock_local_irq_save(&flags);
  CHECK(nestlock_irqs_disabled());
  nestlock_local_irq_save(&inner);
  nestlock_local_irq_restore(inner);
  CHECK(nestlock_irqs_disabled());
  nestlock_local_irq_restore(flags);
  CHECK(!nestlock_irqs_disabled());
  nestlock_local_irq_disable();
  CHECK(nestlock_irqs_disabled());
  nestlock_local_irq_enable();
  CHECK(!nestlock_irqs_disabled());
  nestlock_preempt_disable();
  CHECK(nestlock_smp_processor_id() < NESTLOCK_CPUS);
  nestlock_preempt_enable();
  nestlock_local_bh_disable();
  nestlock_local_bh_enable();
  return NULL;
}

/* Whether irqs are off inside the irq forms: not where the lock sleeps. */
static bool masks(bool sleeps) { return nestlock_irqs_disabled() == !sleeps; }

#define RT NESTLOCK_IF_PREEMPT_RT(true, false)

/* Each form of one family locks, refuses where it has state, and undoes what it did. */
#define CHECK_FAMILY(family, type, init, sleeps, has_state)        \
  const char *check_##family(void) {                               \
    static type lock = init;                                       \
    nestlock_irqflags_t flags, second;                             \
    nestlock_##family##_lock(&lock);                               \
    nestlock_assert_##family##_locked(&lock);                      \
    CHECK(nestlock_##family##_is_locked(&lock) == (has_state));    \
    CHECK(!nestlock_##family##_is_contended(&lock));               \
    if (has_state) {                                               \
      CHECK(!nestlock_##family##_trylock(&lock));                  \
      CHECK(!nestlock_##family##_trylock_irqsave(&lock, &second)); \
      CHECK(!nestlock_irqs_disabled());                            \
      CHECK(!nestlock_##family##_trylock_irq(&lock));              \
      CHECK(!nestlock_irqs_disabled());                            \
      CHECK(!nestlock_##family##_trylock_bh(&lock));               \
    }                                                              \
    nestlock_##family##_unlock(&lock);                             \
    CHECK(!nestlock_##family##_is_locked(&lock));                  \
    CHECK(nestlock_##family##_trylock(&lock));                     \
    nestlock_##family##_unlock(&lock);                             \
    nestlock_##family##_lock_irqsave(&lock, &flags);               \
    CHECK(masks(sleeps));                                          \
    nestlock_##family##_unlock_irqrestore(&lock, flags);           \
    CHECK(!nestlock_irqs_disabled());                              \
    CHECK(nestlock_##family##_trylock_irqsave(&lock, &flags));     \
    CHECK(masks(sleeps));                                          \
    nestlock_##family##_unlock_irqrestore(&lock, flags);           \
    nestlock_##family##_lock_irq(&lock);                           \
    CHECK(masks(sleeps));                                          \
    nestlock_##family##_unlock_irq(&lock);                         \
    CHECK(nestlock_##family##_trylock_irq(&lock));                 \
    CHECK(masks(sleeps));                                          \
    nestlock_##family##_unlock_irq(&lock);                         \
    CHECK(!nestlock_irqs_disabled());                              \
    nestlock_##family##_lock_bh(&lock);                            \
    nestlock_##family##_unlock_bh(&lock);                          \
    CHECK(nestlock_##family##_trylock_bh(&lock));                  \
    nestlock_##family##_unlock_bh(&lock);                          \
    CHECK(!nestlock_##family##_is_locked(&lock));                  \
    return NULL;                                                   \
  }

#define RAW_STATE NESTLOCK_IF_SMP(true, NESTLOCK_IF_DEBUG(true, false))
CHECK_FAMILY(raw_spin, nestlock_raw_spinlock_t, NESTLOCK_RAW_SPINLOCK_INIT, false, RAW_STATE)
CHECK_FAMILY(spin, nestlock_spinlock_t, NESTLOCK_SPINLOCK_INIT, RT, RT || RAW_STATE)
CHECK_FAMILY(tryspin, nestlock_spin_trylock_t, NESTLOCK_SPIN_TRYLOCK_INIT, RT, true)

struct cache {
  unsigned char before; /* so that the locks are not at the element's start */
  nestlock_local_lock_t plain;
  nestlock_local_trylock_t lock;
  unsigned hits;
} NESTLOCK_PER_CPU;
NESTLOCK_DEFINE_PER_CPU(static struct cache, caches,
                        {7, NESTLOCK_LOCAL_LOCK_INIT, NESTLOCK_LOCAL_TRYLOCK_INIT, 40});

const char *check_local(void) {
  struct cache *c = nestlock_local_lock(caches, plain);
  nestlock_irqflags_t flags;
  CHECK(c == nestlock_this_cpu_ptr(caches));
  nestlock_local_unlock(&c->plain);
  c = nestlock_local_lock_irqsave(caches, plain, &flags);
  CHECK(c == nestlock_this_cpu_ptr(caches) && masks(RT));
  nestlock_local_unlock_irqrestore(&c->plain, flags);
  c = nestlock_local_lock_irq(caches, plain);
  CHECK(c == nestlock_this_cpu_ptr(caches) && masks(RT));
  nestlock_local_unlock_irq(&c->plain);
  CHECK(!nestlock_irqs_disabled());
  nestlock_local_bh_disable();
  nestlock_local_lock_nested_bh(&c->plain);
  nestlock_local_unlock_nested_bh(&c->plain);
  nestlock_local_bh_enable();
  return NULL;
}

const char *check_trylocal(void) {
  struct cache *c;
  nestlock_irqflags_t flags;
  unsigned i;
  for (i = 0; i < NESTLOCK_CPUS; ++i) CHECK(caches[i].before == 7 && caches[i].hits >= 40);
  c = nestlock_trylocal_lock(caches, lock);
  CHECK(c == nestlock_this_cpu_ptr(caches));
  CHECK(nestlock_trylocal_is_locked(&c->lock));
  CHECK(nestlock_trylocal_trylock(caches, lock) == NULL);
  CHECK(nestlock_trylocal_trylock_irqsave(caches, lock, &flags) == NULL);
  CHECK(!nestlock_irqs_disabled());
  ++c->hits;
  nestlock_trylocal_unlock(&c->lock);
  CHECK(!nestlock_trylocal_is_locked(&c->lock));
  CHECK(nestlock_trylocal_trylock(caches, lock) == c);
  nestlock_trylocal_unlock(&c->lock);
  CHECK(nestlock_trylocal_lock_irqsave(caches, lock, &flags) == c && masks(RT));
  nestlock_trylocal_unlock_irqrestore(&c->lock, flags);
  CHECK(nestlock_trylocal_trylock_irqsave(caches, lock, &flags) == c && masks(RT));
  nestlock_trylocal_unlock_irqrestore(&c->lock, flags);
  CHECK(nestlock_trylocal_lock_irq(caches, lock) == c && masks(RT));
  nestlock_trylocal_unlock_irq(&c->lock);
  CHECK(!nestlock_irqs_disabled());
  return NULL;
}

const char *check_pages(void) {
  unsigned order;
  for (order = 0; order <= 10; ++order) {
    nestlock_page_t *page = nestlock_alloc_pages(NESTLOCK_GFP_KERNEL, order);
    char *memory;
    CHECK(page != NULL);
    memory = nestlock_page_address(page);
    CHECK(((uintptr_t)memory & ((NESTLOCK_PAGE_SIZE << order) - 1)) == 0);
    memset(memory, 0x5a, NESTLOCK_PAGE_SIZE << order);
    CHECK(nestlock_virt_to_page(memory) == page);
    CHECK(nestlock_free_pages(page, order));
  }
  {
    static int elsewhere;
    nestlock_page_t *page = nestlock_alloc_pages_nolock(NESTLOCK_GFP_ZERO, NESTLOCK_ANY_NODE, 0);
    const char *memory;
    size_t i;
    CHECK(page != NULL && nestlock_virt_to_page(&elsewhere) == NULL);
    memory = nestlock_page_address(page);
    for (i = 0; i < NESTLOCK_PAGE_SIZE; ++i) CHECK(memory[i] == 0);
    CHECK(nestlock_free_pages_nolock(page, 0));
    CHECK(nestlock_alloc_pages_nolock(NESTLOCK_GFP_NONE, NESTLOCK_ANY_NODE, 4) == NULL);
    page = nestlock_alloc_pages_node(0, NESTLOCK_GFP_ATOMIC, 1);
    CHECK(page != NULL && nestlock_free_pages(page, 1));
    CHECK(nestlock_alloc_pages_node(3, NESTLOCK_GFP_NOWAIT | NESTLOCK_GFP_NOWARN, 0) == NULL);
    CHECK(nestlock_page_reserve((size_t)1 << 20) && nestlock_page_reserve(0));
    CHECK(!nestlock_page_reserve((size_t)-1));
    CHECK(nestlock_page_reserve(0) && nestlock_page_trim() >= NESTLOCK_PAGE_SIZE);
  }
  return NULL;
}

const char *check_kmalloc(void) {
  char *object = nestlock_kmalloc(100, NESTLOCK_GFP_KERNEL), *other;
  unsigned i;
  CHECK(object != NULL && nestlock_ksize(object) == 112);
  memset(object, 0x11, 100);
  object = nestlock_krealloc(object, 5000, NESTLOCK_GFP_KERNEL);
  CHECK(object != NULL && nestlock_ksize(object) >= 5000);
  for (i = 0; i < 100; ++i) CHECK(object[i] == 0x11);
  CHECK(nestlock_kfree_sized(object, 5000));
  object = nestlock_kzalloc(64, NESTLOCK_GFP_ATOMIC);
  CHECK(object != NULL && ((uintptr_t)object & 63) == 0);
  for (i = 0; i < 64; ++i) CHECK(object[i] == 0);
  other = nestlock_kmalloc_nolock(64, NESTLOCK_GFP_ZERO, NESTLOCK_ANY_NODE);
  CHECK(other != NULL && other != object);
  CHECK(nestlock_kfree_nolock(object) && nestlock_kfree(other));
  CHECK(nestlock_kmalloc_nolock(13057, NESTLOCK_GFP_NONE, NESTLOCK_ANY_NODE) == NULL);
  object = nestlock_kmalloc(0, NESTLOCK_GFP_KERNEL);
  CHECK(object != NULL && nestlock_ksize(object) == 0 && nestlock_kfree(object));
  CHECK(nestlock_kfree(NULL) && nestlock_ksize(NULL) == 0);
  CHECK(nestlock_interrupted_floor() == NESTLOCK_FLOOR_NONE);
  return NULL;
}

static void construct(void *object) { *(unsigned *)object = 77; }

const char *check_caches(void) {
  nestlock_kmem_cache_t *cache =
      nestlock_kmem_cache_create("things", 40, 0, NESTLOCK_SLAB_NONE, construct);
  unsigned *object, *other;
  void *many[20];
  CHECK(cache != NULL && nestlock_kmem_cache_size(cache) == 40);
  object = nestlock_kmem_cache_alloc(cache, NESTLOCK_GFP_KERNEL);
  other = nestlock_kmem_cache_alloc_nolock(cache, NESTLOCK_GFP_NONE, NESTLOCK_ANY_NODE);
  CHECK(object != NULL && other != NULL && object != other && *object == 77 && *other == 77);
  CHECK(nestlock_kmem_cache_free(cache, object) && nestlock_kmem_cache_free_nolock(cache, other));
  CHECK(nestlock_kmem_cache_alloc_bulk(cache, NESTLOCK_GFP_KERNEL, 20, many) == 20);
  nestlock_kmem_cache_free_bulk(cache, 20, many);
  CHECK(nestlock_slab_settle());
  nestlock_kmem_cache_shrink(cache);
  CHECK(nestlock_kmem_cache_destroy(cache));
  CHECK(nestlock_kmem_cache_create("odd", 40, 3, NESTLOCK_SLAB_NONE, NULL) == NULL);
  return NULL;
}

/* ---- signals ---- */

static void nothing(int signo, void *info, void *context) {
  (void)signo, (void)info, (void)context;
}

const char *check_bad_signals(void) {
  CHECK(nestlock_register_irq(0, nothing) == NESTLOCK_SIGNAL_NOT_A_SIGNAL);
  CHECK(nestlock_register_irq(1000, nothing) == NESTLOCK_SIGNAL_NOT_A_SIGNAL);
  CHECK(nestlock_register_nmi(-1, nothing) == NESTLOCK_SIGNAL_NOT_A_SIGNAL);
  CHECK(nestlock_register_irq(SIGKILL, nothing) == NESTLOCK_SIGNAL_UNMASKABLE);
  CHECK(nestlock_register_irq(SIGSEGV, nothing) == NESTLOCK_SIGNAL_FAULT);
  CHECK(nestlock_register_irq(SIGALRM, nothing) == NESTLOCK_SIGNAL_OK);
  CHECK(nestlock_register_irq(SIGALRM, nothing) == NESTLOCK_SIGNAL_TAKEN);
  CHECK(nestlock_register_nmi(SIGALRM, nothing) == NESTLOCK_SIGNAL_TAKEN);
  CHECK(nestlock_unregister_signal(SIGALRM) == NESTLOCK_SIGNAL_OK);
  CHECK(nestlock_unregister_signal(SIGALRM) == NESTLOCK_SIGNAL_NOT_TAKEN);
  CHECK(nestlock_register_nmi(SIGALRM, nothing) == NESTLOCK_SIGNAL_OK);
  CHECK(nestlock_unregister_signal(SIGALRM) == NESTLOCK_SIGNAL_OK);
  CHECK(strcmp(nestlock_signal_error_name(NESTLOCK_SIGNAL_TAKEN), "registered already") == 0);
  return NULL;
}

static unsigned softirq_runs, softirq_in_softirq;
static void on_softirq(void) {
  ++softirq_runs;
  softirq_in_softirq += nestlock_in_serving_softirq();
}

const char *check_softirq(void) {
  CHECK(!nestlock_register_softirq(NESTLOCK_MAX_SOFTIRQS, on_softirq));
  CHECK(nestlock_register_softirq(5, on_softirq));
  nestlock_local_bh_disable();
  nestlock_raise_softirq(5);
  CHECK(softirq_runs == 0);
  nestlock_local_bh_enable();
  CHECK(softirq_runs == 1 && softirq_in_softirq == 1);
  return NULL;
}

static volatile sig_atomic_t arrivals, arrivals_signo;
static void count(int signo, void *info, void *context) {
  arrivals = arrivals + 1;
  arrivals_signo = ((siginfo_t *)info)->si_signo;
  (void)signo, (void)context;
}

const char *check_masked_arrival(void) {
  nestlock_signal_stats_t before, after;
  nestlock_irqflags_t flags;
  sigset_t set, old;
  nestlock_signal_stats(&before);
  CHECK(nestlock_register_irq(SIGUSR1, count) == NESTLOCK_SIGNAL_OK);
  nestlock_local_irq_save(&flags);
  raise(SIGUSR1);
  CHECK(arrivals == 0);
  nestlock_local_irq_restore(flags);
  CHECK(arrivals == 1 && arrivals_signo == SIGUSR1);
  /* An arrival while masked wakes wait_irq() at once. */
  nestlock_local_irq_save(&flags);
  raise(SIGUSR1);
  nestlock_wait_irq();
  CHECK(arrivals == 2 && nestlock_irqs_disabled());
  nestlock_local_irq_restore(flags);
  sigemptyset(&set);
  sigaddset(&set, SIGUSR1);
  CHECK(nestlock_set_signal_mask(SIG_BLOCK, &set, &old) == 0);
  raise(SIGUSR1);
  CHECK(arrivals == 2);
  CHECK(nestlock_set_signal_mask(SIG_SETMASK, &old, NULL) == 0);
  CHECK(arrivals == 3);
  nestlock_signal_stats(&after);
  CHECK(after.irqs == before.irqs + 3 && after.held_back >= before.held_back + 2);
  CHECK(nestlock_unregister_signal(SIGUSR1) == NESTLOCK_SIGNAL_OK);
  return NULL;
}

/* ---- a handler inside a section ---- */

static nestlock_spin_trylock_t shared = NESTLOCK_SPIN_TRYLOCK_INIT;
static struct {
  unsigned entries, in_hardirq, in_nmi, can_try;
  bool spin_got, local_got;
  void *object;
  nestlock_page_t *page;
} seen;

static void on_signal(int signo, void *info, void *context) {
  struct cache *c;
  (void)signo, (void)info, (void)context;
  ++seen.entries;
  seen.in_hardirq += nestlock_in_hardirq();
  seen.in_nmi += nestlock_in_nmi();
  seen.can_try += nestlock_can_spin_trylock();
  seen.spin_got = nestlock_tryspin_trylock(&shared);
  if (seen.spin_got) nestlock_tryspin_unlock(&shared);
  c = nestlock_trylocal_trylock(caches, lock);
  seen.local_got = c != NULL;
  if (c) nestlock_trylocal_unlock(&c->lock);
  seen.object = nestlock_kmalloc_nolock(32, NESTLOCK_GFP_NONE, NESTLOCK_ANY_NODE);
  seen.page = nestlock_alloc_pages_nolock(NESTLOCK_GFP_NONE, NESTLOCK_ANY_NODE, 0);
}

/* What the last handler got; freed, so that nothing leaks. */
static const char *check_allocated(bool refused) {
  CHECK((seen.object == NULL) == refused && (seen.page == NULL) == refused);
  if (refused) return NULL;
  CHECK(nestlock_kfree(seen.object));
  CHECK(nestlock_free_pages(seen.page, 0));
  return NULL;
}

const char *check_handler(bool nmi, bool sleeps) {
  const int signo = nmi ? SIGUSR2 : SIGUSR1;
  unsigned char bytes[sizeof shared];
  struct cache *c;
  const char *wrong;
  memset(&seen, 0, sizeof seen);
  CHECK((nmi ? nestlock_register_nmi : nestlock_register_irq)(signo, on_signal) ==
        NESTLOCK_SIGNAL_OK);
  /* There is something to give without asking the system. */
  CHECK(nestlock_kfree(nestlock_kmalloc(32, NESTLOCK_GFP_KERNEL)));

  /* Nobody holds them: they are granted, unless the context may own no sleeping lock. */
  raise(signo);
  CHECK(seen.entries == 1 && seen.in_nmi == nmi && seen.in_hardirq == !nmi);
  CHECK(seen.can_try == !sleeps && seen.spin_got == !sleeps && seen.local_got == !sleeps);
  wrong = check_allocated(sleeps);
  if (wrong) return wrong;

  /* The interrupted code holds them: refused, no byte changed; memory is served all the same. */
  nestlock_tryspin_lock(&shared);
  c = nestlock_trylocal_lock(caches, lock);
  memcpy(bytes, &shared, sizeof shared);
  raise(signo);
  CHECK(seen.entries == 2 && !seen.spin_got && !seen.local_got);
  CHECK(memcmp(bytes, &shared, sizeof shared) == 0);
  nestlock_trylocal_unlock(&c->lock);
  nestlock_tryspin_unlock(&shared);
  wrong = check_allocated(sleeps);
  if (wrong) return wrong;

  CHECK(nestlock_unregister_signal(signo) == NESTLOCK_SIGNAL_OK);
  return NULL;
}

/* ---- misuse ---- */

unsigned unlock_a_free_lock(void) {
  static nestlock_spin_trylock_t lock = NESTLOCK_SPIN_TRYLOCK_INIT;
  const unsigned line = __LINE__ + 1;
  nestlock_tryspin_unlock(&lock);
  return line;
}

unsigned free_twice(void) {
  nestlock_page_t *page = nestlock_alloc_pages(NESTLOCK_GFP_KERNEL, 0);
  unsigned line;
  nestlock_free_pages(page, 0);
  line = __LINE__ + 1;
  nestlock_free_pages(page, 0);
  return line;
}
