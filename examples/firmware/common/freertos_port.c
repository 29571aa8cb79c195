#include "freertos_port.h"

static nestlock_spin_trylock_t critical = NESTLOCK_SPIN_TRYLOCK_INIT;
static nestlock_irqflags_t before_critical; /* both guarded by `critical` */
static unsigned depth;

void vPortEnterCritical(void) {
  nestlock_irqflags_t before;
  nestlock_local_irq_save(&before);
  /* Masked, so `depth` is this task's own, or an irq's handler would have to be in here. */
  if (depth++ > 0) return;
  nestlock_tryspin_lock(&critical);
  before_critical = before;
}

void vPortExitCritical(void) {
  if (--depth > 0) return;
  const nestlock_irqflags_t before = before_critical;
  nestlock_tryspin_unlock(&critical);
  nestlock_local_irq_restore(before);
}

bool xPortInitialiseHeap(void *start, size_t size) { return nestlock_memory_init(start, size); }

void *pvPortMalloc(size_t size) {
  if (size == 0) return NULL;
  return nestlock_in_task() ? nestlock_kmalloc(size, NESTLOCK_GFP_KERNEL)
                            : nestlock_kmalloc_nolock(size, NESTLOCK_GFP_NONE, NESTLOCK_ANY_NODE);
}

void vPortFree(void *block) {
  if (nestlock_in_task())
    (void)nestlock_kfree(block);
  else
    (void)nestlock_kfree_nolock(block);
}
