"""A boolean build setting, as bazel_skylib's bool_flag, without asking embedders for skylib."""

def _nestlock_bool_setting_impl(_ctx):
    return []

nestlock_bool_setting = rule(
    implementation = _nestlock_bool_setting_impl,
    build_setting = config.bool(flag = True),
    doc = "A boolean set on the command line, e.g. --//configs:smp=false.",
)
