#!/bin/sh
# Makes English-Spanish pairs of verses from two translations of the Bible that are in the public domain:
#   train.tsv, validation.tsv, test.tsv    source, target: the World English Bible and the Reina-Valera of 1909
# Verses are joined by book, chapter and number. Whole chapters are held out, so that no neighbouring verse of the same story is trained
# on: of the chapters, counted through, the 20th, 60th, ... are for validation and the 40th, 80th, ... for the test. A pair of another
# chapter with the same source or target as a held-out one is left out, and so is one of which one side is more than three times as long
# as the other: in a few chapters the two number their verses differently.
#
# Usage: scripts/make-bible-pairs.sh OUTPUT
# Needs a POSIX shell, awk, and the Debian packages sword-text-web, sword-text-sparv and libsword-utils (mod2imp).
set -eu
export LC_ALL=C
[ $# -eq 1 ] || { echo "usage: make-bible-pairs.sh OUTPUT" >&2; exit 2; }
output=$1
english=engWEB2015eb spanish=spaRV1909eb
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
for module in $english $spanish; do
    # A module that is not there gives an empty text, or an error.
    { command -v mod2imp >/dev/null && mod2imp $module >"$work/$module" 2>/dev/null && [ -s "$work/$module" ]; } && continue
    echo "make-bible-pairs: no text of $module (expected: apt-get install sword-text-web sword-text-sparv libsword-utils)" >&2
    exit 1
done
mkdir -p "$output"

# A line "$$$Genesis 1:1", and then the verse in OSIS. Footnotes, headings and speakers go with their content, as does what follows the end
# of a chapter; tags around words go; any other tag separates words. Verses 0 are introductions.
awk -v output="$output" '
function plain(text) {
    sub(/<chapter[^>]*eID.*/, "", text)
    gsub(/<title canonical/, "<t", text)
    gsub(/<(note|title|speaker)[^>]*>/, "\001", text)
    gsub(/<\/(note|title|speaker)>/, "\002", text)
    while (match(text, /\001[^\001\002]*\002/)) text = substr(text, 1, RSTART - 1) " " substr(text, RSTART + RLENGTH)
    gsub(/<\/?(w|q|trans)( [^>]*)?>/, "", text)
    gsub(/<[^>]*>/, " ", text)
    gsub(/&lt;/, "<", text)
    gsub(/&gt;/, ">", text)
    gsub(/&quot;/, "\"", text)
    gsub(/&amp;/, "\\&", text)
    gsub(/[\001\002\t\r\n ]+/, " ", text)
    gsub(/^ | $/, "", text)
    # A space that a tag left in front of what closes, or behind what opens.
    gsub(/ ,/, ",", text); gsub(/ ;/, ";", text); gsub(/ :/, ":", text); gsub(/ \./, ".", text)
    gsub(/ \?/, "?", text); gsub(/ !/, "!", text); gsub(/ \)/, ")", text); gsub(/ ”/, "”", text); gsub(/ ’/, "’", text)
    gsub(/\( /, "(", text); gsub(/¿ /, "¿", text); gsub(/¡ /, "¡", text); gsub(/“ /, "“", text); gsub(/‘ /, "‘", text)
    return text
}
/^\$\$\$/ { verse = substr($0, 4); next }
verse !~ / [1-9][0-9]*:[1-9][0-9]*$/ { next }
FILENAME == ARGV[1] { source[verse] = source[verse] " " $0; next }
!(verse in target) { order[++verses] = verse }
{ target[verse] = target[verse] " " $0 }
END {
    for (i = 1; i <= verses; i++) {
        verse = order[i]
        left = plain(source[verse])
        right = plain(target[verse])
        if (length(left) > 3 * length(right) || length(right) > 3 * length(left)) continue
        chapter = verse
        sub(/:[0-9]+$/, "", chapter)
        if (!(chapter in number)) number[chapter] = ++chapters
        place = number[chapter] % 40
        rows++
        part[rows] = place == 0 ? "test" : place == 20 ? "validation" : "train"
        lefts[rows] = left
        rights[rows] = right
        if (place % 20 == 0) heldout[left] = heldout[right] = 1
    }
    split("train validation test", names, " ")
    for (k = 1; k <= 3; k++) {
        file = output "/" names[k] ".tsv"
        count = 0
        print "source\ttarget" > file
        for (i = 1; i <= rows; i++) {
            if (part[i] != names[k] || (k == 1 && (lefts[i] in heldout || rights[i] in heldout))) continue
            print lefts[i] "\t" rights[i] > file
            count++
        }
        print file ": " count " pairs"
    }
}' "$work/$english" "$work/$spanish"
