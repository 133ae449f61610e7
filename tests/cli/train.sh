#!/bin/sh
# Training on bad input and on a disk that takes no more: status 1, one line that names the file, and no model where none was made.
# Usage: tests/cli/train.sh QUERN SOURCE_FOLDER
set -u
quern=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0

# refuse PATTERN COMMAND...: status 1, and the last line on standard error has PATTERN.
refuse() {
    pattern=$1
    shift
    "$quern" "$@" --quiet >out 2>err </dev/null
    status=$?
    if [ $status -ne 1 ] || ! tail -n 1 err | grep -q "$pattern" || [ -s out ]; then
        echo "FAIL: $* gave status $status: $(cat err)"
        failures=$((failures + 1))
    fi
}

head -n 200 "$source/data/wordnet/train.tsv" >train.tsv
cut -f 3 train.tsv >text.txt
cat >config.json <<'END'
{"model_type": "bert", "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64}
END
"$quern" tokenizer train --quiet --vocab-size 300 --output-dir words text.txt || exit 1
"$quern" tokenizer train --quiet --vocab-size 600 --output-dir many text.txt || exit 1
: >empty.tsv
head -c 5000 "$quern" >binary.tsv
printf 'label\ttext\nnever seen\tw\n' >unknown.tsv
echo file >taken
tune="finetune --model config.json --tokenizer words --max-steps 2 --output-dir run"

# shellcheck disable=SC2086
{
    refuse 'empty.tsv: holds no examples' $tune --train-file empty.tsv
    refuse 'binary.tsv' $tune --train-file binary.tsv
    refuse 'missing.tsv' $tune --train-file missing.tsv
    refuse 'unknown.tsv:2: .*never seen' $tune --train-file train.tsv --validation-file unknown.tsv
    refuse 'empty.tsv: holds no text' pretrain --model config.json --tokenizer words --output-dir run --train-file empty.tsv
    refuse 'many: the tokenizer has 600 tokens, the model 300' pretrain --model config.json --tokenizer many --output-dir run --train-file text.txt
    [ ! -e run ] || { echo "FAIL: a refused run left a folder"; failures=$((failures + 1)); }
    refuse 'taken' finetune --model config.json --tokenizer words --train-file train.tsv --max-steps 2 --output-dir taken/run
    # No file may grow beyond 8 KiB: the checkpoint cannot be written.
    (ulimit -f 16 && refuse 'run/.*model.safetensors: ' $tune --train-file train.tsv && [ $failures -eq 0 ]) || failures=$((failures + 1))
    [ ! -e run/model.safetensors ] && [ ! -e run/.checkpoint-2 ] || { echo "FAIL: half a checkpoint was left"; failures=$((failures + 1)); }
}
# Products in bf16 train, and say so; or the reason why not, where the CPU has none.
for objective in "finetune --train-file train.tsv" "pretrain --train-file text.txt"; do
    # shellcheck disable=SC2086
    if "$quern" $objective --quiet --model config.json --tokenizer words --max-steps 3 --output-dir narrow --overwrite-output-dir --dtype bfloat16 >/dev/null 2>err; then
        grep -q '"dtype": "bf16"' narrow/args.json || { echo "FAIL: args.json of bf16: $(cat narrow/args.json)"; failures=$((failures + 1)); }
    else
        grep -q 'dtype bfloat16: .' err || { echo "FAIL: --dtype bfloat16: $(cat err)"; failures=$((failures + 1)); }
    fi
done
[ $failures -eq 0 ] && echo "training refuses what it should"
exit $((failures > 0))
