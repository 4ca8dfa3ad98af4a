"""Commands whose system calls are to fail: what lies there before, what they are given, and what they may leave.

Inputs that no command changes are made once, beside the folder that is watched. An object is whatever a command
replaces as a whole; its content is compared as plain values, without what differs from run to run (times).
"""

import contextlib
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import h5py

from helpers.fake_network import FakeNetwork
from helpers.photo_folders import photo_folder, save_photo
from helpers.tiny_finetuning import CLASSES, tiny_network
from helpers.written_contents import (
    any_whole,
    archive_arrays,
    begun,
    cache_rows,
    checkpoints,
    classifier_files,
    damaged_or_set_aside,
    file_bytes,
    json_file,
    log_lines,
    same_or_begun,
    some_of,
    table_rows,
)

Content = Callable[[Path], Any]


@dataclass(frozen=True)
class Place:
    """Where a scenario takes place: inputs that stay, and the folder in which its calls fail."""

    inputs: Path
    work: Path


@dataclass(frozen=True)
class Scenario:
    """A command in a known situation.

    Parameters
    ----------
    prepare
        Makes the situation in an empty folder.
    command
        Its arguments.
    objects
        Path in the folder to what reads the content of the object there; ``None`` where there is none.
    then
        Commands that finish the work after a failure, the same one by default; and those of their exit codes that
        mean that there was nothing left to do.
    done
        Those exit codes.
    extras
        Objects that a command may do without, once it has said in a warning that it could not write them.
    """

    prepare: Callable[[Place], None]
    command: Callable[[Place], list[str]]
    objects: Mapping[str, Content]
    then: Callable[[Place], list[list[str]]] | None = None
    done: tuple[int, ...] = (0,)
    allowed: Mapping[str, Callable[[Any, Any, Any], bool]] = field(default_factory=dict)
    extras: tuple[str, ...] = ()


def load(name: str = "", *, weights: Any = None) -> Any:
    """Take the place of `featcache.backbones.load`."""
    del name, weights
    return FakeNetwork()


def make_inputs(inputs: Path) -> None:
    """Make photos and a cache that are only read; no network is compiled."""
    from featcache import extract

    photos = {f"{split}/{name}": 2 for split in ("train", "val", "test") for name in CLASSES}
    photo_folder(inputs / "photos", photos)
    extract(inputs / "photos", backbone=load(), output=inputs / "cache.h5")
    photo_folder(inputs / "few", {f"train/{name}": 3 for name in CLASSES})
    extract(inputs / "few", backbone=load(), output=inputs / "few.h5")
    for name in CLASSES[:2]:
        save_photo(inputs / "more" / "train" / name / "9.png")
    shutil.copytree(inputs / "few", inputs / "more", dirs_exist_ok=True)
    (inputs / "more" / "train" / "cat" / "broken.png").write_text("not an image")


def _start(place: Place) -> None:
    """Make the classifier that fine-tuning begins with, once."""
    from featcache import extract, train_head

    start, network = place.inputs / "start", tiny_network()
    if not start.exists():
        extract(place.inputs / "photos", backbone=network, output=place.inputs / "tiny.h5")
        head = train_head(place.inputs / "tiny.h5", epochs=2, output=None)
        replace(head, network=network).save(start)


# Commands ---------------------------------------------------------------------------------------------------


def run(arguments: Iterable[str]) -> int:
    """Run one command as the command line does."""
    from featcache.cli.app import run as run_command

    return run_command([str(argument) for argument in arguments])


def _healthy(*arguments: str | Path) -> None:
    code = run([str(argument) for argument in arguments])
    assert code == 0, f"{arguments} ended with {code}"


def _nothing(place: Place) -> None:
    del place


def _extract(photos: str) -> Callable[[Place], list[str]]:
    return lambda place: [
        "extract", str(place.inputs / photos), "-o", str(place.work / "out" / "a.h5"), "--workers", "1", "-q",
    ]  # fmt: skip


def _older_and_unfinished(place: Place) -> None:
    """A cache of earlier photos, and an extraction of others that was stopped half way."""
    from featcache import extract
    from featcache.errors import Interrupted

    _healthy(*_extract("few")(place))
    other = place.inputs / "more" / "train" / "owl" / "unfinished.png"
    save_photo(other)
    seen: list[Any] = []
    with contextlib.suppress(Interrupted):
        extract(
            place.inputs / "more",
            backbone=load(),
            output=place.work / "out" / "a.h5",
            workers=1,
            on_progress=seen.append,
            stop=lambda: seen[-1].stage == "compute" and seen[-1].done >= 8,
        )
    other.unlink()
    assert (place.work / "out" / "a.partial.h5").exists()


def _train_head(place: Place) -> list[str]:
    return [
        "train-head",
        str(place.inputs / "cache.h5"),
        "-o",
        str(place.work / "c"),
        "--head",
        "ridge",
        "--no-refit",  # several heads at once run in threads of XLA, which a forked child lacks
        "-q",
    ]


def _other_head(place: Place) -> None:
    _healthy(*_train_head(place), "--l2", "7")


def _sweep(place: Place) -> list[str]:
    return _sweep_of(place, "--head", "ridge,prototype", "--l2", "1,10")


def _sweep_of(place: Place, *heads: str) -> list[str]:
    return ["sweep", str(place.inputs / "cache.h5"), "-o", str(place.work / "sweep"), *heads]


def _smaller_sweep(place: Place) -> None:
    _healthy(*_sweep_of(place, "--head", "ridge", "--l2", "1"))


def _no_sweep(place: Place) -> None:
    """Nothing: but what a sweep compiles that finds one of two heads there is compiled now."""
    _smaller_sweep(place)
    shutil.rmtree(place.work / "sweep")


def _finetune(*more: str, epochs: int = 1) -> Callable[[Place], list[str]]:
    return lambda place: [
        "finetune", str(place.inputs / "start"), str(place.inputs / "photos"), "-o", str(place.work / "tuned"),
        "--train-from", "block_3", "--epochs", str(epochs), "--lr", "1e-2", "--batch-size", "6", "--augment", "none",
        "--workers", "1", "-q", *more,
    ]  # fmt: skip


def _finetune_or_resume(place: Place) -> list[list[str]]:
    started = (place.work / "tuned.run" / "run.json").exists()
    return [_finetune(*["--resume"] * started)(place)]


def _stopped_finetuning(place: Place) -> None:
    from featcache import finetune
    from featcache.errors import Interrupted

    _start(place)
    records: list[Any] = []
    with contextlib.suppress(Interrupted):
        finetune(
            place.inputs / "start", place.inputs / "photos", output=place.work / "tuned", train_from="block_3",
            epochs=2, learning_rate=1e-2, batch_size=6, augment="none", workers=1, on_epoch=records.append,
            stop=lambda: len(records) == 2,
        )  # fmt: skip
    assert not (place.work / "tuned").exists()


def _finished_finetuning(place: Place) -> None:
    _start(place)
    _healthy(*_finetune(epochs=2)(place))


def _export(ending: str) -> Callable[[Place], list[str]]:
    return lambda place: ["cache", "export", str(place.inputs / "cache.h5"), str(place.work / f"out{ending}")]


def _older_export(ending: str) -> Callable[[Place], None]:
    def prepare(place: Place) -> None:
        _healthy("cache", "export", place.inputs / "few.h5", place.work / f"out{ending}")

    return prepare


def _damaged_cache(place: Place) -> None:
    _healthy(*_extract("few")(place))
    path = place.work / "out" / "a.h5"
    path.chmod(0o644)
    with h5py.File(path) as file:
        first = file["features/pool"].id.get_offset()
    with path.open("r+b") as stream:
        stream.seek(first)
        stream.write(b"damaged!")


def _repair(place: Place) -> list[str]:
    return ["cache", "repair", str(place.work / "out" / "a.h5")]


def _cache_and_unfinished(place: Place) -> None:
    _older_and_unfinished(place)
    for name in ("a.previous.h5", "a.partial.h5.new"):
        shutil.copy(place.work / "out" / "a.partial.h5", place.work / "out" / name)


def _remove(place: Place) -> list[str]:
    return ["cache", "rm", str(place.work / "out" / "a.h5")]


def _collect(place: Place) -> list[str]:
    return ["cache", "gc", str(place.work / "out"), "--delete", "--unfinished"]


_NAMES = ("a.h5", "a.partial.h5", "a.previous.h5", "a.partial.h5.new")
_SWEEP = {
    "sweep/results.jsonl": log_lines,
    "sweep/results.parquet": table_rows,
    "sweep/summary.json": json_file,
    "sweep/classifier": classifier_files,
}
_RUN = {
    "tuned": classifier_files,
    "tuned.run/run.json": json_file,
    "tuned.run/history.jsonl": log_lines,
    "tuned.run/checkpoints": checkpoints,
}

_WHILE_RUNNING = {
    "tuned.run/run.json": begun,
    "tuned.run/history.jsonl": some_of,
    "tuned.run/checkpoints": any_whole,
}

_WHILE_REPLACED = {**_WHILE_RUNNING, "tuned.run/history.jsonl": same_or_begun}

SCENARIOS: Mapping[str, Scenario] = {
    "extract": Scenario(_nothing, _extract("few"), {"out/a.h5": cache_rows}),
    "extract again": Scenario(_older_and_unfinished, _extract("more"), {"out/a.h5": cache_rows}),
    "train-head": Scenario(_nothing, _train_head, {"c": classifier_files}),
    "train-head again": Scenario(_other_head, _train_head, {"c": classifier_files}),
    "sweep": Scenario(
        _no_sweep, _sweep, _SWEEP, allowed={"sweep/results.jsonl": some_of}, extras=("sweep/results.parquet",)
    ),
    "sweep again": Scenario(
        _smaller_sweep,
        _sweep,
        _SWEEP,
        allowed={"sweep/results.jsonl": some_of},
        extras=("sweep/results.parquet",),
    ),
    "export npz": Scenario(_nothing, _export(".npz"), {"out.npz": archive_arrays}),
    "export npz again": Scenario(_older_export(".npz"), _export(".npz"), {"out.npz": archive_arrays}),
    "export parquet": Scenario(_nothing, _export(".parquet"), {"out.parquet": table_rows}),
    "export parquet again": Scenario(
        _older_export(".parquet"), _export(".parquet"), {"out.parquet": table_rows}
    ),
    "repair": Scenario(_damaged_cache, _repair, {"out": damaged_or_set_aside}, done=(0, 3)),
    "rm": Scenario(
        _cache_and_unfinished, _remove, {f"out/{name}": file_bytes for name in _NAMES}, done=(0, 3)
    ),
    "gc": Scenario(_cache_and_unfinished, _collect, {f"out/{name}": file_bytes for name in _NAMES}),
    "finetune": Scenario(_start, _finetune(), _RUN, then=_finetune_or_resume, allowed=_WHILE_RUNNING),
    "finetune resumed": Scenario(
        _stopped_finetuning, _finetune("--resume", epochs=2), _RUN, allowed=_WHILE_RUNNING
    ),
    "finetune again": Scenario(_finished_finetuning, _finetune("--overwrite"), _RUN, allowed=_WHILE_REPLACED),
}
