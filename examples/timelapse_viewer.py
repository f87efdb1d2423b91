"""Watch a time-lapse that another process is still recording.

An open reader is a snapshot; `refresh` shows what was committed since. Frames are views: nothing is
copied, and those in hand stay what they are. ``ptrarray watch`` shows the growth in numbers.
"""

import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np

import ptrarray

N_FRAMES = 100


def record(path: Path) -> None:
    """Append one image after the other, with the time it was taken."""
    with ptrarray.append(path) as writer:
        for n in range(N_FRAMES):
            time.sleep(0.002)  # the exposure
            image = np.full((1, 64, 64), n)
            writer.write({f"frame{n}": image}, meta={f"frame{n}": {"time": time.time()}})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "lapse.ptr"
        ptrarray.create(path, dtype="f4", row_shape=(64, 64)).close()
        camera = multiprocessing.Process(target=record, args=(path,))
        camera.start()
        seen: list[float] = []
        with ptrarray.open(path) as store:
            is_over = False
            while not is_over:
                is_over = camera.exitcode is not None  # asked before: no frame is missed
                store.refresh()
                for name in store.names[len(seen) :]:
                    seen.append(store[name].mean())
                    print(f"{name}, {time.time() - store.meta[name]['time']:.4f} s old")
        assert seen == list(range(N_FRAMES))
