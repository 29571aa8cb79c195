# Links in Markdown pages that lead nowhere: awk -f links.awk PAGE...; run in the repository's top
# folder. A relative link's file exists, and has a heading of the name behind its #; the link's text is
# in one line, since the site's tool wants it so. Links to other sites are not followed.

function slug(text,    base) {
  base = tolower(text)
  gsub(/[^a-z0-9_ -]/, "", base)
  gsub(/ /, "-", base)
  return base
}
function normal(path) {
  while (path ~ /[^\/]+\/\.\.\//) sub(/[^\/]+\/\.\.\//, "", path)
  return path
}
function is_there(path) {
  if (!(path in there)) there[path] = system("test -e '" path "'") == 0
  return there[path]
}
# The headings of a page, once.
function read_headings(page,    line, fenced, name) {
  if (page in read) return
  read[page]
  while ((getline line < page) > 0) {
    if (line ~ /^ *```/) fenced = !fenced
    if (fenced || line !~ /^#+ /) continue
    sub(/^#+ /, "", line)
    name = slug(line)
    heading[page "#" name (uses[page "#" name]++ ? "-" uses[page "#" name] - 1 : "")]
  }
  close(page)
}

FNR == 1 { fenced = 0; folder = FILENAME; sub(/[^\/]*$/, "", folder) }
/^ *```/ { fenced = !fenced }
fenced { next }
{
  gsub(/`[^`]*`/, "")
  if (match($0, /\]\(/) && substr($0, 1, RSTART) !~ /\[/)
    print FILENAME ":" FNR ": the text of this link begins on another line"
  while (match($0, /\]\([^)]*\)/)) {
    link = substr($0, RSTART + 2, RLENGTH - 3)
    $0 = substr($0, RSTART + RLENGTH)
    if (link ~ /^[a-z]+:/) continue
    file = anchor = link
    sub(/#.*/, "", file)
    if (!sub(/^[^#]*#/, "", anchor)) anchor = ""
    file = file == "" ? FILENAME : normal(folder file)
    if (!is_there(file)) print FILENAME ":" FNR ": the link " link " leads nowhere"
    else if (anchor != "") {
      read_headings(file)
      if (!((file "#" anchor) in heading)) print FILENAME ":" FNR ": " file " has no heading for #" anchor
    }
  }
}
