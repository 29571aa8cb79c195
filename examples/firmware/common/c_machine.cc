#include "c_machine.h"

#include "machine.h"
#include "nestlock/config/config.h"
#include "print.h"

extern "C" {
alignas(1u << nestlock::kPageShift) unsigned char c_memory[machine::kMemory];
extern const std::uint32_t c_memory_size = machine::kMemory;

void c_print(const char* name, std::uint32_t value) { firmware::print(name, value); }
void c_timer(std::uint32_t ticks) { machine::timer(ticks); }
void c_pend_nmi() { machine::pend_nmi(); }
}

void machine::interrupt(Source source, std::uintptr_t) {
  c_interrupt(static_cast<c_source>(source));
}

int main() { return c_main(); }
