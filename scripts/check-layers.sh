#!/bin/sh
# Checks that every #include obeys the layers: a folder includes from folders of a lower level and from itself; folders of one level are
# strangers; cli/ includes only quern.h and its own headers. Prints each line that does not, and fails.
# Usage: scripts/check-layers.sh [ROOT]
set -eu
cd "${1:-$(dirname "$0")/..}"

# Folder, level. A new folder of src/ gets its line here.
levels='
src/base 0
src/tensor 1
src/backend 2
src/ops 3
src/nn 4
src/text 4
src/image 4
src/audio 4
src/formats 4
src/models 5
src/data 6
src/metrics 6
src/infer 7
src/tasks 8
src/train 9
src/serve 9
cli 10
'

find src cli -name '*.[ch]' | sort | xargs awk -v levels="$levels" '
BEGIN {
    count = split(levels, words, /[ \n]+/)
    for (i = 1; i < count; i++) if (words[i] ~ /^[a-z]/) level[words[i]] = words[i + 1]
}
function folder_of(path,    parts) {
    split(path, parts, "/")
    return parts[1] == "src" ? "src/" parts[2] : parts[1]
}
function bad(reason) {
    printf "%s:%d: %s %s\n", FILENAME, FNR, $0, reason
    failures++
}
FNR == 1 { from = folder_of(FILENAME); files++; if (!(from in level)) bad("(the folder has no level in scripts/check-layers.sh)") }
/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, quoted, "\"")
    target = quoted[2]
    if (target == "quern.h") next
    if (target ~ /\.\./) { bad("(expected a path from src/)"); next }
    if (target ~ /^cli\// || (from == "cli" && target !~ /\//)) to = "cli"
    else to = "src/" substr(target, 1, index(target, "/") - 1)
    if (to == from) next
    if (from == "cli") { bad("(cli may use only quern.h and its own headers)"); next }
    if (!(to in level)) { bad("(expected a path from src/)"); next }
    if (level[to] == level[from]) bad("(folders of level " level[from] " are strangers)")
    else if (level[to] > level[from]) bad("(level " level[from] " may not use level " level[to] ")")
}
/^[ \t]*#[ \t]*include[ \t]*<(quern|dnnl|oneapi|jansson|pcre2|utf8proc|zlib|omp)/ {
    # Libraries are kept where they belong, so that a change of one touches one folder.
    split($0, name, /[<>.\/]/)
    library = name[2]
    allowed["dnnl"] = allowed["oneapi"] = allowed["omp"] = "src/backend"
    allowed["utf8proc"] = allowed["pcre2"] = "src/text"
    allowed["zlib"] = "src/data src/formats"
    allowed["jansson"] = "src/"
    good = !(library in allowed)
    places = good ? 0 : split(allowed[library], place, " ")
    for (i = 1; i <= places; i++) if (index(from "/", place[i]) == 1) good = 1
    if (!good) bad("(expected only in " allowed[library] ")")
}
END {
    if (failures > 0) exit 1
    printf "%d files obey the layers\n", files
}'
