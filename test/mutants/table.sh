# The mutants: one known way each to break the library, and the test that must see it.
#
#   mutant NAME TEST FILTER WHY  FILE SED [FILE SED]...
#
# TEST is a program of test/ with its configuration, as Bazel names it; +tsan: built with
# ThreadSanitizer. FILTER is for its --gtest_filter. SED is a basic regular expression's s command,
# applied to FILE as one line (\n matches a line's end): it must change the file. FILE may be a
# pattern: then it must change one of the files.
#
#   sources TEST FILE...      what TEST is linked from besides its own source and lib/port
#   kernels TEST TYPES        what it is built for, if not for all (test/support/kernels.h)
#
# Sourced by run.sh.

port=include/nestlock/port/hosted.h
thread=include/nestlock/port/hosted_thread.h
pi=include/nestlock/port/hosted_pi.h
cpu=include/nestlock/port/hosted_cpu.h
signals='lib/port/*.cc' # whichever has it
words=include/nestlock/lock/words.h
fifo=include/nestlock/lock/fifo_word.h
park=include/nestlock/lock/park_word.h
resilient=include/nestlock/lock/resilient_word.h
waits_here=include/nestlock/lock/waits_here.h
sleep=include/nestlock/lock/sleep_word.h
core=include/nestlock/lock/core.h
guard=include/nestlock/lock/guard.h
checks=include/nestlock/lock/debug_checks.h

sweep=PortSweepTest.EveryInstructionOfAReleaseConfiguration

# ---- the lazy mask (lib/port/README.md) ---------------------------------------------------------

mutant look_before_store port_sweep_test.smp_debug "$sweep" \
  'R1: an irq between the look and the store is left in its slot' \
  $port 's/  me.soft.store(0, kRelaxed);\n  fence();  \(.[^\n]*\n\)  if (me.held.load(kRelaxed)) /  const bool look = me.held.load(kRelaxed);\n  fence();\n  me.soft.store(0, kRelaxed);\n  if (look) /'

mutant save_ignores_held port_sweep_test.smp_debug "$sweep" \
  'R2: a probe in irq_restore() unmasks, its return masks again, for ever' \
  $port 's/masked = me.soft.load(kRelaxed) | me.held.load(kRelaxed);/masked = me.soft.load(kRelaxed);/'

mutant requeue port_mask_test.smp_debug 'All/PortMaskTest.QueuedIrqsKeepTheirOrder*' \
  'R4: back to the kernel means behind those that are queued' \
  "$signals" 's/if (!ring || t - ring->head.load(kRelaxed) == kSlots) {/if (true) {/'

mutant requeue_over_the_limit port_mask_test.smp_debug 'All/PortMaskTest.NothingIsLost*' \
  'R4: back to the kernel may be refused' \
  "$signals" 's/if (!ring || t - ring->head.load(kRelaxed) == kSlots) {/if (true) {/'

mutant one_slot port_mask_test.smp_debug 'All/PortMaskTest.ProbesThatLetMoreIrqsIn*' \
  'R4: a probe in the section lets a second irq in' \
  "$signals" 's/ == kSlots) {/ == kSlots + 4) {/'

mutant replayed_registers port_replay_test.smp_debug 'All/PortReplayTest.WhatAHandlerWritesIntoTheModes*' \
  'R11: the handler would write to a frame that is gone' \
  "$signals" 's/    uc.uc_mcontext.fpregs = &state;\n//'

mutant replay_keeps_the_modes port_replay_test.smp_debug 'All/PortReplayTest.AHandlerHasTheModes*' \
  'R11: a handler rounds as the interrupted code does' \
  "$signals" 's/asm volatile("fninit\\n\\tldmxcsr %0" /asm volatile("" /'

mutant replay_loses_the_modes port_replay_test.smp_debug 'All/PortReplayTest.AHandlerHasTheModes*' \
  'R11: the interrupted code goes on to round as the handler did' \
  "$signals" 's/asm volatile("fxrstor64 %0"/asm volatile(""/'

mutant replay_on_the_interrupted_stack port_replay_stack_test.smp_debug 'All/PortReplayStackTest.AHandlerRunsOnTheAlternateStack*' \
  'R11: a stack too small for handlers overflows' \
  "$signals" 's/  if (!kSwitchesStacks || /  if (true || /'

mutant replay_leaves_the_stack_armed port_replay_stack_test.smp_debug 'All/PortReplayStackTest.AStackThatDisarms*' \
  'R11: what comes during the handler starts at the top of its stack' \
  "$signals" 's/ sigaltstack(&none, nullptr);/ {}/'

mutant replay_ignores_the_handlers_mask port_replay_test.smp_debug 'All/PortReplayTest.WhatAHandlerWritesIntoTheMask*' \
  'R11: uc_sigmask is written in vain' \
  "$signals" 's/  const KernelMask wanted = mask_in(\*uc);/  const KernelMask wanted = programs;/'

mutant replay_keeps_the_handlers_mask port_replay_test.smp_debug 'All/PortReplayTest.WhatAHandlerBlocksByItself*' \
  'R11: what a handler blocks for itself stays blocked' \
  "$signals" 's/  const KernelMask wanted = mask_in(\*uc);/  const KernelMask wanted = mask_in(*uc) | real_mask(SIG_BLOCK, 0);/'

mutant replay_in_a_wait_forgets port_replay_test.smp_debug 'All/PortReplayTest.WhatAHandlerWritesIsInEffectAfterAWait*' \
  'R11: wait_irq() puts the mask back that was before the handler' \
  "$signals" 's/    replay();\n  } else {\n    \/\/ The irq/    replay();\n    real_mask(SIG_SETMASK, user);\n  } else {\n    \/\/ The irq/'

mutant left_replay_forgotten port_jumps_test.smp_debug 'PortProcessTest.JumpsOutOfAReplay*' \
  'what a replay that was left had still to run waits for the next hold-back' \
  "$signals" 's/  if (self().added.load(kRelaxed) || any_in_my_slots()) self().held.store(1, kRelaxed);\n//'

mutant blocked_at_a_threads_end port_process_test.smp_debug 'PortProcessTest.LeftOverWorkLeavesNoBlock*' \
  'a thread that a later exit hook makes is born with our block' \
  "$signals" 's/    self().added.fetch_or(all & ~was, kRelaxed);\n    replay();  \/\/ unblocks what/    replay();  \/\/ unblocks what/'

mutant wait_forgets_the_handlers_mask port_replay_test.smp_debug 'All/PortReplayTest.WhatAHandlerWritesIsInEffectAfterAWait*' \
  'R11: the same where it slept' \
  "$signals" 's/    real_mask(SIG_UNBLOCK, (was | all) & ~user);/    real_mask(SIG_SETMASK, user);/'

mutant replay_passes_the_handlers_mask port_replay_test.smp_debug 'All/PortReplayTest.WhatAHandlerBlocksIsNotReplayed*' \
  'R11: a signal runs that the handler before it has blocked' \
  "$signals" 's/    give_to_the_kernel(wanted);\n  }\n/  }\n/'

mutant held_cleared_last port_sweep_test.smp_debug "$sweep" \
  'R5: what arrives after the last look at the slots is forgotten' \
  "$signals" 's/    self().held.store(0, kRelaxed);\n    fence();\n    if (Ring\* const ring = my_ring()) drain(\*ring, delivery);\n/    if (Ring* const ring = my_ring()) drain(*ring, delivery);\n    self().held.store(0, kRelaxed);\n/'

mutant replay_in_one_pass port_sweep_test.smp_debug "$sweep" \
  'R5: what was held back during replay is not looked for' \
  "$signals" 's/  } while (self().held.load(kRelaxed));\n  const/  } while (false);\n  const/'

mutant replay_loses_errno port_mask_test.smp_debug 'All/PortMaskTest.HandlersAndReplayKeepErrno/*' \
  'R5: nobody but replay keeps errno there' \
  "$signals" 's/  errno = saved;\n}\n\nbool send_to/}\n\nbool send_to/'

mutant handlers_lose_errno port_mask_test.smp_debug 'All/PortMaskTest.HandlersAndReplayKeepErrno/*' \
  'R5: the same for what is not held back' \
  "$signals" 's/  errno = saved;\n}\n\n}  \/\/ namespace/}\n\n}  \/\/ namespace/'

mutant direct_overtakes_a_slot port_sweep_test.smp_debug "$sweep" \
  'R6: an irq between store and look runs before the one in the slot' \
  "$signals" 's/} else if (self().soft.load(kRelaxed) | self().held.load(kRelaxed)) {/} else if (self().soft.load(kRelaxed)) {/'

mutant nmi_unmasks port_sweep_test.smp_debug "$sweep" \
  'R6: with both belts off the irq handler runs inside the nmi' \
  $port 's/masked = me.soft.load(kRelaxed) | me.held.load(kRelaxed);/masked = me.soft.load(kRelaxed);/' \
  "$signals" 's/  self().soft.store(1, kRelaxed);\n  fence();\n  hosted::as_level(hosted::TsanLevel::nmi/  hosted::as_level(hosted::TsanLevel::nmi/' \
  "$signals" 's/(hosted::kInIrq | hosted::kInNmi)) return;/hosted::kInIrq) return;/'

mutant nmi_does_not_mask port_mask_test.smp_debug 'All/PortMaskTest.AnNmiOutsideASection*' \
  'R6: an nmi counts as masked' \
  "$signals" 's/  self().soft.store(1, kRelaxed);\n  fence();\n  hosted::as_level(hosted::TsanLevel::nmi/  hosted::as_level(hosted::TsanLevel::nmi/'

mutant nmi_masks_late port_sweep_test.smp_debug 'PortSweepTest.EveryInstructionOfADebug*' \
  'R6: a probe between the two finds irqs on in an nmi, and is reported for it' \
  "$signals" 's/  self().soft.store(1, kRelaxed);\n  fence();\n\(  hosted::as_level(hosted::TsanLevel::nmi[^\n]*\n[^\n]*\n\)/\1    self().soft.store(1, kRelaxed);\n/'

mutant unblocks_all port_mask_test.smp_debug 'All/PortMaskTest.AnIrqThatTheProgramBlocked*' \
  'R7: what the program blocked gets through' \
  "$signals" 's/if (added) real_mask(SIG_UNBLOCK, added);/if (added) real_mask(SIG_UNBLOCK, irq_class.load(kRelaxed));/'

mutant mask_of_the_kernel port_mask_test.smp_debug 'All/PortMaskTest.SetSignalMaskMayCross*' \
  "R7: the library's block is read as the program's and put back for ever" \
  "$signals" 's/  KernelMask logical = real & ~added;/  KernelMask logical = real;/'

mutant softirq_tail_open port_sweep_test.smp_debug "$sweep" \
  'R8: each irq in the tail of the last nests one deeper' \
  "$signals" 's/run_softirqs(open, \/\*close=\*\/true);/run_softirqs(open, false);/'

mutant softirqs_nest port_softirq_test.smp_debug 'All/PortSoftirqTest.SoftirqsNeverNest/*' \
  'R8: a softirq in a softirq' \
  "$signals" 's/ self().context.load(kRelaxed) == 0 \&\&\n/\n/' \
  $port 's/if (self().bh.load(kRelaxed) || context) return;[^\n]*/if (self().bh.load(kRelaxed)) return;/'

mutant softirqs_with_irqs_off port_softirq_test.smp_debug 'All/PortSoftirqTest.ASoftirqRunsAtAnIrqsExit*' \
  'R8: softirqs run with irqs on' \
  "$signals" 's/    if (open) real_mask(SIG_UNBLOCK, open);\n//'

mutant nobody_looks_after_a_handler port_softirq_test.smp_debug 'All/PortSoftirqTest.AnIrqHeldBackInAHandler*' \
  'R8: held back in a handler, and no irq_restore() comes' \
  "$signals" 's/  if (self().held.load(kRelaxed)) replay();\n}/}/'

mutant nobody_looks_after_a_probe port_sweep_test.smp_debug "$sweep" \
  'R8: a probe raised a softirq in the trampoline' \
  "$signals" 's/  if (self().held.load(kRelaxed)) replay();\n}/}/'

mutant wait_sleeps_on_a_slot port_softirq_test.smp_debug 'All/PortSoftirqTest.WaitIrqRunsWhatWasHeldBack/up' \
  'R9: with the irq in a slot nothing is coming that could wake it' \
  lib/port/signal_mask.cc 's/  if (self().held.load(kRelaxed)) {\n    \/\/ Ours/  if (false) {\n    \/\/ Ours/'

mutant wait_opens_first port_sweep_test.smp_debug 'PortSweepTest.WaitIrqSleepsOnNoIrq*' \
  'R9: the irq comes between the look and the sleep' \
  lib/port/signal_mask.cc 's/was = real_mask(SIG_BLOCK, all)/was = real_mask(SIG_BLOCK, 0)/'

mutant softirqs_in_a_wait_with_irqs_off port_softirq_test.smp_debug 'All/PortSoftirqTest.WaitIrqWakes*' \
  'R8: what wait_irq() blocks around its sleep is not the program'"'"'s block' \
  "$signals" 's/    self().waiting.store(all & ~user, kRelaxed);[^\n]*\n//'

mutant fork_keeps_the_slots port_mask_test.smp_debug 'All/PortMaskTest.AForkedChild*' \
  "R10: parent and child both run the parent's irq" \
  "$signals" 's/  if (const std::uint32_t cpu = self().cpu.load(kRelaxed)) empty_slots(cpu - 1);\n//' \
  "$signals" 's/signo \&\& slot.process == getpid() \&\&/signo \&\&/'

mutant fork_forgets_the_block port_mask_test.smp_debug 'All/PortMaskTest.AForkedChild*' \
  'R10: the child never unmasks' \
  "$signals" 's/ empty_slots(cpu - 1);/ empty_slots(cpu - 1), self().held.store(0);/'

mutant not_forwarded port_signals_test.up 'PortSignalsTest.InUniprocessor*' \
  'a second thread would use a uniprocessor library' \
  "$signals" 's/  if (kBuiltConfig.smp || is_fault(signo)) return false;/  return false;/'

mutant forwarded_as_it_came port_signals_test.up 'PortSignalsTest.AForwardedKill*' \
  'the kernel lets nobody send in its name' \
  "$signals" 's/ || sent.si_code == SI_TKILL) sent.si_code = SI_QUEUE;/ \&\& false) sent.si_code = SI_QUEUE;/'

mutant faults_as_irqs port_signals_test.smp_debug 'PortSignalsTest.WhatCannotBe*' \
  'a fault that is deferred comes again for ever' \
  "$signals" 's/  if (irq \&\& is_fault(signo)) return Error::fault;\n//'

mutant irqs_on_in_an_nmi port_context_test.smp_debug 'All/PortContextTest.EnablingIrqsInAnNmi*' \
  'irq_enable() does nothing in an nmi' \
  $port 's/misuse(Finding::irq_enable_in_nmi, "irq_enable");\n      return;/misuse(Finding::irq_enable_in_nmi, "irq_enable");/'

mutant abandoned_unseen port_signals_test.smp_debug 'PortSignalsTest.Leaving*' \
  'a handler left by a jump leaves a stale context word' \
  $port 's/  if (here < frame \&\& here >= floor) return false;/  return false;/'

mutant probes_taken_for_abandoned port_signals_test.smp_debug 'PortSignalsTest.HandlersOnAnAlternateStack*' \
  'a probe on an alternate stack is above the handler that it interrupted' \
  $port 's/  if (!floor \&\& on_alternate_stack()) return false;[^\n]*\n//'

# ---- cores without atomic read-modify-writes (port/masked_atomic.h) -----------------------------

masked=include/nestlock/port/masked_atomic.h

mutant masked_stale_value masked_atomic_test.up 'MaskedAtomicTest.NothingThatCame*' \
  'what came in between would be overwritten' \
  $masked 's/    while (!compare_exchange_strong(old, f(old))) {\n    }\n/    word_.store(f(old), std::memory_order_relaxed);\n/'

mutant masked_mask_is_kept masked_atomic_test.up '*' \
  'irqs would be masked for ever' \
  $masked 's/    M::irq_restore(before);\n/    (void)before;\n/'

# ---- virtual CPUs -------------------------------------------------------------------------------

mutant claim_by_store port_cpu_test.smp_debug PortCpuTest.AHandlerMayInterruptTheFirstUseAnywhere \
  'a handler in the first use claims one too: two for one thread, one leaks' \
  $cpu 's/if (!self().cpu.compare_exchange_strong(none, cpu + 1, kRelaxed)) {/if (self().cpu.store(cpu + 1, kRelaxed); false) {/'

mutant given_back_in_the_first_pass_only port_cpu_test.smp_debug PortCpuTest.OtherLibrariesExitHooksMayUseIt \
  'what another exit hook claimed in a later pass leaks' \
  $cpu 's/  if (passes < kExitPasses) watch_exit();\n//'

mutant given_back_in_the_last_pass_only port_cpu_test.smp_debug PortCpuTest.TheFirstUseMayBeInAnExitHook \
  'a thread that first used it in an exit hook has fewer passes' \
  $cpu 's/  if (passes < kExitPasses) watch_exit();\n/  if (passes < kExitPasses) return void(watch_exit());\n/'

mutant claimed_behind_the_last_pass port_cpu_test.smp_debug PortCpuTest.OtherLibrariesExitHooksMayUseIt \
  'nobody gives it back' \
  $cpu 's/  if (self().exits.load(kRelaxed) >= kExitPasses) return kHostedMaxCpus;\n//'

mutant no_replay_at_thread_exit port_cpu_test.smp_debug 'PortCpuTest.OfflineHooksRunOnce*' \
  'an irq that was held back dies with its thread' \
  $cpu 's/  if (auto hook = process().thread_exit_hook[^\n]*\n//'

# ---- the port in a real process ------------------------------------------------------------------

process=port_process_test.smp_debug
handlers=port_handlers_test.smp_debug
jumps=port_jumps_test.smp_debug

mutant lost_cpus_stay_lost $process 'PortProcessTest.CpuLifetimeACpuWhose*' \
  'a thread that ended without its exit hook keeps its CPU' \
  $cpu 's/  if (cpu == kHostedMaxCpus) cpu = internal::take_lost_cpu();\n//'

mutant living_threads_robbed $process 'PortProcessTest.CpuLifetimeACpuOfALiving*' \
  'a CPU is taken from a thread that runs' \
  $cpu 's/ == 0 || errno != ESRCH/ == 1/'

mutant fork_keeps_the_cpus $process 'PortProcessTest.ForkGives*' \
  'the CPUs of threads that the child lacks' \
  $cpu 's/    if (!half_done) internal::free_cpu(cpu);\n//'

mutant fork_gives_what_is_half_done $process 'PortProcessTest.ForkKeepsACpuOut*' \
  'data in the middle of a section would go to another thread' \
  $cpu 's/if (!half_done) internal/internal/'

mutant fork_waits_for_its_own_registration $process '*ForkInAHandlerAnywhereInARegistration' \
  'a fork in a handler does not wait for the registration that it interrupted' \
  "$signals" 's/      self().registering.load(kRelaxed) ||/      self().context.load(kRelaxed) ||/'

mutant calls_always_go_on $handlers '*ASystemCallGoesOnOrEndsAsWasAsked' \
  'whether an interrupted system call goes on is the choice of who registers' \
  "$signals" 's/calls == Calls::restart ? SA_RESTART : 0/SA_RESTART/'

mutant fork_in_a_registration $process 'PortProcessTest.ForkBeside*' \
  "the mutex of a thread that the child lacks" \
  "$signals" 's/pthread_atfork(lock_registration_to_fork, unlock_registration_after_fork,\n *unlock_registration_after_fork);//'

mutant fork_the_child_cannot_release $process 'PortProcessTest.ForkTheChild*' \
  'the kernel knows the word as its parent thread'"'"'s' \
  $pi 's/      return word_.store(0, std::memory_order_release);/      return;/'

mutant faults_masked_in_an_nmi $handlers 'PortProcessTest.FaultsAreNeverMasked' \
  'the kernel ends a process that has a fault blocked' \
  "$signals" 's/nmi = nmi_class.load(kRelaxed) & ~kFaults;/nmi = nmi_class.load(kRelaxed);/'

mutant faults_masked_at_a_threads_end $handlers 'PortProcessTest.FaultsAreNeverMasked' \
  'the same in an exit hook that comes later' \
  "$signals" 's/nmi_class.load(kRelaxed)) & ~kFaults;/nmi_class.load(kRelaxed));/' \
  "$signals" 's/nestlock::internal::kWithTsan ? 0 : all & ~user/0/'

mutant null_handler_taken $handlers 'PortProcessTest.OtherHandlersANull*' \
  'a null handler takes the signal from whoever had it' \
  "$signals" 's/  if (!handler) return Error::no_handler;\n//'

mutant foreign_handler_overwritten $handlers 'PortProcessTest.OtherHandlersInstalledAfter*' \
  'registering one signal takes away another handler' \
  "$signals" 's/ || (s != added \&\& query(s, now) \&\& !is_ours(now))//'

mutant foreign_handler_removed $handlers 'PortProcessTest.OtherHandlersInstalledAfter*' \
  'unregistering takes away who came after us' \
  "$signals" 's/    const bool there = !query(signo, now) || is_ours(now);/    const bool there = true;/'

mutant chain_in_a_circle $handlers 'PortProcessTest.OtherHandlersInstalledAfter*' \
  'what is chained to us is chained to what we chain to' \
  "$signals" 's/  if (chained) {/  if (false) {/'

mutant old_arrival_new_handler $handlers 'PortProcessTest.OtherHandlersUnregisterDrops*' \
  'what was held back for one registration runs in the next' \
  "$signals" 's/    s.generation.fetch_add(1, kRelaxed);\n//'

mutant queued_signal_finds_the_default $handlers 'PortProcessTest.OtherHandlersASignal*' \
  'what we sent to the kernel ends the process' \
  "$signals" 's/    restore(signo, ignore);\n//'

mutant unregister_does_not_wait $handlers 'PortProcessTest.OtherHandlersUnregisterWaits*' \
  'the handler runs on in code that may be unloaded' \
  "$signals" 's/  if (e == Error::none) synchronize(signo);\n//'

mutant unregister_waits_for_itself $handlers 'PortProcessTest.OtherHandlersAHandlerMay*' \
  'a handler that unregisters itself' \
  "$signals" 's/ & mask_of(signo) ? 1 : 0;/ \& mask_of(signo) ? 0 : 0;/'

mutant replay_ignores_the_mask $handlers 'PortProcessTest.ReplayObeys*' \
  'R7: blocked by the program while it was held back' \
  "$signals" 's/  if (set \&\& added) give_to_the_kernel(logical);\n//'

mutant cancelled_in_a_section $jumps 'PortProcessTest.CancellationIsPutOff*' \
  'the section would be unwound from any instruction' \
  "$signals" 's/const NotCancelled whole(in_section());/const NotCancelled whole(false);/'

mutant running_for_ever $jumps 'PortProcessTest.CancellationInAHandler*' \
  'a handler that ended with its thread is waited for' \
  "$signals" 's/    if (left & mask_of(signo)) signal_table/    if (false) signal_table/'

mutant reports_are_cancelled $jumps 'PortProcessTest.CancellationDoesNotStrike*' \
  'write() is a cancellation point' \
  $port 's/syscall(SYS_write, /(void)!write(/'

mutant nobody_looks_after_a_jump $jumps 'PortProcessTest.JumpsAfterJump*' \
  'what was held back by a level that was left' \
  $port 's/  if (!self().soft.load(kRelaxed) \&\& self().held.load(kRelaxed))\n *process().replay_hook.load(std::memory_order_acquire)();//'

mutant the_next_signal_does_not_see_it $jumps 'PortProcessTest.JumpsTheNextSignal*' \
  'a handler left by a jump masks irqs for ever' \
  "$signals" 's/  if (!chained \&\& self().levels.load(kRelaxed)) drop_left_levels([^;]*;//'

mutant window_unseen lock_contexts_test.smp_debug 'Contexts.LockBetween*' \
  'debug: a handler comes between the word and its owner, and waits for ever' \
  $checks 's/ || (!mine() \&\& !held_by_the_interrupted(lock, word))/ || !mine()/'

mutant irq_enable_in_a_section_unseen lock_contexts_test.smp_debug 'Contexts.AnIrqDisableGuard*' \
  'debug: irqs are on in an irq_save() section' \
  $port 's/if (hosted::self().depth.load(hosted::kRelaxed) != 0)/if (false)/'

mutant left_open_unseen $process 'PortProcessTest.DebugAHandlerThatReturns*' \
  'the interrupted code goes on with counts that are not its own' \
  "$signals" 's/    if constexpr (kBuiltConfig.debug) close_what_is_open(open_, signo_);\n//'

# What is of the hosted port and a debug configuration shows in these two.
kernels lock_contexts_test.smp_debug 'HostedKernel<configs::up_debug>, HostedKernel<configs::smp_rt_debug>'
kernels lock_debug_test.smp_debug 'HostedKernel<configs::up_debug>, HostedKernel<configs::smp_rt_debug>'

mutant destroyed_unseen lock_contexts_test.smp_debug 'DebugSees*ALockThatIsDestroyed*' \
  'debug: the memory of a held lock goes, and nobody is told' \
  $checks 's/(owner_.load(kRelaxed) || kType == LockType::rw_spin)/kType == LockType::rw_spin/'

mutant the_programs_end_is_reported lock_contexts_test.smp_debug 'DebugSees*OtherLocksMay*' \
  'debug: a program that ends in a section is told that it destroyed the lock' \
  $checks 's/ \&\& !K::Port::is_static(lock))/)/'

mutant sleeps_where_nothing_may lock_contexts_test.smp_debug 'DebugSees*ASleepingLock*' \
  'debug, RT: a lock that sleeps inside a raw section' \
  $checks 's/ \&\& Word::kSleeps) may_sleep(lock, call, where);/) {}/'

mutant second_thread_unseen lock_contexts_test.smp_debug 'DebugSees*ASecondThread*' \
  'debug: two threads use the locks of one CPU' \
  $port 's/  if (one == me) \[\[likely\]\]/  if (one == me || one)/'

mutant threads_end_unseen lock_contexts_test.smp_debug 'DebugSees*AThreadThatEnds*' \
  'debug: a thread ends with a lock held' \
  $cpu 's/  if (auto hook = process().left_open_hook[^\n]*\n//'

mutant left_for_deeper_unseen $jumps 'PortProcessTest.DebugAHandlerThatWasLeftForDeeper*' \
  'debug: a handler is left by a jump to where calls go deeper than it was' \
  $port 's/ || drop_level_left_for_deeper(here)//'

mutant opened_mask_taken_for_left $jumps 'PortProcessTest.DebugAHandlerThatOpenedItsMask*' \
  'debug: a handler that lets its own signal in is taken for one that was left' \
  "$signals" 's/  return walk.passed \&\& !walk.found;/  return true;/'

mutant left_handler_runs_on $jumps 'PortProcessTest.DebugAHandlerThatWasLeftForDeeper*' \
  'unregister() waits for ever for a handler that was left by a jump' \
  $port 's/  if (const auto hook = process().all_left_hook[^\n]*\n//'

mutant handler_is_the_holder $process 'PortProcessTest.DebugAHandlerMayNot*' \
  'a handler releases what it interrupted' \
  $checks 's/    if (taken_in() != K::Port::context())/    if (false)/'

mutant no_cpu_is_another_cpu $process 'PortProcessTest.DebugALockTakenWithout*' \
  'a lock taken without a CPU is never released' \
  $checks 's/ \&\& then < K::Port::kMaxCpus \&\& now < K::Port::kMaxCpus//'

mutant softirq_in_an_nmi_forgotten port_softirq_test.smp_debug 'All/PortSoftirqTest.ASoftirqRaisedInAnNmi*' \
  'nobody looks' \
  $port 's/  if (context >= kInNmi) return self().held.store(1, kRelaxed);\n//'

mutant softirq_lost_at_a_threads_end $process 'PortProcessTest.LeftOverWork*' \
  'bottom halves were disabled when the thread ended' \
  "$signals" 's/  if (self().softirqs.load(kRelaxed)) self().held.store(1, kRelaxed);\n//'

mutant softirqs_without_end port_softirq_test.smp_debug 'All/PortSoftirqTest.ASoftirqThatRaisesItself*' \
  'the task would never go on' \
  "$signals" 's/constexpr unsigned kTurns = 10;/constexpr unsigned kTurns = ~0u;/'

mutant the_one_thread_ended port_process_test.up 'PortProcessTest.Uniprocessor*' \
  'signals are sent to a thread that is gone' \
  "$signals" 's/    only_thread.compare_exchange_strong(me, 0, kRelaxed);//' \
  "$signals" 's/if (errno == ESRCH \&\& /if (false \&\& /'

# ---- the priority-inheriting lock ---------------------------------------------------------------

mutant try_asks_the_kernel pi_lock_test.smp_debug 'PiLockTest.ALosingTryChangesNoByte*' \
  'P2: FUTEX_TRYLOCK_PI on a held lock writes the waiters bit and then fails' \
  $pi 's/    if ((w & FUTEX_TID_MASK) || !(w & FUTEX_OWNER_DIED)) return false;\n//'

mutant dead_owner_forgotten pi_refusal_test.smp_debug 'PiLockTest.AWaiterInherits*' \
  'P3: the data of an owner that died may be half done' \
  $pi 's/      return SleepResult::owner_died;/      return SleepResult::acquired;/'

mutant dead_owner_kept pi_refusal_test.smp_debug 'PiLockTest.AWaiterInherits*' \
  'P3: the bit stays, and every next owner is told again' \
  $pi 's/      word_.fetch_and(~std::uint32_t{FUTEX_OWNER_DIED}, kRelaxed);\n      return/      return/'

mutant child_keeps_the_tid pi_lock_test.smp_debug 'PiLockTest.AForkedChild*' \
  "P4: the child locks in its parent's name" \
  $cpu 's/  self().tid.store(0, kRelaxed);\n//'

mutant handover_unseen_by_tsan pi_lock_test.smp_debug+tsan PiLockTest.AWaiterSleepsInTheKernelAndTheWordSaysSo \
  'P5: TSan does not see what the kernel hands over' \
  $pi 's/    nestlock::internal::tsan_release(&word_);[^\n]*\n//' \
  $pi 's/      nestlock::internal::tsan_acquire(&word_);\n      \/\/ acquire/      \/\/ acquire/'

mutant pi_unlock_relaxed pi_lock_test.smp_debug+tsan 'PiLockTest.ThreadsExcludeEachOtherBySpinningAndYielding' \
  'P5: nor does it hide what the lock itself must order' \
  $pi 's/(me, 0, std::memory_order_release, kRelaxed)/(me, 0, kRelaxed, kRelaxed)/'

mutant refusal_blamed_on_the_owner pi_refusal_test.smp_debug 'PiLockTest.WhereTheKernelRefuses*' \
  'P7: an error that is not about the owner' \
  $pi 's/if (e == ESRCH || owner_is_gone())/if (e)/'

mutant irq_save_masks_nothing tsan_interrupts_test.smp_debug+tsan 'TsanInterrupts/*.WhatIsCorrectIsSilent' \
  'TSan: an irq in a section is a race' \
  $port 's/  me.soft.store(1, kRelaxed);\n  fence();  \/\/ the section/  fence();  \/\/ the section/'

mutant levels_synchronise tsan_interrupts_test.smp_debug+tsan 'TsanInterrupts/*.WhatLacksAMaskIsReported' \
  'TSan: a switch that is an order hides every missing mask' \
  lib/port/tsan_fibers.h 's/kTsanNoSync = 1;/kTsanNoSync = 0;/'

mutant fibres_change_under_signals tsan_interrupts_test.smp_debug+tsan 'TsanInterrupts/*.WhatIsCorrectIsSilent' \
  'TSan: a signal between two fibres finds the thread to be neither' \
  lib/port/tsan_levels.cc 's/all = ~signals::internal::kFaults/all = 0 \& signals::internal::kFaults/'

mutant a_sig_atomic_is_the_levels tsan_interrupts_test.smp_debug+tsan 'TsanInterrupts/*.WhatIsCorrectIsSilent' \
  'TSan: the standard lets a thread and its handler share a volatile sig_atomic_t' \
  lib/port/tsan_volatile.cc 's/if (!task || size/if (true || !task || size/'

mutant every_volatile_is_the_threads tsan_interrupts_test.smp_debug+tsan 'TsanInterrupts/*.WhatLacksAMaskIsReported' \
  'TSan: it lets them share nothing else' \
  lib/port/tsan_volatile.cc 's/if (!task || size != sizeof(std::sig_atomic_t))/if (!task)/'

mutant irq_off_in_an_nmi_orders tsan_interrupts_test.smp_debug+tsan 'TsanInterrupts/*.WhatLacksAMaskIsReported' \
  'TSan: nothing masks an nmi' \
  $port 's/  tsan_irqs_off();\n  return masked;/  tsan_blocks_change();\n  return masked;/'

pi_turn=include/nestlock/port/hosted_pi_turn.h
mutant a_turn_is_not_given pi_turn_test.smp_debug 'PiTurns.*' \
  'P8: who leaves off leading wakes the next' \
  $pi_turn 's/if (leads_) leave();/if (leads_) queue_->leads.fetch_and(~bit_);/'

mutant who_is_woken_queues_again pi_turn_test.smp_debug 'PiTurns.AreTaken*' \
  'P8: who is woken leads' \
  $pi_turn 's/leads = r == 0 || errno/leads = r != 0 \&\& errno/'

mutant a_turn_ends_before_the_leader_runs pi_turn_test.smp_debug 'PiTurns.GoOn*' \
  'P8: whose turn is over goes on while the leader has no processor' \
  $pi_turn 's/(queue_->awake.load(kRelaxed) & bit_);/true;/'

mutant a_leader_is_awake_for_ever pi_turn_test.smp_debug 'PiTurns.AreTaken*' \
  'P8: the next leader has not run yet' \
  $pi_turn 's/\(void leave.*\)queue_->awake.fetch_and(~bit_, kRelaxed);/\1/'

mutant who_comes_sleeps_behind_who_does_not_run pi_turn_test.smp_debug 'PiTurns.WhoComes*' \
  'P8: nobody sleeps behind a leader alone that does not run' \
  $pi_turn 's/if (std::uint32_t none = 0; /if (std::uint32_t none = 1; /'

mutant many_stand_in_for_a_leader pi_turn_test.smp_debug 'PiTurns.WhoComes*' \
  'P8: one stands in for a leader that does not run' \
  $pi_turn 's/queue_->sleepers.compare_exchange_strong(none, 1)/(queue_->sleepers.fetch_add(1), none == 0)/'

mutant a_leader_yields_in_secret pi_turn_test.smp_debug 'PiTurns.ALeaderThatYields*' \
  'P8: a leader that yields does not run' \
  $pi_turn 's/queue_->awake.fetch_and(~bit_, kRelaxed);\n    sched_yield/sched_yield/'

mutant a_gone_leader_leads_for_ever pi_turn_test.smp_debug 'PiTurns.ALeaderThatIsGone*' \
  'P8: what a leader left behind holds up for a stated time' \
  $pi_turn 's/, changes, \&latest,/, changes, nullptr,/'

mutant the_holder_waits_for_its_turn pi_turn_test.smp_debug 'PiTurns.TheHolder*' \
  'P8: a deadlock is told at once' \
  $pi 's/ || held_by_caller() || real_time()/ || real_time()/'

mutant a_timed_wait_sleeps_past_its_time pi_turn_test.smp_debug 'PiTurns.ATimedWait*' \
  'P8: a moment that is near is left to the kernel' \
  $pi 's/if (end \&\& reached(clock, \*end, PiTurn::longest_ns())) return false;//'

mutant no_inheritance pi_priority_test.smp_debug 'PiLockTest.TheOwnerInheritsThePriorityOfTheWaiter' \
  'P6: napping without end instead of waiting in the kernel' \
  $pi 's/naps = waiting.naps.load(kRelaxed);/naps = ~0u;/;s/ || real_time()) return false;/) return false;/'

mutant a_real_time_waiter_naps pi_priority_test.smp_debug 'PiLockTest.AWaiterNapsBefore*' \
  'P6: who has a priority to lend asks the kernel at once' \
  $pi 's/held_by_caller() || real_time()) return false;/held_by_caller()) return false;/'

mutant every_waiter_asks_the_kernel pi_priority_test.smp_debug 'PiLockTest.AWaiterNapsBefore*' \
  'P1: with one waiter in its queue every hand-over is a system call each way' \
  $pi 's/if (!(yields || naps) || held_by_caller() || real_time()) return false;/return false;/'

mutant naps_past_the_end pi_priority_test.smp_debug 'PiLockTest.ATimedWaitEndsAmongTheNaps' \
  'P6: a wait for a time ends among the naps' \
  $pi 's/if (end \&\& reached(clock, \*end, yields ? 0 : nap_ns)) return false;/if (false) return false;/'

# ---- the locks ----------------------------------------------------------------------------------

for test in lock_{contexts,contract,debug,never,scenarios,threads}_test.smp_debug{,+tsan}; do
  sources $test test/support/locks.cc
done

mutant stateless_try lock_scenarios_test.smp_debug 'All/Promised.T1_T5_L2_*' \
  'the historic bug: on one CPU a trylock is granted to whoever interrupts the holder' \
  $words 's/    if (peek<typename K::Port, T>(flag_)) return false;\n    flag_/    flag_/'

mutant stateless_class_try lock_scenarios_test.smp_debug 'All/Promised.T2_T3_L1_*' \
  'the same for the class word' \
  $words 's/return word_.try_acquire();/return word_.try_acquire(), true;/'

mutant byte_try_refuses lock_contract_test.smp_debug 'Cells/TryLock.OnAFreeLock/*' \
  'truth both ways: a free lock is granted' \
  $words 's/    if (peek<typename K::Port, T>(flag_)) return false;\n    flag_/    return false;\n    flag_/'

mutant park_try_refuses lock_contract_test.smp_debug 'Cells/TryLock.OnAFreeLock/*' \
  'the same on SMP' \
  $park 's/try_acquire() noexcept { return take(); }/try_acquire() noexcept { return false; }/'

mutant park_losing_try_counts lock_contract_test.smp_debug 'Cells/TryLock.OnALockHeldBy*' \
  'a losing try leaves every byte as it was' \
  $park 's/    return lock_.load(kRelaxed) == 0 \&\&\n/    return (lock_.load(kRelaxed) == 0 || (passes_.fetch_add(1, kRelaxed), false)) \&\&\n/'

mutant losing_try_writes lock_contract_test.smp_debug 'Cells/TryLock.OnALockHeldBy*' \
  'the same on one CPU' \
  $words 's/    if (peek<typename K::Port, T>(flag_)) return false;\n    flag_/    if (held()) return flag_.store(2, kRelaxed), false;\n    flag_/'

mutant byte_never_released lock_scenarios_test.smp_debug 'All/Promised.T10_L5_*' \
  'unlock() gives the lock back' \
  $words 's/    flag_.store(0, K::kConfig.smp[^\n]*\n//'

mutant park_never_released lock_contract_test.smp_debug 'Cells/TryLock.OnAFreeLock/*' \
  'the same on SMP' \
  $park 's/    lock_.store(0, std::memory_order_release);  *\/\/ pairs with take()\n//'

mutant park_unlock_relaxed lock_threads_test.smp_debug+tsan 'All/BetweenThreads.OneAtATime/*' \
  'the next holder sees what the last one did' \
  $park 's/lock_.store(0, std::memory_order_release);\( *\/\/ pairs\)/lock_.store(0, kRelaxed);\1/'

mutant park_take_relaxed lock_threads_test.smp_debug+tsan 'All/BetweenThreads.OneAtATime/*' \
  'the same, of the other side' \
  $park 's/(free, kLocked, std::memory_order_acquire, kRelaxed)/(free, kLocked, kRelaxed, kRelaxed)/'

mutant fifo_unlock_relaxed fifo_lock_test.smp_debug+tsan Fifo.OneAtATime \
  'the same, of the word without parking' \
  $fifo 's/locked_.store(0, std::memory_order_release)/locked_.store(0, kRelaxed)/'

mutant fifo_take_relaxed fifo_lock_test.smp_debug+tsan Fifo.OneAtATime \
  'the same, of the other side' \
  $fifo 's/(free, 1, std::memory_order_acquire, kRelaxed)/(free, 1, kRelaxed, kRelaxed)/'

mutant fifo_newcomer_overtakes fifo_lock_test.smp_debug 'Fifo.*' \
  'first come, first served' \
  $fifo 's/return !queued() \&\& take();/return take();/'

# ---- the owner in the word (lock/resilient_word.h) -----------------------------------------------

resilients=resilient_lock_test.smp_debug
kernels $resilients 'HostedKernel<configs::smp>'

mutant resilient_waits_for_itself $resilients 'ResilientContexts*' \
  'AA: a holder that waits for itself waits for ever' \
  $resilient 's/    if (held_by_caller()) return Refusal::deadlock;\n//'

mutant resilient_leaver_abandons $resilients Resilient.AbbaIsFoundByOneOfTheTwo \
  'who gave the lock back and ended has abandoned nothing' \
  $resilient 's/ \&\&\n *owner_.load(std::memory_order_acquire) == owner;/;/'

explored=explore_resilient_test.smp

mutant resilient_above_uncounted $explored Resilient.WhatIsHeldOnTopOfAWaiterIsNoPartOfACycle \
  'what an interrupt has on top of a waiter it gives back' \
  $resilient 's/if (here \&\& here->any()) \[\[unlikely\]\]/if (false)/'

mutant resilient_turn_unlooked $explored Resilient.* \
  'what was so in one turn of a waiter need not be so in the next' \
  $waits_here 's/ \&\& at_.turn_.load(kAcquire) == turn_;/;/' \
  $waits_here 's/    turn_.fetch_add(1, kBoth);  \/\/ a handler[^\n]*\n//'

mutant resilient_nobody_found $explored Resilient.WhoWaitCrosswiseAreToldAndTheOtherGoesOn \
  'ABBA: who does not say whom it waits for is not told either' \
  $waits_here 's/here_->found_.store(name, kRelease);/(void)name;/'

# ---- PiMutex ------------------------------------------------------------------------------------

mutant pi_mutex_by_another_clock pi_mutex_test.smp_debug 'PiMutex.TimedForms*' \
  'a moment of one clock is long past by another' \
  $pi 's/const int by = clock == PiClock::realtime ? FUTEX_CLOCK_REALTIME : 0;/const int by = FUTEX_CLOCK_REALTIME;/'

# ---- the parking of the SMP word (lock/park_word.h) ---------------------------------------------

parks=park_lock_test.smp_debug
left=park_left_test.smp_debug

mutant park_keeps_its_wish park_slice_test.smp_debug 'ParkSlice.*' \
  'what a section asked the machine for ends with it' \
  $park 's/      if (noted \& kSlice) Port::slice_ends();\n/      if (false) Port::slice_ends();\n/'

mutant park_ends_what_it_has_not park_slice_test.smp_debug 'ParkSlice.*' \
  'where the machine has none there is nothing to take back' \
  $park 's/      if (Port::slice_begins())\n/      if (Port::slice_begins() || true)\n/'

mutant slice_elsewhere park_slice_test.smp_debug 'HostedSlice.*' \
  'nothing else is written in an area that is shared with the kernel' \
  include/nestlock/port/hosted_slice.h 's/kControlAt = 28;/kControlAt = 24;/'

mutant a_head_never_sleeps park_priority_test.smp_debug 'ParkPriority.*' \
  'a head of high priority lets the owner have the processor' \
  $park 's/      Port::nap(this, nap_ns);\n/      Port::pause();\n/'

mutant park_passes_without_bound $parks ParkLock.AWaiterIsPassedOnlySoOften \
  'a hand-over without bound: who comes later may pass for ever' \
  $park 's/    if (passes >= kPasses || (notes \& kHurry)) {/    if (notes \& kHurry) {/'

mutant park_never_in_a_hurry $parks ParkLock.AHeadThatHasWaitedLongIsPassedNoMore \
  'sections may be long: so many passes are too many' \
  $park 's/else if (!(notes_.load(kRelaxed) \& kHurry))\n/else if (false)\n/'

mutant park_hurry_stays $left ParkLeft.AHeadThatWasInAHurry* \
  'the head that was in a hurry has the lock' \
  $park 's/    if (notes_.load(kRelaxed) \& kHurry) notes_.fetch_and(kHead | kParked, kRelaxed);\n//'

mutant park_passes_uncounted $parks ParkLock.AWaiterIsPassedOnlySoOften \
  'a pass that nobody counts' \
  $park 's/    passes_.store(static_cast<std::uint16_t>(last ? kPasses : passes + 1), kRelaxed);\n//'

mutant park_turns_do_not_end $parks ParkLock.WhoHasHadItsTurnPassesNoMore \
  'where others sleep who runs passes for its turn only' \
  $park 's/ || (passes % kPassesALook == 0 \&\& ends_its_turn())//'

mutant park_turns_for_nobody $left 'ParkLeft.AForkedChildLeavesNoTurn*' \
  'a note of sleepers that are not there' \
  $park 's/has_had_its_turn() \&\& Port::any_parked(this);/has_had_its_turn();/'

mutant park_wakes_two $parks ParkLock.AReleaseWakesOneSleeper \
  'one is woken for each head that is through' \
  $park 's/    if (noted \& kWake) Port::unpark_one(this);/    if (noted \& kWake) Port::unpark_one(this), Port::unpark_one(this);/'

mutant park_wakes_nobody $parks ParkLock.AReleaseWakesOneSleeper \
  'the holder that was the head notes that it has to wake the next' \
  $park 's/    lock_.store(kLocked | kWake, kRelaxed);\n//'

mutant park_sleeps_for_ever $left 'ParkLeft.*' \
  'what a jump or a fork leaves behind ends with the limit of a sleep' \
  include/nestlock/port/hosted_park.h 's/FUTEX_WAIT, expected, \&limit, nullptr/FUTEX_WAIT, expected, nullptr, nullptr/'

mutant park_nobody_leads_after_a_signal $parks 'ParkCrowd.AnIrqThatComesInTheSleep*' \
  'a signal ends a sleep: who was to be woken next is awake' \
  include/nestlock/port/hosted_park.h 's/\(FUTEX_WAIT, expected, [^)]*)\) != -EAGAIN/\1 == 0/'

explored_park=explore_park_test.smp

mutant park_lost_wakeup $explored_park 'ParkWord.*' \
  'who falls asleep between the question and the clearing of the notes' \
  $park 's/      if (!Port::any_parked(this)) return;\n/      return;\n/'

mutant park_wakes_before_the_release $explored_park 'ParkWord.ThreeCpus*' \
  'whom the holder wakes could take its processor' \
  $park 's/\(    lock_.store(0, std::memory_order_release); *\/\/ pairs with take()\n\)\(    if (held != kLocked) \[\[unlikely\]\]\n      wake(held);\n\)/\2\1/'

mutant park_woken_does_not_lead $explored_park 'ParkWord.*' \
  'who leaves his sleep leads' \
  $park 's/      if (becomes_head() || sleeps()) return lead();/      if (becomes_head()) return lead(); else sleeps();/'

mutant park_sleeps_without_a_head $explored_park 'ParkWord.*' \
  'nobody falls asleep without one who will wake him' \
  $park 's/    if (!(notes \& kHead)) return false;\n//'

mutant park_notes_not_restored $explored_park 'ParkWord.*' \
  'the place of the one who is woken is kept' \
  $park 's/      notes_.store(kHead | kParked, kRelaxed);\n//'

mutant park_taken_in_two_steps $explored_park 'ParkWord.TwoCpus' \
  'a hole between the look and the store' \
  $park 's/ lock_.compare_exchange_strong(free, kLocked, std::memory_order_acquire, kRelaxed)/ (lock_.exchange(kLocked, std::memory_order_acquire), free = 0, true)/'

mutant park_explored_passes_without_bound $explored_park 'ParkWord.ANewcomerPasses*' \
  'a hand-over without bound, one step at a time' \
  $park 's/    if (passes >= kPasses || (notes \& kHurry)) {/    if (notes \& kHurry) {/'

# ---- sequence counters (lock/seq_count.h, lock/seqlock.h) -----------------------------------------

readers=explore_readers_test.smp
explored_event=explore_event_test.smp
explored_recursive=explore_recursive_test.smp
seqlock=include/nestlock/lock/seqlock.h

mutant seq_reader_looks_once $readers 'Sequence.*' \
  'a writer that came between the two looks' \
  $seqlock 's/    if (!count_.still(before)) return false;\n//'

mutant seq_reader_ignores_the_writer $readers 'Sequence.*' \
  'a reader on top of a writer: both looks are at the same odd number' \
  $seqlock 's/    if (kCopies == 1 \&\& count_.writing(before)) return false;\n//'

mutant latch_read_where_it_is_written $readers 'Sequence.*' \
  'of the two copies the one that nobody changes' \
  $seqlock 's/copy_\[before % kCopies\]/copy_[(before + 1) % kCopies]/'

mutant seq_refused_writer_writes $readers 'Sequence.*' \
  'who interrupted a writer may not write' \
  $seqlock 's/    if (g) put(value);/    put(value);/'

# ---- readers and writers (lock/rw_word.h) ---------------------------------------------------------

rw=include/nestlock/lock/rw_word.h

mutant rw_reader_beside_a_writer $readers 'RwSpinLock.*' \
  'on several CPUs a reader must not see a writer at work' \
  $rw 's/    while (!(now \& kWriter))\n/    while (true)\n/'

mutant rw_up_reader_on_a_writer $readers 'RwSpinLock.*' \
  'nor on one CPU, on top of it' \
  $rw 's/return take_if(now != kWriter, now + 1);/return take_if(true, now == kWriter ? now : now + 1);/'

mutant rw_try_refused_for_a_waiter rw_spinlock_test.smp 'RwSpinLockThreads.AWaiting*' \
  'a writer that only waits does not refuse a reader' \
  $rw 's/    while (!(now \& kWriter))\n/    while (!(now \& (kWriter | kWaits)))\n/'

kernels rw_spinlock_test.smp 'HostedKernel<configs::smp>'
kernels rw_spinlock_test.smp+tsan 'HostedKernel<configs::smp>'
mutant rw_waiting_writer_for_ever rw_spinlock_test.smp 'RwSpinLockThreads.AWaiting*' \
  'a task that reads inside its own reading' \
  $rw 's/  bool patient() const noexcept { return turns_ < kLooks + kNaps; }/  bool patient() const noexcept { return true; }/'

mutant rw_unlock_relaxed rw_spinlock_test.smp+tsan 'RwSpinLockThreads.ReadersTogether*' \
  'what a writer wrote is seen by the readers behind it' \
  $rw 's/fetch_and(~kWriter, std::memory_order_release)/fetch_and(~kWriter, kRelaxed)/'

# ---- Event (lock/event.h) -------------------------------------------------------------------------

event=include/nestlock/lock/event.h

mutant event_wakes_nobody $explored_event 'Event.NoSignalIsLost' \
  'a signal from another CPU finds a waiter asleep' \
  $event 's/    return was > kSet \&\& !(was \& kSet);/    return false;/'

mutant event_waiter_uncounted $explored_event 'Event.NoSignalIsLost' \
  'the signaller is to know of the waiter before he sleeps' \
  $event 's/    word_.comes();\n//' \
  $event 's/(waits ? kWaiter : 0)/0/'

mutant event_up_clears_what_it_did_not_see $explored_event 'Event.NoSignalIsLost' \
  'a handler that signals between the look and the store' \
  $event 's/    if (now) word_.store(0, kRelaxed);/    word_.store(0, kRelaxed);/'

kernels event_test.smp+tsan 'HostedKernel<configs::smp>'
mutant event_signal_relaxed event_test.smp+tsan 'EventThreads.NoSignalIsLost' \
  'what was done before the signal is seen behind the wait' \
  $event 's/fetch_or(kSet, std::memory_order_release)/fetch_or(kSet, kRelaxed)/'

kernels event_test.smp_debug 'HostedKernel<configs::smp_debug>'
mutant event_waits_where_no_handler_can_come event_test.smp_debug '*WaitingWithIrqsOff*' \
  'a wait with irqs off, or in a raw section' \
  $event 's/task ? internal::why_not_sleep<Port>() : nullptr/nullptr/'

mutant event_waits_in_a_handler event_test.smp_debug '*WaitingInAHandler*' \
  'a handler that waits for what another handler would signal' \
  $event 's/if (!task || why) report/if (why) report/'

kernels seqlock_test.smp_debug 'HostedKernel<configs::smp_debug>'
mutant seqlock_read_anywhere seqlock_test.smp_debug '*DebugReportsARead*' \
  'a read() that has not had to wait yet' \
  include/nestlock/lock/seqlock.h 's/               .allowed)\n        report(where);/               .allowed) {}/'

# ---- RecursiveLock (lock/recursive_lock.h) --------------------------------------------------------

recursive=include/nestlock/lock/recursive_lock.h

mutant recursive_owner_in_any_context $explored_recursive 'RecursiveLock.*' \
  'a handler is the task that it interrupted, but not the owner' \
  $recursive 's/ \&\&\n           context_.load(internal::kRelaxed) == static_cast<std::uint32_t>(Port::context());/;/'

mutant recursive_owner_stays $explored_recursive 'RecursiveLock.*' \
  'who gave it back has it no more, while another CPU has' \
  $recursive 's/    owner_.store(0, internal::kRelaxed);\n//'

mutant rt_gate_removed lock_contract_test.smp_debug 'Cells/TryLock.*' \
  'on RT a hardirq would own a lock in the name of the task that it interrupted' \
  $sleep 's/return K::Port::context() < Context::hardirq \&\& lock_.try_lock();/return lock_.try_lock();/'

mutant refused_try_stays_pinned lock_contract_test.smp_debug 'Cells/TryLock.OnALockHeldBy*' \
  'a refused try leaves preemption as it was' \
  $core 's/      Pinning::leave();\n      Observer::refused/      Observer::refused/'

mutant refused_guard_stays_masked lock_scenarios_test.smp_debug 'All/Promised.T8_L8_*' \
  'a refused guard undoes its tag' \
  $guard 's/    if (!lock_) Irq::template leave<Port>(state_);\n//'

mutant recursion_unchecked lock_debug_test.smp_debug 'All/BlockingMisuse.T14_*' \
  'debug knows the holder' \
  $checks 's/    if (!word.held() || (!mine() \&\& [^\n]*/    return changing(lock);/'

mutant silent_entry lock_never_test.smp_debug '*T13*' \
  'T13: a lock() that can never return does not enter instead' \
  $words 's/return try_acquire() ? SleepResult::acquired : SleepResult::deadlock;/return try_acquire(), SleepResult::acquired;/'

mutant nested_bh_unchecked lock_debug_test.smp_debug 'All/NestedBh.*' \
  'L10: lock_nested_bh() with bottom halves enabled is said' \
  include/nestlock/lock/local_lock.h 's/    this->check_nested_bh(where);\n//'

# ---- the same words, one step at a time, on two and three simulated CPUs -------------------------

explored=explore_locks_test.smp_debug

mutant fifo_try_refuses $explored 'OnTwoCpus*' \
  'truth both ways: a free lock is granted' \
  $fifo 's/try_acquire() noexcept { return !queued() \&\& take(); }/try_acquire() noexcept { return false; }/'

mutant fifo_never_released $explored 'OnTwoCpus*' \
  'unlock() gives the lock back' \
  $fifo 's/locked_.store(0, std::memory_order_release)/(void)0/'

mutant fifo_take_in_two_steps $explored 'OnTwoCpus*' \
  'a hole between the look and the store' \
  $fifo 's/ locked_.compare_exchange_strong(free, 1, std::memory_order_acquire, kRelaxed)/ (locked_.exchange(1, std::memory_order_acquire), free = 0, true)/'

mutant fifo_not_served_next $explored 'OnTwoCpus*' \
  'who leaves the queue calls the next one' \
  $fifo 's/    queue_.fetch_add(kServeNext, kRelaxed);[^\n]*\n//'

mutant fifo_ticket_in_two_steps $explored 'OnTwoCpus*' \
  'two waiters with one ticket' \
  $fifo 's/queue_.compare_exchange_weak(q, (q \& 0xff00) | after, kRelaxed, kRelaxed)/(queue_.store(static_cast<std::uint16_t>((q \& 0xff00) | after), kRelaxed), true)/'

# ---- the page floor -----------------------------------------------------------------------------

inside='include/nestlock/*/*.h'
pages=explore_pages_test.smp_debug
control=page_control_test.smp_debug
sources $control test/support/page_allocators.cc test/support/page_allocators_observed.cc \
  lib/page/page.cc

mutant refill_unlocked $pages 'PagesOn*' \
  'a refill puts its batch on the list under the lock of that list' \
  "$inside" 's/\(if (!chain) return first;\n  {\n    \)auto pcp = z.pcp.template try_lock_here<&Pcp::lock>(typename L::PcpTag{});/\1Pcp* const pcp = z.pcp.try_here();/'

mutant refill_busy_loses_its_batch $pages 'PagesOn*' \
  'a refill that finds the list taken gives its batch back to the zone' \
  "$inside" 's/note_busy(z, true);\n  give_chain(z, chain);\n/note_busy(z, true);\n/'

growing=page_setup_test.up
upkeep=page_upkeep_test.up
for test in $growing $upkeep; do
  sources $test test/support/page_allocators.cc test/support/page_allocators_observed.cc \
    lib/page/page.cc test/support/locks.cc
  kernels $test 'HostedKernel<configs::up>'
done

mutant pages_without_a_descriptor $growing 'All/SettingUp.DescriptorsAreMadeWritable*' \
  'memory is claimed before there is room for what describes it' \
  include/nestlock/page/setup_inl.h 's/      if (!describe(z, upto)) return false;\n//'

mutant a_node_that_is_not_there $upkeep 'All/Upkeep.WhatIsSaidOf*' \
  'a node number from outside is looked at first' \
  include/nestlock/page/pcp_inl.h 's/  if (node >= nodes()) return;\n  Zone\& z = zone_\[node\];\n  {/  Zone\& z = zone_[node];\n  {/'

mutant an_enable_too_many $upkeep 'All/Upkeep.WhatIsSaidOf*' \
  'an enable without a disable undoes nothing' \
  include/nestlock/page/pcp_inl.h 's/  if (off == 0) return;\n//'

mutant page_beyond_the_descriptors $growing 'All/SettingUp.DescriptorsAreMadeWritable*' \
  'an address of the range whose descriptor cannot be read' \
  include/nestlock/page.h 's/return pfn < described_.load(internal::kRelaxed) ? /return pfn < pages_ ? /'

mutant looks_for_memory_before_set_up $growing 'All/SettingUp.EveryCallBeforeSetUp*' \
  'before it is set up an allocator refuses at once' \
  include/nestlock/page/alloc_free_inl.h 's/ || !ready_.load(internal::kRelaxed)) return nullptr;/) return nullptr;/'

setting_up=page_sweep_test.up
sources $setting_up test/support/page_allocators.cc test/support/page_allocators_observed.cc \
  lib/page/page.cc test/support/locks.cc
kernels $setting_up 'HostedKernel<configs::up>'

mutant reserve_looks_twice $setting_up 'All/PageSweep.NolockCallsInAProbe*' \
  'an interruption between the two looks takes some, and it is not there, though more could be committed' \
  include/nestlock/page/reserve_inl.h 's/    there \&= enough;/    there \&= z.buddy.free_pages() >= z.min + pages;/'

mutant reserve_keeps_what_it_took $setting_up 'All/PageSweep.NolockCallsInAProbe*' \
  'where the pages run out those that were touched go back all the same' \
  include/nestlock/page/reserve_inl.h 's/    if (!p) break;/    if (!p) return;/'

mutant reserve_takes_unlocked $setting_up 'All/PageSweep.NolockCallsInAProbe*' \
  'an interruption takes the page that is just being taken to be touched' \
  include/nestlock/page/reserve_inl.h 's/      Guard g(z.lock, irq_save);\n      p = take_locked/      p = take_locked/'

mutant served_before_set_up $setting_up 'All/PageSweep.NothingIsServedUntilAllIsSetUp*' \
  'and a nolock call in the middle of that gets nothing of a part' \
  include/nestlock/page/alloc_free_inl.h 's/    if (!ready_.load(internal::kRelaxed)) break;\n//'

mutant failed_commit_forgotten $growing 'All/Growing.AFailedCommitBesideAnother*' \
  'a range whose commit failed is tried again' \
  "$inside" 's/    z.failed.push(at, next_of());\n//'

mutant parked_lost $pages 'PagesOn*' \
  'all that was parked comes back' \
  "$inside" 's/\(    z.counters.parked.fetch_sub([^;]*);\n\)    give_locked(z, p, order);/\1    if (z.backlog) give_locked(z, p, order);/'

mutant parked_counted_once $pages 'PagesOn*' \
  'what is put back is not counted as parked any more' \
  "$inside" 's/    z.counters.parked.fetch_sub(std::uintptr_t{1} << order, internal::kRelaxed);\n//'

mutant detached_still_counted $pages 'PagesOn*' \
  'the count of a cache is what is on its lists' \
  "$inside" 's/  internal::bump_locked(pcp.out, got);\n//'

mutant page_nolock_spins $pages 'PagesOn*' \
  'a nolock allocation tries the zone, and does not wait for who it interrupted' \
  "$inside" 's/      TryGuard g(z.lock, irq_save);\n      if (g) {\n        z.lock.assert_held();\n\(        unpark_locked(z, kUnparkedByNolock);\n        if (Page\* const p = take_locked(z, order, z.min))\)/      Guard g(z.lock, irq_save);\n      {\n\1/'

mutant page_nolock_free_spins $pages 'PagesOn*' \
  'nor does a nolock free' \
  "$inside" 's/      TryGuard g(z.lock, irq_save);\n      if (g) {\n        z.lock.assert_held();\n        give_locked(z, index(page), order);/      Guard g(z.lock, irq_save);\n      {\n        give_locked(z, index(page), order);/'

mutant drained_blocks_lost $pages 'PagesOn*' \
  'what a nolock free took off its list while the zone was taken is parked' \
  "$inside" 's/    return each(\[&\](Page\* p, unsigned has) { park(z, p, has); }), true;/    return true;/'

mutant drained_without_the_zone $pages 'PagesOn*' \
  'and is not given to a zone that somebody else has' \
  "$inside" 's/  if (!g) {\n    if constexpr (!kLean) note_busy(z, false);\n    return each([^\n]*\n  }\n  z.lock.assert_held();\n//'

mutant free_looks_at_no_state $control '*BadFreesAreRefused*' \
  'a page that is free is not freed again' \
  include/nestlock/page.h 's/ || !page->is(PageState::used, order)) \[\[unlikely\]\]\n *return bad_free(page, "free_pages"/) [[unlikely]]\n        return bad_free(page, "free_pages"/'

page_rows=page_rows_test.up
gate_rows=page_nolock_rows_test.up_rt
for test in $page_rows $gate_rows; do
  sources $test test/support/page_allocators.cc test/support/page_allocators_observed.cc \
    lib/page/page.cc
  kernels $test "HostedKernel<configs::${test#*.}>"
done

mutant nolock_free_drains $page_rows 'All/PageRow.P9_*' \
  'P8: a nolock free over the mark does not drain' \
  "$inside" 's/return drain_by_nolock(z, order);/return drain_over_high(z);/'

mutant nolock_frees_without_a_bound $page_rows 'All/PageRow.P9_*' \
  'where nobody can give to the zone a CPU keeps four times the mark' \
  "$inside" 's/z.lock.is_locked() ? 4 \* high : 2/z.lock.is_locked() ? ~0u : 2/'

mutant disabled_caches_without_a_bound $gate_rows 'All/NolockPageRow.P19_*' \
  'nor does it keep more where caches are disabled' \
  "$inside" 's/  if (high < kLeastHigh) high = kLeastHigh;/  if (!high) return true;/'

mutant gate_at_the_entry_only $gate_rows 'All/NolockPageRow.P15_*' \
  'P15: what no pcp takes passes the gate, too' \
  "$inside" 's/    if (L::may_try()) {\n      const bool isolated/    if (true) {\n      const bool isolated/'

# No order between an nmi and what it interrupted. In what comes of it there is nothing to see: one
# thread runs both. Only ThreadSanitizer sees it.
rows=page_nolock_rows_test.smp_debug+tsan
sources $rows test/support/page_allocators.cc test/support/page_allocators_observed.cc \
  lib/page/page.cc
kernels $rows 'HostedKernel<configs::up>'

mutant page_nolock_free_unlocks_early $rows 'All/NolockPageRow.P15_*' \
  'a nolock free gives to the zone under its lock' \
  "$inside" 's/      TryGuard g(z.lock, irq_save);\n      if (g) {\n        z.lock.assert_held();\n        give_locked(z, index(page), order);/      bool got;\n      {\n        TryGuard g(z.lock, irq_save);\n        got = static_cast<bool>(g);\n      }\n      if (got) {\n        give_locked(z, index(page), order);/'

# ---- the slab floor -----------------------------------------------------------------------------

slab=explore_slab_test.smp_debug

slab_rows=slab_free_rows_test.smp_debug+tsan
sources $slab_rows test/support/slab_allocators_observed.cc \
  test/support/page_allocators_observed.cc lib/page/page.cc lib/slab/slab.cc
kernels $slab_rows 'HostedKernel<configs::up>'

mutant slab_nolock_free_unlocks_early $slab_rows 'All/SlabFreeRow.K9_*' \
  'a nolock free gives to a slab under the lock of its list; as page_nolock_free_unlocks_early' \
  "$inside" 's/    TryGuard g(n.list_lock, irq_save);\n    if (!g) return internal::bump(counters_.list_busy), Given::busy;\n    n.list_lock.assert_held();/    {\n      TryGuard g(n.list_lock, irq_save);\n      if (!g) return internal::bump(counters_.list_busy), Given::busy;\n    }/'

mutant slab_nolock_free_spins $slab 'SlabOn*' \
  'a nolock free tries the list, and does not wait for who it interrupted' \
  "$inside" 's/    TryGuard g(n.list_lock, irq_save);\n    if (!g) return internal::bump(counters_.list_busy), Given::busy;\n    n.list_lock.assert_held();/    Guard g(n.list_lock, irq_save);/'

mutant slab_nolock_spins $slab 'SlabOn*' \
  'nor does a nolock allocation' \
  "$inside" 's/    if (r.may_spin() \&\& i == 0) {/    if (i == 0) {/'

mutant slab_list_unlocked $slab 'SlabOn*' \
  'a nolock free that is refused leaves the list alone' \
  "$inside" 's/    if (!g) return internal::bump(counters_.list_busy), Given::busy;\n    n.list_lock.assert_held();/    if (!g) internal::bump(counters_.list_busy);/'

mutant slab_deferred_unmarked $slab 'SlabOn*' \
  'what is deferred is marked' \
  "$inside" 's/  unsettle();\n  return true;\n}/  return true;\n}/'

mutant refilled_sheaf_takes_its_place $slab 'Slab*' \
  'what came in while a sheaf was filled stays' \
  "$inside" 's/      if (c->main->size == 0) {\n        std::swap(c->main, s);\n        if (s == \&internal::no_sheaf) return;/      if (true) {\n        c->main = s;\n        return;/'

mutant orphan_marked_late $slab 'SlabOn*' \
  'an orphan is known as one before anybody can free one of its objects' \
  "$inside" 's/    p->owner_mark = orphan ? kOrphan : kOff;\n\(.*  internal::bump(counters_.orphans);\n\)/    p->owner_mark = kOff;\n\1  p->owner_mark = kOrphan;\n/'

limits=slab_limits_test.up
progress=slab_progress_test.up
bad_frees=slab_bad_free_test.up
bulk=slab_bulk_test.up
for test in $limits $progress $bad_frees $bulk; do
  sources $test lib/page/page.cc lib/slab/slab.cc
  kernels $test 'HostedKernel<configs::up>'
done

mutant shrink_in_one_section $progress '*ShrinkHoldsAListForAPortionAtATime' \
  'irqs are masked for as long as a list has slabs' \
  include/nestlock/slab/cache_setup_inl.h 's/i < kSettledAtOnce \&\& left; ++i, --left/left; ++i, --left/'

mutant shrink_sees_one_portion $progress '*ShrinkHoldsAListForAPortionAtATime' \
  'what was looked at must not come again before the rest' \
  include/nestlock/slab/cache_setup_inl.h 's/n.partial.push_back(/n.partial.push(/'

mutant queue_forgets_its_end $progress '*ShrinkHoldsAListForAPortionAtATime' \
  'a slab is put behind one that is on no list' \
  include/nestlock/page/descriptor.h 's/    if (p == last_) last_ = all\[p\].prev;\n//'

mutant slab_settles_one_part $progress '*NoCallPaysForAllThatWasDeferred' \
  'what a bounded call leaves of what was deferred stays marked' \
  "$inside" 's/  more |= backlog_ || deferred_/  more |= nullptr != deferred_/'

mutant slab_nolock_settles_nothing $progress '*NolockCallsSettleWhat*' \
  'nolock calls alone give deferred objects back' \
  "$inside" 's/  if (o \&\& reason == SlabRefusal::none) settle_some(kSettledByNolock, false);\n//' \
  "$inside" 's/        settle_some(kSettledByNolock, false);\n//'

mutant slab_takes_interior_pointers $bad_frees '*PointersIntoAnObjectAreRefused' \
  'a pointer into an object is refused on the fast path' \
  "$inside" 's/c->unfree \& reinterpret_cast<std::uintptr_t>(object) ||[ \n]*//'

mutant slab_takes_what_it_has $bad_frees '*WhatIsFreedTwiceIsRefused*' \
  'an object that lies in its slab is refused there' \
  include/nestlock/slab/cache_list_inl.h 's/was == in_slab || //'

mutant slab_gives_marked_objects $bad_frees '*WhatIsFreedTwiceIsRefused*' \
  'an object that is out has no mark' \
  include/nestlock/slab/cache_list_inl.h 's/    if (marks_) mark_of(link) = 0;/    if (marks_) (void)mark_of(link);/'

mutant a_sheaf_gives_to_anothers_slab $bad_frees '*WhatASheafStillHolds*' \
  'what a sheaf still holds goes to no slab that is another cache'"'"'s by now' \
  include/nestlock/slab/cache_list_inl.h 's/(p.kind != kSlab || p.owner != this)/false/'

mutant a_run_goes_past_its_slab $bulk '*SheavesGoToSlabs*' \
  'what goes back with the object before it lies in the same slab' \
  include/nestlock/slab/cache_list_inl.h 's/if (!kLean \&\& at >= size) break;//'

mutant what_begins_no_object_is_one $bulk '*OnlyWhatBeginsAnObject*' \
  'only what begins an object is one' \
  include/nestlock/slab/cache_bad_free_inl.h 's/>> 32) \* stride_ == at;/>> 32) * stride_ <= at;/'

mutant a_run_of_frees_counts_as_one $bulk '*SheavesGoToSlabs*' \
  'a slab knows how many of its objects are in use' \
  include/nestlock/slab/cache_list_inl.h 's/    --in_use;\n//'

mutant new_objects_are_given_twice $bulk '*SheavesGoToSlabs*' \
  'what nobody had yet is had once' \
  include/nestlock/slab/cache_list_inl.h 's/(linked(p) + got)/(linked(p) + got \/ 2)/'

mutant what_is_free_is_deferred $bad_frees '*WhatIsFreeIsNotDeferred' \
  'a nolock free of what lies in its slab does not write over its link' \
  include/nestlock/slab/settle_inl.h 's/ || !mark(link, true)//'

mutant slab_takes_twice $bad_frees '*AnObjectIsFreedOnce' \
  'the object on top of the sheaf is not freed again' \
  "$inside" 's/ || top\[-1\] == object) \[\[unlikely/) [[unlikely/'

mutant slab_takes_twice_at_a_full_sheaf $bad_frees '*AnObjectIsFreedOnceAtEachFill*' \
  'nor where that sheaf is full and the other has room' \
  include/nestlock/slab/cache_sheaves_inl.h 's/ || top\[-1\] == object) return false/) return false/'

classes=slab_classes_test.up
sources $classes lib/page/page.cc lib/slab/slab.cc
kernels $classes 'HostedKernel<configs::up>'

mutant slab_tags_outlive_slabs $classes '*TheMapKnowsTheSlabs*' \
  'a page that is given back is no class'"'"'s any more: a free would take what lies there' \
  "$inside" 's/    if (tag_) pages_->set_tags(p, order, 0);\n//'

mutant slab_tags_the_first_page $classes '*TheMapKnowsTheSlabs*' \
  'each page of a slab has the tag' \
  "$inside" 's/  if (tag_) pages_->set_tags(p, order, tag_);/  if (tag_) pages_->set_tags(p, 0, tag_);/'

mutant slabs_of_eight_pages $classes '*WasteLittleOfASlab' \
  'sizes of which a few fill 64 KiB waste an eighth and more of 32' \
  include/nestlock/slab/cache_setup_inl.h 's/  if (!kLean \&\& order_ == 3 \&\& wastes(16)) ++order_;\n//'

mutant nolock_slabs_of_one_object $classes '*ANolockCallMakesTheLargestSlab*' \
  'a nolock call is refused the order of the cache, and takes the smallest' \
  include/nestlock/slab/cache_list_inl.h 's/pages(r.may_spin() || order_ < kMost ? order_ : kMost)/pages(order_)/'

mutant slab_moves_uncounted $classes '*FreesAreCounted*' \
  'what comes into a sheaf and goes in whole sheaves is told from what is freed' \
  "$inside" 's/    bump_locked(c_.moved, now - before_ - pushed_);/    bump_locked(c_.moved, 0 * (now - before_) - pushed_);/'

decay=page_decay_test.up
steps=page_steps_test.up
for test in $decay $steps; do
  sources $test lib/page/page.cc lib/slab/slab.cc
  kernels $test 'HostedKernel<configs::up>'
done

mutant decay_takes_what_is_used $decay '*WhatIsUsedAgainAndAgainStays' \
  'only what was free all the while goes back' \
  "$inside" 's/  if (const std::uint32_t dirty = dirty_pages(z); dirty < z.dirty_low) z.dirty_low = dirty;\n//'

mutant clean_spreads $decay '*TrimGivesAll*' \
  'of two blocks that merge both must be clean' \
  "$inside" 's/      clean = clean \&\& all_\[b\].clean;/      clean = clean || all_[b].clean;/'

mutant decay_is_not_told $decay '*SmallAllocationsGiveItBackToo' \
  'a free that leaves much makes small allocations look' \
  "$inside" 's/  tell_decay(true);\n/  tell_decay(false);\n/'

mutant block_keeps_its_rest $steps '*ABlockOfAnyNumberOfPages*' \
  'what a power of two of pages has more than was asked for goes back' \
  "$inside" 's/    free_row(p, pages, std::uint32_t{1} << order, order, where);\n//'

mutant block_grows_over_others $steps '*WhatSomebodyHasIsNotGrownOver' \
  'a block grows only over what is free' \
  include/nestlock/page/buddy.h 's/      if (all_\[q\].state() != PageState::buddy || all_\[q\].isolated_free) return false;/      if (all_[q].isolated_free) return false;/'

mutant reserve_of_more_than_the_range $decay '*WhatIsReserved*' \
  'a call that can only fail commits everything first' \
  include/nestlock/page/reserve_inl.h 's/    if (share(n) > zone_\[n\].end - zone_\[n\].begin) return false;/    if (false) return false;/'

mutant reserve_for_everybody $decay '*WhatIsReserved*' \
  'ordinary calls leave what is kept for nolock calls' \
  include/nestlock/page/zone_inl.h 's/  return kept + (has/  return (has/'

mutant reserve_goes_back $decay '*WhatIsReserved*' \
  'what is kept for nolock calls does not go back to the system' \
  include/nestlock/page/decay_inl.h 's/  if (kept \&\& most > spare) most = spare;\n//'

beyond=page_decay_test.smp
sources $beyond lib/page/page.cc lib/slab/slab.cc
kernels $beyond 'HostedKernel<configs::smp>'

mutant batch_without_a_list $beyond '*WithoutACpu*' \
  'a thread beyond the last CPU takes no batch of pages' \
  include/nestlock/page/zone_inl.h 's/    if (internal::claimed_cpu<typename K::Port>() >= K::Port::kMaxCpus) return first;\n//'

mutant grows_beside_idle_memory $decay '*NotByWhatLiesIdle' \
  'free memory that does not serve goes back where the process grows' \
  "$inside" 's/if (p \&\& clean < before \&\& has(flags, gfp::reclaim | gfp::idle))/if (false)/'

mutant only_reclaim_gives_back $decay '*WhatLiesIdleGoesBackForOthers' \
  'a call that may not wait for others can still give back what lies idle' \
  include/nestlock/page/alloc_free_inl.h 's/has(flags, gfp::reclaim | gfp::idle))/has(flags, gfp::reclaim))/'

mutant single_pages_lie_idle $decay '*WhatLiesIdleGoesBackForOthers' \
  'pages that are free one by one go back, too' \
  include/nestlock/page/decay_inl.h 's/static_cast<std::uint32_t>(most), 0);/static_cast<std::uint32_t>(most), kDecayOrder);/'

mutant all_that_lies_idle_at_once $decay '*WhatLiesIdleGoesBackForOthers' \
  'no call pays for more than twice of what it takes' \
  include/nestlock/page/decay_inl.h 's/release_some(z, idle < most ? idle : static_cast<std::uint32_t>(most), 0);/release_some(z, idle, 0);/'

forking=slab_fork_test.smp
sources $forking lib/page/page.cc lib/slab/slab.cc
kernels $forking 'HostedKernel<configs::smp>'

forking_rt=slab_fork_test.smp_rt
sources $forking_rt lib/page/page.cc lib/slab/slab.cc
kernels $forking_rt 'HostedKernel<configs::smp_rt>'

mutant a_walk_stands_on_what_is_gone slab_caches_test.smp_debug 'SlabCaches/*' \
  'who goes through the caches is moved on from one that is destroyed' \
  include/nestlock/slab/create_inl.h 's/if (w.next == \&c) w.next = c.next_;/(void)w;/'

mutant a_flushed_cpu_is_not_noted_again slab_caches_test.smp_debug '*WhatEndsGivesBackWhatItUsed*' \
  'what a CPU frees after its sheaves were flushed is flushed, too' \
  include/nestlock/slab/cache_setup_inl.h 's/    c->main = nullptr;\n    place_/    place_/'

mutant a_threads_end_meets_all_caches slab_caches_test.smp_debug 'SlabCachesUnused.*' \
  'who empties a CPU goes through the caches that it used' \
  include/nestlock/slab/cache_group.h 's/group->used\[cpu\].fetch_and(~bit(), kRelaxed)/group->used[cpu].load(kRelaxed)/'

mutant empty_groups_stay slab_caches_test.smp_debug '*NothingOfThemStays*' \
  'what created caches are noted in goes with the last of them' \
  include/nestlock/slab/create_inl.h 's/if (!at.taken)/if (false)/'

mutant a_busy_process_is_taken_for_alone $forking 'SlabFork/*.AChildOfBusyThreads*' \
  'a fork beside other threads takes the locks' \
  $cpu 's/return NESTLOCK_INTERNAL_ALONE;/return true;/'

mutant a_cpu_is_used_unseen $forking '*WhatOtherCpusCached*' \
  'a fork goes over the CPUs that were ever taken' \
  $cpu 's/  process().cpus_seen\[cpu \/ 64\].fetch_or[^\n]*\n//'

mutant fork_strands_sheaves $forking '*WhatOtherCpusCached*' \
  'what lies in the sheaves of threads that a child lacks comes back there' \
  "$inside" 's/\[\&\](Cache\& c) { c.take_back(cpu); }/[](Cache\&) {}/'

mutant fork_in_the_middle_of_a_list $forking '*AChildOfBusyThreads*' \
  'no other thread is in the middle of a list or a barn at a fork, nor has its lock' \
  "$inside" 's/    f(node_\[i\].barn_lock, node_\[i\].held_barn);\n    f(node_\[i\].list_lock, node_\[i\].held_list);\n//'

mutant fork_waits_for_its_own_turn $forking_rt '*AHandlerForksAnywhereInASettle' \
  'a fork in a handler does not wait for the turn to settle that it interrupted' \
  include/nestlock/page/fork_hold.h 's/if (lock.is_locked_here()) break;//'

mutant fork_waits_for_its_own_lists $forking '*AHandlerMayForkAnywhereInACall' \
  'nor for the lists of its CPU, which are changed with irqs on' \
  "$inside" 's/bounded || drains || cpu == mine/bounded/'

mutant forks_wait_for_one_another $forking '*ForksAtOnce*' \
  'of several forks at once each has what another has taken' \
  include/nestlock/page/fork_hold.h 's/while (n)/while (false)/'

mutant fork_leaves_its_share $forking '*ForksAtOnce*' \
  'and no lock is given back while one of them needs it, nor kept behind the last' \
  include/nestlock/page/fork_hold.h 's/take_one(forks_, std::memory_order_release)/(void)0/'

mutant fork_gives_back_what_an_outer_one_has $forking '*AForkInTheMiddleOfAFork*' \
  'a fork in the middle of a fork of its own thread gives back nothing of that' \
  include/nestlock/page/fork_hold.h 's/ || depth_ != depth//'

mutant fork_ends_what_it_did_not_begin $forking '*AnAfterForkAlone*' \
  'an after_fork() without its before_fork() gives back nothing of another thread' \
  include/nestlock/slab/fork_inl.h 's/    if (!fork && !child) return;\n//'

mutant slabs_eat_the_reserve $limits '*TheReserveIsForMemallocAlone' \
  'no slab comes from the reserve that calls with memalloc may use' \
  include/nestlock/slab/cache_list_inl.h 's/~(gfp::zero | gfp::memalloc)/~gfp::zero/'

mutant slab_never_reclaims $limits '*WithNothingLiveAllPagesCanBeHad' \
  'before it fails an allocation that may wait asks what keeps memory' \
  "$inside" 's/    if (round == 1 \&\& !ask_shrinkers()) break;/    if (round == 1) break;/'

few=slab_rows_test.up
deferring=slab_free_rows_test.up_rt
for test in $few $deferring; do
  sources $test test/support/slab_allocators_observed.cc \
    test/support/page_allocators_observed.cc lib/page/page.cc lib/slab/slab.cc
  kernels $test "HostedKernel<configs::${test#*.}>"
done

mutant nolock_frees_stay_with_their_cpu $upkeep 'All/Upkeep.WhatNolockCallsFree*' \
  'what nolock calls free is had by other CPUs and in other orders' \
  include/nestlock/page/alloc_free_inl.h 's/if (done == Push::over) return drain_by_nolock(z, order);/if (done == Push::over) return true;/'

mutant nothing_stays_beside_much_in_use $decay '*APartOfWhatIsInUseStays' \
  'a part of what is in use stays free' \
  include/nestlock/page/decay_inl.h 's/(free < all ? (all - free) . kDecayKeepsOf : 0)/0/'

looks=slab_decay_test.up
sources $looks lib/page/page.cc lib/slab/slab.cc
mutant each_allocation_looks_at_the_clock $looks 'SlabDecay/*.EachNinth*' \
  'while free memory waits each ninth allocation looks at the clock' \
  include/nestlock/slab/cache_sheaves_inl.h 's/ : CpuSheaves::kUnlooked;/ : 0;/'

mutant each_ninth_of_many_looks_at_the_clock $looks 'SlabDecay/*.OfMany*' \
  'of many allocations in a millisecond few look at the clock' \
  include/nestlock/slab/cache_sheaves_inl.h 's/ ? CpuSheaves::kUnlookedInBurst/ ? CpuSheaves::kUnlooked/'

mutant no_allocation_looks_at_the_clock $looks 'SlabDecay/*.WhatIsDue*' \
  'what is due goes back within nine allocations' \
  include/nestlock/slab/cache_sheaves_inl.h 's/  if (attention) --c->unlooked;//'

sheaves=slab_caches_test.smp_debug
mutant a_sheaf_for_each_turn $sheaves '*ALoadAboutASheafsEnd*' \
  'who goes up and down about a sheaf'"'"'s end exchanges seldom' \
  include/nestlock/slab/cache_sheaves_inl.h 's/std::exchange(c.main_was_empty, false) \&\& half/false/'

mutant the_short_path_leaves_the_barn $sheaves '*TheShortPathsReachTheBarn*' \
  'an allocation that finds both sheaves empty takes a full one from the barn, on its short path' \
  include/nestlock/slab/cache_sheaves_inl.h 's/barn_swap(node_\[0\], c.main, Want::full, false)/nullptr/'

mutant a_sheaf_takes_a_whole_new_slab $sheaves '*ANewSlabIsTouched*' \
  'a program that wants one object pays for one page' \
  include/nestlock/slab/cache_list_inl.h 's/got >= least \&\& p.clean \&\& at % kPageSize < stride/false/'

mutant used_memory_comes_by_the_page $sheaves '*ANewSlabIsTouched*' \
  'where nothing is saved a sheaf is filled at once' \
  include/nestlock/slab/cache_list_inl.h 's/got >= least \&\& p.clean \&\& at/got >= least \&\& at/'

mutant half_a_sheaf_is_copied_and_stays $sheaves '*ALoadAboutASheafsEnd*' \
  'what went to the spare is no longer in main' \
  include/nestlock/slab/cache_sheaves_inl.h 's/  c.main->size -= half;\n    return;/    return;/'

mutant a_barn_that_gets_no_new_sheaf $deferring 'All/SlabFreeRow.ALoadOfFiveSheaves*' \
  'what is freed beyond two sheaves has its slabs made and given back each time' \
  include/nestlock/slab/cache_sheaves_inl.h 's/to_flush \&\& !grows ? nullptr/to_flush ? nullptr/'

mutant a_barn_grows_in_a_small_memory $deferring 'All/SlabFreeRow.ABarnOfFewPages*' \
  'a barn takes a share of the pages that there are' \
  include/nestlock/slab/cache_setup_inl.h 's/(share < kBarnPages ? share : kBarnPages)/kBarnPages/'

mutant nolock_tries_every_class $few 'All/SlabRow.K4_*' \
  'K4: the next class, once' \
  "$inside" 's/  if (p || next == kClasses) return p;\n  return classes_\[next\].alloc_nolock_sized([^;]*);/  if (p) return p;\n  for (unsigned k = next; k < kClasses; ++k)\n    if (void* const q = classes_[k].alloc_nolock_sized(slots(k + 1), attention(k + 1), size, flags, node, why, where)) return q;\n  return nullptr;/'

mutant destroyed_before_it_is_settled $deferring 'All/SlabFreeRow.K15_*' \
  'K15: what was deferred comes home before the cache goes' \
  "$inside" 's/\(      sheaf_source_->free_to_slab(s, true);\n    }\n  }\n\)  settle_all();\n/\1/'

own_pages=system_pages_test.smp
sources $own_pages lib/page/page.cc lib/page/system_pages.cc
own_slab=system_slab_test.smp
sources $own_slab lib/page/page.cc lib/page/system_pages.cc lib/slab/slab.cc lib/slab/system_slab.cc \
  lib/slab/mapped_blocks.cc
mutant tags_are_not_committed $own_slab '*' \
  'the tags of pages are there with their descriptors' \
  include/nestlock/page/setup_inl.h 's/more \&\& !commit_descriptors_(tags_/!more \&\& !commit_descriptors_(tags_/'

mutant the_second_of_two_does_not_wait $own_pages 'SystemPages.GrowForSeveral*' \
  'of two threads that want the same descriptors both get them' \
  lib/page/system_pages.cc 's/if (error != EEXIST) return false;/return false;/'

mutant steps_go_over_others_mappings $own_pages 'SystemPages.WhatIsMapped*' \
  'what others have mapped in the range stays theirs' \
  lib/page/system_pages.cc 's/MAP_ANONYMOUS | MAP_FIXED_NOREPLACE/MAP_ANONYMOUS | MAP_FIXED/'

mutant tables_on_huge_pages $own_pages 'SystemPages.WhatIsTouched*' \
  'a program that wants little has no huge page for the tables' \
  lib/page/system_pages.cc 's/  prefer_small_pages(&pages, sizeof pages);//'

mutant all_descriptors_are_touched $own_pages 'SystemPages.ADescriptorIsTouched*' \
  'a program that wants little has no memory for the descriptors of the rest' \
  include/nestlock/page/setup_inl.h 's/    if (\&z != zone_)\n//'

mutant first_memory_on_huge_pages $own_pages 'SystemPages.WhatIsTouched*' \
  'a program that wants little has no huge page for its first memory' \
  lib/page/system_pages.cc 's/  prefer_small_pages(memory.start, kLeastMib << 20);//'

# ---- malloc --------------------------------------------------------------------------------------

malloc_floor='lib/malloc/bad_pointer.cc lib/malloc/callers.cc lib/malloc/heap.cc lib/malloc/malloc.cc
  lib/malloc/reserve.cc lib/malloc/stats.cc lib/page/page.cc lib/page/system_pages.cc lib/slab/mapped_blocks.cc lib/slab/slab.cc
  lib/slab/system_slab.cc'
# shellcheck disable=SC2086  # a list
sources malloc_test.smp_debug $malloc_floor
# shellcheck disable=SC2086
sources malloc_sweep_test.smp $malloc_floor

# shellcheck disable=SC2086
sources malloc_threads_test.smp_debug $malloc_floor

mutant threads_leave_their_sheaves malloc_threads_test.smp_debug 'MallocThreads.ThatAreOver*' \
  'what an ended thread had in store is nobody'"'"'s any more' \
  include/nestlock/slab/cache_setup_inl.h 's/    if (!s) continue;\n    if (s->size \&\& n.nr_full/    if (!s || s->size) continue;\n    if (s->size \&\& n.nr_full/'

mutant mappings_beside_idle_pages malloc_test.smp_debug '*NotByWhatLiesIdle' \
  'vectors that grow into mappings do not keep the pages that they come from' \
  lib/malloc/heap.cc 's/  slabs.pages().release_idle(size);\n//'

mutant malloc_grows_beside_idle_pages malloc_test.smp_debug '*NotByWhatLiesIdle' \
  'nor do blocks that find the free pages too few in a row' \
  lib/malloc/heap.cc 's/gfp::nowait | gfp::idle | gfp::nowarn/gfp::nowait | gfp::nowarn/'

mutant malloc_waits_in_a_handler malloc_sweep_test.smp MallocSweep.AForkInAHandler \
  'a handler waits for the lock that the code it interrupted holds' \
  lib/malloc/heap.cc 's/  return Port::irqs_disabled();/  return false;/'

mutant fork_waits_for_what_it_interrupted malloc_sweep_test.smp MallocSweep.AForkInAHandler \
  'the child of a fork in a handler waits for a list that the code below the handler has' \
  include/nestlock/slab/fork_inl.h 's/flush(\*s, false)/flush(*s, true)/'

mutant freed_mappings_stay_resident malloc_test.smp_debug 'Malloc.WhenTheTable*' \
  'where the kernel cannot part a mapping any more its memory is lost' \
  lib/slab/mapped_blocks.cc 's/  if (munmap(block, size) != 0) madvise[^\n]*/  munmap(block, size);/'

mutant malloc_without_a_reserve malloc_test.smp_debug 'Malloc.TheReserve*' \
  'the guarantee is the kernel'"'"'s alone, at a system call each' \
  lib/malloc/heap.cc 's/  if (!p) p = reserve::take(size);\n//'

mutant reserve_is_never_given_back malloc_test.smp_debug 'Malloc.TheReserve*' \
  'the reserve is gone after 64 blocks of a size' \
  lib/malloc/reserve.cc 's/  return out\[w.size_class\].fetch_and(~bit, /  return out[w.size_class].fetch_and(~0ull, /'

mutant a_mapping_stays_known malloc_test.smp_debug MallocDeathTest.FreedTwice \
  'a second free() unmaps what may be another block by now' \
  lib/slab/mapped_blocks.cc 's/  slot->block.store(kFree, kRelaxed);\n  blocks/  enter(*slot, block, size);\n  blocks/'

mutant calloc_keeps_what_was_there malloc_test.smp_debug 'Malloc.CallocIsZero*' \
  'blocks that were used before come back with their contents' \
  lib/malloc/heap.cc 's/if (p \&\& !is_zero(p, bytes)) std::memset/if (false) std::memset/'

mutant a_freed_page_is_as_new malloc_test.smp_debug 'Malloc.CallocTouches*' \
  'what passed through a CPU'"'"'s list may have been used' \
  include/nestlock/page/page_state_inl.h 's/  if constexpr (!kLean) page->clean = false;//'

mutant calloc_touches_all malloc_test.smp_debug 'Malloc.CallocTouches*' \
  'what the system has just given takes no memory before it is used' \
  lib/malloc/heap.cc 's/  return page ? page->clean : /  return !page \&\& /'

mutant realloc_forgets_the_contents malloc_test.smp_debug 'Malloc.ReallocKeeps*' \
  'a block that grows into another class is empty' \
  lib/malloc/heap.cc 's/  std::memcpy(fresh, block, old < size ? old : size);\n//'

# ---- hardened caches ----------------------------------------------------------------------------

hardened=slab_hardened_test.smp_debug
sources $hardened lib/page/page.cc lib/slab/slab.cc
kernels $hardened 'HostedKernel<configs::smp>, HostedKernel<configs::smp_debug>'

mutant a_debug_kernel_forgets_what_is_out $hardened '*InADebugKernel*' \
  'a debug kernel looks whether an object is out before it takes it' \
  include/nestlock/slab/cache_alloc_free_inl.h 's/ || !comes_back(object)) return false;/) return false;/'

mutant hardened_sees_no_second_free $hardened 'SlabHardened/*.ASecondFree*' \
  'an object that is in no sheaf of this CPU is freed twice' \
  include/nestlock/slab/cache_alloc_free_inl.h 's/knows_out() ? !comes_back(object) : is_in_sheaf(object)/is_in_sheaf(object)/'

mutant hardened_frees_are_fast $hardened 'SlabHardened/*.APointerInto*' \
  'the fast path of a free looks at nothing' \
  include/nestlock/slab/cache_setup_inl.h 's/if (pages_->nodes() == 1 \&\& !hardened())/if (pages_->nodes() == 1)/'

# ---- other CPUs' sheaves (slab/reach_inl.h) -----------------------------------------------------

reach=include/nestlock/slab/reach_inl.h
reaching=slab_reach_test.smp
explored_reach=explore_reach_test.smp
sources $reaching lib/page/page.cc lib/slab/slab.cc

mutant reach_looks_once $explored_reach 'SlabReachExplored.*' \
  'a fast path that had read its top pops what is taken' \
  $reach 's/if (!second || c.lock.is_locked_acquire())/if (!second)/'

mutant reach_looks_late $explored_reach 'SlabReachExplored.*' \
  'a slow path that is inside opens what is shut' \
  $reach 's/if (c.lock.is_locked_acquire() || !c.main) return;/if (!c.main) return;/'

mutant reach_shuts_no_slow_path $explored_reach 'SlabReachExplored.*' \
  'a slow path takes main while it is taken' \
  include/nestlock/slab/reach.h 's/return under_way.load(std::memory_order_acquire) != 0 \&\& /return under_way.load(std::memory_order_acquire) > 1 \&\& /'

mutant reach_shuts_no_free $explored_reach 'SlabReachExplored.*' \
  'a fast path pushes into a sheaf that is taken' \
  $reach 's/c.set_room(CpuSheaves::shut(), nullptr);/c.set_room(CpuSheaves::shut(), c.limit.load(internal::kRelaxed));/'

mutant reach_shuts_no_allocation $explored_reach 'SlabReachExplored.*' \
  'a fast path pops of a sheaf that is taken' \
  $reach 's/c.set_room(CpuSheaves::shut(), nullptr);/c.set_room(c.bottom.load(internal::kRelaxed), nullptr);/'

mutant reach_opens_what_it_took $explored_reach 'SlabReachExplored.*' \
  'a fast path that is held up at its comparison has an old top' \
  $reach 's/        c.top.store(c.main->object(), internal::kRelaxed);\n/&        c.set_room(c.main->object(), c.main->object());\n/'

mutant reach_leaves_shut $reaching 'SlabReach/*.AnOwnerThatComesMeanwhile' \
  'what is put back the fast paths find' \
  $reach 's/return c.set_room(bottom, bottom + main->capacity);/return;/'

mutant reach_forgets_the_spare $reaching 'SlabReach/*.AnIdleThreads*' \
  'a CPU has two sheaves' \
  $reach 's/{main, std::exchange(c.spare, nullptr)}/{main}/'

mutant reach_counts_nothing $reaching 'SlabReach/*.AnIdleThreads*' \
  'allocations minus frees are what is out' \
  $reach 's/internal::bump_locked(c.moved, -static_cast<std::uintptr_t>(had));//'

mutant reach_without_a_barrier $reaching 'SlabReach/*.WithoutABarrier*' \
  'where no barrier is to be had nothing is taken' \
  $reach 's/const bool second = first \&\& P::barrier_on_all_cpus();/const bool second = P::barrier_on_all_cpus() || first;/'

mutant reach_lets_handlers_in $reaching 'SlabReach/*.NoHandler*' \
  'a handler that leaves by a jump would leave owners without sheaves' \
  $reach 's/const internal::UninterruptedOf<P> alone; //'

mutant reach_by_two $reaching 'SlabReach/*.OneAtATime' \
  'two shut and open the same sheaves' \
  include/nestlock/slab/reach.h 's/if (!turn.try_lock()) return false;/turn.try_lock();/'

mutant reach_in_a_child_is_the_parents $reaching 'SlabReach/*.AForkMeanwhile' \
  'who reached in the parent does not come to an end in the child' \
  include/nestlock/slab/fork_inl.h 's/  if constexpr (internal::kReaches<K, L>) f(reach_.turn, reach_.held);\n//;s/  reach_.end_in_child();\n//'

mutant reach_is_not_asked_for $reaching 'SlabReach/*.AnAllocation*' \
  'what lies in other CPUs sheaves is found before an allocation fails' \
  include/nestlock/slab/cache_setup_inl.h 's/    chain = reach(chain);\n//'

mutant hardened_words_lie_in_objects $hardened 'SlabHardened/*.GoodUse*' \
  'the words that say who is out have a place of their own' \
  include/nestlock/slab/cache_list_inl.h 's/(pages_->address(p)) + i \* sizeof(Out)) Out(0)/(pages_->address(p)) + lead_ + i * sizeof(Out)) Out(0)/;s/  if (hardened() \&\& fit > lead_[^\n]*\n//' \
  include/nestlock/slab/hardened_inl.h 's/reinterpret_cast<Out\*>(slab + (offset/reinterpret_cast<Out*>(slab + lead_ + (offset/'

mutant prefilled_objects_never_go_out $hardened 'SlabHardened/*.APrefilled*' \
  'what a prefilled sheaf gave comes back' \
  include/nestlock/slab/prefill_inl.h 's/: goes_out(o),/: o,/'

mutant flags_are_one_word $hardened 'SlabHardened/*.FlagsAre*' \
  'flags are combined' \
  include/nestlock/slab/cache_setup_inl.h 's/  if (has(flags, slab::debug)) {/  if (flags == slab::debug) {/'
