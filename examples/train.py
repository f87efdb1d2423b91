"""Train a model on arrays of different lengths, in two runs that end with the weights of one."""

import tempfile
from pathlib import Path

import numpy as np
import torch

import ptrarray
from ptrarray.torch import Arrays, LengthBatches, padded


class Recordings(Arrays):
    """Arrays with the labels that their metadata have."""

    def __init__(self, store):
        super().__init__(store)
        self.labels = np.array([store.meta[name]["label"] for name in store])

    def __getitems__(self, positions):
        return super().__getitems__(positions), self.labels[positions]


def collate(batch):
    """Pad the arrays of a batch; their labels go along."""
    return *padded(fill=0)(batch[0]), torch.from_numpy(batch[1])


def train(path, checkpoint, n_steps):
    """Go on where a checkpoint is, up to a step."""
    torch.manual_seed(0)
    model, data = torch.nn.Linear(4, 2), Recordings(ptrarray.open(path))
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    batches = data.batches(LengthBatches(data.lengths, rows=500, seed=1), collate)
    parts, done = (model, optimizer, batches), 0
    if checkpoint.exists():
        done, states = torch.load(checkpoint)
        for part, state in zip(parts, states, strict=True):
            part.load_state_dict(state)
    while True:  # epoch after epoch; a thread is ahead, and `batches` knows what was handed out
        for values, lengths, _, labels in batches:
            optimizer.zero_grad()
            found = model(values.sum(1) / lengths[:, None])
            torch.nn.functional.cross_entropy(found, labels).backward()
            optimizer.step()
            done += 1
            if done == n_steps:
                torch.save((done, [part.state_dict() for part in parts]), checkpoint)
                return model.weight


with tempfile.TemporaryDirectory() as folder:
    path, parts, whole = (Path(folder) / name for name in ("a.ptr", "parts.pt", "whole.pt"))
    with ptrarray.create(path, dtype="f4", row_shape=(4,)) as writer:
        for i in range(200):
            recording = np.random.default_rng(i).normal(i % 2, size=(1 + i % 50, 4))
            writer.write({f"r{i}": recording}, meta={f"r{i}": {"label": i % 2}})
    train(path, parts, 25)
    assert torch.equal(train(path, parts, 60), train(path, whole, 60))
