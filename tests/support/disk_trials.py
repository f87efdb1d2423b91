"""What is done on a real disk of which the power is cut, and who judges what is left."""

from __future__ import annotations

import errno
import os
import pickle
import random
import signal
import time
from collections.abc import Callable, Hashable
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

import ptrarray
from ptrarray import convert
from ptrarray.convert import Report
from tests.support import workers
from tests.support.apart import DiedError, called
from tests.support.crash_workloads import (
    WORKLOADS,
    another_boot_id,
    change_in_place,
    ints,
    killed_in_delete,
    look_past_changes,
)
from tests.support.disk import Disk, materialise, memory_directory
from tests.support.join_cases import CASES, Case, prepared
from tests.support.join_cases import Judge as JoinJudge
from tests.support.megatron_files import sequences, write_pair
from tests.support.random_calls import STORES, RandomCalls
from tests.support.recorder import Counter
from tests.support.recording import Recording
from tests.support.shards_workloads import WORKLOADS as SHARDS_WORKLOADS
from tests.support.story import (
    NAME,
    Content,
    Story,
    Tree,
    Used,
    Workload,
    booted,
    essence,
    go_on,
    look,
    usable,
    verdict,
    with_attrs,
)

JUDGED_BOOT = 9
N_CALLS = 80  # random ones of a story
N_DUMPS, N_PACKS, N_ARRAYS = 6, 3, 40
_LONGEST_LIFE_SECONDS = 0.012  # of a process that is killed


class OnDisk(Recording):
    """Stands for the record of a disk, of which a story asks how long it is.

    Parameters
    ----------
    root : Path
        Where the story's store is.
    counter : Counter or None
        How long the record is.
    seed : int
        For when processes are killed.
    may_kill : bool
        Whether the system may kill who fills a mapping.

    Attributes
    ----------
    kept : Any
        What else is to be known of a workload when its process has ended.
    """

    def __init__(
        self, root: Path, counter: Counter | None, seed: int, *, may_kill: bool = False
    ) -> None:
        super().__init__(root, Disk())
        self.counter, self._rng, self.may_kill = counter, random.Random(seed), may_kill
        self.kept: Any = None

    def __reduce__(self) -> tuple[Any, ...]:
        return OnDisk, (self.root, None, 0), {"kept": self.kept}

    @property
    def at(self) -> int:
        assert self.counter is not None
        return self.counter.n

    def kill(self, action: Callable[[], Any], n_more: int) -> bool:
        """Kill a process of its own, at some moment whatever `n_more` is."""
        pid = os.fork()
        if not pid:
            try:
                action()
            finally:
                os._exit(0)
        time.sleep(self._rng.random() * _LONGEST_LIFE_SECONDS)
        os.kill(pid, signal.SIGKILL)
        return os.WIFSIGNALED(os.waitpid(pid, 0)[1])


class Trial:
    """What is done in a folder of its own, told as a `Story`, and who judges it.

    Attributes
    ----------
    name : str
        Of the folder.
    goes_on : bool
        Whether there is more to be done to what a power cut has left.
    fits_full_disk : bool
        Whether it goes on, or ends, where there is no room.
    """

    goes_on = fits_full_disk = False

    def __init__(self, name: str) -> None:
        self.name = name

    def prepare(self, root: Path) -> None:
        """Lay out what has to be there, all of which will be on the disk."""

    def tell(self, story: Story, rng: random.Random) -> None:
        raise NotImplementedError

    def look(self, path: Path) -> Content:
        return look(path)

    def allowed(self, story: Story, cut: int) -> Hashable:
        """Return what the judgement of a state depends on, beside the state."""
        return story.durable(cut)

    def go_on(self, path: Path, content: Content, then_checkpoint: bool) -> None:
        go_on(path, content, then_checkpoint)

    def problem(self, root: Path, story: Story, cut: int, goes_on: int | None) -> str | None:
        """Say what is wrong with a folder after a power cut; None if nothing is."""
        return verdict(story, partial(self.found, root / NAME, goes_on), story.durable(cut))

    def found(self, path: Path, goes_on: int | None) -> Content:
        """Return what is there, having found it usable; also on the boot after that."""
        used = Used(self.look, self.go_on)
        content = usable(path, JUDGED_BOOT, goes_on, used)
        if goes_on is not None:
            before = usable(path, JUDGED_BOOT, None, used)
            after = usable(path, JUDGED_BOOT + 1, goes_on + 1, used)
            assert after == before, "not the same on the boot after that"
        return content


class StoreTrial(Trial):
    """A workload that the model has, too."""

    def __init__(self, name: str, workload: Workload) -> None:
        super().__init__(name)
        self._workload = workload

    def tell(self, story: Story, rng: random.Random) -> None:
        self._workload(story)


class ChangedTrial(StoreTrial):
    """Rows are changed in place, and may be anything before a flush."""

    def look(self, path: Path) -> Content:
        return look_past_changes(path)

    def go_on(self, path: Path, content: Content, then_checkpoint: bool) -> None:
        if content is None:
            ptrarray.create(path, dtype="i4").close()
        with ptrarray.append(path) as writer:
            writer["extra"] = ints(3)


class RandomTrial(Trial):
    """Random calls, which go on after a power cut and on a full disk."""

    goes_on = fits_full_disk = True

    def __init__(self, kind: str) -> None:
        super().__init__(f"random-{kind}")
        self._kind = kind

    def tell(self, story: Story, rng: random.Random) -> None:
        may_kill = isinstance(story.recording, OnDisk) and story.recording.may_kill
        calls = RandomCalls(story, self._kind, rng, apart=filled_apart if may_kill else None)
        for _ in range(N_CALLS):
            try:
                calls.call()
            except OSError as error:
                if not is_full(error):
                    raise
                story.note_failure()
                calls.recover()


def is_full(error: BaseException | None) -> bool:
    """Tell whether there was no room: an error may have gone through a pool, and become another."""
    return error is not None and ("No space left" in str(error) or is_full(error.__cause__))


def filled_apart(fill: Callable[[], None]) -> None:
    """Fill a mapping in a process of its own; that it was killed means that there was no room."""
    try:
        called(fill)
    except (DiedError, RuntimeError) as error:
        is_killed = isinstance(error, DiedError) and error.signal == signal.SIGBUS
        if is_killed or is_full(error):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error
        raise


class FillTrial(Trial):
    """Several processes write one array after the other: each is there whole, or not at all."""

    fits_full_disk = True

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name)
        self._options = options

    def tell(self, story: Story, rng: random.Random) -> None:
        for first in (0, N_ARRAYS):
            tasks = {f"n{n}": n * 37 for n in range(first, first + N_ARRAYS)}
            new = {name: essence(workers.ramp(n), {}) for name, n in tasks.items()}
            after = with_attrs({}, {}) | story.now | new
            story.commit(partial(self._fill, story.path, tasks), after, durable=True)

    def _fill(self, path: Path, tasks: dict[str, int]) -> None:
        options: Any = {"dtype": "i8", "processes": 2, "progress": False, **self._options}
        ptrarray.fill(path, workers.ramp, tasks, **options)

    def problem(self, root: Path, story: Story, cut: int, goes_on: int | None) -> str | None:
        allowed = story.durable(cut)
        least, most = (story.contents[n] or {} for n in (allowed[0], allowed[-1]))
        try:
            found = self.found(root / NAME, goes_on) or {}
            assert least.items() <= found.items() <= most.items(), sorted(found)
            self.check(root, found)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
            return f"between {allowed} commits, {type(error).__name__}: {error}"
        return None

    def check(self, root: Path, found: dict[str, bytes]) -> None:
        """Check what is left beside the store."""


class ImportTrial(FillTrial):
    """Arrays come from files, which stay, or go once what is in them is on the disk."""

    def __init__(self, name: str, suffix: str, convert: Callable[..., Report], **options: Any):
        super().__init__(name, **options)
        self._suffix, self._convert = suffix, convert

    def prepare(self, root: Path) -> None:
        for number in range(N_ARRAYS):
            with (root / f"n{number}{self._suffix}").open("wb") as file:
                save = np.save if self._suffix == ".npy" else lambda *pair: pickle.dump(*pair[::-1])
                save(file, ints(number * 37))

    def tell(self, story: Story, rng: random.Random) -> None:
        arrays = {f"n{number}": essence(ints(number * 37), {}) for number in range(N_ARRAYS)}
        story.commit(partial(self._run, story.path), with_attrs(arrays, {}), durable=True)

    def _run(self, path: Path) -> None:
        options: Any = {"dtype": "i4", "processes": 2, "progress": False, **self._options}
        report = self._convert(sorted(path.parent.glob(f"*{self._suffix}")), path, **options)
        if not report.ok:
            raise OSError(str(report))

    def check(self, root: Path, found: dict[str, bytes]) -> None:
        files = {file.stem for file in root.glob(f"*{self._suffix}")}
        lost = {f"n{number}" for number in range(N_ARRAYS)} - files - found.keys()
        assert not lost, f"{sorted(lost)} are in no file and not in the store"


class AdoptTrial(Trial):
    """A file of rows becomes the data file of a store, and keeps its other name or not."""

    def __init__(self, how: str, *, is_new: bool = False) -> None:
        super().__init__(f"adopt-{how}" + "-new" * is_new)
        self._how, self._is_new = how, is_new
        self._arrays = sequences([[300], [0, 40_000], [7]])

    def prepare(self, root: Path) -> None:
        if not self._is_new:
            write_pair(root / "x", self._arrays)

    def tell(self, story: Story, rng: random.Random) -> None:
        if self._is_new:  # nobody has synced it
            write_pair(story.path.parent / "x", self._arrays)
        arrays = {str(number): essence(array, {}) for number, array in enumerate(self._arrays)}
        story.commit(partial(self._adopt, story.path), with_attrs(arrays, {}), durable=True)

    def _adopt(self, path: Path) -> None:
        source = path.parent / "x.idx"
        assert convert.from_megatron(source, path, how=self._how, progress=False).ok

    def problem(self, root: Path, story: Story, cut: int, goes_on: int | None) -> str | None:
        source, is_done = root / "x.bin", story.durable(cut).start == 1
        whole = b"".join(array.tobytes() for array in self._arrays)
        is_whole = source.exists() and source.read_bytes() == whole
        is_moved = self._how == "move" and (root / NAME).exists()
        if (is_done or not self._is_new) and not (is_whole or is_moved):
            return "the file is gone"
        if is_done and self._how == "move" and source.exists():
            return "the file has its old name, too"
        return super().problem(root, story, cut, None if self._how == "link" else goes_on)


class ObjectTrial(Trial):
    """An object takes the place of another one."""

    fits_full_disk = True

    def tell(self, story: Story, rng: random.Random) -> None:
        for number in range(N_DUMPS):
            n_rows = rng.choice((10, 1000, 30_000))
            parts = [ints(rng.randrange(500), seed) for seed in range(number)]
            value = {"rows": ints(n_rows, number), "parts": parts, "text": f"{number} " * n_rows}
            dump = partial(ptrarray.dump, value, story.path, mode="w")
            story.commit(dump, self._content(value), durable=True)

    @staticmethod
    def _content(value: dict[str, Any]) -> Content:
        arrays = [value["rows"], *value["parts"]]
        return {"object": repr((value["text"], [array.tobytes() for array in arrays])).encode()}

    def look(self, path: Path) -> Content:
        if not path.exists():
            return None
        ptrarray.verify(path)
        return self._content(ptrarray.load(path))

    def go_on(self, path: Path, content: Content, then_checkpoint: bool) -> None:
        ptrarray.dump({"rows": ints(3), "parts": [], "text": ""}, path, mode="w")
        left = [entry.name for entry in path.parent.iterdir()]
        assert left == [NAME], left


class PackTrial(Trial):
    """A store is packed, over an older pack, and unpacked."""

    fits_full_disk = True

    def prepare(self, root: Path) -> None:
        with ptrarray.create(root / "from.ptr", dtype="i4") as writer:
            writer.write({"a": ints(100), "b": ints(9000)})

    def tell(self, story: Story, rng: random.Random) -> None:
        source, pack = (story.path.parent / name for name in ("from.ptr", "pack.tar"))
        for number in range(N_PACKS):
            with ptrarray.append(source) as writer:
                writer.write({f"n{number}": ints(1000, number)})
            after = story.now | {"pack": repr(look(source)).encode()}
            run = partial(ptrarray.pack, source, pack, overwrite=True)
            story.commit(run, after, durable=True)
        after = story.now | {"store": story.now["pack"]}
        story.commit(partial(ptrarray.unpack, pack, story.path), after, durable=True)

    def look(self, path: Path) -> Content:
        found = {"pack": path.parent / "pack.tar", "store": path}
        there = {key: repr(look(file)).encode() for key, file in found.items() if file.exists()}
        return there or None

    def go_on(self, path: Path, content: Content, then_checkpoint: bool) -> None:
        source = path.parent / "from.ptr"
        go_on(source, look(source), then_checkpoint)
        ptrarray.pack(source, path.parent / "pack.tar", overwrite=True)


class JoinTrial(Trial):
    """Stores are joined; each array is in the joined one, or where it was."""

    def __init__(self, case: Case) -> None:
        super().__init__(f"join-{case}")
        self._case = case

    def prepare(self, root: Path) -> None:
        root.rmdir()
        materialise(_prepared(self._case), root)

    def tell(self, story: Story, rng: random.Random) -> None:
        story.commit(partial(self._case.join, story.path.parent), None, durable=True)

    def problem(self, root: Path, story: Story, cut: int, goes_on: int | None) -> str | None:
        try:
            _judge_of(self._case).check_at(root, is_done=story.durable(cut).start == 1)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is wrong
            return f"{type(error).__name__}: {error}"
        return None


def _prepared(case: Case) -> Tree:
    with booted(1):
        return prepared(case.kind)


@cache
def _judge_of(case: Case) -> JoinJudge:
    with TemporaryDirectory(dir=memory_directory()) as place, booted(1):
        return JoinJudge(case, Path(place), JUDGED_BOOT)


_ALL: list[Trial] = [
    *(
        StoreTrial(workload.__name__, workload)
        for workload in (*WORKLOADS, killed_in_delete, another_boot_id)
    ),
    *(StoreTrial(f"shards-{workload.__name__}", workload) for workload in SHARDS_WORKLOADS),
    ChangedTrial("change_in_place", change_in_place),
    *map(RandomTrial, STORES),
    FillTrial("fill"),
    FillTrial("fill-shards", shard_size="6kB"),
    FillTrial("fill-parts", parts="worker"),
    ImportTrial("import", ".npy", convert.from_npy),
    ImportTrial("import-remove", ".pkl", convert.from_pickles, remove_source=True),
    AdoptTrial("link"),
    AdoptTrial("move"),
    AdoptTrial("link", is_new=True),
    ObjectTrial("dump"),
    PackTrial("pack"),
    *map(JoinTrial, CASES),
]
TRIALS = {trial.name: trial for trial in _ALL}
