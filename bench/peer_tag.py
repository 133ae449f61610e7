"""Trains a tagger with Quern and with PyTorch + transformers: same first weights, texts, batches, learning rates, AdamW and steps. Prints the F1 of
entities in held-out texts, of both by seqeval over transformers' outputs and by `quern eval`, and the seconds of the training loops, for each seed.

usage: peer_tag.py --quern QUERN --data FOLDER [--config examples/tiny.json --vocab-size 8192 --pretrain-epochs 3 --pretrain-dtype f32]
                   [--seeds 0,1,2 --steps 800 --batch-tokens 1024 --learning-rate 1e-3 --dropout X] [--threads N] [--only quern|peer] [--output-dir DIR]

FOLDER has train.conll, test.conll and train.txt (scripts/make-chinese-tags.sh); a model is pre-trained on the last. Texts are cut behind punctuation
where they have more than 126 words, so that neither side cuts them, and tokenised before PyTorch's clock starts. The order of batches and the schedule
are made here again; masks of dropout are each side's own. Batches are of texts of similar length; PyTorch's are padded to their longest text, its attention is
scaled_dot_product_attention, its AdamW fused. Needs seqeval (bench/requirements.txt)."""
import argparse
import itertools
import json
import os
import statistics
import tempfile
import unicodedata

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
from peer_clm import run, train

LONGEST = 128


def read(path):
    with open(path, encoding="utf-8") as f:
        return [[line.split(" ") for line in text.split("\n")] for text in f.read().strip().split("\n\n")]


def parts(text):
    """A text of [word, tag] in pieces that fit, cut behind punctuation."""
    while len(text) > LONGEST - 2:
        ends = [i + 1 for i, (word, _) in enumerate(text[:LONGEST - 2]) if unicodedata.category(word[0])[0] == "P"]
        cut = ends[-1] if ends else LONGEST - 2
        yield text[:cut]
        text = text[cut:]
    yield text


def prepare_data(o, name):
    """The file's texts in pieces, and the file that Quern reads."""
    texts = [part for text in read(os.path.join(o.data, name)) for part in parts(text)]
    path = os.path.join(o.place, name)
    with open(path, "w", encoding="utf-8") as f:
        f.write("".join("".join(f"{word} {tag}\n" for word, tag in text) + "\n" for text in texts))
    return texts, path


def pretrain(o):
    """A model of the training texts, from scratch, with wide first weights: so small a one begins to learn sooner with them, as in scripts/demo.sh."""
    words, text, config = os.path.join(o.place, "tokenizer"), os.path.join(o.data, "train.txt"), os.path.join(o.place, "config.json")
    with open(o.config) as f, open(config, "w") as wide:
        json.dump(dict(json.load(f), initializer_range=0.06), wide)
    run(o, "tokenizer", "train", "--vocab-size", o.vocab_size, "--limit-alphabet", 0, "--output-dir", words, text, capture_output=True)
    run(o, "pretrain", "--objective", "mlm", "--model", config, "--tokenizer", words, "--max-seq-length", LONGEST, "--num-train-epochs", o.pretrain_epochs,
        "--learning-rate", 1.5e-3, "--batch-tokens", 1024, "--mlm-probability", 0.3, "--dropout", 0, "--dtype", o.pretrain_dtype, "--threads", o.threads,
        "--output-dir", o.model, "--overwrite", "--quiet", text, capture_output=True)


def finetune(o, model, output, *options):
    dropout = [] if o.dropout is None else ["--dropout", o.dropout]
    run(o, "finetune", "--task", "tag", "--model", model, "--train-file", o.train_file, "--batch-size", 0, "--batch-tokens", o.batch_tokens,
        "--group-by-length", "--max-seq-length", LONGEST, "--seed", o.seed, "--threads", o.threads, *dropout, *options, "--output-dir", output,
        "--overwrite", "--quiet", capture_output=True)


def quern(o):
    finetune(o, o.start, o.output, "--learning-rate", o.learning_rate, "--max-steps", o.steps, "--logging-steps", 1, "--save-steps", o.steps)
    with open(os.path.join(o.output, "log.jsonl")) as f:
        last = [e for e in map(json.loads, f) if e["event"] == "train"][-1]
    return last["seconds"], last["loss"]


def open_peer(folder, **options):
    from transformers import AutoModelForTokenClassification, AutoTokenizer
    return AutoModelForTokenClassification.from_pretrained(folder, **options), AutoTokenizer.from_pretrained(folder)


def encode(tokenizer, texts):
    """Of each text the token ids, and where its words begin in them."""
    for text in texts:
        e = tokenizer([word for word, _ in text], is_split_into_words=True)
        words = e.word_ids()
        begins = [i for i, w in enumerate(words) if w is not None and words[i - 1] != w]
        if len(begins) != len(text):
            raise SystemExit(f"of {len(text)} words {len(begins)} have tokens (expected all)")
        yield e["input_ids"], begins


def peer(o):
    import torch
    from peer_translate import batches, padded
    torch.set_num_threads(o.threads)
    torch.set_flush_denormal(True)
    torch.manual_seed(o.seed)
    model, tokenizer = open_peer(o.start, **({} if o.dropout is None else dict(hidden_dropout_prob=o.dropout, attention_probs_dropout_prob=o.dropout)))
    ids, labels = [], []
    for text, (row, begins) in zip(o.train, encode(tokenizer, o.train)):
        ids.append(row)
        labels.append([-100] * len(row))
        for at, (_, tag) in zip(begins, text):
            labels[-1][at] = model.config.label2id[tag]
    if max(map(len, ids)) > LONGEST:
        raise SystemExit(f"a text has {max(map(len, ids))} tokens (expected at most {LONGEST})")
    source, inputs = batches([len(row) for row in ids], o.batch_tokens, o.seed, True), []
    for batch in itertools.islice(source, o.steps):
        x = padded([ids[i] for i in batch], tokenizer.pad_token_id)
        inputs.append(dict(input_ids=x, attention_mask=(x != tokenizer.pad_token_id).long(), labels=padded([labels[i] for i in batch], -100)))
    model.train()
    seconds, losses = train(o, model, inputs, lambda batch: model(**batch).loss, beta2=0.999)
    model.save_pretrained(o.output)
    tokenizer.save_pretrained(o.output)
    return seconds, losses[-1]


def measure(o, folder):
    """F1 in percent by seqeval over transformers' outputs, and by Quern."""
    import torch
    from peer_translate import padded
    from seqeval.metrics import f1_score
    torch.set_num_threads(o.threads)
    model, tokenizer = open_peer(folder)
    model.eval()
    rows, found = list(encode(tokenizer, o.test)), [None] * len(o.test)
    order = sorted(range(len(rows)), key=lambda i: len(rows[i][0]))
    for at in range(0, len(order), 32):
        batch = order[at:at + 32]
        x = padded([rows[i][0] for i in batch], tokenizer.pad_token_id)
        with torch.inference_mode():
            best = model(input_ids=x, attention_mask=(x != tokenizer.pad_token_id).long()).logits.argmax(-1).tolist()
        for i, tags in zip(batch, best):
            found[i] = [model.config.id2label[tags[t]] for t in rows[i][1]]
    theirs = f1_score([[tag for _, tag in text] for text in o.test], found)
    ours = json.loads(run(o, "eval", "--model", folder, "--data", o.test_file, capture_output=True).stdout)["f1"]
    return 100 * theirs, 100 * ours


def compare(o):
    """F1 by name, of one seed."""
    results = {}
    o.start = os.path.join(o.place, f"start-{o.seed}")
    finetune(o, o.model, o.start, "--learning-rate", 0, "--max-steps", 1)  # the head's first weights
    for name, trained in (("quern", quern), ("peer", peer)):
        if o.only not in (None, name):
            continue
        o.output = os.path.join(o.place, f"{name}-{o.seed}")
        seconds, loss = trained(o)
        theirs, ours = measure(o, o.output)
        results[name] = theirs
        print(f"seed {o.seed}, {name}: {o.steps} steps of {o.batch_tokens} tokens in {seconds:.1f} s, last loss {loss:.4f}, F1 {theirs:.2f} (quern eval {ours:.2f})",
              flush=True)
    return results


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    for name in ("quern", "data"):
        a.add_argument("--" + name, required=True)
    a.add_argument("--config", default=os.path.join(here, "..", "examples", "tiny.json"))
    a.add_argument("--vocab-size", type=int, default=8192)
    a.add_argument("--pretrain-epochs", type=float, default=3)
    a.add_argument("--pretrain-dtype", choices=["f32", "bf16"], default="f32")
    a.add_argument("--seeds", default="0,1,2")
    a.add_argument("--steps", type=int, default=800)
    a.add_argument("--batch-tokens", type=int, default=1024)
    a.add_argument("--learning-rate", type=float, default=1e-3)
    a.add_argument("--dropout", type=float, help="instead of config.json's")
    a.add_argument("--threads", type=int, default=os.cpu_count())
    a.add_argument("--only", choices=["quern", "peer"])
    a.add_argument("--output-dir", help="keep the models there; a pre-trained one that is there is used again")
    o = a.parse_args()
    with tempfile.TemporaryDirectory() as place:
        o.place = o.output_dir or place
        os.makedirs(o.place, exist_ok=True)
        o.model = os.path.join(o.place, "pretrained")
        if not os.path.exists(os.path.join(o.model, "model.safetensors")):
            pretrain(o)
        (o.train, o.train_file), (o.test, o.test_file) = prepare_data(o, "train.conll"), prepare_data(o, "test.conll")
        print(f"{len(o.train)} texts to train on, {len(o.test)} to measure", flush=True)
        results = []
        for seed in o.seeds.split(","):
            o.seed = int(seed)
            results.append(compare(o))
        for name in results[0]:
            values = [result[name] for result in results]
            print(f"{name}: mean F1 {statistics.mean(values):.2f}, from {min(values):.2f} to {max(values):.2f}")


if __name__ == "__main__":
    main()
