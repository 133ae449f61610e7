#!/bin/sh
# quern tune: a table of trials on standard error, the best settings as JSON, a model that can be used, a search that is
# stopped and goes on, and bad input. Usage: tests/cli/tune.sh QUERN SOURCE_FOLDER
set -u
quern=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
fail() {
    echo "FAIL: $*"
    exit 1
}

awk -F '\t' 'NR == 1 || ($1 == "act" || $1 == "animal") && ++seen[$1] <= 80' "$source/data/wordnet/train.tsv" >train.tsv
awk -F '\t' 'NR == 1 || ($1 == "act" || $1 == "animal") && ++seen[$1] <= 30' "$source/data/wordnet/test.tsv" >test.tsv
cut -f 3 train.tsv >texts
echo '{"model_type": "bert", "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "max_position_embeddings": 64}' >config.json
"$quern" tokenizer train --quiet --vocab-size 300 --output-dir words texts || exit 1
tune() {
    "$quern" tune --model config.json --tokenizer words --train-file train.tsv --num-train-epochs 1 "$@"
}

tune --validation-file test.tsv --test-file test.tsv --budget 5m --max-trials 6 --output-dir search >out 2>err || fail "$(tail -n 1 err)"
grep -q '^trial  learning rate  batch   epochs  trained' err || fail "no table: $(cat err)"
[ "$(grep -c '^ *[0-9]*  *[0-9.]*e-0[0-9]' err)" = 6 ] || fail "not six trials: $(cat err)"
grep -q '"trials": 6, .*"metric": "accuracy", .*"model": "search/best", "test": {' out || fail "$(cat out)"
"$quern" predict --model search/best --input texts 2>err | head -n 1 | grep -q '"label"' || fail "best/ does not predict: $(cat err)"
grep -q 'All trials' search/report.html || fail "no page of the trials"
tune --validation-file test.tsv --budget 5m --max-trials 8 --output-dir search >out 2>err && fail "another search was overwritten"
grep -q 'holds another search' err || fail "message: $(cat err)"
tune --validation-file test.tsv --test-file test.tsv --budget 6m --max-trials 8 --output-dir search --resume >out 2>err || fail "resume: $(tail -n 1 err)"
grep -q '"trials": 8,' out || fail "$(cat out)"

"$quern" tune --model config.json --train-file train.tsv --output-dir none >out 2>err
[ $? = 2 ] || fail "no validation file: status $?"
tune --validation-file missing.tsv --budget 1m --output-dir none >out 2>err && fail "a missing file was searched"
grep -q 'missing.tsv' err || fail "message: $(cat err)"
tune --validation-file test.tsv --min-learning-rate 1 --max-learning-rate 0.1 --output-dir none >out 2>err && fail "an empty range was searched"
grep -q 'learning rates from 1 to 0.1' err || fail "message: $(cat err)"
echo "tune works on the command line"
