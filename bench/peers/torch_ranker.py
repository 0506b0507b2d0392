#!/usr/bin/env python3
"""Trains DIN or MCCA with PyTorch as bench/MmeSid.Bench trains ours, and prints one JSON line.

usage: torch_ranker.py JOB      (a JSON object; bench/MmeSid.Bench writes it)

  {"start": "folder", "sets": [codes.npy, ...], "names": ["text", ...], "queries": [0, 1, 2], "targets": [2], "dimension": 64, "activationWidth": 64, "hidden": [200, 80],
   "items": 3706, "codes": 128, "batch": 512, "steps": 30, "threads": [1, 2]}

The model and the step of src/MmeSid.Training/Ranking, written as PyTorch users write them: an embedding of the items and one per level of each set of codes, histories padded to the longest of the
batch, an activation unit over [e_j ; query] of every place, masked and summed, an MLP, binary cross-entropy, Adam. "sets" are int64 [items, levels], "queries" says which set's target each set is
weighed against, "targets" which sets' targets the MLP sees beside the item's own.

"start" has what ours starts from: samples.npy, int64 [n, 2 + history], the label, the target and the history of each sample of an epoch, items numbered from 1 and zeros behind a history; NAME.npy,
each weight by its name in ours; loss.npy and NAME.gradient.npy, loss and gradients of the first batch at these weights. They are computed here as well, in float64, and the script fails where they differ.
Of the thread counts the one that is fastest over a few steps is taken. "seconds" has the time of each step; peak_bytes is the most that this process had resident, Python included.
"""
import json
import os
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import torch_step

# Norm of the difference, of the norm. Ours are float32; PyTorch's of float32 can be forty times further off, where a unit at the kink of a ReLU falls to its other side.
MOST_DIFFERING = 1e-4


class Unit(nn.Module):
    """Sum of a history by the weights of its items."""

    def __init__(self, job):
        super().__init__()
        self.hidden = nn.Linear(2 * job["dimension"], job["activationWidth"])
        self.output = nn.Linear(job["activationWidth"], 1)

    def forward(self, history, query, mask):
        pairs = torch.cat([history, query.unsqueeze(1).expand_as(history)], dim=-1)
        weights = self.output(functional.relu(self.hidden(pairs))).squeeze(-1) * mask
        return torch.bmm(weights.unsqueeze(1), history).squeeze(1)


class Ranker(nn.Module):
    def __init__(self, job, items):
        super().__init__()
        dimension = job["dimension"]
        self.items = nn.Embedding(items + 1, dimension, padding_idx=0)
        self.queries, self.targets = job["queries"], job["targets"]
        self.levels = nn.ModuleList()
        for number, path in enumerate(job["sets"]):
            codes = torch.from_numpy(np.load(path))
            # Row 0 pads.
            self.register_buffer(f"codes{number}", torch.cat([torch.zeros(1, codes.shape[1], dtype=torch.int64), codes]))
            self.levels.append(nn.ModuleList([nn.Embedding(job["codes"], dimension) for _ in range(codes.shape[1])]))
        self.units = nn.ModuleList([Unit(job) for _ in range(len(self.levels) + 1)])
        widths = [(len(self.units) + 1 + len(self.targets)) * dimension] + job["hidden"]
        layers = []
        for first, second in zip(widths, widths[1:]):
            layers += [nn.Linear(first, second), nn.ReLU()]
        self.above = nn.Sequential(*layers, nn.Linear(widths[-1], 1))

    def embed(self, number, items):
        if number == len(self.levels):
            return self.items(items)
        codes = getattr(self, f"codes{number}")[items]
        return sum(table(codes[..., level]) for level, table in enumerate(self.levels[number]))

    def forward(self, history, target):
        mask = (history > 0).to(torch.float32)
        sets = range(len(self.levels) + 1)
        own = [self.embed(number, target) for number in sets]
        queries = list(self.queries) + [len(self.levels)]
        sums = [self.units[number](self.embed(number, history), own[queries[number]], mask) for number in sets]
        return self.above(torch.cat(sums + [own[-1]] + [own[number] for number in self.targets], dim=1)).squeeze(1)


    def parts(self, names):
        """Each weight of ours by its name, and the rows here that are its rows, one block below the other."""
        yield "items", [(self.items.weight, slice(1, None))]
        for name, tables in zip(names, self.levels):
            yield f"codes.{name}.table", [(table.weight, slice(None)) for table in tables]
        layers = [layer for layer in self.above if isinstance(layer, nn.Linear)]
        for kind, modules in [("units", self.units), ("layers", layers)]:
            for number, module in enumerate(modules):
                for name, parameter in module.named_parameters():
                    yield f"{kind}.{number}.{name}", [(parameter, slice(None))]


class Training:
    def __init__(self, job):
        samples = torch.from_numpy(np.load(os.path.join(job["start"], "samples.npy")))
        self.labels, self.targets, self.histories = samples[:, 0].to(torch.float32), samples[:, 1].clone(), samples[:, 2:].clone()
        self.lengths = (self.histories > 0).sum(1)
        self.batch = job["batch"]
        self.model = Ranker(job, job["items"])
        self.start_as_ours(job)
        # The optimizer's fastest form on this device: one call for all tensors.
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, foreach=True)
        self.order, self.next = None, 0

    def loss(self, chosen):
        histories = self.histories.index_select(0, chosen)[:, : self.lengths.index_select(0, chosen).max()]
        logits = self.model(histories, self.targets.index_select(0, chosen))
        return functional.binary_cross_entropy_with_logits(logits, self.labels.index_select(0, chosen).to(logits.dtype))

    def step(self):
        if self.order is None or self.next + self.batch > len(self.order):
            self.order, self.next = torch.randperm(len(self.targets)), 0
        chosen = self.order[self.next : self.next + self.batch]
        self.next += self.batch
        loss = self.loss(chosen)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def start_as_ours(self, job):
        """Takes the weights of ours, and fails unless loss and gradients of the first batch are the same."""

        def read(name):
            return torch.from_numpy(np.load(os.path.join(job["start"], f"{name}.npy")))

        def same(name, own, ours):
            differing = float((own - ours).norm() / ours.norm())
            if not differing < MOST_DIFFERING:
                raise SystemExit(f"torch_ranker.py: {name} differs from ours by {differing:.1e} of its norm, expected less than {MOST_DIFFERING}")

        with torch.no_grad():
            for name, parts in self.model.parts(job["names"]):
                for (parameter, rows), own in zip(parts, read(name).chunk(len(parts))):
                    parameter[rows].copy_(own)
        # In float64, so that what differs is ours alone.
        self.model.double()
        loss = self.loss(torch.arange(min(self.batch, len(self.targets))))
        loss.backward()
        same("the loss", loss.detach(), read("loss"))
        for name, parts in self.model.parts(job["names"]):
            same(f"the gradient of {name}", torch.cat([parameter.grad[rows] for parameter, rows in parts]), read(f"{name}.gradient"))
        self.model.zero_grad(set_to_none=True)
        self.model.float()


if __name__ == "__main__":
    torch_step.run(Training, json.loads(sys.argv[1]), "padded histories")
