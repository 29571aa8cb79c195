// The least that a bare-metal embedder writes, here for a machine that does nothing.
#pragma once

#include "nestlock/config/config.h"
#include "nestlock/port/port.h"

namespace nestlock_bare {

using IrqState = unsigned;
inline constexpr unsigned kMaxCpus = nestlock::kBuiltConfig.smp ? 2 : 1;

inline IrqState irq_save() noexcept { return 0; }
inline void irq_restore(IrqState) noexcept {}
inline void preempt_disable() noexcept {}
inline void preempt_enable() noexcept {}
inline nestlock::Context context() noexcept { return nestlock::Context::task; }
inline unsigned cpu_id() noexcept { return 0; }
inline void pause() noexcept {}
inline void report(const nestlock::Report&) noexcept {}

}  // namespace nestlock_bare
