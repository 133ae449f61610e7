#!/bin/sh
# The command as a user meets it: help, wrong usage (status 2), wrong input (status 1 and one line), and output that is whole or absent.
# Usage: tests/cli/use.sh QUERN SOURCE_FOLDER
set -u
quern=$1 golden=$2/tests/golden/bert
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0

fail() {
    echo "FAIL: $*"
    failures=$((failures + 1))
}

# expect STATUS PATTERN COMMAND...: runs quern; standard error must be empty for status 0, else one line that has PATTERN.
expect() {
    wanted=$1 pattern=$2
    shift 2
    "$quern" "$@" >out 2>err <input
    status=$?
    [ "$status" = "$wanted" ] || fail "quern $*: status $status (expected $wanted): $(cat err)"
    if [ "$wanted" != 0 ]; then
        [ "$(wc -l <err)" = 1 ] || fail "quern $*: $(wc -l <err) lines of errors (expected 1)"
        grep -q -- "$pattern" err || fail "quern $*: \"$(cat err)\" (expected $pattern)"
    elif [ -n "$pattern" ]; then
        grep -q -- "$pattern" out || fail "quern $*: no \"$pattern\" in the output"
    fi
}

model() { # NAME: a golden BERT with a vocabulary
    mkdir -p "$1"
    cp "$golden/$1/config.json" "$golden/$1/model.safetensors" "$1"
    { printf '[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n'; seq -f 'w%g' 5 100; } >"$1/vocab.txt"
}
translator() { # a golden encoder-decoder with a vocabulary
    mkdir -p bart
    cp "$2/tests/golden/seq2seq/bart/config.json" "$2/tests/golden/seq2seq/bart/model.safetensors" bart
    { printf '[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\n'; seq -f 'w%g' 5 42; } >bart/vocab.txt
}
translator "$@"
model classify-relu-w32
model multilabel-silu-w64
model regress-gelu-w20
model mlm-gelu-w8
C=classify-relu-w32 M=mlm-gelu-w8
: >input

# --- Help and wrong usage
commands=$("$quern" --help | sed -n '/^Commands:/,/^$/s/^  \([a-z-]*\) .*/\1/p')
[ "$(echo "$commands" | wc -l)" -ge 12 ] || fail "quern --help lists few commands: $commands"
for command in $commands; do
    expect 0 "^Usage: quern $command" "$command" --help
    expect 0 "^Usage: quern $command" help "$command"
    [ "$command" = tokenizer ] || grep -q '^Example:' out || fail "quern $command --help has no example"
    if "$quern" "$command" --no-such-option >out 2>err; then fail "quern $command takes any option"; fi
    [ "$(wc -l <err)" = 1 ] || fail "quern $command --no-such-option: more than one line"
done
expect 0 '^quern [0-9]' --version
expect 2 'did you mean embed' ebmed
expect 2 'did you mean --batch-tokens' embed --bach-tokens 3
expect 2 '\--model PATH is missing' embed
expect 2 'needs a value' embed --model
expect 2 'is not a whole number' embed --model $C --threads two
expect 2 'too large\|out of range' embed --model $C --threads 100000
expect 2 'below zero' embed --model $C --batch-tokens -4
expect 2 'is not known' embed --model $C --pooling median
expect 2 'unexpected argument' eval --model $C --data x more
expect 2 'is not a number' bench --model $C --seconds soon
expect 2 'is for pooled vectors' embed --model $C --pooling none --normalize
expect 2 'exclude each other' embed --model $C --input x w5
"$quern" >out 2>err
[ $? = 2 ] || fail "quern alone: not status 2"

# --- Vectors
printf 'w5 w6\n\nw7\n' >input
expect 0 '"embedding": \[' embed --model $C
cp out three
[ "$(wc -l <out)" = 3 ] || fail "embed: a line of input has not one line of output"
expect 0 '' embed --model=$C --batch_tokens=1 -t 1 --output three.jsonl
cmp -s three three.jsonl || fail "embed: the options change the vectors"
gzip -c input >input.gz
expect 0 '' embed --model $C --input input.gz
cmp -s three out || fail "embed: gzip changes the vectors"
expect 0 '"embedding"' embed --model $C 'w5 w6'
[ "$(head -1 three)" = "$(cat out)" ] || fail "embed: a text alone has another vector"
expect 0 '' embed --model $C --output v.npy
[ "$(wc -c <v.npy)" = $((128 + 3 * 64 * 4)) ] || fail "embed: v.npy has $(wc -c <v.npy) bytes"
expect 0 '' embed --model $C --pooling none --output t.npy
[ "$(wc -c <t.npy)" = $((128 + 9 * 64 * 4)) ] || fail "embed: t.npy has $(wc -c <t.npy) bytes"
[ "$(wc -c <t.offsets.npy)" = $((128 + 4 * 8)) ] || fail "embed: t.offsets.npy has $(wc -c <t.offsets.npy) bytes"
expect 0 '"tokens": \["\[CLS\]", "w5", "w6", "\[SEP\]"\], "vectors": \[\[' embed --model $C --pooling none
expect 2 '(expected f32.float32.bf16.bfloat16.int8.q8.q4)' embed --model $C --dtype f8
printf 'w5 w6\n\nw7\n' >input
expect 0 '' embed --model $C --dtype float32
cmp -s three out || fail "embed: float32 is not f32"
for dtype in bf16 int8; do # computed, or refused with the reason where this CPU would only emulate it
    "$quern" embed --model $C --dtype $dtype w5 >out 2>err || grep -q "dtype $dtype: ." err || fail "--dtype $dtype: $(cat err)"
done
: >input
expect 0 '' embed --model $C
[ ! -s out ] || fail "embed: no input gave output"
expect 0 '' embed --model $C --output empty.npy
[ "$(wc -c <empty.npy)" = 128 ] || fail "embed: empty.npy has $(wc -c <empty.npy) bytes"

# --- Odd input
head -c 10000000 /dev/zero | tr '\0' w >input
expect 0 '"embedding"' embed --model $C
printf 'w5 \303( \377w6\n' >input
expect 0 '"embedding"' embed --model $C --format text
head -c 4096 /dev/zero >input
expect 1 'standard input' embed --model $C
printf 'text\tlabel\nw5\n' >short.tsv
expect 1 'short.tsv:2' embed --model $C --input short.tsv
printf '{"text": "w5"}\n{"text": 7\n' >broken.jsonl
expect 1 'broken.jsonl:2' embed --model $C --input broken.jsonl --output broken.npy
[ ! -e broken.npy ] || fail "embed: an error left a file"
expect 1 'nowhere' embed --model $C --input nowhere
expect 1 'nowhere' embed --model nowhere
mkdir bare && cp $C/config.json bare
expect 1 'bare' embed --model bare w5

# --- Output that cannot be written
echo w5 >input
echo old >kept.npy
printf '{"text": "w5"}\n[]\n' >broken.jsonl
expect 1 'broken.jsonl:2' embed --model $C --input broken.jsonl --output kept.npy
[ "$(cat kept.npy)" = old ] || fail "embed: a failed run has overwritten a file"
expect 1 'no/such' embed --model $C --output no/such/folder.npy
"$quern" embed --model $C >/dev/full 2>err <input
[ $? = 1 ] || fail "embed: a full disk is not status 1"
grep -q 'standard output: No space' err || fail "embed to a full disk: $(cat err)"
for i in $(seq 300); do echo w5 w6 w7; done >many
{ "$quern" embed --model $C --input many 2>err; echo $? >status; } | head -1 >out
[ "$(cat status)" = 1 ] || fail "embed into a closed pipe: status $(cat status)"
grep -q 'Broken pipe' err || fail "embed into a closed pipe: $(cat err)"
(ulimit -f 8; "$quern" embed --model $C --input many --output large.npy >out 2>err)
[ $? = 1 ] || fail "embed above the quota: not status 1"
[ ! -e large.npy ] || fail "embed above the quota left a file"

# --- Labels
expect 0 '"label": "topic' predict --model $C
expect 0 '"scores": {"topic' predict --model $C --top-k 3
expect 0 '"logits": \[' predict --model $C --logits w5
expect 0 '"labels": \[' predict --model multilabel-silu-w64 w5
expect 0 '^{"score": ' predict --model regress-gelu-w20 w5
expect 1 'no classification head' predict --model $M w5
printf 'text\tlabel\nw5\ttopic 1\nw6\ttopic 2\n' >data.tsv
expect 0 '"accuracy"' eval --model $C --data data.tsv
expect 0 '' eval --model $C --data data.tsv --output metrics.json
grep -q '"macro_f1"' metrics.json || fail "eval: no metrics in the file"
printf 'w7\tunseen\n' >>data.tsv
expect 1 'data.tsv:4.*unseen' eval --model $C --data data.tsv
: >nothing.tsv
expect 1 'nothing.tsv' eval --model $C --data nothing.tsv
expect 1 'no classification head' eval --model $M --data data.tsv

# --- Masks
expect 0 '{"masks": \[{"position": 2, "candidates": \[{"token": "' fill-mask --model $M 'w5 [MASK]' -k 2
expect 1 'no \[MASK\]' fill-mask --model $M 'w5'
[ ! -s out ] || fail "fill-mask: half a line"
expect 1 'masked-language' fill-mask --model $C 'w5 [MASK]'

# --- Index and search
printf 'w5 w6\nw50 w60 w70\nw90\n' >input
expect 0 '' index --model $C --output ix --input input
expect 0 '^1\.0000  w50 w60 w70$' search --index ix -k 1 'w50 w60 w70'
expect 0 '{"query": "w90", "results": \[{"score": .*"index": 2, "text": "w90"}' search --index ix --json w90
expect 0 '^1\.0000  w5 w6$' search --index ix --input input -k 1
expect 1 'nowhere' search --index nowhere w5
expect 1 'dimensions' search --index ix --model $M w5
# Sparse vectors by their words find what the whole ones find, of which an index may also consist.
cp -r $M splade && mkdir splade/1_SpladePooling
echo '[{"path": "", "type": "sentence_transformers.MLMTransformer"}, {"path": "1_SpladePooling", "type": "sentence_transformers.SpladePooling"}]' >splade/modules.json
echo '{"pooling_strategy": "max", "activation_function": "relu"}' >splade/1_SpladePooling/config.json
expect 0 '^{"sparse": {"w[0-9]*": ' embed --model splade --input input
expect 0 '' index --model splade --output sparse --input input
mkdir whole && cp sparse/texts.jsonl whole && sed 's/sparse-dot/dot/' sparse/index.json >whole/index.json
expect 0 '' embed --model splade --output whole/vectors.npy
expect 0 '"score": [1-9]' search --index whole --json --input input
cp out found
expect 0 '' search --index sparse --json --input input
cmp -s out found || fail "search: sparse vectors found $(cat out) (expected $(cat found))"
expect 1 'sparse: is an index of sparse vectors' search --index sparse --model $C w5
expect 1 'sparse vectors have 101 dimensions' index --model splade --dimensions 8 --output sparse
expect 2 'not by --similarity cosine' index --model splade --similarity cosine --output sparse
head -c 300 sparse/vectors.safetensors >cut && cp cut sparse/vectors.safetensors
expect 1 'sparse/vectors.safetensors: ' search --index sparse w5
: >input
expect 1 'no texts' index --model $C --output ix2
[ ! -e ix2/index.json ] || fail "index: an empty index was made"

# --- Verify, info, bench
printf 'w5 w6\n\nw7\n' >texts
expect 1 'golden.safetensors' verify --model $C
expect 0 '"passed": true' verify --model $C --write texts
expect 0 '"passed": true' verify --model $C --threads 1
cp "$golden/smooth-weighted-gelu-w32/config.json" "$golden/smooth-weighted-gelu-w32/model.safetensors" $C
expect 1 'differ by\|expected' verify --model $C
expect 0 '^layers: ' info $C
expect 0 '"parameters": ' info --model $C --json
expect 2 'which folder' info
expect 1 'nowhere' info nowhere
expect 0 '"tokens_per_second": ' bench --model $M --seconds 0 --json w5 w6
expect 0 '^Many texts at once' bench --model $M --seconds 0 w5 w6
expect 0 '"measure": "latency", .*"length": 6, ' bench --model $M --seconds 0 --measure latency --lengths 6 --json w5 w6
expect 0 '^One text at a time' bench --model $M --seconds 0 --dtype all --measure all w5 w6

# quantize: each dtype beside f32, on texts and on labelled ones.
printf 'w5 w6\nw7\n' >two.txt
expect 0 '^2 texts; cosine' quantize --model $M --eval two.txt
expect 0 '"speed": 1}' quantize --model $M --eval two.txt --json
printf 'text\tlabel\nw5\ttopic 1\nw6\ttopic 2\n' >labelled.tsv
expect 0 'accuracy' quantize --model $C --eval labelled.tsv
expect 1 'missing.txt: cannot open' quantize --model $M --eval missing.txt
expect 2 'eval' quantize --model $M
expect 0 '' quantize --model $M --output-dir bytes
expect 1 'bytes: holds another model' quantize --model $M --output-dir bytes
expect 0 '.' embed --model bytes --input two.txt
expect 2 'is not known' bench --model $M --measure weight w5
expect 2 'not a number' bench --model $M --lengths six w5
expect 1 'above the model' bench --model $M --measure length --lengths 100000 w5
expect 1 'no texts' bench --model $M

expect 0 'translations": \[{"text": ".*", "score": -[0-9.]*, "tokens": 9}, {' translate --model bart --json --n-best 2 --max-tokens 9 'w7 w8'
printf 'w5 w6\n\nw30 w31 w32 w33\n' >input
expect 0 '' translate --model bart --beam-size 2 --max-tokens 12
[ "$(wc -l <out)" = 3 ] || fail "translate: $(wc -l <out) lines of 3"
expect 1 'does not translate' translate --model $M w5
expect 1 '5 best of 4 beams' translate --model bart --n-best 5 --beam-size 4 w5
expect 1 'is no token' translate --model bart --forced-first '>>xx<<' w5
expect 2 'is not a number' translate --model bart --length-penalty long w5

# --- Autoencoders of numbers
A=$2/tests/golden/autoencoder/plain V=$2/tests/golden/autoencoder/variational
printf 'label,a,b,c,d,e,f,g\nx,1,2,3,4,5,6,7\ny,7,6,5,4,3,2,1\n' >rows.csv
expect 0 '^{"input": \[7, 6, 5, 4, 3, 2, 1\], "output": \[.*\], "error": [0-9.]*, "label": "y"}$' reconstruct --model "$A" --input rows.csv
expect 0 '^{"latent": \[[^,]*, [^,]*, [^,]*\], "label": "x"}$' reconstruct --model "$A" --input rows.csv --latent --limit 1
[ "$(wc -l <out)" = 1 ] || fail "reconstruct --limit 1: $(wc -l <out) lines"
expect 0 '' reconstruct --model "$A" --input rows.csv --interpolate 1 2 --steps 5
[ "$(wc -l <out)" = 5 ] || fail "reconstruct --interpolate: $(wc -l <out) lines of 5"
expect 0 '' reconstruct --model "$V" --sample 3 --output samples.csv
[ "$(wc -l <samples.csv)" = 4 ] || fail "reconstruct --sample 3: $(wc -l <samples.csv) lines of 4"
expect 0 '' reconstruct --model "$V" --sample 3 --output samples.png
expect 0 '' reconstruct --model "$V" --input samples.csv --output samples.npy
expect 0 '"rows": 3, "loss": ' eval --model "$V" --data samples.csv
expect 0 'latent_size: 2' info "$V"
expect 1 'rows are no pictures' reconstruct --model "$A" --input rows.csv --output rows.png
expect 1 'rows of 7 numbers (expected 6' reconstruct --model "$V" --input rows.csv
expect 1 'row "3" is not in the file (expected 1 to 2)' reconstruct --model "$A" --input rows.csv --interpolate 1 3
expect 2 'two rows' reconstruct --model "$A" --input rows.csv --interpolate 1
expect 2 'exclude each other' reconstruct --model "$V" --sample 1 --latent
expect 1 'samples are of a variational' reconstruct --model "$A" --sample 1
expect 1 'has no decoder of texts' reconstruct --model $M
printf '1\t2\t3\t4\t5\t6\t7\n' >input
expect 0 '"input": \[1, 2, 3' reconstruct --model "$A"

[ "$failures" = 0 ] || exit 1
echo "the command does what its help says"
