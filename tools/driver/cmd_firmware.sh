help_firmware() {
  cat <<'END'
boots the programs of examples/firmware/ on uniprocessor machines in QEMU, with real irqs and NMIs

usage: ./nest firmware [TARGET ...]

For each target it compiles each program twice, on the library's locks and on stateless ones, as
spinlocks on one CPU were; boots both; and prints what they counted. The first must end well, the
second must be caught corrupting memory. The cross compilers and QEMU are Debian's: what is missing is
installed; where that cannot be, the step says what is missing and fails.
Targets, all by default:
END
  local name
  for name in $(firmware_targets); do
    local -n about="about_$name"
    printf '  %-10s  %s\n' "$name" "$about"
  done
}

# Each is a folder of examples/firmware/. things_TARGET: what it needs as THING=PACKAGE, see cmd_embed.sh.
firmware_targets() { printf '%s\n' cortex_m3; }
firmware_programs="storm sweep"

about_cortex_m3="Arm Cortex-M3, QEMU's mps2-an385: timer, irqs pended by software, NMI"
things_cortex_m3="make=make arm-none-eabi-g++=gcc-arm-none-eabi
  /usr/include/newlib/c++=libstdc++-arm-none-eabi-dev /usr/include/newlib/stdint.h=libnewlib-dev
  qemu-system-arm=qemu-system-arm"

# Every package that a target asks for: ./nest setup installs them too.
firmware_packages() {
  local name
  for name in $(firmware_targets); do things_of "$name"; done | sed 's/.*=//' | sort -u
}

firmware_make() { # firmware_make TARGET ARGUMENTS
  make -s --no-print-directory -C "examples/firmware/$1" "OUT=$state/firmware/$1" "${@:2}"
}

# boots TARGET PROGRAM STATUS: it ends with this status; what it prints is kept.
boots() {
  local out="$state/firmware/$1/$2.out" status
  firmware_make "$1" boot "IMAGE=$state/firmware/$1/$2.elf" >"$out" 2>&1
  status=$(sed -n 's/^make: .* Error \([0-9]*\)$/\1/p' "$out")
  [ "${status:-0}" = "$3" ] || { say "ended with ${status:-0}, not $3, and said:" && cat "$out"; }
}
# counted TARGET PROGRAM COUNT: a count that it printed.
counted() { sed -n "s/^$3: //p" "$state/firmware/$1/$2.out"; }

ended_well() { [ "$(counted "$1" "$2" corruption)" = 0 ] || say "no line 'corruption: 0'"; }
was_caught() {
  local corruption
  corruption=$(counted "$1" "$2" corruption)
  [ "${corruption:-0}" -gt 0 ] || say "no corruption was found: the program could not fail"
}

# The counts of both images side by side; what only one of them counted has a dash.
firmware_table() {
  awk '
    FNR == 1 { file++ }
    match($0, /: [0-9]+$/) {
      name = substr($0, 1, RSTART - 1)
      if (name ~ /^ /) name = group "\t" name; else group = name
      if (!(name in seen)) { seen[name]; names[++n] = name }
      value[name, file] = substr($0, RSTART + 2)
    }
    END {
      printf "%-52s %12s %12s\n", "", "our locks", "stateless"
      for (i = 1; i <= n; i++) {
        shown = names[i]; sub(/.*\t/, "", shown)
        printf "%-52s %12s %12s\n", shown, cell(names[i], 1), cell(names[i], 2)
      }
    }
    function cell(name, file) { return (name, file) in value ? value[name, file] : "-" }
  ' "$@"
}

run_firmware() {
  local targets=("$@") name program out
  [ $# -gt 0 ] || read -r -d '' -a targets < <(firmware_targets)
  for name in "${targets[@]}"; do
    firmware_targets | grep -qxF -- "$name" || die "unknown target '$name'; see ./nest firmware --help"
  done
  . "$driver/cmd_setup.sh"
  . "$driver/cmd_embed.sh"
  cd "$top" && mkdir -p "$state" || exit 2
  for name in "${targets[@]}"; do
    local -n about="about_$name"
    title "$name: $about"
    have_things "$name" || continue
    step "$name is built" firmware_make "$name" -j "$(nproc)"
    for program in $firmware_programs; do
      out="$state/firmware/$name/$program"
      step "$name, $program" boots "$name" "$program" 0
      step "$name, $program, stateless locks" boots "$name" "${program}_stateless" 3
      firmware_table "$out.out" "${out}_stateless.out"
      step "$name, $program: nothing is corrupted" ended_well "$name" "$program"
      step "$name, $program: what stateless locks corrupt is found" was_caught "$name" "${program}_stateless"
    done
  done
  steps_end firmware
}
