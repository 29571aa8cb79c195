/* The part of a FreeRTOS port that is about interrupts and memory, in its names, on Nestlock.
 *
 * Critical sections mask irqs and are those of a lock, so that a debug configuration sees who is in one;
 * they nest. The heap's functions may be called by tasks and by the handlers of irqs and NMIs, which
 * FreeRTOS's own heaps may not. A handler's call takes a lock only if it is free, and does without else. */
#pragma once

#include <stddef.h>

#include "nestlock/c.h"

typedef nestlock_irqflags_t UBaseType_t;

/* A task's critical section. */
void vPortEnterCritical(void);
void vPortExitCritical(void);
#define portENTER_CRITICAL() vPortEnterCritical()
#define portEXIT_CRITICAL() vPortExitCritical()

/* A handler's, of an irq: what the first returns is for the second. */
static inline UBaseType_t xPortSetInterruptMask(void) {
  UBaseType_t before;
  nestlock_local_irq_save(&before);
  return before;
}
static inline void vPortClearInterruptMask(UBaseType_t before) {
  nestlock_local_irq_restore(before);
}
#define portSET_INTERRUPT_MASK_FROM_ISR() xPortSetInterruptMask()
#define portCLEAR_INTERRUPT_MASK_FROM_ISR(before) vPortClearInterruptMask(before)

/* Once, before the others. False: too little memory. */
bool xPortInitialiseHeap(void *start, size_t size);
/* `size` bytes, aligned to 8; null: there are none, or (in a handler) no lock was free. */
void *pvPortMalloc(size_t size);
/* Of any context, in any context; null does nothing. */
void vPortFree(void *block);
