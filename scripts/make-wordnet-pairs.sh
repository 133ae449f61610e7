#!/bin/sh
# Makes from WordNet's relations what an embedder of words and definitions learns from, and a held-out set that it is measured on:
#   pairs.tsv      anchor, positive: the words of a synset ("car, auto, automobile") and its definition, all parts of speech
#   related.tsv    anchor, positive: the words of a synset and the definition of its hypernym or of an adjective similar to it
#   heldout.tsv    query, document: the head words and definitions of data/wordnet/test.tsv
# No definition of validation.tsv or test.tsv is in the first two (letters and digits compared, case ignored).
#
# Usage: scripts/make-wordnet-pairs.sh OUTPUT [FOLDER WITH data.noun, data.verb, data.adj, data.adv]
# The folder is /usr/share/wordnet by default (Debian package wordnet-base). Needs a POSIX shell, awk, sort and cut.
set -eu
export LC_ALL=C
[ $# -ge 1 ] || { echo "usage: make-wordnet-pairs.sh OUTPUT [WORDNET FOLDER]" >&2; exit 2; }
output=$1
source_folder=${2:-/usr/share/wordnet}
data=$(cd "$(dirname "$0")/../data/wordnet" && pwd)
mkdir -p "$output"
for part in noun verb adj adv; do
    [ -r "$source_folder/data.$part" ] && continue
    echo "make-wordnet-pairs: $source_folder/data.$part: not there (expected WordNet 3.0's data files: apt-get install wordnet-base)" >&2
    exit 1
done
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

awk -F '\t' 'FNR > 1 { print $3 }' "$data/validation.tsv" "$data/test.tsv" >"$work/heldout"
awk -F '\t' 'FNR == 1 { print "query\tdocument"; next } { gsub(/_/, " ", $2); print $2 "\t" $3 }' "$data/test.tsv" >"$output/heldout.tsv"

# A line of data.*: offset, file, type, number of words (hexadecimal), words and ids, number of pointers, and of each pointer symbol, offset,
# part of speech and source/target. The definition ends where the first usage example begins, at `; "`, as in train.tsv. Rows are written in
# a fixed mixed order (multiples of an odd number modulo 2^31).
awk -v pairs="$work/pairs" -v related="$work/related" '
function same(text) {
    text = tolower(text)
    gsub(/[^a-z0-9]+/, " ", text)
    gsub(/^ | $/, "", text)
    return text
}
function put(file, left, right) {
    rows++
    printf "%d\t%s\t%s\n", (rows * 1103515245) % 2147483648, left, right > file
}
FILENAME == ARGV[1] { heldout[same($0)] = 1; next }
/^  / { next }
{
    kind = $3 == "s" ? "a" : $3
    key = kind $1
    count = index("0123456789abcdef", substr($4, 1, 1)) * 16 + index("0123456789abcdef", substr($4, 2, 1)) - 17
    list = ""
    for (i = 0; i < count; i++) {
        word = $(5 + 2 * i)
        gsub(/_/, " ", word)
        sub(/\((a|p|ip)\)$/, "", word)
        list = list (i ? ", " : "") word
    }
    words[key] = list
    at = 5 + 2 * count
    for (i = 0; i < $at; i++)
        if ($(at + 1 + 4 * i) == "@" || $(at + 1 + 4 * i) == "&")
            targets[key] = targets[key] " " ($(at + 3 + 4 * i) == "s" ? "a" : $(at + 3 + 4 * i)) $(at + 2 + 4 * i)
    gloss = substr($0, index($0, " | ") + 3)
    end = index(gloss, "; \"")
    if (end) gloss = substr(gloss, 1, end - 1)
    gsub(/^ +| +$/, "", gloss)
    if (gloss != "" && !(same(gloss) in heldout)) definition[key] = gloss
    order[++synsets] = key
}
END {
    for (s = 1; s <= synsets; s++) {
        key = order[s]
        if (key in definition) put(pairs, words[key], definition[key])
        n = split(targets[key], target, " ")
        for (i = 1; i <= n; i++) if (target[i] in definition) put(related, words[key], definition[target[i]])
    }
}' "$work/heldout" "$source_folder/data.noun" "$source_folder/data.verb" "$source_folder/data.adj" "$source_folder/data.adv"
for name in pairs related; do
    { printf 'anchor\tpositive\n'; sort -n "$work/$name" | cut -f 2-; } >"$output/$name.tsv"
    echo "$output/$name.tsv: $(($(wc -l <"$output/$name.tsv") - 1)) rows"
done
echo "$output/heldout.tsv: $(($(wc -l <"$output/heldout.tsv") - 1)) rows"
