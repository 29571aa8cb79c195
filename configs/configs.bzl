"""The one list of configurations. Whatever exists once per configuration is a loop over it."""

# name -> its three settings, the same as in include/nestlock/config/config.h.
NESTLOCK_CONFIGS = {
    "up": struct(smp = False, preempt_rt = False, debug = False),
    "up_debug": struct(smp = False, preempt_rt = False, debug = True),
    "up_rt": struct(smp = False, preempt_rt = True, debug = False),
    "up_rt_debug": struct(smp = False, preempt_rt = True, debug = True),
    "smp": struct(smp = True, preempt_rt = False, debug = False),
    "smp_debug": struct(smp = True, preempt_rt = False, debug = True),
    "smp_rt": struct(smp = True, preempt_rt = True, debug = False),
    "smp_rt_debug": struct(smp = True, preempt_rt = True, debug = True),
}

# Where something is wanted once only (GoogleTest, a test that holds all eight kernels itself).
NESTLOCK_PINNED_CONFIG = "smp_debug"
