# Tables in comments and in Markdown pages that are broken: awk -f tables.awk FILE... A table is a line
# that begins with a bar, a rule |---| below it, and the lines with a bar that follow.

function cells(row) {
  gsub(/\\\|/, "", row)
  return gsub(/\|/, "", row) - 1
}
function complain(line, what) { print FILENAME ":" line ": " what }

FNR == 1 { header = ""; columns = 0; fenced = 0; page = FILENAME ~ /\.md$/ }

{
  text = $0
  if (page && text ~ /^ *```/) fenced = !fenced
  if (!page && !sub(/^[ \t]*(\/\/|#) ?/, "", text)) text = ""
  if (page && fenced) text = ""
  sub(/^ +/, "", text)
  sub(/[ \t]+$/, "", text)
}

columns && text !~ /^\|/ {
  # What the formatter, or an editor, made of a long row.
  if (text ~ /(^| )\|( |$)/) complain(FNR, "a row of the table above goes on here")
  columns = 0
}
text ~ /^\|/ {
  if (!columns && header != "" && text ~ /^\|[-:| ]+\|$/) {
    columns = cells(header)
    if (header !~ /\|$/) complain(FNR - 1, "a row without a bar at its end")
  }
  if (columns && text !~ /\|$/) complain(FNR, "a row without a bar at its end")
  else if (columns && cells(text) != columns)
    complain(FNR, cells(text) " cells, and the table's header has " columns)
}
{ header = text ~ /^\|/ ? text : "" }
