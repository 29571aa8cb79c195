// What disassembly_test.sh looks at. Functions in C's names, one operation each.
#include "nestlock/nestlock.h"
#include "nestlock/slab.h"

using namespace nestlock;

extern SlabAllocator slabs;
extern PageAllocator pages;

extern "C" {
void raw_pair(RawSpinLock& lock) {
  lock.lock();
  lock.unlock();
}
void spin_pair(SpinLock& lock) {
  lock.lock();
  lock.unlock();
}
bool try_spin_try(TrySpinLock& lock) { return lock.try_lock(); }
void try_spin_unlock(TrySpinLock& lock) NESTLOCK_NO_TSA { lock.unlock(); }
bool local_try_try(LocalTryLock& lock) { return lock.try_lock(); }
struct Class;
bool shared_try_try(SharedTrySpinLock<Class>& lock) { return lock.try_lock(); }
void preempt_pair() {
  BuiltPort::preempt_disable();
  BuiltPort::preempt_enable();
}
void* kmalloc_64() { return slabs.kmalloc(64, gfp::kernel); }
void* kmalloc_2000() { return slabs.kmalloc(2000, gfp::kernel); }
void* kmalloc_any(std::size_t size) { return slabs.kmalloc(size, gfp::kernel); }
bool kfree_one(void* p) { return slabs.kfree(p); }
Page* page_take() { return pages.alloc_pages(gfp::kernel, 0); }
bool page_give(Page* p) { return pages.free_pages(p, 0); }
}

// Two sections each: what the first wrote, an interrupter may have written anew before the second.
nestlock::internal::ByteWord<BuiltKernel> byte_word;
nestlock::internal::ClassWord<BuiltKernel, Class> class_word;
unsigned counted;
template <class Word>
[[gnu::always_inline]] inline void two_sections(Word& word) {
  if (!word.try_acquire()) return;
  ++counted;
  word.release();
  if (!word.try_acquire()) return;
  ++counted;
  word.release();
}
extern "C" void byte_sections() { two_sections(byte_word); }
extern "C" void class_sections() { two_sections(class_word); }
