help_size() {
  cat <<'END'
measures the library's text, data and bss on each firmware target, into docs/size.md

usage: ./nest size [--check]

Compiled with -Os by the cross compilers of ./nest firmware, which it installs as that does. --check
writes nothing, and fails if the page says something else than what is measured now.
END
}

size_targets="cortex_m3 cortex_m0 riscv32"

# The parts, each a name and its files.
size_parts() {
  cat <<'END'
locks|lib/c/c_locks.cc lib/c/c_local_locks.cc
pages|lib/page/page.cc
slab, without pages|lib/slab/slab.cc
pages and slab|lib/page/page.cc lib/slab/slab.cc
two allocators, set up|lib/page/page.cc lib/slab/slab.cc lib/c/bare/memory.cc
lean pages|lib/page/page.cc
lean slab, without pages|lib/slab/slab.cc
lean pages and slab|lib/page/page.cc lib/slab/slab.cc
two lean allocators, set up|lib/page/page.cc lib/slab/slab.cc lib/c/bare/memory.cc
END
}

size_rows() {
  local target config part files form row
  for target in $size_targets; do
    for config in $(configurations | grep -x -e "up" -e "up_debug"); do
      while IFS='|' read -r part files; do
        form=''
        case "$part" in *lean*) form=lean ;; esac
        row=$(firmware_make "$target" size "CONFIG=$config" "PART=$files" "FORM=$form") || return
        # shellcheck disable=SC2086  # three numbers
        printf '| %s | %s | %s | %s | %s | %s |\n' "$target" "$config" "$part" $row
      done < <(size_parts)
    done
  done
}

size_begin='<!-- begin: written by ./nest size -->'
size_end='<!-- end -->'

# The page with the rows from standard input between the two lines.
size_page() {
  awk -v b="$size_begin" -v e="$size_end" '
    FNR == NR { rows = rows $0 "\n"; next }
    $0 == e { skip = 0 }
    !skip { print }
    $0 == b { print "\n| target | configuration | what | text | data | bss |\n|---|---|---|---|---|---|"; printf "%s\n", rows; skip = 1 }
  ' - docs/size.md
}

run_size() {
  local name rows
  . "$driver/cmd_setup.sh"
  . "$driver/cmd_embed.sh"
  . "$driver/cmd_firmware.sh"
  cd "$top" && mkdir -p "$state" || exit 2
  for name in $size_targets; do have_things "$name" || exit 2; done
  rows=$(size_rows) || die "what is measured does not compile"
  say "$rows"
  case "${1:-}" in
    --check) step "docs/size.md says so" cmp <(size_page <<<"$rows") docs/size.md && steps_end size ;;
    '') size_page <<<"$rows" >"$state/size.md" && cp "$state/size.md" docs/size.md && say "written: docs/size.md" ;;
    *) die "size takes no arguments but --check" ;;
  esac
}
