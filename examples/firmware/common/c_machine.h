/* The machine for programs in C: c_machine.cc calls machine.h. */
#pragma once

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum c_source { C_IRQ0, C_IRQ1, C_TIMER, C_NMI, C_FAULT, C_IRQ };
void c_interrupt(enum c_source source); /* the program's */
int c_main(void);                       /* the program's; its result is the status */

void c_print(const char *name, uint32_t value);
void c_timer(uint32_t ticks);
void c_pend_nmi(void);
extern unsigned char c_memory[];
extern const uint32_t c_memory_size;

#ifdef __cplusplus
}
#endif
