/* A program in C99 on the heap and the critical sections of freertos_port.h: the main loop allocates and
 * frees, and so do the handlers of a timer and of an NMI. Each object is its owner's name, twice. */
#include "c_machine.h"
#include "freertos_port.h"

enum { kHeld = 6, kRounds = 20000 };

struct object {
  uint32_t owner, again;
};
struct owner {
  uint32_t name, turn;
  struct object *held[kHeld];
};
static struct owner task = {1, 0, {NULL}}, timer = {2, 0, {NULL}}, nmi = {3, 0, {NULL}};
static uint32_t irqs, nmis, served, refused, corrupted;
static volatile uint32_t in_section, both; /* `both` is changed in critical sections only */

static void step(struct owner *o) {
  struct object **const place = &o->held[o->turn++ % kHeld];
  if (*place) {
    if ((*place)->owner != o->name || (*place)->again != o->name) ++corrupted;
    vPortFree(*place);
    *place = NULL;
    return;
  }
  *place = pvPortMalloc(sizeof(struct object) + o->turn % 50);
  if (*place) (*place)->owner = (*place)->again = o->name;
  if (o != &task) ++*(*place ? &served : &refused);
}

void c_interrupt(enum c_source source) {
  if (source == C_FAULT) {
    c_print("a fault; corruption", ++corrupted);
    for (;;) continue;
  }
  if (source == C_NMI) {
    ++nmis;
    step(&nmi);
    return;
  }
  ++irqs;
  if (in_section) ++corrupted; /* it was to be masked */
  const UBaseType_t before = portSET_INTERRUPT_MASK_FROM_ISR();
  both = both + 1;
  portCLEAR_INTERRUPT_MASK_FROM_ISR(before);
  step(&timer);
  if (irqs % 3 == 0) c_pend_nmi();
  c_timer(2000 + irqs % 700);
}

int c_main(void) {
  if (!xPortInitialiseHeap(c_memory, c_memory_size)) return 2;
  c_timer(2000);
  for (uint32_t i = 0; i < kRounds; ++i) {
    step(&task);
    portENTER_CRITICAL();
    portENTER_CRITICAL(); /* they nest */
    in_section = 1;
    both = both + 1;
    if (i % 16 == 0) c_pend_nmi();
    in_section = 0;
    portEXIT_CRITICAL();
    portEXIT_CRITICAL();
  }
  c_timer(0);
  if (both != irqs + kRounds) ++corrupted;
  c_print("irqs taken", irqs);
  c_print("NMIs taken", nmis);
  c_print("nested allocations served", served);
  c_print("nested allocations refused", refused);
  c_print("corruption", corrupted);
  return corrupted ? 3 : irqs && served ? 0 : 4;
}
