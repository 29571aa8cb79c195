// A C program whose main loop and signal handler share a ring. In the repository's folder:
//
//   cc  -std=c99   -Iinclude -DNESTLOCK_CONFIG=up -c examples/c_program.c
//   c++ -std=c++20 -Iinclude -DNESTLOCK_CONFIG=up c_program.o lib/*/*.cc -pthread
//
// The handler allocates a record and puts it into the ring; the main loop takes the records out and
// frees them. The signal may come while the main loop holds the ring's lock: the handler must
// neither wait for it (the main loop cannot go on before the handler returns) nor enter. So it
// tries the lock, and where that is refused it does without: it frees the record and counts it as
// dropped.
//
// Two things make that right here, and would be wrong with a plain spinlock and with malloc():
//  - On one CPU a plain spinlock has no state, and its trylock succeeds also for a handler that
//    interrupted the owner. That of nestlock_spin_trylock_t is refused, in every configuration.
//  - malloc() may not be called in a signal handler, for it may be what was interrupted.
//    nestlock_kmalloc_nolock() may be called wherever the signal comes.
//
// To print the same each time, the program raises its signals itself: every third one inside the
// locked section, where one from outside would come sooner or later.
#define _POSIX_C_SOURCE 200809L

#include <signal.h>
#include <stdio.h>

#include "nestlock/c.h"

enum { kSlots = 8, kRounds = 3000 };

struct record {
  unsigned number;
};

static struct {
  nestlock_spin_trylock_t lock;  // guards what follows
  struct record *slot[kSlots];
  unsigned put, taken;  // since the start; put - taken are in the ring
} ring = {.lock = NESTLOCK_SPIN_TRYLOCK_INIT};

// Written by the handler alone.
static volatile unsigned arrivals, dropped, without_memory;

static void on_signal(int signo) {
  struct record *record =
      nestlock_kmalloc_nolock(sizeof *record, NESTLOCK_GFP_NONE, NESTLOCK_ANY_NODE);
  (void)signo;
  arrivals = arrivals + 1;
  if (record == NULL) {
    without_memory = without_memory + 1;
    return;
  }
  record->number = arrivals;
  if (nestlock_tryspin_trylock(&ring.lock)) {
    ring.slot[ring.put++ % kSlots] = record;  // there is room: each round empties the ring
    nestlock_tryspin_unlock(&ring.lock);
  } else {  // we interrupted the main loop in its section
    dropped = dropped + 1;
    nestlock_kfree_nolock(record);
  }
}

// The main loop's half. The signal may come at every instruction of it.
static unsigned drain(unsigned round) {
  unsigned good = 0;
  nestlock_tryspin_lock(&ring.lock);
  if (round % 3 == 0) raise(SIGUSR1);
  while (ring.taken != ring.put) {
    struct record *record = ring.slot[ring.taken++ % kSlots];
    good += record->number == round;
    nestlock_kfree(record);
  }
  nestlock_tryspin_unlock(&ring.lock);
  return good;
}

int main(void) {
  unsigned round, good = 0;
  struct sigaction action = {.sa_handler = on_signal};
  sigaction(SIGUSR1, &action, NULL);

  // A handler gets what is free already; it does not ask the system. Let there be something.
  nestlock_kfree(nestlock_kmalloc(sizeof(struct record), NESTLOCK_GFP_KERNEL));

  for (round = 1; round <= kRounds; ++round) {
    if (round % 3 != 0) raise(SIGUSR1);
    good += drain(round);
  }

  printf("%u signals: %u records arrived whole, %u were dropped, %u found no memory\n", arrivals,
         good, dropped, without_memory);
  return arrivals == kRounds && good == 2 * kRounds / 3 && dropped == kRounds / 3 ? 0 : 1;
}
