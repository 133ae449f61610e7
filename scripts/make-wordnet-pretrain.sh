#!/bin/sh
# Makes data/wordnet/pretrain.txt.gz, the text the demo pre-trains on, one definition or usage example per line:
#   - the definitions of train.tsv (nouns of the train split only),
#   - the definitions and usage examples of verbs, adjectives and adverbs of WordNet 3.0.
# No definition of validation.tsv or test.tsv is in it: lines that equal one (letters and digits compared, case ignored) are left out,
# and the finished file is checked again. Lines are unique, and stand in a fixed mixed order, so that any window of the file holds all kinds.
#
# Usage: scripts/make-wordnet-pretrain.sh [FOLDER WITH data.verb, data.adj, data.adv]
# The folder is /usr/share/wordnet by default (Debian package wordnet-base). Needs a POSIX shell, awk, sort, cut and gzip.
set -eu
export LC_ALL=C
source_folder=${1:-/usr/share/wordnet}
cd "$(dirname "$0")/../data/wordnet"

for file in "$source_folder/data.verb" "$source_folder/data.adj" "$source_folder/data.adv"; do
    if [ ! -r "$file" ]; then
        echo "make-wordnet-pretrain: $file: not there (expected WordNet 3.0's data files: apt-get install wordnet-base)" >&2
        exit 1
    fi
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# What two texts are compared by: lower-case letters and digits, everything else a single space.
same='function same(text) {
    text = tolower(text)
    gsub(/[^a-z0-9]+/, " ", text)
    sub(/^ /, "", text)
    sub(/ $/, "", text)
    return text
}'

# The gloss is what follows " | ". The definition ends where the first usage example begins, at `; "`, as in train.tsv.
# An example is what stands between two double quotes after that; one of fewer than three words says too little.
glosses='
/^  / { next }
{
    gloss = substr($0, index($0, " | ") + 3)
    sub(/^ +/, "", gloss)
    sub(/ +$/, "", gloss)
    at = index(gloss, "; \"")
    if (at == 0) {
        print gloss
        next
    }
    print substr(gloss, 1, at - 1)
    parts = split(substr(gloss, at + 2), part, "\"")
    for (i = 2; i <= parts; i += 2) {
        if (split(part[i], words, " ") >= 3) {
            example = part[i]
            gsub(/^ +| +$/, "", example)
            print example
        }
    }
}'

{
    awk -F '\t' 'FNR > 1 { print $3 }' train.tsv
    awk "$glosses" "$source_folder/data.verb" "$source_folder/data.adj" "$source_folder/data.adv"
} >"$work/all"

awk -F '\t' 'FNR > 1 { print $3 }' validation.tsv test.tsv >"$work/heldout"

# Multiples of an odd number modulo 2^31 (Weyl's sequence) visit the interval evenly: sorted by them, the parts are mixed.
awk "$same"'
FILENAME == ARGV[1] { heldout[same($0)] = 1; next }
$0 == "" || seen[$0]++ || same($0) in heldout { next }
{ lines++; printf "%d\t%s\n", (lines * 1103515245) % 2147483648, $0 }' "$work/heldout" "$work/all" |
    sort -n | cut -f 2- >"$work/pretrain.txt"

# The check reads what was written, and compares whole lines and, because an example may repeat one, whole definitions.
gzip -9 -n <"$work/pretrain.txt" >"$work/pretrain.txt.gz"
gzip -dc "$work/pretrain.txt.gz" | awk "$same"'
FILENAME == ARGV[1] { heldout[same($0)] = 1; next }
{ lines++; bytes += length($0) + 1; if (same($0) in heldout) { print "make-wordnet-pretrain: held-out text: " $0 | "cat >&2"; found++ } }
END {
    if (found || lines == 0) exit 1
    printf "data/wordnet/pretrain.txt.gz: %d lines, %d bytes of text, none of the held-out definitions\n", lines, bytes
}' "$work/heldout" -
mv "$work/pretrain.txt.gz" pretrain.txt.gz
chmod 644 pretrain.txt.gz
