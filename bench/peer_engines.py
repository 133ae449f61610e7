"""One peer in a process of its own, so that thread pools and allocators do not disturb each other. bench/peers.py starts it:

    peer_engines.py prepare MODEL FOLDER                         writes the ONNX and CTranslate2 files into FOLDER
    peer_engines.py serve ENGINE DTYPE THREADS MODEL FOLDER      answers jobs, one JSON object a line, on standard output

Jobs: {"job": "rounds", "ids": FILE, "batches": [[...], ...]} times one pass over batches of row numbers, padded to their longest row;
{"job": "latency", "ids": FILE, "seconds": X} times calls with one row each; {"job": "vectors", "ids": FILE, "out": FILE.npy} writes the mean
of each row's vectors, of length one. FILE holds rows of token ids as JSON. Only the encoder's forward pass is timed: tokenization and
padding are done before, pooling is left out. That favours the peer: Quern's times have all of it."""
import ctypes
import json
import os
import signal
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
import numpy as np


def pad(rows):
    longest = max(len(row) for row in rows)
    ids, mask = np.zeros((len(rows), longest), np.int64), np.zeros((len(rows), longest), np.int64)
    for i, row in enumerate(rows):
        ids[i, : len(row)], mask[i, : len(row)] = row, 1
    return ids, mask


class Torch:
    """transformers on PyTorch, with its fused attention."""

    def __init__(self, dtype, threads, model, folder):
        import torch
        from transformers import AutoModel

        torch.set_num_threads(threads)
        torch.set_flush_denormal(True)
        self.torch = torch
        kind = {"f32": torch.float32, "bf16": torch.bfloat16}[dtype]
        self.model = AutoModel.from_pretrained(model, attn_implementation="sdpa", dtype=kind).eval()

    def prepare(self, ids, mask):
        return self.torch.from_numpy(ids), self.torch.from_numpy(mask)

    def run(self, batch):
        with self.torch.inference_mode():
            return self.model(input_ids=batch[0], attention_mask=batch[1]).last_hidden_state

    def array(self, output):
        return output.float().numpy()


class OnnxRuntime:
    """The graph after ONNX Runtime's own optimizer for BERT (fused attention, GELU and norms), which is what its authors recommend."""

    def __init__(self, dtype, threads, model, folder):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        path = os.path.join(folder, {"f32": "fused.onnx", "int8": "int8.onnx"}[dtype])
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def prepare(self, ids, mask):
        return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}

    def run(self, batch):
        return self.session.run(None, batch)[0]

    def array(self, output):
        return output


class OpenVino:
    def __init__(self, dtype, threads, model, folder):
        import openvino

        core = openvino.Core()
        options = {"INFERENCE_PRECISION_HINT": dtype, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY", "NUM_STREAMS": 1}
        self.request = core.compile_model(core.read_model(os.path.join(folder, "model.onnx")), "CPU", options).create_infer_request()

    def prepare(self, ids, mask):
        return [ids, mask, np.zeros_like(ids)]

    def run(self, batch):
        return self.request.infer(batch, share_inputs=True, share_outputs=True)[0]

    def array(self, output):
        return np.array(output)


class CTranslate2:
    def __init__(self, dtype, threads, model, folder):
        import ctranslate2

        kind = {"f32": "float32", "int8": "int8"}[dtype]
        self.encoder = ctranslate2.Encoder(os.path.join(folder, "ct2"), device="cpu", compute_type=kind, intra_threads=threads)

    def prepare(self, ids, mask):
        return [[int(i) for i in row[: int(m.sum())]] for row, m in zip(ids, mask)]

    def run(self, batch):
        return self.encoder.forward_batch(batch).last_hidden_state

    def array(self, output):
        return np.array(output)


ENGINES = {"PyTorch": Torch, "ONNX Runtime": OnnxRuntime, "OpenVINO": OpenVino, "CTranslate2": CTranslate2}


def prepare(model, folder):
    """The files that the engines read. Made in one process, which may use all of PyTorch."""
    import ctranslate2
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic
    from onnxruntime.transformers import optimizer
    from transformers import AutoModel

    path = {name: os.path.join(folder, name + ".onnx") for name in ("model", "fused", "int8")}
    bert = AutoModel.from_pretrained(model, attn_implementation="eager").eval()

    class Encoder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = bert

        def forward(self, ids, mask, types):
            return self.bert(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state

    names = ["input_ids", "attention_mask", "token_type_ids"]
    example = torch.ones(2, 8, dtype=torch.int64)
    with torch.no_grad():
        torch.onnx.export(Encoder(), (example, example, torch.zeros_like(example)), path["model"], input_names=names, output_names=["hidden"],
                          dynamic_axes={name: {0: "batch", 1: "length"} for name in names + ["hidden"]}, opset_version=17, dynamo=False)
    config = bert.config
    optimizer.optimize_model(path["model"], model_type="bert", num_heads=config.num_attention_heads,
                             hidden_size=config.hidden_size).save_model_to_file(path["fused"])
    quantize_dynamic(path["fused"], path["int8"], weight_type=QuantType.QInt8, per_channel=True, extra_options={"DefaultTensorType": 1})
    ctranslate2.converters.TransformersConverter(model).convert(os.path.join(folder, "ct2"), force=True)


class Server:
    def __init__(self, engine):
        self.engine = engine
        self.rows, self.batches = {}, {}

    def read(self, path):
        if path not in self.rows:
            with open(path, encoding="utf-8") as file:
                self.rows[path] = json.load(file)
        return self.rows[path]

    def padded(self, path, batches):
        """Batches as the engine takes them; kept, so that a later round does not pad again."""
        key = (path, json.dumps(batches))
        if key not in self.batches:
            rows = self.read(path)
            self.batches[key] = [self.engine.prepare(*pad([rows[i] for i in batch])) for batch in batches]
        return self.batches[key]

    def rounds(self, job):
        batches = self.padded(job["ids"], job["batches"])
        first = not job.get("warm", False)
        for batch in batches if first else batches[:: max(1, len(batches) // 2)]:  # memory of every shape is taken before anything is timed
            self.engine.run(batch)
        start = time.perf_counter()
        for batch in batches:
            self.engine.run(batch)
        return {"seconds": time.perf_counter() - start}

    def latency(self, job):
        batches = self.padded(job["ids"], [[i] for i in range(len(self.read(job["ids"])))])
        times, spent, k = [], 0.0, 0
        end_of_warming = time.perf_counter() + job["seconds"] / 10
        while time.perf_counter() < end_of_warming or k < 3:
            self.engine.run(batches[k % len(batches)])
            k += 1
        while spent < job["seconds"] or len(times) < 20:
            start = time.perf_counter()
            self.engine.run(batches[len(times) % len(batches)])
            times.append(time.perf_counter() - start)
            spent += times[-1]
        times.sort()
        return {"median": times[len(times) // 2], "p95": times[len(times) * 95 // 100], "best": times[0], "calls": len(times)}

    def vectors(self, job):
        rows, result = self.read(job["ids"]), []
        for at in range(0, len(rows), 8):
            part = rows[at : at + 8]
            ids, mask = pad(part)
            hidden = self.engine.array(self.engine.run(self.engine.prepare(ids, mask)))
            for vectors, row in zip(hidden, part):
                mean = vectors[: len(row)].mean(0)
                result.append(mean / max(np.linalg.norm(mean), 1e-12))
        np.save(job["out"], np.array(result, np.float32))
        return {"texts": len(rows)}


def serve(name, dtype, threads, model, folder):
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: a stopped process would outlive a driver that is killed
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not stand among the answers
    try:
        server = Server(ENGINES[name](dtype, int(threads), model, folder))
        answer = {"ready": True}
    except Exception as error:  # a dtype that this CPU lacks, a package that is missing: the driver says so and goes on
        server, answer = None, {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer), file=answers, flush=True)
    for line in sys.stdin if server else []:
        job = json.loads(line)
        try:
            answer = getattr(server, job["job"])(job)
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "prepare":
        prepare(*sys.argv[2:])
    else:
        serve(*sys.argv[2:])
