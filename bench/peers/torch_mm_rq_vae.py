#!/usr/bin/env python3
"""Trains MM-RQ-VAE with PyTorch as bench/MmeSid.Bench trains ours, and prints one JSON line per variant.

usage: torch_mm_rq_vae.py JOB      (a JSON object; bench/MmeSid.Bench writes it)

  {"tables": [e_1.npy, ...], "width": 256, "batch": 1024, "levels": 4, "codes": 256, "hidden": 3, "steps": 20, "threads": [1, 2],
   "variant": "gram", "memory": 8e9}

The model and the step of src/MmeSid.Training/Quantization, written as PyTorch users write them: one RQ-VAE per table (encoder d > w > w > w > w, decoder
mirrored, ReLU), residual quantization by argmin of a table of distances with the straight-through estimator, the last level balanced over the batch by Sinkhorn
in float64, losses 3 MMD + L_rq + 0.01 InfoNCE to the first table, AdamW. MMD is in Gram form and differentiated by autograd (variant gram), or over all
differences of pairs as the method's released code has it (variant pairs): (2B)^2 d floats, run only where twice that fits the given memory.

Codewords are drawn at random: where they lie changes no cost. Of the thread counts the one that is fastest over a few steps is taken. Rows are already in memory;
every step draws a batch of a shuffled order. "seconds" has the time of each step; peak_bytes is the most that this process had resident, Python included.
"""
import json
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import torch_step

SINKHORN_EPSILON = 0.003
SINKHORN_ITERATIONS = 50
COMMITMENT = 0.01
TEMPERATURE = 0.1


def coder(inputs, width, outputs, hidden):
    sizes = [inputs] + [width] * hidden + [outputs]
    layers = []
    for first, second in zip(sizes, sizes[1:]):
        if layers:
            layers.append(nn.ReLU())
        layer = nn.Linear(first, second)
        nn.init.xavier_normal_(layer.weight)
        nn.init.zeros_(layer.bias)
        layers.append(layer)
    return nn.Sequential(*layers)


@torch.no_grad()
def sinkhorn(distances):
    """Codes that use every code about equally, [n]."""
    cost = distances.double()
    exponents = cost.amin(dim=1, keepdim=True) - cost
    half = (cost.max() - cost.min()).item() / 2
    affinity = exponents.div_((half or 1) * SINKHORN_EPSILON).exp_()
    rows, codes = affinity.shape
    transposed = affinity.t()
    v = torch.ones(codes, dtype=torch.float64)
    for _ in range(SINKHORN_ITERATIONS):
        u = affinity.mv(v).mul_(rows).reciprocal_()
        v = transposed.mv(u).mul_(codes).reciprocal_()
    return affinity.mul_(v).argmax(dim=1)


class RqVae(nn.Module):
    def __init__(self, dimension, job):
        super().__init__()
        width = job["width"]
        self.encoder = coder(dimension, width, width, job["hidden"])
        self.decoder = coder(width, width, dimension, job["hidden"])
        self.codebooks = nn.ParameterList([nn.Parameter(torch.randn(job["codes"], width) * 0.5) for _ in range(job["levels"])])

    def forward(self, rows):
        """Quantized rows (straight-through), reconstruction, L_rq."""
        encoded = self.encoder(rows)
        residual, total, loss = encoded, torch.zeros_like(encoded), 0
        for level, codebook in enumerate(self.codebooks):
            with torch.no_grad():
                # Of a row's distances its own norm changes no argmin; Sinkhorn scales by all of them.
                scores = torch.addmm(codebook.square().sum(dim=1), residual, codebook.t(), alpha=-2)
                last = level == len(self.codebooks) - 1
                codes = sinkhorn(scores.add_(residual.square().sum(dim=1, keepdim=True))) if last else scores.argmin(dim=1)
            word = functional.embedding(codes, codebook)
            loss = loss + functional.mse_loss(word, residual.detach()) + COMMITMENT * functional.mse_loss(residual, word.detach())
            total = total + word.detach()
            residual = residual - word
        quantized = encoded + (total - encoded).detach()
        return quantized, self.decoder(quantized), loss / len(self.codebooks)


def mmd(source, target, across):
    """From the kernel's values among reconstructions, among rows, and between them."""
    count = len(source)
    return (source.sum() + target.sum() - 2 * count) / (count * (count - 1)) - 2 * across.sum() / count**2 + 2 / (count - 1)


def mmd_gram(reconstruction, rows):
    """exp(-d^2 / mean d^2) from products of the centred points; what does not depend on the reconstruction is kept out of the graph."""
    with torch.no_grad():
        points = torch.cat([reconstruction, rows])
        middle = points.mean(dim=0, keepdim=True)
        # The points' mean is zero now, so that the mean over all pairs is twice the mean square.
        scale = (2 * (points - middle).square().sum(dim=1).mean()).rsqrt()
    source, target = (reconstruction - middle) * scale, (rows - middle) * scale
    source_squares, target_squares = source.square().sum(dim=1), target.square().sum(dim=1)

    def kernel(x, y, x_squares, y_squares):
        return torch.addmm(-y_squares, x, y.t(), alpha=2).sub_(x_squares.unsqueeze(1)).exp_()

    with torch.no_grad():
        among_rows = kernel(target, target, target_squares, target_squares)
    return mmd(kernel(source, source, source_squares, source_squares), among_rows, kernel(source, target, source_squares, target_squares))


def mmd_pairs(reconstruction, rows):
    points = torch.cat([reconstruction, rows])
    distances = (points.unsqueeze(0) - points.unsqueeze(1)).square().sum(dim=2)
    kernel, count = (-distances / distances.detach().mean()).exp(), len(rows)
    return mmd(kernel[:count, :count], kernel[count:, count:], kernel[:count, count:])


def info_nce(queries, positives):
    logits = functional.normalize(queries, dim=1).mm(functional.normalize(positives, dim=1).t()) / TEMPERATURE
    return functional.cross_entropy(logits, torch.arange(len(queries)))


class Training:
    def __init__(self, job):
        self.tables = [torch.from_numpy(np.load(path)) for path in job["tables"]]
        self.batch = job["batch"]
        self.mmd = {"gram": mmd_gram, "pairs": mmd_pairs}[job["variant"]]
        self.vaes = nn.ModuleList([RqVae(table.shape[1], job) for table in self.tables])
        # The optimizer's fastest form on this device: one call for all tensors.
        self.optimizer = torch.optim.AdamW(self.vaes.parameters(), lr=2e-4, weight_decay=1e-4, foreach=job.get("foreach", True))
        self.order, self.next = None, 0

    def rows(self):
        count = len(self.tables[0])
        if self.order is None or self.next + self.batch > count:
            self.order, self.next = torch.randperm(count), 0
        chosen = self.order[self.next : self.next + self.batch]
        self.next += self.batch
        return [table.index_select(0, chosen) for table in self.tables]

    def step(self):
        batches = self.rows()
        results = [vae(rows) for vae, rows in zip(self.vaes, batches)]
        loss = 0
        for (_, reconstruction, residual), rows in zip(results, batches):
            loss = loss + 3 * self.mmd(reconstruction, rows) + residual
        for quantized, _, _ in results[1:]:
            loss = loss + 0.01 * info_nce(results[0][0], quantized)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.item()


def fits(job):
    """Whether the differences of all pairs, and one more array of the kind, fit the memory."""
    dimension = max(np.load(path, mmap_mode="r").shape[1] for path in job["tables"])
    return job["variant"] != "pairs" or 4 * (2 * job["batch"]) ** 2 * dimension * 3 <= job["memory"]


if __name__ == "__main__":
    JOB = json.loads(sys.argv[1])
    if fits(JOB):
        torch_step.run(Training, JOB, "MMD in Gram form" if JOB["variant"] == "gram" else "MMD over all pairs")
