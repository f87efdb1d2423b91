"""Fill one part of a store, as a task of an array of SLURM jobs does; `slurm_array.sh` sends it.

Without SLURM, all parts are filled here, one after the other, and joined.
"""

import os
import sys
import tempfile

import numpy as np

import ptrarray

N_RECORDINGS = 500


def load_features(seed: int) -> np.ndarray:
    """Stand in for reading and transforming one recording: (n_frames, 4)."""
    random = np.random.default_rng(seed)
    return random.standard_normal((random.integers(0, 200), 4), dtype="f4")


def fill_part(path: str, number: int, n_parts: int) -> None:
    """Write every n-th array; go on where a task that was killed or requeued has stopped."""
    with ptrarray.part(path, key=str(number), dtype="f4", row_shape=(4,)) as part:
        for seed in range(number, N_RECORDINGS, n_parts):
            if f"utt{seed}" not in part:
                part[f"utt{seed}"] = load_features(seed)


if "SLURM_ARRAY_TASK_ID" in os.environ:
    number, n_parts = (int(os.environ[f"SLURM_ARRAY_TASK_{what}"]) for what in ("ID", "COUNT"))
    sys.exit(fill_part(sys.argv[1], number, n_parts))

with tempfile.TemporaryDirectory() as folder:
    for number in range(4):
        fill_part(f"{folder}/features.ptr", number, 4)
    ptrarray.join(f"{folder}/features.ptr", progress=False)
    with ptrarray.open(f"{folder}/features.ptr") as store:
        assert len(store) == N_RECORDINGS
