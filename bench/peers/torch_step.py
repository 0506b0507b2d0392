"""What the PyTorch peers share: how a training step is timed and what is printed of it."""
import json
import os
import sys
import time

import numpy as np
import torch

WARM_UP_STEPS = 3
PROBE_STEPS = 3


def seconds(training, steps):
    """Time of each of some steps."""
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        loss = training.step()
        times.append(time.perf_counter() - start)
        if not np.isfinite(loss):
            raise SystemExit(f"{os.path.basename(sys.argv[0])}: the loss is {loss}")
    return times


def peak_bytes():
    """Most that this process has had resident, as Linux counts it; 0 elsewhere."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except OSError:
        return 0


def run(make, job, variant):
    """Times the steps of what make(job) makes, with the thread count that is fastest over a few of them, and prints one JSON line."""
    torch.manual_seed(1)
    torch.set_flush_denormal(True)
    training = make(job)
    seconds(training, 1)
    best = None
    for threads in job["threads"]:
        torch.set_num_threads(threads)
        seconds(training, 1)
        taken = float(np.median(seconds(training, PROBE_STEPS)))
        if best is None or taken < best[0]:
            best = (taken, threads)
    torch.set_num_threads(best[1])
    seconds(training, WARM_UP_STEPS)
    times = seconds(training, job["steps"])
    print(json.dumps({
        "variant": variant, "library": f"torch {torch.__version__}", "blas": "CPU", "threads": best[1],
        "seconds": times, "differing": -1, "output": None, "peakBytes": peak_bytes(),
    }), flush=True)
