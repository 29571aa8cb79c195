# One HTML page, with SVG pictures and nothing from elsewhere, of a benchmark's figures.
#
#   awk -v title=TEXT -v notes=FILE -v ours=REGEX [-v greatest=REGEX] -f report_page.awk FIGURES.csv
#
# FIGURES.csv: group,name,round,kind,value with a line of heads; a figure a line. A group becomes a table (a
# row for each name, a column for each kind: the median of the rounds, or, where the kind matches `greatest`, the
# greatest of them) and a picture of its first kind: bars to the median, lines from the 10th to the 90th
# percentile. A value that is no number is a failure, and is shown as it stands. NOTES are lines of text for the
# top (the machine, the versions). Names that match `ours` are drawn in another colour.
BEGIN { FS = "," }
NR == 1 { next }
{
  if (!($1 in seen_group)) { seen_group[$1] = 1; group[++groups] = $1 }
  if (!(($1, $2) in seen_name)) { seen_name[$1, $2] = 1; name[$1, ++names[$1]] = $2 }
  if (!(($1, $4) in seen_kind)) { seen_kind[$1, $4] = 1; kind[$1, ++kinds[$1]] = $4 }
  if (greatest != "" && $4 ~ greatest && !($4 in extreme)) {
    extreme[$4] = 1
    extremes = extremes (extremes == "" ? "" : ", ") "\"" $4 "\""
  }
  key = $1 SUBSEP $2 SUBSEP $4
  if ($5 !~ /^-?[0-9.]+(e[-+]?[0-9]+)?$/) { failed[key] = $5 == "" ? "failed" : $5; next }
  figure[key, ++count[key]] = $5 + 0
}
function text(s) { gsub(/&/, "\\&amp;", s); gsub(/</, "\\&lt;", s); gsub(/>/, "\\&gt;", s); return s }
function sort_of(key, i, j, x, n) {
  n = count[key]
  for (i = 1; i <= n; ++i) {
    x = figure[key, i]
    for (j = i; j > 1 && sorted[j - 1] > x; --j) sorted[j] = sorted[j - 1]
    sorted[j] = x
  }
  return n
}
function quantile(key, q, n, at) { # sorts
  n = sort_of(key)
  if (!n) return 0
  at = q * (n - 1) + 1
  return at >= n ? sorted[n] : sorted[int(at)] + (sorted[int(at) + 1] - sorted[int(at)]) * (at - int(at))
}
# Three digits, and never a power of ten: what is below 0.0001 has six places.
function shown(x) {
  if (x == 0) return "0"
  if (x >= 1000 || x <= -1000) return sprintf("%.0f", x)
  if (x >= 10 || x <= -10) return sprintf("%.1f", x)
  if (x >= 0.0001 || x <= -0.0001) return sprintf("%.3g", x)
  return x > -0.0000005 && x < 0.0000005 ? "&lt;0.000001" : sprintf("%.6f", x)
}
function cell(key, k) { return shown(quantile(key, k in extreme ? 1 : 0.5)) }
function picture(g, k, i, key, most, y, w, width) {
  most = 0
  for (i = 1; i <= names[g]; ++i) {
    key = g SUBSEP name[g, i] SUBSEP k
    if (count[key] && quantile(key, 0.9) > most) most = quantile(key, 0.9)
  }
  if (!most) return
  width = 420
  printf "<svg role=\"img\" width=\"800\" height=\"%d\" viewBox=\"0 0 800 %d\"><title>%s: %s</title>\n", names[g] * 22 + 26, names[g] * 22 + 26, text(g), text(k)
  printf "<text x=\"260\" y=\"14\" class=\"head\">%s</text>\n", text(k)
  for (i = 1; i <= names[g]; ++i) {
    key = g SUBSEP name[g, i] SUBSEP k
    y = i * 22
    printf "<text x=\"250\" y=\"%d\" text-anchor=\"end\">%s</text>", y + 14, text(name[g, i])
    if (key in failed || !count[key]) {
      printf "<text x=\"260\" y=\"%d\" class=\"failed\">%s</text>\n", y + 14, text(key in failed ? failed[key] : "no figure")
      continue
    }
    w = width / most
    printf "<rect x=\"260\" y=\"%d\" width=\"%.1f\" height=\"14\" class=\"%s\"/>", y + 3, quantile(key, 0.5) * w, name[g, i] ~ ours ? "ours" : "peer"
    printf "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\"/>", 260 + quantile(key, 0.1) * w, 260 + quantile(key, 0.9) * w, y + 10, y + 10
    printf "<text x=\"%.1f\" y=\"%d\">%s</text>\n", 268 + quantile(key, 0.9) * w, y + 14, shown(quantile(key, 0.5))
  }
  print "</svg>"
}
END {
  print "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">"
  printf "<title>%s</title>\n", text(title)
  print "<style>\nbody { font: 15px/1.4 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color: #222; background: #fff }"
  print "table { border-collapse: collapse; font-size: 13px } th, td { padding: 2px 8px; text-align: right; border-bottom: 1px solid #ddd } th:first-child, td:first-child { text-align: left }"
  print "svg { max-width: 100%; height: auto } svg text { font-size: 12px } .head { font-weight: bold } .ours { fill: #1f77b4 } .peer { fill: #b8b8b8 } .failed { fill: #b00020; color: #b00020 } line { stroke: #222; stroke-width: 1.5 }"
  print ".legend span { display: inline-block; width: 1em; height: 0.8em } span.ours { background: #1f77b4 } span.peer { background: #b8b8b8; margin-left: 1em }"
  print "pre { font-size: 12px; white-space: pre-wrap }\n</style></head><body>"
  printf "<h1>%s</h1>\n<pre>", text(title)
  while ((getline line < notes) > 0) print text(line)
  print "</pre>\n<p>Bars and cells are medians of the rounds; a line goes from the 10th to the 90th percentile."
  if (extremes != "") printf "Columns that show the greatest figure of all rounds instead: %s.\n", text(extremes)
  print "Compare figures of one run only. Every single figure is in the CSV file beside this page.</p>"
  print "<p class=\"legend\"><span class=\"ours\"></span> Nestlock <span class=\"peer\"></span> the others, and limits</p>"
  for (h = 1; h <= groups; ++h) {
    g = group[h]
    printf "<h2>%s</h2>\n", text(g)
    picture(g, kind[g, 1])
    printf "<div style=\"overflow-x: auto\"><table><tr><th></th>"
    for (k = 1; k <= kinds[g]; ++k) printf "<th>%s</th>", text(kind[g, k])
    print "</tr>"
    for (i = 1; i <= names[g]; ++i) {
      printf "<tr><td>%s</td>", text(name[g, i])
      for (k = 1; k <= kinds[g]; ++k) {
        key = g SUBSEP name[g, i] SUBSEP kind[g, k]
        if (key in failed) printf "<td class=\"failed\">%s</td>", text(failed[key])
        else printf "<td>%s</td>", count[key] ? cell(key, kind[g, k]) : ""
      }
      print "</tr>"
    }
    print "</table></div>"
  }
  print "</body></html>"
}
