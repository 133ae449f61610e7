#!/bin/sh
# Makes a tagging set from WordNet 3.0: its definitions and usage examples, in which names of persons and places are tagged.
#
# The rule: a name is a word or phrase with a capital letter that WordNet has as an instance (pointer @i) of its lexicographer files
# noun.person (PER), noun.location and noun.object (LOC: also rivers and mountains). The longest match counts. A text with a name of several
# kinds ("Washington"), or of another one, is left out, as nothing says what is meant; of texts without a name every tenth stays.
# So the tags are those of a dictionary, not of annotators. One text in ten is for validation, one for the test.
#
# Usage: scripts/make-wordnet-tags.sh OUTPUT_FOLDER [FOLDER WITH data.noun, data.verb, data.adj, data.adv]
# The folder is /usr/share/wordnet by default (Debian package wordnet-base). Writes train.conll, validation.conll and test.conll: a word
# and its tag on each line, an empty line after each text. Needs a POSIX shell, awk, sort and cut.
set -eu
export LC_ALL=C
output=${1:?usage: scripts/make-wordnet-tags.sh OUTPUT_FOLDER [WORDNET_FOLDER]}
source_folder=${2:-/usr/share/wordnet}
for part in noun verb adj adv; do
    if [ ! -r "$source_folder/data.$part" ]; then
        echo "make-wordnet-tags: $source_folder/data.$part: not there (expected WordNet 3.0's data files: apt-get install wordnet-base)" >&2
        exit 1
    fi
done
mkdir -p "$output"

# shellcheck disable=SC2016
awk '
function hex(text,    i, value) {
    for (i = 1; i <= length(text); i++) value = 16 * value + index("0123456789abcdef", substr(text, i, 1)) - 1
    return value
}
# Words and punctuation, each alone, as a tagger is trained on.
function split_words(text, words,    count) {
    gsub(/[^A-Za-z0-9\200-\377'"'"' -]/, " & ", text)
    gsub(/'"'"'s( |$)/, " '"'"'s ", text)
    count = split(text, words, " ")
    return count
}
function tag_text(text,    n, words, i, k, phrase, found, kind, line, names) {
    if (text in seen) return
    seen[text] = 1
    n = split_words(text, words)
    if (n < 3 || n > 60) return
    for (i = 1; i <= n;) {
        phrase = ""
        found = 0
        if (words[i] ~ /^[A-Z]/)
            for (k = 0; k < 6 && i + k <= n; k++) {
                phrase = k ? phrase " " words[i + k] : words[i]
                if (phrase in kinds) { found = k + 1; kind = kinds[phrase] }
            }
        if (found && kind == "?") return
        if (!found) line = line words[i++] " O\n"
        for (k = 0; k < found; k++) line = line words[i++] (k ? " I-" : " B-") kind "\n"
        names += found > 0
    }
    if (!names && plain++ % 10) return
    # Multiples of an odd number modulo 2^31 visit the interval evenly: sorted by them, the parts of speech are mixed.
    gsub(/\n/, "\t", line)
    printf "%d\t%s\n", (++texts * 1103515245) % 2147483648, line
}
# First pass over the nouns: the names.
pass == 1 && /^[0-9]/ {
    kind = ""
    words = hex($4)
    gloss = index($0, " | ")
    instance = index(substr($0, 1, gloss), " @i ")
    if (instance) kind = $2 == "18" ? "PER" : $2 == "15" || $2 == "17" ? "LOC" : ""
    for (i = 0; i < words; i++) {
        name = $(5 + 2 * i)
        gsub(/_/, " ", name)
        if (name !~ /^[A-Z].*[a-z]/) continue
        split_words(name, parts)
        name = parts[1]
        for (k = 2; k in parts; k++) name = name " " parts[k]
        # What is no instance, or of another kind, makes the name ambiguous.
        value = (name in kinds) && kinds[name] != kind ? "?" : kind == "" ? "?" : kind
        kinds[name] = value
    }
}
pass == 2 && /^[0-9]/ {
    gloss = substr($0, index($0, " | ") + 3)
    at = index(gloss, "; \"")
    tag_text(at ? substr(gloss, 1, at - 1) : gloss)
    parts_count = at ? split(substr(gloss, at + 2), part, "\"") : 0
    for (p = 2; p <= parts_count; p += 2) tag_text(part[p])
}' pass=1 "$source_folder/data.noun" pass=2 "$source_folder/data.noun" "$source_folder/data.verb" "$source_folder/data.adj" \
    "$source_folder/data.adv" | sort -n | cut -f 2- |
    awk -v folder="$output" '
{
    file = folder "/" (NR % 10 == 8 ? "validation" : NR % 10 == 9 ? "test" : "train") ".conll"
    gsub(/\t/, "\n")
    print >file
}
END { printf "%s: %d texts\n", folder, NR }'
