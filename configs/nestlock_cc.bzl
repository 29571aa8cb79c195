"""The same target in every configuration.

    nestlock_configured_library(name, actual, config)   a cc_library with its configuration fixed
    nestlock_configured_binary(name, actual, config)    a cc_binary with its configuration fixed
    nestlock_cc_test(name, ...)                         one test per configuration, and a suite

Each is an edge of the build graph at which the three settings change (a "transition"); below it
there is one graph, not eight copies of every target.
"""

load(":configs.bzl", "NESTLOCK_CONFIGS", "NESTLOCK_PINNED_CONFIG")
load(":copts.bzl", "NESTLOCK_TEST_COPTS", "PRECOMPILED_COPTS", "PRECOMPILED_DEPS")

# In its own workspace Bazel knows a setting as "//configs:smp", in an embedder's as
# "@nestlock//configs:smp". A transition that uses the wrong one is ignored without a word, and
# every target is built in the default configuration. Label() knows which one this is.
_SMP = str(Label("//configs:smp"))
_PREEMPT_RT = str(Label("//configs:preempt_rt"))
_DEBUG = str(Label("//configs:debug"))

def _to_config_impl(_settings, attr):
    chosen = NESTLOCK_CONFIGS[attr.config]
    return {
        _SMP: chosen.smp,
        _PREEMPT_RT: chosen.preempt_rt,
        _DEBUG: chosen.debug,
    }

_to_config = transition(
    implementation = _to_config_impl,
    inputs = [],
    outputs = [_SMP, _PREEMPT_RT, _DEBUG],
)

_CONFIG_ATTRS = {
    "config": attr.string(
        mandatory = True,
        values = NESTLOCK_CONFIGS.keys(),
        doc = "A name from configs.bzl.",
    ),
    "_allowlist_function_transition": attr.label(
        default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
    ),
}

_EXECUTABLE_ATTRS = dict(
    _CONFIG_ATTRS,
    actual = attr.label(cfg = _to_config, executable = True, mandatory = True),
)

def _configured_library_impl(ctx):
    actual = ctx.attr.actual[0]

    # The archives, so that `bazel build` of this compiles them: a library of headers has no files
    # of its own, and would be "built" without a look at what it needs.
    archives = []
    for linker_input in actual[CcInfo].linking_context.linker_inputs.to_list():
        for library in linker_input.libraries:
            archive = library.pic_static_library or library.static_library
            if archive:
                archives.append(archive)
    info = actual[CcInfo]
    return [
        CcInfo(linking_context = info.linking_context) if ctx.attr.linked_only else info,
        DefaultInfo(
            files = depset(archives),
            runfiles = actual[DefaultInfo].default_runfiles,
        ),
    ]

nestlock_configured_library = rule(
    implementation = _configured_library_impl,
    attrs = dict(
        _CONFIG_ATTRS,
        actual = attr.label(cfg = _to_config, mandatory = True, providers = [CcInfo]),
        linked_only = attr.bool(
            doc = "Whoever depends on it links it, and keeps the configuration that it is itself " +
                  "compiled in: the settings of this one are not passed on, nor are its headers.",
        ),
    ),
    doc = "A cc_library, built in one configuration whatever the command line says.",
)

def _configured_executable_impl(ctx):
    executable = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(
        output = executable,
        target_file = ctx.executable.actual,
        is_executable = True,
    )
    return [DefaultInfo(
        executable = executable,
        runfiles = ctx.attr.actual[0][DefaultInfo].default_runfiles,
    )]

nestlock_configured_binary = rule(
    implementation = _configured_executable_impl,
    attrs = _EXECUTABLE_ATTRS,
    executable = True,
    doc = "A cc_binary, built in one configuration whatever the command line says.",
)

nestlock_configured_test = rule(
    implementation = _configured_executable_impl,
    attrs = _EXECUTABLE_ATTRS,
    test = True,
    doc = "A cc_test, built in one configuration. Use nestlock_cc_test.",
)

# Attributes that belong to the test which runs, not to the program which is built.
_RUN_ATTRS = ["flaky", "local", "shard_count", "size", "timeout"]

def nestlock_cc_test(name, configs = None, pinned = False, args = [], tags = [], copts = [], **kwargs):
    """A cc_test in each configuration.

    Makes `NAME.CONFIG` for each configuration, tagged `cfg_CONFIG`, and the test_suite `NAME`.
    Each gets --nestlock_expect_config=CONFIG and must check that it was built so: test/support/main.cc
    does.

    Args:
      name: the suite's name.
      configs: names from configs.bzl; all of them by default.
      pinned: for a test that does not depend on the configuration, or that holds all kernels
        itself: it is built in one configuration only.
      args: passed to the program.
      tags: for each test.
      copts: added to NESTLOCK_TEST_COPTS.
      **kwargs: as for cc_test.
    """
    if pinned and configs:
        fail("%s: pinned is one configuration; configs says which. Give one of the two." % name)
    if not configs:
        configs = [NESTLOCK_PINNED_CONFIG] if pinned else NESTLOCK_CONFIGS.keys()

    run = {key: kwargs.pop(key) for key in _RUN_ATTRS if key in kwargs}
    if "size" not in run and "timeout" not in run:
        run["size"] = "small"

    # What prints rows for ./nest verify is found by this.
    if "//test/support:verify_line" in kwargs.get("deps", []):
        tags = tags + ["verify"]

    # What is optimised cannot use what was compiled without.
    precompiled = "//test/support:gtest" in kwargs.get("deps", []) and not copts
    native.cc_test(
        name = name + "._actual",
        copts = NESTLOCK_TEST_COPTS + copts + (PRECOMPILED_COPTS if precompiled else []),
        deps = kwargs.pop("deps", []) + (PRECOMPILED_DEPS if precompiled else []),
        tags = tags + ["manual"],
        **kwargs
    )
    for config in configs:
        nestlock_configured_test(
            name = name + "." + config,
            actual = ":" + name + "._actual",
            args = ["--nestlock_expect_config=" + config] + args,
            config = config,
            tags = tags + ["cfg_" + config],
            **run
        )
    native.test_suite(
        name = name,
        tests = [":" + name + "." + config for config in configs],
    )
