"""Trains an autoencoder of texts with Quern and with PyTorch + transformers: same first weights, token ids, noise, batches, learning rates, AdamW
and steps; prints how both restore held-out texts, measured by Quern, and the seconds of the training loops.

usage: peer_text_autoencoder.py --quern QUERN --train-file FILE --validation-file FILE [--config examples/tiny.json --vocab-size 8192 --latent 128]
                   [--steps 200 --batch-size 64 --learning-rate 1e-3 --warmup-ratio 0.06] [--threads N] [--only quern|peer] [--output-dir DIR]

Files have a text per line. --config is a BERT's, which becomes an autoencoder with a vector between, or a BART's. A tenth of the tokens is deleted;
the noise is drawn as Quern draws it (noise.py), before PyTorch's clock starts, as Quern makes it on a thread of its own. PyTorch's batches are padded
to their longest text, its attention is scaled_dot_product_attention, its AdamW fused. Dropout is 0."""
import argparse
import json
import os
import shutil
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
from noise import Noise
from peer_clm import batches, run, token_ids, train

LONGEST, DELETION = 160, 0.1


def options(o):
    kind = ["--noise-delete", DELETION] if o.encoder_decoder else ["--latent", o.latent]
    return ["--objective", "denoise", *kind, "--batch-size", o.batch_size, "--batch-tokens", 0, "--dropout", 0, "--max-seq-length", LONGEST,
            "--threads", o.threads, "--overwrite", "--quiet"]


def prepare(o):
    """The tokenizer of the training texts, and an autoencoder of random weights; of a BART with that tokenizer's ids."""
    with open(o.config) as f:
        config = json.load(f)
    config.update(vocab_size=o.vocab_size, pad_token_id=0)
    if o.encoder_decoder:
        config.update(bos_token_id=2, eos_token_id=3, decoder_start_token_id=3)
    named = os.path.join(o.place, "config.json")
    with open(named, "w") as f:
        json.dump(config, f)
    words = os.path.join(o.place, "tokenizer")
    run(o, "tokenizer", "train", "--vocab-size", o.vocab_size, "--output-dir", words, o.train_file, capture_output=True)
    run(o, "pretrain", *options(o), "--model", named, "--tokenizer", words, "--learning-rate", 0, "--warmup-ratio", 0, "--max-steps", 1, "--output-dir", o.start,
        o.train_file, capture_output=True)
    shutil.rmtree(os.path.join(o.start, "checkpoint-1"))


def quern(o):
    run(o, "pretrain", *options(o), "--model", o.start, "--learning-rate", o.learning_rate, "--warmup-ratio", o.warmup_ratio, "--max-steps", o.steps, "--logging-steps", 1, "--save-steps",
        o.steps, "--output-dir", o.output, o.train_file, capture_output=True)
    with open(os.path.join(o.output, "log.jsonl")) as f:
        trained = [e for e in map(json.loads, f) if e["event"] == "train"]
    return trained[-1]["seconds"], [e["loss"] for e in trained]


class Autoencoder:
    """An encoder, a vector, and a decoder that reads it alone."""

    def __init__(self, o):
        import torch
        from safetensors.torch import load_file
        from transformers import BertLMHeadModel, BertModel
        zero = dict(hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0)
        self.encoder = BertModel.from_pretrained(o.start, add_pooling_layer=False, **zero)
        self.decoder = BertLMHeadModel.from_pretrained(os.path.join(o.start, "decoder"), **zero)
        d = self.encoder.config.hidden_size
        self.linear, self.widen = torch.nn.Linear(d, o.latent), torch.nn.Linear(o.latent, d)
        self.linear.load_state_dict({n[len("linear."):]: t for n, t in load_file(os.path.join(o.start, "2_Dense", "model.safetensors")).items()})
        found = load_file(os.path.join(o.start, "decoder", "model.safetensors"))
        self.widen.load_state_dict({n: found["enc_to_dec_proj." + n] for n in ("weight", "bias")})
        self.parts = torch.nn.ModuleList([self.encoder, self.decoder, self.linear, self.widen]).train()

    def logits(self, source, mask, target):
        """Of the tokens behind the first, and which these are."""
        hidden = self.encoder(source, attention_mask=mask).last_hidden_state
        vectors = self.linear((hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        memory = self.widen(vectors)[:, None]
        return self.decoder(target[:, :-1], encoder_hidden_states=memory, use_cache=False).logits, target[:, 1:]

    def save(self, o):
        from safetensors.torch import load_file, save_file
        for part, path, prefix in ((self.encoder, "", ""), (self.linear, "2_Dense", "linear."), (self.decoder, "decoder", "")):
            known = load_file(os.path.join(o.start, path, "model.safetensors"))
            found = {prefix + n: p.detach().contiguous() for n, p in part.state_dict().items()}
            found.update({"enc_to_dec_proj." + n: p.detach() for n, p in self.widen.state_dict().items()})
            save_file({n: found[n] for n in known}, os.path.join(o.output, path, "model.safetensors"))


class EncoderDecoder:
    """BART: the decoder reads all tokens of the noisy text."""

    def __init__(self, o):
        from transformers import BartForConditionalGeneration
        self.parts = BartForConditionalGeneration.from_pretrained(o.start, dropout=0.0, attention_dropout=0.0, activation_dropout=0.0).train()
        self.first = self.parts.config.decoder_start_token_id

    def logits(self, source, mask, target):
        read = target.roll(1, 1)
        read[:, 0] = self.first
        return self.parts(input_ids=source, attention_mask=mask, decoder_input_ids=read, use_cache=False).logits, target

    def save(self, o):
        self.parts.save_pretrained(o.output)


def peer(o):
    import torch
    torch.set_num_threads(o.threads)
    torch.set_flush_denormal(True)
    known = EncoderDecoder(o) if o.encoder_decoder else Autoencoder(o)
    model, texts = known.parts, token_ids(o, o.train_file)
    if max(map(len, texts)) > LONGEST:
        raise SystemExit(f"a training text has {max(map(len, texts))} tokens (expected at most {LONGEST})")
    noise, seen, epoch, inputs = Noise({0, 2, 3, 4}, deletion=DELETION, max_length=LONGEST), set(), 0, []

    def padded(rows):
        out = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
        for k, row in enumerate(rows):
            out[k, :len(row)] = torch.tensor(row)
        return out

    for batch in batches(len(texts), o.batch_size, o.steps):
        if batch[0] in seen:
            epoch, seen = epoch + 1, set()
        seen.update(batch)
        source = padded([noise(texts[i], i, epoch) for i in batch])
        inputs.append((source, (source != 0).long(), padded([texts[i] for i in batch])))

    def loss(batch):
        logits, right = known.logits(*batch)
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1), right.flatten(), ignore_index=0)

    seconds, losses = train(o, model, inputs, loss, o.warmup_ratio)
    shutil.rmtree(o.output, ignore_errors=True)
    shutil.copytree(o.start, o.output)
    known.save(o)
    return seconds, losses


def measure(o, folder):
    out = run(o, "eval", "--task", "reconstruct", "--model", folder, "--format", "text", o.validation_file, capture_output=True).stdout
    return {k: v for k, v in json.loads(out).items() if k in ("loss", "accuracy", "exact_match", "token_accuracy", "bleu")}


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    for name in ("quern", "train-file", "validation-file"):
        a.add_argument("--" + name, required=True)
    a.add_argument("--config", default=os.path.join(here, "..", "examples", "tiny.json"))
    a.add_argument("--vocab-size", type=int, default=8192)
    a.add_argument("--latent", type=int, default=128)
    a.add_argument("--steps", type=int, default=200)
    a.add_argument("--batch-size", type=int, default=64)
    a.add_argument("--learning-rate", type=float, default=1e-3)
    a.add_argument("--warmup-ratio", type=float, default=0.06)
    a.add_argument("--threads", type=int, default=os.cpu_count())
    a.add_argument("--only", choices=["quern", "peer"])
    a.add_argument("--output-dir", help="keep the models there; a start that is there is used again")
    o = a.parse_args()
    with tempfile.TemporaryDirectory() as place:
        o.place = o.output_dir or place
        o.start, results = os.path.join(o.place, "start"), {}
        with open(o.config) as f:
            o.encoder_decoder = json.load(f)["model_type"] == "bart"
        if not os.path.exists(os.path.join(o.start, "model.safetensors")):
            prepare(o)
        for name, trained in (("quern", quern), ("peer", peer)):
            if o.only not in (None, name):
                continue
            o.output = os.path.join(o.place, name)
            seconds, losses = results[name] = trained(o)
            print(f"{name}: {o.steps} steps of {o.batch_size} texts in {seconds:.2f} s, losses {losses[0]:.5f} .. {losses[-1]:.5f}, "
                  f"{json.dumps(measure(o, o.output))}", flush=True)
        if len(results) == 2:
            (ours, x), (theirs, y) = results["quern"], results["peer"]
            print(f"quern is {theirs / ours:.2f} x as fast; losses differ by at most {max(abs(p - q) for p, q in zip(x, y)):.1e}")


if __name__ == "__main__":
    main()
