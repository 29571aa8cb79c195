# Doxygen's input filter for Markdown pages: awk -f page_filter.awk PAGE; run in the top folder. It
# gives each heading an id as the web gives it one, made unique by the page's name, and turns links
# to pages into references to these: links are written for who reads the repository.

function id_of(path) {
  gsub(/[^A-Za-z0-9]/, "_", path)
  return path == "README_md" ? "mainpage" : "page_" path
}
# As GitHub makes it: lower case, without punctuation, hyphens for spaces.
function slug(text) {
  text = tolower(text)
  gsub(/[^a-z0-9_ -]/, "", text)
  gsub(/ /, "-", text)
  return text (uses[text]++ ? "-" uses[text] - 1 : "")
}
function normal(path) {
  while (path ~ /(^|\/)\.\//) sub(/\.\//, "", path)
  while (path ~ /[^\/]+\/\.\.\//) sub(/[^\/]+\/\.\.\//, "", path)
  return path
}

# ** as HTML, since next to code it would be taken for stars; and code with a bar or a quotation mark.
function plainer(text,    parts, n, i, out, tick) {
  n = split(text, parts, "`")
  for (i = 1; i <= n; i++) {
    tick = tick == "</code>" || i == 1 ? "" : "`"
    if (i % 2)
      while (sub(/\*\*/, bold ? "</b>" : "<b>", parts[i])) bold = !bold
    else if (i < n && parts[i] ~ /\\\||\047/) {
      gsub(/</, "\\&lt;", parts[i])
      gsub(/\\\|/, "\\&#124;", parts[i])
      gsub(/\047/, "\\&#39;", parts[i])
      out = out "<code>" parts[i] "</code>"
      tick = "</code>"
      continue
    }
    out = out tick parts[i]
  }
  return out
}

FNR == 1 {
  page = FILENAME
  "pwd -P" | getline top
  sub("^" top "/", "", page)
  folder = page ~ /\// ? page : ""
  sub(/[^\/]*$/, "", folder)
}
/^ *```/ { fenced = !fenced }
fenced || /^    / { print; next }

/^#+ / {
  title = $0
  sub(/^#+ /, "", title)
  gsub(/`/, "")
  print $0 " {#" (seen++ ? id_of(page) "__" slug(title) : id_of(page)) "}"
  next
}
{
  if (!NF) bold = 0
  $0 = plainer($0)
  out = ""
  rest = $0
  while (match(rest, /\]\([^)]*\)/)) {
    link = substr(rest, RSTART + 2, RLENGTH - 3)
    anchor = ""
    if (match(link, /#/)) { anchor = substr(link, RSTART + 1); link = substr(link, 1, RSTART - 1) }
    match(rest, /\]\([^)]*\)/)
    if (link ~ /:\/\//) now = substr(rest, RSTART, RLENGTH)
    else if (link == "" || link ~ /\.md$/)
      now = "](@ref " id_of(link == "" ? page : normal(folder link)) (anchor == "" ? "" : "__" anchor) ")"
    else if (link ~ /\.svg$/) { sub(/.*\//, "", link); now = "](" link ")" }
    else now = ""  # a file that is not in the site: its name, and no link
    before = out substr(rest, 1, RSTART - 1)
    if (now == "" && match(before, /\[[^\[]*$/))
      before = substr(before, 1, RSTART - 1) substr(before, RSTART + 1)
    match(rest, /\]\([^)]*\)/)
    out = before now
    rest = substr(rest, RSTART + RLENGTH)
  }
  print out rest
}
