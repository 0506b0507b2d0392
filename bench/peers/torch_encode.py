#!/usr/bin/env python3
"""Times PyTorch on the files of one bench job, rows on the GPU, and prints one JSON line per variant.

usage: torch_encode.py JOB      (a JSON object; bench/MmeSid.Bench writes it)

  {"operation": "rq", "rows": x.npy, "codebooks": [c0.npy, ...], "codes": ours.npy, "runs": 5, "device": "cuda"}

Residual quantization as PyTorch users write it, with OUR codebooks: per level one product of all rows with all codewords with the squared
norms added (addmm), the smallest per row (argmin), and the chosen codewords subtracted from the rows (gather). Variants: in full fp32, with
TF32 products, and both compiled. Each goes through the rows in the chunks that were fastest on a part of them: one product of all rows would
take n x K floats. Rows, codebooks and results stay on the device; a variant that fails says so on stderr and is left out.
"""
import json
import sys
import time

import numpy as np
import torch

CHUNKS = (16384, 65536, 262144)
PROBE_ROWS = 262144
MOST_SECONDS = 20


def encode_chunk(rows, codebooks, norms):
    """[n, L] codes of a chunk."""
    residuals, codes = rows, []
    for codebook, norm in zip(codebooks, norms):
        scores = torch.addmm(norm, residuals, codebook.t(), beta=1, alpha=-2)
        code = torch.argmin(scores, dim=1)
        residuals = residuals - codebook[code]
        codes.append(code)
    return torch.stack(codes, dim=1)


def encode(step, rows, codebooks, norms, chunk, out):
    for first in range(0, len(rows), chunk):
        out[first : first + chunk] = step(rows[first : first + chunk], codebooks, norms)


class Clock:
    """Seconds of work on the device, by its own events where it has them."""

    def __init__(self, device):
        self.cuda = device.type == "cuda"

    def seconds(self, work):
        if not self.cuda:
            start = time.perf_counter()
            work()
            return time.perf_counter() - start
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        work()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1000


def timed(clock, work, runs):
    """Seconds of each run; fewer where another one would exceed MOST_SECONDS in all."""
    times = []
    while not times or (len(times) < runs and sum(times) + times[-1] < MOST_SECONDS):
        times.append(clock.seconds(work))
    return times


def fastest_chunk(clock, step, rows, codebooks, norms, out):
    """The chunk that takes a part of the rows fastest; each is warmed up, and compiled, first. Chunks that do not fit are passed over."""
    probe, best = rows[:PROBE_ROWS], None
    for chunk in sorted({min(chunk, len(probe)) for chunk in CHUNKS}):
        # Whole chunks only: a compiled step is compiled for one shape.
        part = probe[: len(probe) // chunk * chunk]
        try:
            encode(step, part, codebooks, norms, chunk, out)
            taken = min(clock.seconds(lambda: encode(step, part, codebooks, norms, chunk, out)) for _ in range(3)) / len(part)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            continue
        if best is None or taken < best[0]:
            best = (taken, chunk)
    if best is None:
        raise MemoryError("no chunk fits the device")
    return best[1]


def main(job):
    if job["operation"] != "rq":
        raise SystemExit(f"there is no operation '{job['operation']}'; there is rq")
    device = torch.device(job.get("device", "cuda"))
    clock = Clock(device)
    rows = torch.from_numpy(np.load(job["rows"])).to(device)
    codebooks = [torch.from_numpy(np.load(path)).to(device) for path in job["codebooks"]]
    norms = [(codebook.double() ** 2).sum(dim=1).float() for codebook in codebooks]
    ours = torch.from_numpy(np.load(job["codes"]).astype(np.int64)).to(device)
    out = torch.empty((len(rows), len(codebooks)), dtype=torch.int64, device=device)
    name = torch.cuda.get_device_name(device) if clock.cuda else "CPU"
    for compiled in (False, True):
        for precision in ("fp32", "tf32"):
            torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")
            variant = f"{precision}, compiled" if compiled else precision
            try:
                if compiled:
                    torch.compiler.reset()
                step = torch.compile(encode_chunk, dynamic=False) if compiled else encode_chunk
                with torch.inference_mode():
                    chunk = fastest_chunk(clock, step, rows, codebooks, norms, out)
                    encode(step, rows, codebooks, norms, chunk, out)
                    times = timed(clock, lambda: encode(step, rows, codebooks, norms, chunk, out), job["runs"])
                    differing = int((out != ours).any(dim=1).sum())
            except Exception as error:  # a variant of a peer may fail in any way it likes
                print(f"torch_encode.py: {variant}: {type(error).__name__}: {error}", file=sys.stderr)
                continue
            print(json.dumps({
                "variant": f"{variant}, chunks of {chunk}", "library": f"torch {torch.__version__}", "blas": name, "threads": 0,
                "seconds": times, "differing": differing, "output": None,
            }), flush=True)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
