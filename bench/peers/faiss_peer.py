#!/usr/bin/env python3
"""Times FAISS on the files of one bench job and prints one JSON line per variant.

usage: faiss_peer.py JOB      (a JSON object; bench/MmeSid.Bench writes it)

  {"operation": "rq",     "rows": x.npy, "codebooks": [c0.npy, ...], "codes": ours.npy, "runs": 5}
      ResidualQuantizer.compute_codes, beam 1, with use_beam_LUT 0 and 1, with OUR codebooks: both sides do the same work.
  {"operation": "flat",   "rows": x.npy, "codebooks": [c.npy],       "codes": ours.npy, "runs": 5}
      IndexFlatL2.search, k = 1, over the codewords.
  {"operation": "top",    "rows": q.npy, "items": x.npy, "indices": ours.npy, "runs": 5}
      IndexFlatIP.search of the queries over the items, k as ours.
  {"operation": "kmeans", "rows": x.npy, "codes": K, "iterations": 20, "seeds": [1, 2, 3], "output": prefix}
      Kmeans.train over all rows; the centroids of seed s are written to <prefix>s.npy. With BLAS as it comes only the first seed:
      the objective is the same and it takes minutes.

Of the thread counts 1 and all, each variant takes the one that is faster on a part of the rows; only that one is timed in full.
Tables and indexes are built before the clock starts, as ours are. Runs stop early where another one would exceed 30 seconds in all.
"""
import ctypes
import json
import os
import re
import sys
import time

import faiss
import numpy as np

MOST_SECONDS = 30
PROBE_ROWS = 16384
PROBE_QUERIES = 64


def openblas():
    """The loaded OpenBLAS, found among this process's own mappings; None when FAISS runs on another BLAS."""
    with open("/proc/self/maps") as maps:
        for path in sorted(set(re.findall(r"/\S*openblas\S*", maps.read()))):
            library = ctypes.CDLL(path)
            if hasattr(library, "openblas_set_num_threads"):
                return library
    return None


BLAS = openblas()


def blas_name():
    if BLAS is None:
        return "reference BLAS"
    BLAS.openblas_get_config.restype = ctypes.c_char_p
    BLAS.openblas_get_corename.restype = ctypes.c_char_p
    version = BLAS.openblas_get_config().decode().split()[1]
    build = {0: "sequential", 1: "pthread", 2: "openmp"}[BLAS.openblas_get_parallel()]
    core = BLAS.openblas_get_corename().decode()
    told = " (told)" if "OPENBLAS_CORETYPE" in os.environ else ""
    return f"OpenBLAS {version} {build}, {core}{told}"


def use_threads(count):
    faiss.omp_set_num_threads(count)
    if BLAS is not None:
        BLAS.openblas_set_num_threads(count)


def fastest_threads(probe):
    """Thread count, of 1 and all, that runs the probe faster; each is warmed up first."""
    best = None
    for count in sorted({1, os.cpu_count()}):
        use_threads(count)
        probe()
        taken = min(timed(probe, 2)[0])
        if best is None or taken < best[0]:
            best = (taken, count)
    use_threads(best[1])
    return best[1]


def timed(work, runs):
    """Seconds of each run, and what the last one returned."""
    times = []
    while not times or (len(times) < runs and sum(times) + times[-1] < MOST_SECONDS):
        start = time.perf_counter()
        result = work()
        times.append(time.perf_counter() - start)
    return times, result


def report(variant, threads, times, differing=-1, output=None):
    print(json.dumps({
        "variant": variant, "library": f"faiss {faiss.__version__}", "blas": blas_name(), "threads": threads,
        "seconds": times, "differing": int(differing), "output": output,
    }), flush=True)


def unpack(packed, levels, bits):
    """[n, bytes] -> [n, levels]: FAISS writes the codes of a row one after the other, lowest bit first."""
    ones = np.unpackbits(packed, axis=1, bitorder="little")[:, : levels * bits].reshape(len(packed), levels, bits)
    return (ones.astype(np.uint32) << np.arange(bits, dtype=np.uint32)).sum(axis=2)


def residual_quantizer(job, rows):
    codebooks = [np.load(path) for path in job["codebooks"]]
    ours = np.load(job["codes"])
    levels, codes = len(codebooks), len(codebooks[0])
    bits = codes.bit_length() - 1
    for lut in (0, 1):
        quantizer = faiss.ResidualQuantizer(rows.shape[1], levels, bits)
        quantizer.max_beam_size = 1
        quantizer.use_beam_LUT = lut
        faiss.copy_array_to_vector(np.concatenate(codebooks).ravel(), quantizer.codebooks)
        quantizer.is_trained = True
        quantizer.compute_codebook_tables()
        threads = fastest_threads(lambda: quantizer.compute_codes(rows[:PROBE_ROWS]))
        times, packed = timed(lambda: quantizer.compute_codes(rows), job["runs"])
        differing = np.any(unpack(packed, levels, bits) != ours, axis=1).sum()
        report(f"ResidualQuantizer use_beam_LUT={lut}", threads, times, differing)


def flat(job, rows):
    index = faiss.IndexFlatL2(rows.shape[1])
    index.add(np.load(job["codebooks"][0]))
    ours = np.load(job["codes"]).ravel()
    threads = fastest_threads(lambda: index.search(rows[:PROBE_ROWS], 1))
    times, (_, nearest) = timed(lambda: index.search(rows, 1), job["runs"])
    report("IndexFlatL2", threads, times, (nearest.ravel() != ours).sum())


def top(job, rows):
    items = np.load(job["items"])
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items)
    ours = np.load(job["indices"])
    count = ours.shape[1]
    threads = fastest_threads(lambda: index.search(rows[:PROBE_QUERIES], count))
    times, (_, best) = timed(lambda: index.search(rows, count), job["runs"])
    report("IndexFlatIP", threads, times, np.any(best != ours, axis=1).sum())


def kmeans(job, rows):
    def clustering(iterations, seed):
        return faiss.Kmeans(rows.shape[1], job["codes"], niter=iterations, seed=seed, max_points_per_centroid=len(rows))

    threads = fastest_threads(lambda: clustering(1, 1).train(rows))
    for seed in job["seeds"] if "OPENBLAS_CORETYPE" in os.environ else job["seeds"][:1]:
        trained = clustering(job["iterations"], seed)
        times, _ = timed(lambda: trained.train(rows), 1)
        path = f"{job['output']}{seed}.npy"
        np.save(path, trained.centroids)
        report(f"Kmeans seed {seed}", threads, times, output=path)


if __name__ == "__main__":
    JOB = json.loads(sys.argv[1])
    ROWS = np.load(JOB["rows"])
    {"rq": residual_quantizer, "flat": flat, "top": top, "kmeans": kmeans}[JOB["operation"]](JOB, ROWS)
