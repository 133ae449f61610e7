#!/bin/sh
# From raw text to a searchable encoder: learns a vocabulary, pre-trains a BERT from scratch, fine-tunes it on 26 topics, measures it on
# definitions that it has never seen, and searches by meaning. About five minutes on two cores; `make demo` builds and runs it.
#
# usage: scripts/demo.sh [FOLDER]      FOLDER takes what is made, build/demo by default; an earlier demo there is replaced
# QUERN  the command, build/release/quern by default
set -eu
cd "$(dirname "$0")/.."
QUERN=${QUERN:-build/release/quern}
out=${1:-build/demo}
data=data/wordnet
[ -x "$QUERN" ] || { echo "demo: $QUERN is missing (run make, or set QUERN)" >&2; exit 2; }
mkdir -p "$out"
began=$(date +%s)

# Says what comes, shows the command, runs it, and says how long it took.
step() {
    title=$1
    shift
    printf '\n== %s\n$ quern %s\n' "$title" "$*"
    from=$(date +%s)
    "$QUERN" "$@"
    printf '(%s s)\n' $(($(date +%s) - from))
}

step "Learn a vocabulary from raw text" \
    tokenizer train --vocab-size 8192 --max-length 64 --output-dir "$out/tokenizer" $data/pretrain.txt.gz

# A BERT for short texts: shallow, and narrow between the layers, since what a layer more costs buys more as another pass over the text.
cat >"$out/config.json" <<'EOF'
{
  "model_type": "bert",
  "architectures": ["BertForMaskedLM"],
  "vocab_size": 8192,
  "hidden_size": 192,
  "num_hidden_layers": 2,
  "num_attention_heads": 4,
  "intermediate_size": 384,
  "hidden_act": "gelu",
  "max_position_embeddings": 64,
  "type_vocab_size": 2,
  "hidden_dropout_prob": 0.0,
  "attention_probs_dropout_prob": 0.0,
  "initializer_range": 0.06,
  "layer_norm_eps": 1e-12,
  "pad_token_id": 0
}
EOF

step "Pre-train: guess hidden words; no definition of the test is in the text" \
    pretrain --model "$out/config.json" --tokenizer "$out/tokenizer" --train-file $data/pretrain.txt.gz \
    --output-dir "$out/pretrained" --overwrite-output-dir --num-train-epochs 2.6 --batch-tokens 1024 --learning-rate 1.5e-3 \
    --adam-beta2 0.999 --mlm-probability 0.3

step "Fine-tune on 26 topics" \
    finetune --task classify --model "$out/pretrained" --train-file $data/train.tsv --validation-file $data/validation.tsv \
    --output-dir "$out/topics" --overwrite-output-dir --num-train-epochs 6 --per-device-train-batch-size 0 --batch-tokens 1024 \
    --learning-rate 8e-4 --dropout 0.25 --label-smoothing-factor 0.1

step "Measure it on the test definitions" \
    eval --model "$out/topics" --data $data/test.tsv --output "$out/test.json"

step "Index 65,718 definitions" \
    index --model "$out/pretrained" --input $data/train.tsv --output "$out/index"

step "Search them by meaning" \
    search --index "$out/index" --top-k 4 "someone who sells bread" "a disease of the lungs" "money that is owed" \
    "a tool for cutting wood" "a city in Italy"

accuracy=$(sed -n 's/.*"accuracy": *\([0-9.]*\).*/\1/p' "$out/test.json" | head -n 1)
printf '\nTest accuracy over 26 topics: %s\n' "$(awk "BEGIN { printf \"%.2f %%\", 100 * $accuracy }")"
printf 'From raw text in %s s. Report: %s\n' $(($(date +%s) - began)) "$out/topics/report.html"
