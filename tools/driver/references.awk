# What comments and pages name must exist: awk -f references.awk NAMES FILE...
#
# NAMES has every file of the repository, one a line. Looked at are the comments of code, and Markdown
# pages. A word is a reference when it is
#
#   a path       begins with a folder of the repository, or has a slash and ends as a source file does
#   a file       has no slash, and ends as a source file does
#   a test       ends in _test
#   a target     as Bazel writes it, of this repository
#
# In the code blocks of a page only the first and the last kind are: the others may be the reader's.
# A path or a file exists if some file's or folder's path ends in it; `*` stands for anything. Words in
# capitals, as in NAME.cc, stand for something else.

# A source file's name ends so.
function is_source(word) { return word ~ /\.(h|cc|sh|bzl|bazel|awk|md|svg|cmake)$/ }

function exists(word,    pattern, path) {
  if (word in known) return 1
  if (word !~ /\*/) return 0
  pattern = word
  gsub(/\./, "\\.", pattern)
  gsub(/\*+/, ".*", pattern)
  for (path in known) if (path ~ "^" pattern "$") return 1
  return 0
}

function check_target(word,    package, name) {
  sub(/^@nestlock/, "", word)
  if (word !~ /^\/\/[a-z:]/ || word ~ /[A-Z]/) return 1  # another repository's; //:nestlock.NAME
  package = substr(word, 3)
  if (sub(/\/?\.\.\.(:.*)?$/, "", package)) return package == "" || exists(package)
  name = package
  if (!sub(/^[^:]*:/, "", name)) { name = package; sub(/.*\//, "", name) }
  sub(/:.*/, "", package)
  sub(/\.(_actual|(up|smp)[a-z_]*)$/, "", name)  # what nestlock_cc_test makes of one name
  return (package == "" || exists(package "/BUILD.bazel")) && (name in target || name in known)
}

function check(word) {
  sub(/[:,]+$/, "", word)
  if (word !~ /\.\.$/) sub(/\.$/, "", word)
  sub(/^[:*.-]*\.\//, "", word)
  if (word ~ /:\/\//) return
  if (word ~ /^(@[a-z]*)?\/\//) {
    if (!check_target(word)) print FILENAME ":" FNR ": the target " word " does not exist"
    return
  }
  sub(/:[0-9,-]+$/, "", word)
  if (word ~ /^[\/.~+*_-]/ || word ~ /[:@+]/ || word in elsewhere) return
  if (word ~ /(^|\/)[A-Z]+(\.(h|cc|sh)|\/|$)/) return
  if (word ~ /\//) {
    sub(/\/+$/, "", word)
    if ((is_source(word) && !in_code) || (substr(word, 1, index(word "/", "/") - 1) in top)) {
      if (!exists(word)) print FILENAME ":" FNR ": " word " does not exist"
    }
  } else if (in_code) {
    return
  } else if (is_source(word)) {
    if (!exists(word)) print FILENAME ":" FNR ": there is no file " word
  } else if (word ~ /^[a-z0-9_]+_test$/ && !(word in target) && !(word in stem)) {
    print FILENAME ":" FNR ": there is no test " word
  }
}

BEGIN {
  # The reader's own files, and rules and functions that end as tests do.
  n = split("mine.cc counted.cc plain.cc samples.cc my_lock.h " \
            "cc_test sh_test nestlock_cc_test run_test", words, " ")
  for (i = 1; i <= n; i++) elsewhere[words[i]]
  top["examples"]
}

NR == FNR {  # NAMES: each file under its path and every ending of it, and the folders likewise
  path = $0
  if (path ~ /BUILD\.bazel$/) {
    while ((getline line < path) > 0)
      if (match(line, /name = "[^"]+"/)) target[substr(line, RSTART + 8, RLENGTH - 9)]
    close(path)
  }
  split(path, parts, "/")
  if (path ~ /\//) top[parts[1]]
  while (path ~ /\//) {
    for (rest = path; ; ) {
      known[rest]
      if (rest !~ /\//) break
      sub(/^[^\/]*\//, "", rest)
    }
    last = rest
    if (path == $0) { sub(/\.[a-z]*$/, "", last); stem[last] }
    sub(/\/[^\/]*$/, "", path)
  }
  known[path]
  next
}

FNR == 1 { fenced = in_code = 0; kind = FILENAME ~ /\.md$/ ? "md" : FILENAME ~ /\.(h|cc)$/ ? "//" : "#" }

{
  text = $0
  if (kind == "md") {
    if (text ~ /^ *```/) { fenced = !fenced; next }
    in_code = fenced || text ~ /^    /
  } else if (kind == "//") {
    if (!match(text, /(^|[ \t])\/\/([ \t]|$)/)) next
    text = substr(text, RSTART + RLENGTH - 1)
  } else {
    if (!match(text, /(^|[ \t])#([ \t]|$)/)) next
    text = substr(text, RSTART + RLENGTH - 1)
  }
  gsub(/<[^<> ]*>/, " ", text)                    # <signal.h>
  gsub(/\]\([^)]*\)/, " ", text)                  # links: ./nest docs looks at them
  gsub(/[^A-Za-z0-9_.\/*:@+~-]+/, " ", text)
  n = split(text, words, " ")
  for (i = 1; i <= n; i++) check(words[i])
}
