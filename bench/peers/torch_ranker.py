#!/usr/bin/env python3
"""Trains DIN or MCCA with PyTorch as bench/MmeSid.Bench trains ours, and prints one JSON line.

usage: torch_ranker.py JOB      (a JSON object; bench/MmeSid.Bench writes it)

  {"sequences": "S.txt", "sets": [codes.npy, ...], "queries": [0, 1, 2], "targets": [2], "dimension": 64, "activationWidth": 64, "hidden": [200, 80], "history": 20,
   "codes": 128, "batch": 512, "negatives": 1, "steps": 30, "threads": [1, 2]}

The model and the step of src/MmeSid.Training/Ranking, written as PyTorch users write them: an embedding of the items and one per level of each set of codes, histories padded to the same length,
an activation unit over [e_j ; query] of every place, masked and summed, an MLP, binary cross-entropy, Adam. "sets" are int64 [items, levels], "queries" says which set's target each set is weighed
against, "targets" which sets' targets the MLP sees beside the item's own. Sequences are lines 'user item item ...', items numbered from 1.

All samples of an epoch are made before the clock starts: every event but the first with the events before it, and as many items drawn at random. Of the thread counts the one that is fastest over a
few steps is taken. "seconds" has the time of each step; peak_bytes is the most that this process had resident, Python included.
"""
import json
import sys

import numpy as np
import torch
from torch import nn
from torch.nn import functional

import torch_step


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


class Training:
    def __init__(self, job):
        histories, targets, labels = [], [], []
        generator = np.random.default_rng(1)
        with open(job["sequences"]) as lines:
            users = [[int(item) for item in line.split()[1:]] for line in lines]
        items = max(max(user) for user in users)
        for user in users:
            for place in range(1, len(user)):
                history = user[max(0, place - job["history"]) : place]
                padded = history + [0] * (job["history"] - len(history))
                for label in [1] + [0] * job["negatives"]:
                    histories.append(padded)
                    targets.append(user[place] if label else int(generator.integers(1, items + 1)))
                    labels.append(label)
        self.histories, self.targets, self.labels = torch.tensor(histories), torch.tensor(targets), torch.tensor(labels, dtype=torch.float32)
        self.batch = job["batch"]
        self.model = Ranker(job, items)
        # The optimizer's fastest form on this device: one call for all tensors.
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, foreach=True)
        self.order, self.next = None, 0

    def step(self):
        if self.order is None or self.next + self.batch > len(self.order):
            self.order, self.next = torch.randperm(len(self.targets)), 0
        chosen = self.order[self.next : self.next + self.batch]
        self.next += self.batch
        logits = self.model(self.histories.index_select(0, chosen), self.targets.index_select(0, chosen))
        loss = functional.binary_cross_entropy_with_logits(logits, self.labels.index_select(0, chosen))
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        return loss.item()


if __name__ == "__main__":
    torch_step.run(Training, json.loads(sys.argv[1]), "padded histories")
