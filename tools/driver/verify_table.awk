# The table of ./nest verify, from lines `verify: key=value ...` (cmd_verify.sh). What has the same
# subject, configuration and tool is one row, numbers added up, each bound by itself; each mutant has a
# row, with all that caught it. A failed row names the test to run. Then a line that counts. Ends with 1
# if a row failed or there is none.
# In a row an underscore is a space; what is to stay one is \001 until then.
function text(s) { gsub(/_/, " ", s); gsub(/\001/, "_", s); gsub(/\|/, "/", s); return s }
function with_commas(n,  s, t) {
  s = sprintf("%d", n)
  for (t = ""; length(s) > 3; s = substr(s, 1, length(s) - 3)) t = "," substr(s, length(s) - 2) t
  return s t
}
function joined(a, b) { return a == "" ? b : b == "" ? a : a "; " b }
function tool_of(t) { return t in tools ? tools[t] : t }
function add(label, n) {
  if (!((id, label) in sum)) label_of[id, ++labels[id]] = label
  sum[id, label] += n
}
# What ran tells more than what did not.
function worse(a, b) { return a != b && (b == "not_run" || (a != "ok" && a != "not_run")) }
function failure(  label) {
  label = v["test"]
  gsub(/_/, "\001", label)
  return joined(v["case"], v["why"]) (label == "" ? "" : ": test=" label)
}
function within() {
  if (v["complete"] == "yes") return v["bound"] == "" ? "all" : "all within " v["bound"]
  return v["bound"] == "" ? "a sample" : v["bound"]
}
function mutant(name,  what) {
  if (!(name in known)) { known[name] = 1; mutants[++nr_mutants] = name }
  what = tool_of(v["tool"]) (v["by"] == "" ? "" : ": " v["by"])
  if (v["result"] == "ok") {
    if (v["tool"] != "genmc") seen_by_other[name] = 1
    if (index("; " caught[name] "; ", "; " what "; ") == 0) caught[name] = joined(caught[name], what)
  } else if (v["result"] == "FAILED") {
    survived[name] = joined(survived[name], tool_of(v["tool"]) ": " failure())
  }
  if (v["tool"] != "genmc") has_other[name] = 1
}
BEGIN {
  tools["explore"] = "explorer"; tools["genmc"] = "GenMC"; tools["mutants"] = "test"
  tools["unwind"] = "unwind sweep"
  print "| what | configuration | by | seen | result |"
  print "|---|---|---|---|---|"
}
/^verify: / {
  split("", v)
  for (i = 2; i <= NF; i++) { at = index($i, "="); v[substr($i, 1, at - 1)] = substr($i, at + 1) }
  rows++
  if (v["result"] == "not_run") not_run++; else if (v["result"] != "ok") failed++
  if ("mutant" in v) { mutant(v["mutant"]); next }
  id = v["subject"] SUBSEP v["config"] SUBSEP v["tool"]
  if (!(id in result)) { ids[++nr_ids] = id; result[id] = v["result"] }
  else if (worse(v["result"], result[id])) result[id] = v["result"]
  if (v["result"] == "FAILED") why[id] = joined(why[id], failure())
  if ("schedules" in v) add((v["tool"] == "genmc" ? "executions" : "schedules") " (" within() ")", v["schedules"])
  if ("boundaries" in v) add("boundaries (" within() ")", v["boundaries"])
  if ("seconds" in v) add("s", v["seconds"])
  if ("operations" in v) add("operations", v["operations"])
  if ("hits" in v) add("hits", v["hits"])
  for (i = 2; i <= NF; i++) {
    k = substr($i, 1, index($i, "=") - 1)
    if (k ~ /^count\./) add(substr(k, 7), v[k])
  }
}
END {
  for (r = 1; r <= nr_ids; r++) {
    id = ids[r]; split(id, part, SUBSEP); seen = ""
    for (j = 1; j <= 2 * labels[id]; j++) {  # schedules and the like, then what was counted
      k = label_of[id, j > labels[id] ? j - labels[id] : j]
      if ((k ~ /\)$/) != (j <= labels[id])) continue
      seen = joined(seen, (k == "s" ? sum[id, k] : with_commas(sum[id, k])) " " k)
    }
    printf "| %s | %s | %s | %s | %s |\n", text(part[1]), part[2], tool_of(part[3]),
      text(joined(seen, why[id])),
      result[id] == "ok" ? "ok" : result[id] == "not_run" ? "not run" : "**FAILED**"
  }
  for (r = 1; r <= nr_mutants; r++) {
    k = mutants[r]; seen = caught[k]
    if (k in survived) seen = joined(seen, survived[k])
    if (!(k in has_other)) seen = joined(seen, "by GenMC alone")
    printf "| mutant: %s | | | %s | %s |\n", text(k), text(seen),
      k in survived ? "**FAILED**" : caught[k] == "" ? "not run" : "caught"
    if (caught[k] != "" && !(k in survived)) nr_caught++
  }
  printf "\n%d rows, %d mutants caught, %d not run, %d failed\n", rows, nr_caught, not_run, failed
  exit failed != 0 || rows == 0
}
