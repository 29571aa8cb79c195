# The code in Markdown pages, compiled and run. Sourced by ./nest docs and by
# test/docs/readme_test.sh; runs in the repository's top folder (or a copy of its sources).
# Each function prints what is wrong, as PAGE:LINE: text, and nothing when all is well.

# The first C++20 compiler there is, as a word list in `compiler`.
choose_compiler() {
  local name
  compiler=()
  [ -z "${CXX:-}" ] || read -r -a compiler <<<"$CXX"
  for name in g++ clang++-19 clang++; do
    if [ ${#compiler[@]} = 0 ] && command -v "$name" >/dev/null; then compiler=("$name"); fi
  done
  [ ${#compiler[@]} != 0 ]
}

# The blocks' lines, see blocks.awk. blocks_of PAGE FOLDER
blocks_of() {
  mkdir -p "$2" && LC_ALL=C awk -v out="$2" -f tools/docs/blocks.awk "$1"
}

# compile_blocks PAGE FOLDER CONFIGURATION...: each cpp block compiles by itself.
compile_blocks() {
  local page=$1 folder=$2 kind line file options config
  shift 2
  while IFS='|' read -r kind line file options; do
    case "$kind" in
      bad) echo "$page:$line: $file" ;;
      cpp)
        for config; do
          # shellcheck disable=SC2086  # options are words
          "${compiler[@]}" -std=c++20 -Wall -Wextra -Werror -Iinclude "-DNESTLOCK_CONFIG=$config" \
            ${options//-I./-I$folder} -fsyntax-only "$file" >"$folder/log" 2>&1 || {
            echo "$page:$line: does not compile in the configuration $config"
            head -n 20 "$folder/log"
          }
        done
        ;;
    esac
  done < <(blocks_of "$page" "$folder")
}

# run_blocks PAGE FOLDER: each console block's commands print what it shows. The file that its first
# command names first is the cpp block before it. Runs in a folder that has include/ and lib/ as the
# reader has them; `g++` there is the compiler chosen above, which compiles what is the same in several
# lines once.
run_blocks() {
  local page=$1 folder=$2 kind line file program name here command
  # By its path: `g++` is another there.
  local -x COMPILE_ONCE_CXX COMPILE_ONCE_FOLDER=${COMPILE_ONCE_FOLDER:-$folder/../objects}
  local -x COMPILE_ONCE_BUILT=$PWD/tools/docs/built  # by Bazel, in a test
  COMPILE_ONCE_CXX="$(command -v "${compiler[0]}") ${compiler[*]:1}"
  while IFS='|' read -r kind line file program; do
    [ "$kind" = console ] || continue
    here="$folder/run.$line"
    mkdir -p "$here/bin"
    ln -sfn "$PWD/include" "$here/include"
    ln -sfn "$PWD/lib" "$here/lib"
    ln -sfn "$PWD/tools/docs/compile_once.sh" "$here/bin/g++"
    name=$(sed -n 's/^\$ .* \([a-z_0-9]*\.cc\).*/\1/p;T;q' "$file")
    if [ -z "$name" ] || [ -z "$program" ]; then
      echo "$page:$line: a console block without a program before it"
      continue
    fi
    sed 1d "$program" >"$here/$name"
    while IFS= read -r command; do
      printf '$ %s\n' "$command"
      (cd "$here" && PATH="$here/bin:$PATH" bash -c "$command" 2>&1)
    done < <(sed -n 's/^\$ //p' "$file") >"$here/said"
    diff "$file" "$here/said" >"$here/diff" || {
      echo "$page:$line: shows (<) what is not what it prints (>)"
      head -n 20 "$here/diff"
    }
  done < <(blocks_of "$page" "$folder")
}
