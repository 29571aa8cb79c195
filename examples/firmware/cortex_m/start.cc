// From reset to main(), the vector table, and the debugger's console (semihosting). What a core of the
// Cortex-M line has is here; what a board has is in machine.h.
#include <cstdint>

#include "machine.h"
#include "nestlock_bare.h"

extern "C" {
int main();
extern std::uint32_t stack_top[], data_begin[], data_end[], data_load[], bss_begin[], bss_end[];
}

namespace {

// An operation that the debugger (here QEMU) does for the core.
std::uint32_t debugger(std::uint32_t operation, const void* argument) {
  register std::uint32_t r0 asm("r0") = operation;
  register const void* r1 asm("r1") = argument;
  asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

// What the core pushes before a handler runs.
struct Frame {
  std::uint32_t r0, r1, r2, r3, r12, lr, pc, xpsr;
};

}  // namespace

namespace machine {

[[gnu::weak]] void put(const char* text) { debugger(0x04, text); }

[[gnu::weak]] void end(unsigned status) {
  const std::uint32_t block[2] = {0x20026, status};  // "the application has ended", and its status
  debugger(0x20, block);
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

// Every exception: finds the frame and calls the function below, which returns from the exception.
[[gnu::naked, gnu::used]] void any_exception() {
  asm volatile(
      "mrs r0, msp\n"
      "ldr r1, =serve_exception\n"
      "bx r1\n"
      ".ltorg");
}

[[gnu::used]] void serve_exception(Frame* interrupted) {
  const std::uintptr_t pc = interrupted->pc;
  machine::restart(interrupted->pc);
  switch (const unsigned number = machine::exception_number()) {
    case 2:
      return machine::interrupt(machine::Source::nmi, pc);
    case 15:
      return machine::interrupt(machine::Source::timer, pc);
    case 16:
      return machine::interrupt(machine::Source::irq0, pc);
    case 17:
      return machine::interrupt(machine::Source::irq1, pc);
    default:
      return machine::interrupt(number > 17 ? machine::Source::irq : machine::Source::fault, pc);
  }
}

[[noreturn, gnu::used]] void start() {
  for (std::uint32_t *to = data_begin, *from = data_load; to != data_end;) *to++ = *from++;
  for (std::uint32_t* to = bss_begin; to != bss_end;) *to++ = 0;
  machine::set_up();
  machine::end(static_cast<unsigned>(main()));
}

}  // extern "C"

namespace {

using Handler = void (*)();
struct Vectors {
  const std::uint32_t* stack = stack_top;
  Handler reset = start;
  Handler exception[14 + machine::kIrqs];  // 2 to 15 the core's, then the board's irqs
  constexpr Vectors() {
    for (Handler& h : exception) h = any_exception;
  }
};
[[gnu::section(".vectors"), gnu::used]] constinit const Vectors vectors;

}  // namespace
