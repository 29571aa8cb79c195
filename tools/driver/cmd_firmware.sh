help_firmware() {
  cat <<'END'
boots the programs of examples/firmware/ on uniprocessor machines in QEMU, with real irqs and NMIs

usage: ./nest firmware [TARGET ...]

For each target it asks first whether the port keeps its rules. Then it compiles programs twice, on the
library's locks and on stateless ones, as spinlocks on one CPU were; boots both; and prints what they
counted. The first must end well, the second must be caught corrupting memory: status 3, and not 4,
which says that nothing was shown. The cross compilers and QEMU are Debian's: what is missing is
installed; where that cannot be, the step says what is missing and fails.
Targets, all by default:
END
  local name
  for name in $(firmware_targets); do
    local -n about="about_$name"
    printf '  %-13s  %s\n' "$name" "$about"
  done
}

# For each: about_TARGET; folder_TARGET, below examples/firmware; board_TARGET, what its Makefile wants to know;
# programs_TARGET, `+` behind those that are built on stateless locks, too, `_lean` those of the lean form; things_TARGET, what it needs as
# THING=PACKAGE (cmd_embed.sh).
firmware_targets() { printf '%s\n' cortex_m3 cortex_m0 cortex_m0_nmi riscv32; }

arm_things="make=make arm-none-eabi-g++=gcc-arm-none-eabi qemu-system-arm=qemu-system-arm
  /usr/include/newlib/c++=libstdc++-arm-none-eabi-dev /usr/include/newlib/stdint.h=libnewlib-dev"

about_cortex_m3="Arm Cortex-M3, QEMU's mps2-an385: timer, irqs pended by software, NMI by software and watchdog"
folder_cortex_m3=cortex_m3 board_cortex_m3='' programs_cortex_m3="port minimal irqs storm+ sweep+ heap minimal_lean storm_lean+ sweep_lean+ heap_lean lean_2" things_cortex_m3=$arm_things

about_cortex_m0="Arm Cortex-M0, QEMU's microbit: as above, but no watchdog; no atomic read-modify-write"
folder_cortex_m0=cortex_m0 board_cortex_m0='' programs_cortex_m0="port minimal storm+ sweep+ heap storm_lean+ sweep_lean+ heap_lean" things_cortex_m0=$arm_things

about_cortex_m0_nmi="the code for Cortex-M0 on the board that has the watchdog: swept by NMI"
folder_cortex_m0_nmi=cortex_m0 board_cortex_m0_nmi='BOARD=mps2' programs_cortex_m0_nmi="port sweep sweep_lean"
things_cortex_m0_nmi=$arm_things

about_riscv32="RISC-V 32, QEMU's virt: machine timer, software irq; there is no NMI on it"
folder_riscv32=riscv32 board_riscv32='' programs_riscv32="port minimal storm+ sweep heap storm_lean+ sweep_lean"
things_riscv32="make=make riscv64-unknown-elf-g++=gcc-riscv64-unknown-elf
  qemu-system-riscv32=qemu-system-misc
  /usr/include/newlib/c++=libstdc++-arm-none-eabi-dev /usr/include/newlib/stdint.h=libnewlib-dev"

# Every package that a target asks for: ./nest setup installs them too.
firmware_packages() {
  local name
  for name in $(firmware_targets); do things_of "$name"; done | sed 's/.*=//' | sort -u
}

firmware_make() { # firmware_make TARGET ARGUMENTS
  local -n folder="folder_$1" board="board_$1"
  make -s --no-print-directory -C "examples/firmware/$folder" "OUT=$state/firmware/$1" $board "${@:2}"
}
# images TARGET: of each program one, and one on stateless locks where the list says so.
images() {
  local -n programs="programs_$1"
  local program
  for program in $programs; do
    printf '%s\n' "$state/firmware/$1/${program%+}.elf"
    [ "$program" = "${program%+}" ] || printf '%s\n' "$state/firmware/$1/${program%+}_stateless.elf"
  done
}
# The library as one object: what it asks of others is the port, the compiler's own library, and what any
# compiler asks of C's. (No __atomic_*, no __cxa_*, no malloc.)
asks_for_nothing() {
  local names
  names=$(firmware_make "$1" asked_for) && [ -n "$names" ] || say "no names: $names"
  grep -vxE -e 'mem(cpy|set|cmp|move)|_ZN13nestlock_bare6report.*|restartable_compare_exchange' \
    -e '__(aeabi|gnu_thumb1_case)_[a-z0-9_]*|__(u?div|u?mod|mul|clz|ctz|popcount|[al]sh[lr])[sd]i[23]' \
    <<<"$names" || true
}

# Of a Cortex-M: a lock's bytes and instructions, from the compiled functions of common/locks.cc. A return is not
# counted: inlined there is none.
lock_costs() {
  firmware_make "$1" locks | awk '
    /^[0-9a-f]+ <[a-z_]+>:$/ { name = $2; gsub(/[<>:]/, "", name) }
    /^ *[0-9a-f]+:\t/ && !/\tbx\tlr$/ { count[name]++; text[name] = text[name] $2 $3 $4 "\n" }
    /<_Z/ && /:\tb/ { print name " calls: " $0 }
    NF == 4 { bytes[$4] = $2 + 0 }
    function most(what, is, limit) {
      if (is == "" || is + 0 > limit) printf "%s: %s, and not at most %s\n", what, is, limit
    }
    END {
      most("RawSpinLock as a member, bytes", bytes["raw_spin_lock_member"] - 1, 0)
      most("TrySpinLock, bytes", bytes["try_spin_lock"], 1)
      most("try_lock and unlock, instructions", count["try_lock"] + count["unlock"], 8)
      most("try_lock and unlock, bytes of text", bytes["try_lock"] + bytes["unlock"], 39)
      if (!count["no_lock_section"] || text["raw_spin_lock_section"] != text["no_lock_section"])
        print "a RawSpinLock costs instructions:\n" text["raw_spin_lock_section"]
      if (!count["try_lock"] || !count["unlock"] || !bytes["unlock"]) print "no functions were found"
    }'
}

# Of the lean form, what pages and slab add to an image's text. The rest of what it promises lean.cc counts itself:
# the bytes of a descriptor and a cache, and the share of 64 KiB that is left.
lean_costs() {
  local pages slab
  read -r pages slab < <(firmware_make "$1" lean_text) && [ -n "${slab:-}" ] || { say "no text was measured"; return; }
  [ "$pages" -gt 0 ] && [ "$pages" -le 4096 ] || say "pages: $pages bytes of text, and not at most 4096"
  [ "$slab" -gt 0 ] && [ "$slab" -le 6144 ] || say "slab: $slab bytes of text, and not at most 6144"
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

# firmware_boot TARGET PROGRAM PROGRAM-WITH-ITS-PLUS
firmware_boot() {
  local outs=("$state/firmware/$1/$2.out")
  step "$1, $2 ends with 0" boots "$1" "$2" 0
  if [ "$2" != "$3" ]; then
    step "$1, $2, stateless locks end with 3" boots "$1" "$2_stateless" 3
    outs+=("$state/firmware/$1/$2_stateless.out")
  fi
  firmware_table "${outs[@]}"
  [ "$2" = port ] || step "$1, $2: nothing is corrupted" ended_well "$1" "$2"
  [ "$2" = "$3" ] ||
    step "$1, $2: what stateless locks corrupt is found" was_caught "$1" "$2_stateless"
}

run_firmware() {
  local targets=("$@") name program images
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
    mapfile -t images < <(images "$name")
    step "$name is built" firmware_make "$name" -j "$(nproc)" "${images[@]}"
    step "$name: the library asks for nothing but memcpy, memset and their kin" asks_for_nothing "$name"
    local -n programs="programs_$name"
    [ "$name" != cortex_m3 ] ||
      step "$name: TrySpinLock is 1 byte and 8 instructions, RawSpinLock is nothing" lock_costs "$name"
    [ "$name" != cortex_m3 ] ||
      step "$name: in the lean form pages add at most 4 KiB to an image, slab 6 KiB" lean_costs "$name"
    for program in $programs; do
      firmware_boot "$name" "${program%+}" "$program"
    done
  done
  steps_end firmware
}
