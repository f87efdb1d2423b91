"""Watch a time-lapse that another process is still recording.

`refresh` shows what was committed since; frames are views, and nothing is copied. From a shell,
``ptrarray watch`` shows the growth in numbers.
"""

import multiprocessing
import tempfile
import time

import numpy as np

import ptrarray


def record(path: str) -> None:
    """Append one image after the other, with the time it was taken."""
    with ptrarray.append(path) as writer:
        for n in range(100):
            time.sleep(0.002)  # the exposure
            image = np.full((1, 64, 64), n)
            writer.write({f"frame{n}": image}, meta={f"frame{n}": {"time": time.time()}})


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/lapse.ptr"
        ptrarray.create(path, dtype="f4", row_shape=(64, 64)).close()
        seen, is_over = list[float](), False
        camera = multiprocessing.Process(target=record, args=(path,))
        camera.start()
        with ptrarray.open(path) as store:
            while not is_over:
                camera.join(0.005)
                is_over = camera.exitcode is not None  # asked before: no frame is missed
                store.refresh()
                for name in store.names[len(seen) :]:
                    seen.append(store[name].mean())
                    print(f"{name}, {time.time() - store.meta[name]['time']:.4f} s old")
        assert seen == list(range(100))
