"""All commands, what they read and write, and how they say that it is something else or not there.

The commands are asked of the program itself, so that a new one has to be added to the tables here.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

from featcache.cli import app as cli_app
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder
from helpers.small_caches import small

CACHE = "a cache, the file that featcache extract writes"
CLASSIFIER = "a classifier, the folder that featcache train-head writes"
REPORTED = "a classifier, a sweep, a cache, a fine-tuning run or records of experiments"
PHOTOS = "a dataset folder, ROOT/CLASS/image.jpg or ROOT/{train,val,test}/CLASS/image.jpg"
NO_CACHE = "no cache gone; make one with: featcache extract DATASET"
NO_CLASSIFIER = "no classifier in gone (no classifier.json); train one with: featcache train-head CACHE"
NO_PHOTOS = "no dataset folder gone; expected ROOT/CLASS/image.jpg"


@dataclass(frozen=True)
class Reads:
    """A command with ``{}`` for what it reads, the kind and words of that, and how a missing one is told.

    `verb` is what cannot be done to a name that no file can have, and `code` how the command ends then.
    """

    line: str
    kind: str
    expected: str
    missing: str
    verb: str = "read"
    code: int = 1


READERS = {
    "extract": Reads("extract {} -o new.h5", "folder", PHOTOS, NO_PHOTOS, code=3),
    "data check": Reads("data check {}", "folder", PHOTOS, NO_PHOTOS, code=3),
    "train-head": Reads("train-head {} -o new", "file", CACHE, NO_CACHE),
    "sweep": Reads("sweep {} -o new", "file", CACHE, NO_CACHE),
    "finetune": Reads("finetune {} photos -o new", "folder", CLASSIFIER, NO_CLASSIFIER),
    "evaluate": Reads("evaluate {}", "folder", CLASSIFIER, NO_CLASSIFIER),
    "predict": Reads("predict {} photos", "folder", CLASSIFIER, NO_CLASSIFIER),
    "similar": Reads("similar {} row:0", "file", CACHE, NO_CACHE),
    "explain": Reads("explain {} photos -o new.html", "folder", CLASSIFIER, NO_CLASSIFIER),
    "export": Reads("export {} -o new.onnx", "folder", CLASSIFIER, NO_CLASSIFIER),
    "suggest": Reads("suggest {}", "file", CACHE, NO_CACHE),
    "report": Reads(
        "report {}", "file or folder", REPORTED, f"nothing at gone; expected {REPORTED}; check the name"
    ),
    "audit": Reads("audit {} --only imbalance", "file", CACHE, NO_CACHE),
    "doctor": Reads(
        "doctor {}",
        "folder",
        "a folder in which to look for caches and locks",
        "no folder gone; expected a folder in which to look for caches and locks",
    ),
    "cache ls": Reads(
        "cache ls {}",
        "folder",
        "a folder to look for caches in",
        "no folder gone; expected a folder to look for caches in",
    ),
    "cache gc": Reads(
        "cache gc {} --delete --unfinished",
        "folder",
        "a folder to look for caches in",
        "no folder gone; expected a folder to look for caches in",
    ),
    "cache info": Reads("cache info {}", "file", CACHE, NO_CACHE),
    "cache verify": Reads("cache verify {}", "file", CACHE, NO_CACHE),
    "cache repair": Reads("cache repair {}", "file", CACHE, NO_CACHE, "use"),
    "cache export": Reads("cache export {} new.npz", "file", CACHE, NO_CACHE),
    "cache rm": Reads(
        "cache rm {}",
        "file",
        CACHE,
        "no cache gone; featcache cache ls FOLDER lists those in a folder",
        "find",
    ),
}
READ_NOTHING = {"backbones", "backbones show", "backbones forget", "demo"}

LONG = "x" * 300


@dataclass(frozen=True)
class Writes:
    """A command with ``{}`` for what it writes, the kind of that, how it may be called, and what else is advised."""

    line: str
    kind: str
    names: tuple[str, ...] = ("new",)
    elsewhere: str = "write elsewhere with --output"
    makes_folders: bool = True


ANOTHER = "name another file"
WRITERS = {
    "extract": Writes("extract photos -o {}", "file", ("new.h5",)),
    "train-head": Writes("train-head a.h5 --head prototype -o {}", "folder"),
    "sweep": Writes("sweep a.h5 --head prototype -o {}", "folder"),
    "finetune": Writes("finetune c photos --epochs 1 -o {}", "folder"),
    "demo": Writes("demo -o {}", "folder"),
    "demo --photos": Writes("demo --photos {}", "folder", elsewhere="name a new folder"),
    "cache export": Writes("cache export a.h5 {}", "file", ("new.npz", "new.parquet"), ANOTHER, False),
    "evaluate": Writes("evaluate c --errors {}", "file", ("new.csv", "new.json"), ANOTHER, False),
    "audit": Writes("audit a.h5 --only imbalance --csv {}", "file", ("new.csv",), ANOTHER, False),
    "report": Writes("report c -o {}", "file", ("new.html",), ANOTHER, False),
    "report --figures": Writes("report c --figures {}", "folder", elsewhere="name another folder"),
    "predict": Writes("predict c photos --csv {}", "file", ("new.csv",), ANOTHER, False),
    "similar": Writes("similar a.h5 row:0 -o {}", "file", ("new.html",), ANOTHER, False),
    "similar --csv": Writes("similar a.h5 row:0 --csv {}", "file", ("new.csv",), ANOTHER, False),
    "explain": Writes("explain c photos -o {}", "file", ("new.html", "new.png"), ANOTHER, False),
    "export": Writes("export c -o {}", "file", ("new.onnx", "new.stablehlo"), ANOTHER),
    "export --web": Writes("export c --web {}", "folder", elsewhere="name another folder"),
    "suggest": Writes("suggest a.h5 --split all -o {}", "file", ("new.html",), ANOTHER, False),
    "suggest --csv": Writes("suggest a.h5 --split all --csv {}", "file", ("new.csv",), ANOTHER, False),
    "suggest --links": Writes(
        "suggest a.h5 --split all --links {}", "folder", elsewhere="name another folder"
    ),
    "predict --jsonl": Writes("predict c photos --jsonl {}", "file", ("new.jsonl",), ANOTHER, False),
    "predict --copy-to": Writes(
        "predict c photos --copy-to {}", "folder", elsewhere="write elsewhere with --copy-to"
    ),
}
WRITE_NOTHING = {
    "backbones", "backbones show", "backbones forget", "data check", "doctor", "cache ls", "cache info",
    "cache verify", "cache rm", "cache gc", "cache repair",
}  # fmt: skip


def commands() -> set[str]:
    """Return the names of all commands, as typer knows them; of groups that do something alone, too."""

    def walk(command: object, names: tuple[str, ...]) -> Iterator[str]:
        below = getattr(command, "commands", None)
        if names and (below is None or getattr(command, "invoke_without_command", False)):
            yield " ".join(names)
        for name, each in (below or {}).items():
            yield from walk(each, (*names, name))

    return set(walk(typer.main.get_command(cli_app.app), ()))


def make_inputs(root: Path) -> None:
    """Make photos, a cache, an unfinished one, a classifier and a file of something else."""
    from featcache import train_head

    photo_folder(root / "photos", {"cat": 2, "dog": 2})
    features, labels = blobs(24)
    feature_cache(root / "a.h5", features, labels, ["train"] * 16 + ["val"] * 4 + ["test"] * 4).close()
    small().create(root / "b.h5").close()
    (root / "file").write_text("text")
    train_head(root / "a.h5", head="prototype", output=root / "c")


def error_of(ran: Any, code: int, out: str | None = "") -> str:
    """Return the one line that a command ended with, without its ``error: ``."""
    assert ran.code == code, ran
    lines = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, ran.err
    for word in ("Traceback", "unexpected", "report it"):
        assert word not in ran.err
    if out is not None:
        assert ran.out == out
    return lines[0].removeprefix("error: ")
