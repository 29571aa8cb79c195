#!/bin/sh
# run_in_qemu.sh PROGRAM ARGUMENTS: runs an AArch64 program in QEMU's user mode, for `--config=aarch64`.
#
# GoogleTest's "threadsafe" death tests execute the program again, by its own name; the machine's kernel, which
# QEMU hands that to, can execute no AArch64. So a program goes by the name of a script that runs it. Of a test that
# is a script itself, the programs among its arguments do.
is_program() { [ "$(head -c 4 "$1" 2>/dev/null | tail -c 3)" = ELF ]; }

# Prints the script's name.
script_for() {
  case "$1" in
    /*) program=$1 ;;
    *) program=$PWD/$1 ;;
  esac
  again=${TEST_TMPDIR:?is set by bazel test}/${program##*/}
  cat >"$again" <<END || exit 2
#!/bin/sh
exec qemu-aarch64 -L /usr/aarch64-linux-gnu -0 '$again' '$program' "\$@"
END
  chmod +x "$again" || exit 2
  printf '%s\n' "$again"
}

left=$#
while [ "$left" -gt 0 ]; do
  if is_program "$1"; then set -- "$@" "$(script_for "$1")"; else set -- "$@" "$1"; fi
  shift
  left=$((left - 1))
done
exec "$@"
