#!/usr/bin/env bash
# torchdata 0.11.0: StatefulDataLoader keeps how many batches a batch sampler gave, not in which order.
#
# A batch sampler of one's own that shuffles anew in each iteration is begun anew after
# load_state_dict, and as many batches are left out as were given before. Where the order is
# another one by then, some data come twice in the epoch, and others never. A batch sampler that
# has state_dict and load_state_dict of its own is asked for its state instead. Output:
#
#   batches before      [[4, 5], [6, 7], [8, 9]]
#   batches after       [[4, 5], [2, 3]]
#   never               [0, 1]
#
# Ends with 0 as long as it is so, else with 1.
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
python3 -m venv venv
venv/bin/pip install --quiet torch==2.13.0 torchdata==0.11.0 numpy==2.4.6
venv/bin/python - 2>/dev/null <<'PYTHON'
import random
import sys
from itertools import islice

from torchdata.stateful_dataloader import StatefulDataLoader


class Shuffled:
    """Five batches of two, in another order each time."""

    def __init__(self, seed):
        self._random = random.Random(seed)

    def __iter__(self):
        batches = [[2 * i, 2 * i + 1] for i in range(5)]
        self._random.shuffle(batches)
        return iter(batches)


def loader(seed):
    return StatefulDataLoader(range(10), batch_sampler=Shuffled(seed), collate_fn=list)


first = loader(1)
before = list(islice(first, 3))
resumed = loader(2)
resumed.load_state_dict(first.state_dict())
after = list(resumed)
never = sorted({*range(10)} - {*sum(before + after, [])})
print("batches before     ", before)
print("batches after      ", after)
print("never              ", never)
sys.exit(not never)
PYTHON
