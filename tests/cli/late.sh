#!/bin/sh
# A ColBERT on the command line: trained, its vectors as JSON lines and as arrays, an index of them and its search, and
# what of it goes with nothing else. Usage: tests/cli/late.sh QUERN SOURCE_FOLDER
set -u
quern=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
fail() {
    echo "FAIL: $*"
    exit 1
}

head -n 60 "$source/data/wordnet/train.tsv" >train.tsv
cut -f 3 train.tsv | tail -n +2 >texts
echo '{"model_type": "bert", "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64}' >config.json
"$quern" tokenizer train --quiet --vocab-size 300 --output-dir words texts || exit 1
"$quern" finetune --quiet --task embed --multi-vector --dense 16 --model config.json --tokenizer words --train-file train.tsv \
    --text-columns word,text --learning-rate 3e-3 --num-train-epochs 40 --batch-size 20 --output-dir late >/dev/null || fail "no ColBERT was trained"

"$quern" embed --model late --multi-vector --queries entity >out || fail "embed of a query"
[ "$(tr -cd '[' <out | wc -c)" = 33 ] || fail "a query has other than 32 vectors: $(cut -c 1-200 out)"
"$quern" embed --model late --input texts --output v.npy || fail "embed into an array"
rows=$((($(wc -c <v.npy) - 128) / 64))
[ "$(wc -c <v.offsets.npy)" = $((128 + 60 * 8)) ] || fail "v.offsets.npy has $(wc -c <v.offsets.npy) bytes"
[ $rows -gt 200 ] || fail "$rows vectors of 59 texts"

"$quern" index --model late --input texts --output ix 2>err || fail "index: $(cat err)"
grep -q '"similarity": "maxsim", "count": 59, "width": 16' ix/index.json || fail "index.json: $(cat ix/index.json)"
cmp -s v.npy ix/vectors.npy && cmp -s v.offsets.npy ix/vectors.offsets.npy || fail "the index has other vectors"
text=$(sed -n 7p texts)
"$quern" search --index ix --top-k 1 --json "$text" >out 2>err || fail "search: $(cat err)"
grep -qF '"index": 6,' out || fail "a text does not find itself: $(cat out)"

# Not with a model of other vectors, nor with offsets that do not fit.
"$quern" finetune --quiet --task embed --loss simcse --model config.json --tokenizer words --train-file train.tsv --text-columns text --max-steps 1 \
    --output-dir plain >/dev/null || fail "no embedder was trained"
"$quern" search --index ix --model plain x >out 2>err && fail "a model of whole texts searched vectors of tokens"
grep -q 'is an index of vectors of tokens' err || fail "message: $(cat err)"
"$quern" embed --model plain --multi-vector x >out 2>err && fail "a model of whole texts gave vectors of tokens"
grep -q "expected a ColBERT's folder" err || fail "message: $(cat err)"
head -c 200 v.offsets.npy >ix/vectors.offsets.npy
"$quern" search --index ix x >out 2>err && fail "broken offsets were read"
grep -q 'vectors.offsets.npy' err || fail "message: $(cat err)"
echo "late interaction works on the command line"
