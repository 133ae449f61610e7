#!/bin/sh
# Bad training data of every task: status 1, one line that names the file, and the line where there is one; warnings of bytes that are not
# UTF-8; and files that only look bad. Usage: tests/cli/data.sh QUERN SOURCE_FOLDER
set -u
quern=$1 source=$2
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

fail() { # often at the end of a pipe, where a variable would be lost
    echo "FAIL: $*" | tee -a failures
}

head -n 200 "$source/data/wordnet/train.tsv" | cut -f 3 >text
echo '{"model_type": "bert", "vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 64}' >bert.json
echo '{"model_type": "bart", "vocab_size": 300, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 2,
    "decoder_attention_heads": 2, "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "max_position_embeddings": 64, "pad_token_id": 0,
    "eos_token_id": 2, "decoder_start_token_id": 2, "is_encoder_decoder": true}' >bart.json
"$quern" tokenizer train --quiet --vocab-size 300 --output-dir words text || exit 1

# train TASK FILE: one step on the file.
train() {
    model=bert.json
    [ "$1" = translate ] && model=bart.json
    "$quern" finetune --task "$1" --model "$model" --tokenizer words --train-file "$2" --max-steps 1 --batch-size 1 --threads 1 --quiet \
        --output-dir run --overwrite-output-dir >out 2>err </dev/null
}

# refuse TASK FILE PATTERN: the file, whose text is standard input, gives one line of errors that has PATTERN after its name.
refuse() {
    cat >"$2"
    train "$1" "$2"
    status=$?
    [ $status = 1 ] && [ "$(grep -vc warning: err)" = 1 ] && grep -q "^quern: $2:$3" err && return
    fail "$1 $2: status $status: $(cat err) (expected $2:$3)"
}

# take TASK FILE [WARNING]: the file is read.
take() {
    cat >"$2"
    train "$1" "$2" || fail "$1 $2: $(cat err)"
    [ -z "${3-}" ] || grep -q "warning: $2:$3" err || fail "$1 $2: no warning $3: $(cat err)"
}

# columns TASK EXTENSION HEADER ROW: what tables and JSON lines of any task can have wrong. Columns are separated by one comma.
columns() {
    name=$1.$2
    {
        printf '' | refuse "$1" "empty-$name" ' holds no examples'
        echo "$3" | tr , '\t' | refuse "$1" "head-$name" ' holds no examples'
        printf '%s\n' "$3" "$4" "${4%,*}" | tr , '\t' | refuse "$1" "cut-$name" '3: [12] columns\{0,1\} (expected'
        printf '%s\n' "$3" "$4" "$4,more" | tr , '\t' | refuse "$1" "wide-$name" '3: [34] columns (expected'
        printf '%s\n' "$4" "$4" | tr , '\t' | refuse "$1" "headless-$name" '1: no column'
        printf '%s\n%s\n\0\n' "$3" "$4" | tr , '\t' | refuse "$1" "nul-$name" '3: a NUL byte'
        printf '%s\n%s\n' "$3" "$4" | tr , '\t' | sed "2s/two/t\\xff/" | take "$1" "bytes-$name" '2: not UTF-8'
        { echo "$3" && head -c 70000000 /dev/zero | tr '\0' a; } | tr , '\t' | refuse "$1" "huge-$name" '2: the line is longer than 64 MiB'
        { echo "$3" && yes "$4" | head -n 1000; } | tr , '\t' | gzip | head -c 40 | refuse "$1" "short-$name.gz" '[0-9]*: the gzip data ends here'
        printf '{"%s": "x"\n' "$3" | refuse "$1" "cut-$1.jsonl" '1:'
        printf '[1]\n' | refuse "$1" "list-$1.jsonl" '1:1: a JSON array'
    }
}
columns classify tsv label,text a,two
columns regress tsv score,text 0.5,two
columns embed tsv anchor,positive one,two
columns rerank tsv query,positive,negative one,two,three
columns translate tsv source,target one,two
printf 'label\ttext\na\tone\n\377\ttwo\n' | refuse classify label.tsv '3: the label ".*" is not UTF-8'
for score in NaN nan inf 1e999 1e40 '' x 0x10 1,5; do
    printf 'score\ttext\n0.5\tone\n%s\ttwo\n' "$score" | refuse regress score.tsv '3: .*score'
    printf 'sentence1\tsentence2\tscore\none\ttwo\t%s\n' "$score" | refuse embed score-pairs.tsv '2: .*score'
done
printf '{"text": "a", "score": 1}\n{"text": "a", "score": NaN}\n' | refuse regress score.jsonl '2:24: no JSON value'
printf 'query\tdocument\tscore\none\ttwo\t2\n' | refuse rerank score-two.tsv '2: the score is 2 (expected 0 to 1)'

# Words with tags.
printf '\n\n' | refuse tag empty.conll ' holds no examples'
printf 'a O\n\nb O\nc' | refuse tag cut.conll '4: 1 column (expected 2'
printf 'a O\nb X O\n' | refuse tag wide.conll '2: 3 columns (expected 2'
printf 'a\tO\nb\t\n' | refuse tag untagged.conll '2: an empty tag'
printf 'a O\nb B-\377\n' | refuse tag bytes.conll '2: the tag ".*" is not UTF-8'
printf 'a O\nb\377 O\n' | take tag bytes-word.conll '2: not UTF-8'
{ echo a O && head -c 70000000 /dev/zero | tr '\0' a; } | refuse tag huge.conll '2: the line is longer than 64 MiB'
printf '{"tokens": ["a"], "tags": ["O"]}\n{"tokens": ["a"' | refuse tag cut.jsonl '2:15: '
printf '{"text": "a", "spans": [{"start": NaN}]}\n' | refuse tag nan.jsonl '1:37: invalid token'
printf '{"tokens": [], "tags": []}\n' | refuse tag nothing.jsonl ' no word has a tag'
printf '{"tokens": [], "tags": []}\n{"text": "", "spans": []}\n{"tokens": ["a"], "tags": ["O"]}\n' | take tag some.jsonl

# Questions.
squad='{"data": [{"paragraphs": [{"context": "a cat sat", "qas": [{"question": "who", "answers": [{"text": "cat", "answer_start": 2}]}]}]}]}'
printf '' | refuse answer empty.json ' holds no examples'
echo "$squad" | head -c 100 | refuse answer cut.json '1:[0-9]*: '
echo "$squad" | sed 's/2}/NaN}/' | refuse answer nan.json '1:[0-9]*: invalid token near .NaN'
echo "$squad" | sed 's/cat sat/~/' | tr '~' '\377' | refuse answer bytes.json '1:[0-9]*: unable to decode byte 0xff'
echo "$squad" | sed 's/"cat"/"dog"/' | refuse answer absent.json ' data\[0\].paragraphs\[0\].qas\[0\]: the answer "dog" is not in the context'
echo "$squad" | gzip | head -c 60 | refuse answer short.json.gz '[0-9]*: the gzip data ends here'
echo "$squad" | gzip | take answer whole.json.gz
echo '{"version": 1}' | refuse answer version.json '1: no "question" (expected'
printf '{"question": "who", "context": "a"}\n{"question"\n' | refuse answer cut.jsonl '2:11: '
[ ! -e failures ] && echo "bad data is refused where it is bad"
