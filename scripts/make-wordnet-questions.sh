#!/bin/sh
# Makes questions with answers from data/wordnet: "What is a quern?" about a text of six words and their definitions in a row, where the
# answer is one of the definitions. Every fifth question is about a word that is not in its text: it has no answer.
#
# Usage: scripts/make-wordnet-questions.sh OUTPUT_FOLDER
# Writes train.jsonl, validation.jsonl and test.jsonl with question, context and answers. Needs a POSIX shell and awk.
set -eu
export LC_ALL=C
output=${1:?usage: scripts/make-wordnet-questions.sh OUTPUT_FOLDER}
mkdir -p "$output"
output=$(cd "$output" && pwd)
cd "$(dirname "$0")/.."
for part in train validation test; do
    # shellcheck disable=SC2016
    awk -F '\t' '
function quoted(text) {
    gsub(/\\/, "\\\\", text)
    gsub(/"/, "\\\"", text)
    return "\"" text "\""
}
function question(word) {
    return "What is " (word ~ /^[A-Z]/ ? "" : word ~ /^[aeiou]/ ? "an " : "a ") word "?"
}
BEGIN { n = 0 }
FNR == 1 { next }
# The rows are sorted by topic: taken with a step, a text has words of many.
{ word[n] = $2; meaning[n++] = $3 }
END {
    step = int(n / 6)
    for (i = 0; i < step; i++) {
        context = ""
        for (k = 0; k < 6; k++) context = context (k ? " " : "") toupper(substr(word[i + k * step], 1, 1)) substr(word[i + k * step], 2) \
            " is " meaning[i + k * step] "."
        asked = i + i % 6 * step
        none = i % 5 == 4
        if (none) asked = (asked + 1) % n
        printf "{\"question\": %s, \"context\": %s, \"answers\": [%s]}\n", quoted(question(word[asked])), quoted(context),
            none ? "" : quoted(meaning[asked])
    }
}' "data/wordnet/$part.tsv" >"$output/$part.jsonl"
done
