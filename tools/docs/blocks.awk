# Takes the code out of a Markdown page: awk -v out=FOLDER -f blocks.awk PAGE.
#
# Each ```cpp block becomes a file FOLDER/LINE.cc, each ```console block FOLDER/LINE.console, and a
# line is printed for it, its fields apart by a bar:
#
#   cpp|LINE|FILE|OPTIONS        to be compiled by itself, with these options besides
#   console|LINE|FILE|CC FILE    commands (after "$ ") and what they print; the cpp block before it
#   skipped|LINE|REASON
#   bad|LINE|WHAT                a block or a mark that says nothing to us
#
# An HTML comment on the line above a cpp block says what is different about it:
#
#   <!-- compiled with: OPTIONS -->    (`-I.` is FOLDER)
#   <!-- file: NAME -->          goes into FOLDER/NAME, for the blocks after it to include
#   <!-- continues -->           goes on where the cpp block before it ended
#   <!-- not compiled: REASON -->
#
# Nothing is skipped without a reason.

function finish() {
  if (kind == "cpp" && reason == "") {
    if (!continued && !named) print "cpp|" begun "|" file "|" options
    if (!named) last = file
  }
  if (kind == "console") print "console|" begun "|" file "|" last
  if (file != "") close(file)
  kind = file = options = reason = mark = ""
  continued = named = 0
}

kind != "" {
  if ($0 ~ /^```[ \t]*$/) finish()
  else if (file != "") print >>file
  next
}

/^<!-- (compiled with: .+|file: [a-z_.]+|continues|not compiled: .+) -->$/ { mark = $0; next }
/^<!-- *(compiled|file|continues|not compiled)/ { print "bad|" FNR "|a mark that is not as blocks.awk describes it"; next }

/^```/ {
  kind = substr($0, 4); begun = FNR
  if (kind == "cpp") {
    gsub(/^<!-- | -->$/, "", mark)
    if (sub(/^not compiled: /, "", mark)) { reason = mark; print "skipped|" FNR "|" reason }
    else if (mark == "continues") {
      continued = 1; file = last
      if (last == "") { print "bad|" FNR "|continues, and nothing is before it"; reason = "bad" }
      else print "#line " FNR + 1 " \"" FILENAME "\"" >>file
    } else {
      if (sub(/^compiled with: /, "", mark)) options = mark
      named = sub(/^file: /, "", mark)
      file = out "/" (named ? mark : FNR ".cc")
      printf "#line %d \"%s\"\n", FNR + 1, FILENAME >file
    }
  } else if (kind == "console") {
    file = out "/" FNR ".console"
    printf "" >file
  } else {
    # An indented block, or one of another language, is nothing that we could check.
    if (kind == "c++" || kind == "cc" || kind == "C++") print "bad|" FNR "|write ```cpp, so that it is compiled"
    kind = kind == "" ? "text" : kind
  }
  mark = ""
  next
}

mark != "" && NF { print "bad|" FNR "|a mark without a block"; mark = "" }

END { if (kind != "") print "bad|" begun "|a block without an end" }
