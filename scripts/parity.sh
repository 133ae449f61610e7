#!/bin/sh
# Compares Quern with transformers, sentence-transformers and tokenizers, on the same files; prints PASS or FAIL with figures.
#
# usage: scripts/parity.sh [NAME ...]      NAME is a script of scripts/parity without .py; all of them by default
# QUERN   the command, build/release/quern by default
# PYTHON  an interpreter that has scripts/parity-requirements.txt, .venv/bin/python by default
set -u
cd "$(dirname "$0")/.." || exit 1
QUERN=${QUERN:-build/release/quern}
PYTHON=${PYTHON:-.venv/bin/python}
export QUERN HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
[ -x "$QUERN" ] || { echo "parity: $QUERN is missing (run make, or set QUERN)" >&2; exit 2; }
[ $# -gt 0 ] || set -- tokenizer tokenizer_kinds tiktoken_files tokenizer_learn embed embed_train tsdae splade late classify regress multilabel pretrain families chemistry embedder generate tag answer rerank lora gguf_model translate seq2seq ctranslate2 autoencoder
failed=0
for name; do
    "$PYTHON" "scripts/parity/$name.py" || failed=$((failed + 1))
done
if [ $failed -gt 0 ]; then
    echo "parity: $failed of $# scripts failed" >&2
    exit 1
fi
echo "parity: all $# scripts passed"
