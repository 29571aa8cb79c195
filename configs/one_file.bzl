"""The sources of a library compiled as one file: most of the time goes to the headers that they share."""

def one_file(name, srcs):
    """Makes NAME, a .cc file that includes `srcs`, files of this package.

    Who compiles it lists them as textual_hdrs. Built so they may not define the same name twice, even
    where it is of one file alone.

    Args:
      name: the file's name.
      srcs: what it includes, in this order.
    """
    native.genrule(
        name = name + "_written",
        outs = [name],
        cmd = "printf '#include \"%s\"\\n' " + " ".join([native.package_name() + "/" + src for src in srcs]) + " >$@",
    )
