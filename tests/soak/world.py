"""A dataset folder, its caches on a disk of their own, and a model of both: what the soak works on and looks at."""

import json
import os
import random
import select
import shutil
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from helpers.fake_extractions import extract
from helpers.power_cuts import Recorded
from helpers.recording import contents, parsed
from helpers.warm_python import Forked

from featcache import Extraction, FeatureCache
from featcache.cache import partial_path, verify
from featcache.cache.layout import previous_path
from featcache.cache.set_aside import is_finished
from featcache.errors import FeatcacheError, UsageError
from soak.child import surroundings, survivors
from soak.machine import Machine
from soak.oracle import wrong
from soak.photos import Expected, Photos

TARGETS: Mapping[str, Mapping[str, Any]] = {
    "a": {},
    "b": {"dtype": "float16"},
    "c": {"layers": ["pool", "mixed7"], "image_statistics": False},
    "v": {"views": 3, "augment": "flip"},
}
"""What is extracted into each cache."""

EXIT_CODES = {1, 2, 3, 4, 130}


IN_THE_WAY = "needs this name for a file of its own"
"""Said of a finished cache under a name that an extraction gives its own files; see `featcache.cache.set_aside`."""


class Fault(AssertionError):  # noqa: N818  (what is found is no error of the soak's)
    """Something that must be true is not."""


@dataclass(frozen=True)
class Ending:
    """How a child ended.

    Parameters
    ----------
    killed
        By a signal.
    done
        Rows that it had said to be done, while it computed.
    end
        Its last word: what its command returned, or the error.
    """

    killed: bool
    done: int
    end: dict[str, Any]

    def __str__(self) -> str:
        if self.killed:
            return f"killed after {self.done} rows"
        told = {name: value for name, value in self.end.items() if name != "text"}
        return ", ".join(f"{name} {value}" for name, value in told.items()) or "done"


@dataclass
class World:
    """One episode's dataset, caches and model.

    Parameters
    ----------
    machine
        Where it lies.
    seed
        Of everything that happens.
    counts
        What has been done and checked; shared by all worlds of a soak.
    steps
        What was done, one line each.
    held
        Target to the rows that its finished file must have; nothing where there is none.
    """

    machine: Machine
    seed: int
    counts: Counter[str]
    steps: list[str] = field(default_factory=list)
    held: dict[str, Expected] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.chance = np.random.default_rng(self.seed)
        self.blocks = random.Random(self.seed)
        shutil.rmtree(self.machine.scratch / "photos", ignore_errors=True)
        shutil.rmtree(self.machine.disk, ignore_errors=True)
        self.folder = self.machine.disk / "caches"
        self.folder.mkdir(parents=True)
        self.photos = Photos(self.machine.scratch / "photos", self.chance)

    # Choices ------------------------------------------------------------------------------------------------

    def one_of(self, *items: Any) -> Any:
        """Return one of some things."""
        return items[self.chance.integers(len(items))]

    def some_target(self, *, finished: bool = False) -> str:
        """Return a target's name, if need be one with a finished file, which is then made."""
        name = self.one_of(*TARGETS)
        if finished and name not in self.held:
            self.finish(name)
        return name

    def path(self, name: str) -> Path:
        """Return the file of a target."""
        return self.folder / f"{name}.h5"

    def options(self, name: str) -> dict[str, Any]:
        """Return the arguments of an extraction into a target, some of them drawn."""
        options = dict(TARGETS[name])
        for switch in ("overwrite", "verify"):
            if self.chance.random() < 0.15:
                options[switch] = True
        if name == "b" and "overwrite" in options:  # without, a cache of fewer layers is refused
            options["layers"] = ["pool", "mixed7"]
        if self.chance.random() < 0.2:
            options["batch_size"] = int(self.chance.integers(1, 9))
        return options

    def years(self) -> int:
        """Return by how much a clock is wrong: mostly not at all."""
        if self.chance.random() < 0.8:
            return 0
        self.counts["clock steps"] += 1
        return int(self.chance.integers(-40, 200))

    # Extractions --------------------------------------------------------------------------------------------

    def extract(self, name: str, years: int = 0, **options: Any) -> Extraction:
        """Extract in this process; the options are added to those of the target.

        A run killed in its last steps leaves what cannot be told from somebody's own finished cache. Where that is in
        the way, the extraction asks for another name of it, which it gets here.
        """
        try:
            return self._extract(name, years, **options)
        except UsageError as error:
            if IN_THE_WAY not in str(error):
                raise
            self.counts["asked to rename what a killed run had finished"] += 1
            kept = Path(str(error).partition(" ")[0])
            if not verify(kept).ok:
                raise Fault(
                    f"what is in the way is said to be finished, and does not verify: {error}"
                ) from error
            os.replace(kept, kept.with_name(f"{kept.name.removesuffix('.h5').replace('.', '-')}.h5"))
            return self._extract(name, years, **options)

    def _extract(self, name: str, years: int, **options: Any) -> Extraction:
        with surroundings([str(self.photos.root / name) for name in sorted(self.photos.unreadable)], years):
            self.counts["extractions"] += 1
            target = options.pop("output", self.path(name))
            return extract(self.photos.root, target, **{**TARGETS[name], **options})

    def finish(self, name: str, years: int = 0, **options: Any) -> Extraction:
        """Extract, which must succeed, and check everything about the cache and what is left beside it."""
        before = _file(self.path(name))
        try:
            done = self.extract(name, years, **options)
        except FeatcacheError as error:
            raise Fault(f"the extraction into {name}.h5 failed: {type(error).__name__}: {error}") from error
        self.require_finished(name, self.photos.expected(), options, wrote=_file(self.path(name)) != before)
        return done

    def require_finished(
        self, name: str, expected: Expected, options: Mapping[str, Any] | None = None, *, wrote: bool = True
    ) -> None:
        """Require the file of a target to hold these rows, and nothing to lie beside it; it is the model's now.

        Where nothing was left to do (not `wrote`), rows of another state of the photos may stay, unfinished.
        """
        self.require_whole(self.path(name), expected, TARGETS[name] | dict(options or {}))
        self.held[name] = expected
        beside = sorted(
            path.name
            for path in self.folder.iterdir()
            if path.name.lstrip(".").startswith(f"{name}.")
            and path != self.path(name)
            and (wrote or path != partial_path(self.path(name)))
        )
        previous = previous_path(self.path(name))
        if beside == [previous.name] and is_finished(previous):
            # All rows were there of a run killed before it published, and the one that set them aside was killed, too:
            # that cannot be told from somebody's own cache, and is kept.
            self.counts["kept what a killed run had finished"] += 1
        elif beside:
            raise Fault(f"left beside {name}.h5 after it was finished: {beside}")

    def require_whole(self, path: Path, expected: Expected, options: Mapping[str, Any] | None = None) -> None:
        """Require a finished file to hold these rows."""
        if found := self.wrong_in(path, expected, options):
            raise Fault(f"{path.name}: {'; '.join(found[:6])}")

    def wrong_in(self, path: Path, expected: Expected, options: Mapping[str, Any] | None = None) -> list[str]:
        """Say what is wrong in a file."""
        self.counts["caches read whole"] += 1
        try:
            with FeatureCache(path) as cache:
                found = wrong(cache, expected, self.photos, options or {})
                return found if found or cache.verify().ok else ["it does not verify"]
        except FeatcacheError as error:
            return [f"{type(error).__name__}: {error}"]

    def require_old_or_new(self, name: str, new: Expected) -> bool:
        """Require the finished file, if there was one, to be that, or the new one; returns whether it is the new."""
        old = self.held.get(name)
        if not self.path(name).exists():
            if old is not None:
                raise Fault(f"{name}.h5 was finished, and is gone")
            return False
        is_old = old is not None and not (why := self.wrong_in(self.path(name), old))
        if is_old and old is not new:
            is_new = not self.wrong_in(self.path(name), new)
        elif not is_old:
            if found := self.wrong_in(self.path(name), new):
                raise Fault(
                    f"{name}.h5 is neither the new cache ({found[:3]}) nor the old ({why[:3] if old else None})"
                )
            is_new = True
        else:
            is_new = True
        if is_new:
            self.held[name] = new
        return is_new

    def require_survivors(self, name: str, least: int, why: str) -> None:
        """Require so many rows in the unfinished file of a target."""
        self.counts["promises checked"] += 1
        if least <= 0:
            return
        path = partial_path(self.path(name))
        if not path.exists():
            raise Fault(f"{least} rows of {path.name} {why}, and there is no such file")
        try:
            found = survivors(self.path(name))
        except FeatcacheError as error:
            raise Fault(f"{least} rows of {path.name} {why}, and it cannot be read: {error}") from error
        if found < least:
            raise Fault(f"{least} rows of {path.name} {why}, and {found} are there")

    # Children -----------------------------------------------------------------------------------------------

    def order(self, name: str, **more: Any) -> dict[str, Any]:
        """Return what a child is to do with a target."""
        return {
            "command": "extract",
            "photos": str(self.photos.root),
            "disk": str(self.machine.disk),
            "target": str(self.path(name)),
            "unreadable": [str(self.photos.root / name) for name in sorted(self.photos.unreadable)],
            "years": 0,
            "sync_every": float(self.one_of(0.0, 0.0, 0.002, 5.0)),
            "options": dict(TARGETS[name]),
            "wait_at": "",
            "full": self.one_of("reserved", "unreserved"),
        } | more

    def start(self, order: Mapping[str, Any], stdin: int | None = None) -> Forked:
        """Let a child begin; the record of its calls is a new one."""
        os.truncate(self.machine.log, 0)
        return self.machine.python.start(
            "import sys; from soak import child; child.main(sys.argv[1])", [json.dumps(order)], stdin=stdin
        )

    def run(self, order: Mapping[str, Any], kill_after: float | None = None) -> Ending:
        """Let a child do what it is ordered; after some seconds it is killed."""
        with self.start(order) as child:
            return self.ending(child, kill_after)

    def ending(self, child: Forked, kill_after: float | None = None) -> Ending:
        """Wait for a child's end, and return how it was."""
        said = b""
        if kill_after is not None:
            moment = _deadline(kill_after)
            while (left := moment()) > 0 and select.select([child.stdout], [], [], left)[0]:
                part = os.read(child.stdout.fileno(), 1 << 16)
                if not part:
                    break
                said += part
            child.send_signal(signal.SIGKILL)
        said += child.stdout.read()
        code = child.wait()
        lines = [json.loads(line) for line in said.split(b"\n")[:-1] if line.startswith(b"{")]
        done = [line["done"] for line in lines if line.get("stage") == "compute"]
        end = lines[-1]["end"] if lines and "end" in lines[-1] else {}
        if code not in (0, -signal.SIGKILL):
            raise Fault(f"a child ended with {code}: {child.errors()[-3000:]}")
        if "error" in end and end["code"] not in EXIT_CODES:
            raise Fault(f"exit code {end['code']} of {end['error']}: {end['text']}")
        return Ending(code == -signal.SIGKILL and not end, done[-1] if done else 0, end)

    def require_error(self, ending: Ending, *allowed: str) -> None:
        """Require a child to have ended without an error, or with one of these."""
        if IN_THE_WAY in ending.end.get("text", ""):
            self.counts["asked to rename what a killed run had finished"] += 1
        elif ending.end.get("error", "") not in ("", *allowed):
            raise Fault(f"a child ended with {ending.end['error']}: {ending.end['text']}")

    def require_kept(self, name: str, ending: Ending, expected: Expected) -> None:
        """Require what a child's end must leave of a target: all that it had told."""
        if self.require_old_or_new(name, expected):
            return
        if "computed" in ending.end:
            raise Fault(f"an extraction said that it had finished {name}.h5, which is the old one")
        self.require_right_parts(name)
        self.require_survivors(name, ending.done, "were told to be done")

    def require_right_parts(self, name: str) -> None:
        """Require the intact rows of a target's unfinished file, if it is one, to be right."""
        path = partial_path(self.path(name))
        try:
            with FeatureCache(path) as cache:
                rows = np.flatnonzero(cache.intact() & (cache.status == 0))
                for layer in set(cache.layers) - {"image:statistics"}:
                    stored = cache.layers[layer].stored
                    for row, features in zip(rows, cache.features(rows, layer), strict=True):
                        truth = self.photos.truth(bytes(cache.sha256[row]))
                        if truth is None or not np.array_equal(features, truth.plain.astype(stored)):
                            raise Fault(f"{path.name}: an intact row {cache.ids[row]} has wrong features")
        except FeatcacheError:  # there is none, or nothing in it can be used: it will be begun anew
            return
        self.counts["unfinished caches read whole"] += 1

    # Power cuts ---------------------------------------------------------------------------------------------

    def recorded(self, order: Mapping[str, Any]) -> tuple[Recorded, Ending]:
        """Let a child work, and return a record of what it did to the disk."""
        before = contents(self.machine.disk)
        ending = self.run(order)
        return Recorded(before, list(parsed(self.machine.log.read_bytes())), str(self.machine.disk)), ending

    def cuts(self, record: Recorded, count: int) -> Iterator[int]:
        """Lay the disk down as each of some power cuts leaves it; yields how much was promised by then."""
        for promised in record.power_cuts(self.machine.disk, count, self.blocks):
            self.counts["power cuts"] += 1
            yield promised

    def replace_disk(self, folder: Path) -> None:
        """Let the disk hold what a folder does."""
        shutil.rmtree(self.machine.disk)
        os.rename(folder, self.machine.disk)

    def require_intact_others(self, *names: str) -> None:
        """Require the finished files of all other targets to be as they were."""
        for name in self.held.keys() - set(names):
            if not verify(self.path(name)).ok:
                raise Fault(f"{name}.h5, which nobody wrote to, does not verify")

    def has_leftovers(self, name: str) -> bool:
        """Whether an extraction into a target was interrupted."""
        return partial_path(self.path(name)).exists() or previous_path(self.path(name)).exists()


def _file(path: Path) -> tuple[int, int] | None:
    """Return what tells a file from one that replaces it."""
    if not path.exists():
        return None
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def _deadline(seconds: float) -> Callable[[], float]:
    end = time.monotonic() + seconds
    return lambda: end - time.monotonic()
