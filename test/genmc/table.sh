# What GenMC is asked: programs that must be verified, and weaker copies of the library that it must
# refuse.
#
#   program NAME SUBJECT SOURCE FLAGS [MODEL]      in this model only
#   weaker  NAME PROGRAM WHY  FILE SED [FILE SED]...
#
# FLAGS are the program's own -D. PROGRAM is the name of one above: its copy of the library is
# changed by SED, a basic regular expression's s command applied to FILE as one line (\n matches a
# line's end), which must change it. FILE is below include/nestlock; with a * in it, all that match,
# and SED must change exactly one of them.
#
# Sourced by run.sh.

# ---- the locks' words ---------------------------------------------------------------------------

program fifo_2 'FifoWord (TrySpinLock)' lock.cc '-DLOCK=BasicTrySpinLock -DTHREADS=2 -DTRIES=0'
program fifo_3 'FifoWord (TrySpinLock)' lock.cc '-DLOCK=BasicTrySpinLock -DTHREADS=3 -DTRIES=0'
program fifo_2_try 'FifoWord (TrySpinLock)' lock.cc '-DLOCK=BasicTrySpinLock -DTHREADS=2 -DTRIES=1'
program fifo_3_try 'FifoWord (TrySpinLock)' lock.cc '-DLOCK=BasicTrySpinLock -DTHREADS=3 -DTRIES=1'
program fifo_3_tries 'FifoWord (TrySpinLock)' lock.cc '-DLOCK=BasicTrySpinLock -DTHREADS=3 -DTRIES=3'
program fifo_2_tries 'FifoWord (TrySpinLock)' lock.cc '-DLOCK=BasicTrySpinLock -DTHREADS=2 -DTRIES=2'
program raw_2 RawSpinLock lock.cc '-DLOCK=BasicRawSpinLock -DTHREADS=2 -DTRIES=1'
program raw_3 RawSpinLock lock.cc '-DLOCK=BasicRawSpinLock -DTHREADS=3 -DTRIES=1'
program spin_2 SpinLock lock.cc '-DLOCK=BasicSpinLock -DTHREADS=2 -DTRIES=1'
program spin_3 SpinLock lock.cc '-DLOCK=BasicSpinLock -DTHREADS=3 -DTRIES=1'
program shared_2 SharedTrySpinLock shared_try.cc -DTHREADS=2
program shared_3 SharedTrySpinLock shared_try.cc -DTHREADS=3

weaker fifo_unlock_relaxed fifo_2 'the next holder sees what the last one did' \
  lock/fifo_word.h 's/locked_.store(0, std::memory_order_release)/locked_.store(0, kRelaxed)/'
weaker fifo_take_relaxed fifo_2 'the same, of the other side' \
  lock/fifo_word.h 's/(free, 1, std::memory_order_acquire, kRelaxed)/(free, 1, kRelaxed, kRelaxed)/'
weaker fifo_take_in_two_steps fifo_2_try 'a hole between the look and the store' \
  lock/fifo_word.h 's/ locked_.compare_exchange_strong(free, 1, std::memory_order_acquire, kRelaxed)/ (locked_.exchange(1, std::memory_order_acquire), free = 0, true)/'
weaker fifo_not_served_next fifo_3 'who leaves the queue calls the next one' \
  lock/fifo_word.h 's/    queue_.fetch_add(kServeNext, kRelaxed);[^\n]*\n//'
weaker fifo_never_released fifo_2 'unlock() gives the lock back' \
  lock/fifo_word.h 's/locked_.store(0, std::memory_order_release)/(void)0/'
weaker fifo_ticket_in_two_steps fifo_3 'two waiters with one ticket' \
  lock/fifo_word.h 's/queue_.compare_exchange_weak(q, (q & 0xff00) | after, kRelaxed, kRelaxed)/(queue_.store(static_cast<std::uint16_t>((q \& 0xff00) | after), kRelaxed), true)/'
weaker byte_between_cpus fifo_2_tries "the uniprocessor's byte has no order and no single step" \
  lock/try_spinlock.h 's/SmpWord<K>/ByteWord<K>/'

# ---- the word that parks its waiters ------------------------------------------------------------

program park_2 'ParkWord (TrySpinLock)' park.cc '-DTHREADS=2 -DTRIES=0 -DROUNDS=1'
program park_2_try 'ParkWord (TrySpinLock)' park.cc '-DTHREADS=2 -DTRIES=1 -DROUNDS=1'
program park_2_twice 'ParkWord (TrySpinLock)' park.cc '-DTHREADS=2 -DTRIES=0 -DROUNDS=2' rc11
# (Three that all wait take more than the limit.)
program park_3 'ParkWord (TrySpinLock)' park.cc '-DTHREADS=3 -DTRIES=1 -DROUNDS=1' rc11

weaker park_unlock_relaxed park_2 'the next holder sees what the last one did' \
  lock/park_word.h 's/lock_.store(0, std::memory_order_release);\( *\/\/ pairs\)/lock_.store(0, kRelaxed);\1/'
weaker park_take_relaxed park_2 'the same, of the other side' \
  lock/park_word.h 's/(free, kLocked, std::memory_order_acquire, kRelaxed)/(free, kLocked, kRelaxed, kRelaxed)/'
weaker park_gives_back_relaxed park_2_twice 'what the last holder did goes through who gives back' \
  lock/park_word.h 's/\(reaches the next take() through here.\n *lock_.store(0, \)std::memory_order_release/\1kRelaxed/'
weaker park_lost_wakeup park_3 'who falls asleep between the question and the clearing of the notes' \
  lock/park_word.h 's/      if (!Port::any_parked(this)) return;\n/      return;\n/'
weaker park_wakes_nobody park_3 'the holder that was the head wakes the next' \
  lock/park_word.h 's/    lock_.store(kLocked | kWake, kRelaxed);\n//'

# ---- the lock-free list -------------------------------------------------------------------------

program list_2 LockFreeList list.cc -DTHREADS=2
program list_3 LockFreeList list.cc -DTHREADS=3

weaker list_push_relaxed list_2 "the taker sees the node's contents" \
  page/lock_free_list.h 's/(first, node, std::memory_order_release, kRelaxed)/(first, node, kRelaxed, kRelaxed)/'
weaker list_take_relaxed list_2 'the same, of the other side' \
  page/lock_free_list.h 's/exchange(kNil, std::memory_order_acquire)/exchange(kNil, kRelaxed)/'
weaker list_taken_in_two_steps list_2 'what is pushed in between is lost' \
  page/lock_free_list.h 's/return head_.exchange(kNil, std::memory_order_acquire);/const std::uint32_t all = head_.load(std::memory_order_acquire); head_.store(kNil, kRelaxed); return all;/'
weaker list_pushed_in_two_steps list_3 'the same, of the other side' \
  page/lock_free_list.h 's/while (!head_.compare_exchange_weak(first, node, std::memory_order_release, kRelaxed));/while (head_.store(node, std::memory_order_release), false);/'
weaker list_link_not_renewed list_3 'a second attempt links to the new first node' \
  page/lock_free_list.h 's/    do next(node) = first;\n    while/    next(node) = first;\n    while/'

# ---- what nolock calls leave behind, in the slab allocator --------------------------------------

slab='-DNESTLOCK_PAGE_SHIFT=8'
program slab_deferred 'KmemCache, deferred' slab.cc "$slab -DFREES=1 -DALLOCS=0 -DSPINS=2"
program slab_deferred_2 'KmemCache, deferred' slab.cc "$slab -DFREES=2 -DALLOCS=0 -DSPINS=1"
program slab_deferred_4 'KmemCache, deferred' slab.cc "$slab -DFREES=2 -DALLOCS=0 -DSPINS=2" rc11
program slab_orphan 'KmemCache, orphans' slab.cc "$slab -DFREES=0 -DALLOCS=1 -DSPINS=2"
program slab_both 'KmemCache, deferred and orphans' slab.cc "$slab -DFREES=1 -DALLOCS=1 -DSPINS=1" rc11

cache='*/*.h'
weaker slab_push_relaxed slab_deferred_4 'the drainer sees the link' \
  "$cache" 's/(first, link, std::memory_order_release, internal::kRelaxed)/(first, link, internal::kRelaxed, internal::kRelaxed)/'
weaker slab_take_relaxed slab_deferred_4 'the same, of the other side' \
  "$cache" 's/deferred_.exchange(nullptr, std::memory_order_acquire)/deferred_.exchange(nullptr, internal::kRelaxed)/'
weaker slab_mark_first slab_deferred_4 'a mark before the list has it may be cleared for nothing' \
  "$cache" 's/\(  Object\* const link = link_of(object);\n\)\(  Object\* first = deferred_.*\)  unsettle();\n  return true;\n}/\1  unsettle();\n\2  return true;\n}/'
weaker orphan_mark_relaxed slab_orphan 'who sees the mark sees the orphan' \
  "$cache" 's/attention().fetch_or(kUnsettled, std::memory_order_release)/attention().fetch_or(kUnsettled, internal::kRelaxed)/'
