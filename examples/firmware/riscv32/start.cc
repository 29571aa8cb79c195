// From reset to main(), the trap entry, the console.
#include <cstdint>

#include "machine.h"
#include "nestlock_bare.h"

extern "C" {
int main();
extern char stack_top[];
extern unsigned long bss_begin[], bss_end[];
}

namespace {

constexpr unsigned long kSoftware = 1u << 3, kTimer = 1u << 7;  // bits of mie
constexpr unsigned long kInterrupt = ~(~0ul >> 1);              // the sign bit of mcause

}  // namespace

namespace machine {

void put(const char* text) {
  while (*text) *reinterpret_cast<volatile char*>(0x1000'0000) = *text++;
}

void end(unsigned status) {
  reg(0x10'0000) = status ? status << 16 | 0x3333 : 0x5555;
  for (;;) asm volatile("");
}

}  // namespace machine

namespace nestlock_bare {

void report(const nestlock::Report& r) noexcept {
  char text[512];
  nestlock::to_text(r, text, sizeof text);
  machine::put(text);
}

}  // namespace nestlock_bare

extern "C" {

// The timer may interrupt the software irq's handler, so that one keeps what a trap overwrites and
// unmasks the timer alone.
[[gnu::interrupt("machine"), gnu::aligned(4)]] void any_trap() {
  unsigned long cause, pc, status;
  asm volatile("csrr %0, mcause\n csrr %1, mepc\n csrr %2, mstatus"
               : "=r"(cause), "=r"(pc), "=r"(status));
  machine::depth = machine::depth + 1;
  if (cause == (kInterrupt | 7)) {
    machine::timer(0);
    machine::interrupt(machine::Source::timer, pc);
  } else if (cause == (kInterrupt | 3)) {
    machine::reg(machine::kSoftwareIrq) = 0;
    asm volatile("csrc mie, %0\n csrsi mstatus, 8" : : "r"(kSoftware) : "memory");
    machine::interrupt(machine::Source::irq0, pc);
    asm volatile("csrci mstatus, 8\n csrs mie, %0" : : "r"(kSoftware) : "memory");
  } else {
    machine::interrupt(machine::Source::fault, pc);
  }
  machine::depth = machine::depth - 1;
  asm volatile("csrw mepc, %0\n csrw mstatus, %1" : : "r"(pc), "r"(status) : "memory");
}

[[noreturn, gnu::used]] void start_in_cxx() {
  for (unsigned long* to = bss_begin; to != bss_end;) *to++ = 0;
  machine::timer(0);  // after reset it is due at once
  asm volatile("csrw mtvec, %0\n csrw mie, %1\n csrsi mstatus, 8"
               :
               : "r"(any_trap), "r"(kSoftware | kTimer)
               : "memory");
  machine::end(static_cast<unsigned>(main()));
}

[[gnu::naked, gnu::section(".start")]] void start() {
  asm volatile("la sp, stack_top\n j start_in_cxx");
}

}  // extern "C"
