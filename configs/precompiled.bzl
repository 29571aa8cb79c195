"""A header that is compiled once, for g++, instead of once in each file that begins with it.

Half of the time that g++ takes for a test goes to GoogleTest's header and what it includes. It reads
`NAME.gch`, its own dump of a header compiled before, instead of `NAME` where it finds both in one
folder, the header comes first in the file and the options agree; where they do not, it reads
`NAME`. So this can only save time; clang, and with it ./nest lint, does without.
"""

load("@bazel_tools//tools/build_defs/cc:action_names.bzl", "CPP_COMPILE_ACTION_NAME")
load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")
load(":configs.bzl", "NESTLOCK_PINNED_CONFIG")
load(":nestlock_cc.bzl", "nestlock_configured_library")

def _precompiled_header_impl(ctx):
    toolchain = find_cpp_toolchain(ctx)
    features = cc_common.configure_features(
        ctx = ctx,
        cc_toolchain = toolchain,
        requested_features = ctx.features,
        # Of a C++20 module, and of a file of dependencies: Bazel alone asks for those.
        unsupported_features = ctx.disabled_features + ["layering_check", "dependency_file"],
    )
    context = cc_common.merge_cc_infos(cc_infos = [d[CcInfo] for d in ctx.attr.deps]).compilation_context

    # The header beside what it was compiled to, in a folder of their own.
    header = ctx.actions.declare_file("precompiled/" + ctx.file.hdr.basename)
    compiled = ctx.actions.declare_file(header.basename + ".gch", sibling = header)
    ctx.actions.symlink(output = header, target_file = ctx.file.hdr)

    variables = cc_common.create_compile_variables(
        feature_configuration = features,
        cc_toolchain = toolchain,
        user_compile_flags = ctx.fragments.cpp.copts + ctx.fragments.cpp.cxxopts + ctx.attr.copts,
        include_directories = context.includes,
        quote_include_directories = context.quote_includes,
        system_include_directories = context.system_includes,
        preprocessor_defines = context.defines,
        # Whose code is position-independent is so for all tests: they are linked dynamically.
        use_pic = True,
    )
    options = cc_common.get_memory_inefficient_command_line(
        feature_configuration = features,
        action_name = CPP_COMPILE_ACTION_NAME,
        variables = variables,
    )
    ctx.actions.run(
        executable = cc_common.get_tool_for_action(
            feature_configuration = features,
            action_name = CPP_COMPILE_ACTION_NAME,
        ),
        arguments = options + ["-w", "-x", "c++-header", header.path, "-o", compiled.path],
        env = cc_common.get_environment_variables(
            feature_configuration = features,
            action_name = CPP_COMPILE_ACTION_NAME,
            variables = variables,
        ),
        inputs = depset([header], transitive = [context.headers, toolchain.all_files]),
        outputs = [compiled],
        mnemonic = "CppPrecompile",
        progress_message = "Precompiling %s" % ctx.file.hdr.short_path,
    )
    mine = cc_common.create_compilation_context(
        headers = depset([header, compiled]),
        quote_includes = depset([header.dirname]),
    )
    return [
        DefaultInfo(files = depset([compiled])),
        cc_common.merge_cc_infos(
            direct_cc_infos = [CcInfo(compilation_context = mine)],
            cc_infos = [d[CcInfo] for d in ctx.attr.deps],
        ),
    ]

_precompiled_header = rule(
    implementation = _precompiled_header_impl,
    attrs = {
        "hdr": attr.label(allow_single_file = [".h"], mandatory = True),
        "copts": attr.string_list(),
        "deps": attr.label_list(providers = [CcInfo]),
        "_cc_toolchain": attr.label(default = "@bazel_tools//tools/cpp:current_cc_toolchain"),
    },
    fragments = ["cpp"],
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
)

def precompiled_header(name, **kwargs):
    """A header of the system's and of libraries alone: it is compiled in one configuration for all."""
    _precompiled_header(name = name + "._actual", tags = ["manual"], **kwargs)
    nestlock_configured_library(
        name = name,
        actual = ":" + name + "._actual",
        config = NESTLOCK_PINNED_CONFIG,
    )
