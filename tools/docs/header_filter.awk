# Doxygen's input filter for headers: awk -f header_filter.awk HEADER. Comments here are plain `//`;
# Doxygen wants `///`, each name its own, and takes much of what stands in a comment for commands.
# Lines keep their numbers. What a comment belongs to:
#
#   the one at the top of the file     the file; its first paragraph also the class that the file is
#                                      named for, if that has none of its own
#   one right above a declaration      that one and the next ones, to the next blank line or comment
#   one behind a declaration           that one, each of its names; lines of comment below go on with it
#   others, and rules across the page   nothing
#
# In a comment, lines indented by three spaces that are no list are an example or a table.

function escape(text,    out, parts, n, i) {
  n = split(text, parts, "`")
  for (i = 1; i <= n; i++) {
    if (i % 2 || i == n) {  # not in a pair of backticks
      gsub(/\\/, "\\\\\\\\", parts[i])
      gsub(/[@#%]/, "\\\\&", parts[i])
      gsub(/</, "\\&lt;", parts[i])
      gsub(/>/, "\\&gt;", parts[i])
      gsub(/\*/, "\\&#42;", parts[i])
    }
    out = out (i > 1 ? "`" : "") parts[i]
  }
  return out
}
function about_the_file() { return head_said " @copydetails " path }
function text_of(line) { sub(/^ *\/\/( ----)?/, "", line); sub(/ ----$/, "", line); return line }
function indented(line) { return text_of(line) ~ /^   / }
function is_item(line) { return text_of(line) ~ /^ +([-*]|[0-9]+\.) / }

# Prints the comment lines held back, as `///` if they document something; leaves their text in `said`.
function flush(document, is_head,    i, text, indent, now, run, done) {
  if (held && document) said = ""
  for (i = 1; i <= held; i++) {
    if (!document) { print comment[i]; continue }
    indent = comment[i]
    sub(/\/\/.*/, "", indent)
    text = text_of(comment[i])
    now = escape(text)
    if (text == "") done = 1
    if (!done && !indented(comment[i])) said = said escape(text)
    if (i == 1 && is_head) now = " @file " path (text == "" ? "" : " @brief" now)
    if (run == "list" ? text !~ /^  / : run != "" && !indented(comment[i])) { now = (run == "list" ? " @break" : " </pre>") now; run = "" }
    if (i < held && run == "" && (indented(comment[i + 1]) || is_item(comment[i + 1]))) {
      run = is_item(comment[i + 1]) ? "list" : "example"
      if (run == "example") now = now " <pre>"
    }
    if (i == held && run == "example") now = now " </pre>"
    print indent "///" now
  }
  if (is_head) { head_said = said; said = "" }
  held = 0
}

# Behind the declaration: the scopes that it opens and closes. A class's braces hold declarations,
# a function's do not.
function follow(code,    i, c) {
  gsub(/"([^"\\]|\\.)*"|'[^']*'/, "", code)
  so_far = so_far " " code
  for (i = 1; i <= length(code); i++) {
    c = substr(code, i, 1)
    if (c == "{") {
      depth++
      if (inner == 0 && so_far ~ /^ *((template <.*>|export) +)*(class|struct|union|enum|namespace|inline namespace|extern) /) {
        scope[depth] = so_far ~ / enum / ? "enum" : "open"
        open = 0; so_far = ""
        outside[depth] = said; begun[depth] = FNR; said = ""
      } else inner++
    } else if (c == "}") {
      if (!inner && begun[depth] == FNR) said = outside[depth]  # struct S {};
      depth--
      if (inner) inner--
      else { open = 0; so_far = "" }
    } else if (inner == 0 && (c == ";" || (c == "," && scope[depth] == "enum"))) {
      open = 0; so_far = ""
    }
  }
  if (inner == 0 && code ~ /}[ \t]*$/) { open = 0; so_far = "" }
}

# Whether the declaration is of the class that the file is named for.
function names_the_file(code,    name) {
  if (code ~ /enum / || !match(code, /(class|struct) .*/)) return 0
  name = substr(code, RSTART)
  gsub(/NESTLOCK_[A-Z_]+(\([^)]*\))?|\[\[[a-z]*\]\]|^(class|struct) /, "", name)
  sub(/^ +/, "", name); sub(/^Basic/, "", name); sub(/[^A-Za-z].*/, "", name)
  name = tolower(name)
  return name == stem || name == stem "allocator"
}

# One declaration that names several: each by itself, all with the same comment.
function each_name(code, text,    type, names, n, i, out) {
  if (code ~ /enum / || code !~ /^ *(mutable )?[A-Za-z_:<>0-9]+ [a-z_0-9]+[^(),;]*(, [a-z_0-9]+[^(),;]*)+; *$/) return ""
  type = code
  sub(/ [a-z_0-9]+[^a-z_0-9:<>,][^,]*,.*| [a-z_0-9]+,.*/, "", type)
  sub(/; *$/, "", code)
  n = split(substr(code, length(type) + 2), names, ", ")
  for (i = 1; i <= n; i++) out = out " /** " text " */" type " " names[i] ";"
  return out
}

BEGIN { head = 1; depth = 0; open = inner = 0 }
FNR == 1 { path = stem = FILENAME; sub(/.*include\//, "", path); sub(/.*\//, "", stem); sub(/\.h$/, "", stem); gsub(/_/, "", stem) }

# A line of comment alone.
!open && /^ *\/\/( |$)/ && !/^ *\/\/ -.*----------$/ && !/clang-format/ {
  if (column && match($0, /\/\//) == column) {  # goes on below a comment behind code
    print substr($0, 1, RSTART - 1) "///<" escape(substr($0, RSTART + 2))
    next
  }
  comment[++held] = $0
  next
}
{
  own = held
  directive = /^ *#/ || /^NESTLOCK_INTERNAL_PRAGMA\(/ || goes_on  # a #error that shows what a name stands for
  goes_on = directive && /\\$/
  starts = !open && !directive && NF && $0 !~ /^ *(#|}|\/\/|public:|private:|protected:|namespace |using namespace|static_assert)/
  if (!open && (held || !NF || $0 ~ /^ *(}|public:|private:|protected:)/)) said = ""
  flush(head || starts, head)
  head = column = 0
  code = $0; behind = ""
  if (match(code, /[^ ] +\/\/ /)) {
    column = RSTART + RLENGTH - 3
    behind = escape(substr(code, column + 2))
    code = substr(code, 1, column - 1)
  } else if (match(code, /^ *\/\//)) code = ""
  line = $0
  if (starts && !own) {
    several = each_name(code, behind != "" ? behind : said)
    if (said == "" && names_the_file(code ~ /^ *template/ ? "" : code) && head_said != "") text = about_the_file()
    else text = said
    if (several != "" && (behind != "" || said != "")) line = several
    else if (behind != "") line = code "///<" behind
    else if (text != "" && scope[depth] != "enum") line = " /** " text " */ " code
  } else if (starts && own && (several = each_name(code, said)) != "") line = several
  else if (behind != "") line = code (open || $0 ~ /^ *}/ ? "//" : "///<") behind
  if (starts) { open = 1; so_far = "" }
  # `template <...>` on a line of its own: the class comes on the next.
  if (open && code ~ /^ *(class|struct) / && so_far ~ /template/ && said == "" && !own_of && names_the_file(code))
    line = "/** " about_the_file() " */" line
  print line
  own_of = starts ? own : own_of
  if (!directive) follow(code)
}
END { flush(0, 0) }
