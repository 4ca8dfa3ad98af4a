"""Every path that a command takes, with whatever may lie under that name: one line says what is there."""

import os
import re
import resource
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from helpers.fake_network import FakeNetwork
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder
from helpers.strange_names import SECRET, STRANGE, Strange

from featcache import backbones

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="what may lie under a name is the system's")

QUICK = "--head prototype"
MOST_SECONDS = 5
"""After which a command counts as waiting for ever, such as for a writer of a FIFO."""
MOST_BYTES = 2**30
"""What a command may take, so that a device that never ends does not take the machine's memory."""


@dataclass(frozen=True)
class Slot:
    """A path of a command.

    Parameters
    ----------
    command
        Its arguments; ``@`` is the path.
    ending
        What the path ends in.
    at
        Where the strange thing lies, if that is not the path; ``@`` is the path.
    fine
        What is no error there.
    skipped
        What is not tried: where the command would begin its work.
    shows
        Whether it may show the file's words: the columns of a table are named, as those that there are.
    """

    command: str
    ending: str = ""
    at: str = "@"
    fine: str = ""
    skipped: str = ""
    shows: bool = False


WRITES = "empty file dangling missing controls"
"""What a new file may take the name of: a link to nothing is one to the place where it is to be."""
NEW_FOLDER = "dangling missing controls"

SLOTS = {
    # datasets
    "extract folder": Slot("extract @ -o out/new.h5"),
    "extract csv": Slot("extract csv:@ -o out/new.h5", ".csv", shows=True),
    "extract lists": Slot("extract lists:@ -o out/new.h5"),
    "extract tar": Slot("extract tar:@ -o out/new.h5", ".tar"),
    "extract hf": Slot("extract hf:@ -o out/new.h5"),
    "extract hf file": Slot("extract hf:@ -o out/new.h5", ".parquet", skipped="file empty"),
    "extract data-dir": Slot("extract tfds:shapes --data-dir @ -o out/new.h5"),
    "data check folder": Slot("data check @"),
    "data check csv": Slot("data check csv:@", ".csv", shows=True),
    "data check lists": Slot("data check lists:@"),
    "data check tar": Slot("data check tar:@", ".tar"),
    "data check hf": Slot("data check hf:@", ".arrow", skipped="file empty"),
    "data check data-dir": Slot("data check tfds:shapes --data-dir @"),
    # caches that are read
    **{
        name: Slot(f"{command}", ".h5")
        for name, command in {
            "train-head": f"train-head @ -o out/new {QUICK}",
            "sweep": f"sweep @ -o out/new {QUICK}",
            "evaluate cache": "evaluate inputs/c --cache @",
            "info": "cache info @",
            "verify": "cache verify @",
            "repair": "cache repair @",
            "export": "cache export @ out/f.npz",
            "rm": "cache rm @",
            "reuse": "extract inputs/photos -o out/new.h5 --reuse @",
        }.items()
    },
    # classifiers
    **{
        f"{name} classifier": Slot(command)
        for name, command in {
            "evaluate": "evaluate @",
            "predict": "predict @ inputs/photos",
            "finetune": "finetune @ inputs/photos -o out/new",
        }.items()
    },
    **{
        f"{name} {file}": Slot(command, at=f"@/{file}")
        for file in ("classifier.json", "head.safetensors")
        for name, command in {
            "evaluate": "evaluate @",
            "predict": "predict @ inputs/photos",
            "finetune": "finetune @ inputs/photos -o out/new",
        }.items()
    },
    # weights
    "extract weights": Slot("extract inputs/photos -o out/new.h5 -b efficientnet_lite0 --weights @", ".pth"),
    "predict weights": Slot("predict -b efficientnet_lite0 --weights @ inputs/photos", ".pth"),
    "extract backbone": Slot("extract inputs/photos -o out/new.h5 -b @/"),
    # options in a file
    "sweep config": Slot(f"sweep inputs/features.h5 -o out/new {QUICK} --config @", ".toml", fine="empty"),
    # what is written
    "extract output": Slot("extract inputs/photos -o @", ".h5", fine=NEW_FOLDER),
    "extract partial": Slot("extract inputs/photos -o @", ".h5", at="@.partial.h5", fine="*"),
    "extract previous": Slot("extract inputs/photos -o @", ".h5", at="@.previous.h5", fine="*"),
    "extract lock": Slot("extract inputs/photos -o @", ".h5", at="@.lock", fine="*"),
    "extract owner": Slot("extract inputs/photos -o @", ".h5", at="@.owner.json", fine="*"),
    "export npz": Slot("cache export inputs/features.h5 @", ".npz", fine=WRITES),
    "export parquet": Slot("cache export inputs/features.h5 @", ".parquet", fine=WRITES),
    "train-head output": Slot(f"train-head inputs/features.h5 -o @ {QUICK}", fine=NEW_FOLDER),
    "sweep output": Slot(f"sweep inputs/features.h5 -o @ {QUICK}", fine=NEW_FOLDER),
    "finetune output": Slot("finetune inputs/c inputs/photos -o @", skipped=NEW_FOLDER),
    "demo output": Slot("demo -o @", skipped="folder dangling missing controls"),
    **{
        f"sweep {file}": Slot(f"sweep inputs/features.h5 -o @ {QUICK}", at=f"@/{file}", fine="*")
        for file in (
            "results.jsonl",
            "results.jsonl.lock",
            "results.jsonl.owner.json",
            "results.parquet",
            "summary.json",
        )
    },
    **{
        f"finetune {file}": Slot("finetune inputs/c inputs/photos -o @ --resume", at=f"@.run/{file}")
        for file in ("run.json", "history.jsonl", "checkpoints")
    },
    # folders that are looked into
    "ls": Slot("cache ls @", fine="folder"),
    "gc": Slot("cache gc @ --delete", fine="folder"),
    "doctor": Slot("doctor @", fine="folder"),
    "ls of strange": Slot("cache ls @", at="@/x.h5", fine="*"),
    "gc of strange": Slot("cache gc @ --delete --unfinished", at="@/x.partial.h5", fine="*"),
    "doctor of strange": Slot("doctor @", at="@/x.h5", fine="*"),
}

QUICK_SLOTS = {
    "extract csv", "data check tar", "train-head", "info", "rm", "evaluate cache",
    "predict classifier", "evaluate classifier.json", "predict head.safetensors", "sweep config",
    "extract output", "extract partial", "export npz", "train-head output", "sweep results.jsonl", "finetune run.json",
    "ls", "gc of strange", "doctor",
}  # fmt: skip
"""One or two of every sort; the others are tried in the slow suite."""
assert set(SLOTS) >= QUICK_SLOTS


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, features and a classifier of them."""
    from featcache import train_head

    here = tmp_path_factory.mktemp("names") / "inputs"
    photo_folder(here / "photos", {"cat": 2, "dog": 2})
    features, labels = blobs(24)
    feature_cache(here / "features.h5", features, labels, ["train"] * 16 + ["val"] * 4 + ["test"] * 4).close()
    train_head(here / "features.h5", head="ridge", output=here / "c")
    (here / "plain.txt").write_text("a file")
    return here


@pytest.fixture
def place(inputs, tmp_path, monkeypatch) -> Path:
    (tmp_path / "inputs").symlink_to(inputs)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FEATCACHE_OFFLINE", "1")
    real = backbones.load
    monkeypatch.setattr(
        backbones,
        "load",
        lambda name="", weights=None: (
            real(name, weights=weights) if weights or "/" in name else FakeNetwork()
        ),
    )
    return tmp_path


@contextmanager
def limited() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise AssertionError("it waits for ever")

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    limits = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(MOST_SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MOST_BYTES, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, limits)
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def problems(ran, slot: Slot, name: str) -> list[str]:
    """Say what is wrong with a command's answer."""
    found = [word for word in ("Traceback", "unexpected", "report it") if word in ran.err]
    if SECRET in ran.out + ran.err and not slot.shows:
        found.append("shows what stands in the file")
    if re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", ran.out + ran.err):
        found.append("control characters")
    if ran.code == 0:
        return found if slot.fine == "*" or name in slot.fine.split() else [*found, "no error"]
    *notes, last = ran.err.splitlines()
    if not last.startswith("error: ") or any(line.startswith("error: ") for line in notes):
        return [*found, "not one line"]
    if ran.code not in (1, 2, 3, 4):
        found.append(f"exit code {ran.code}")
    if slot.at == "@" and not re.search(STRANGE[name].said, ran.out + last):
        found.append(f"does not say {STRANGE[name].said!r}")
    if not re.search(r"; |expected |\. [A-Z]\w+ ", ran.out + last):
        found.append("no advice")
    return found if len(last) < 1200 else [*found, "too long"]


@pytest.mark.parametrize(
    "slot",
    [
        pytest.param(slot, id=name, marks=() if name in QUICK_SLOTS else pytest.mark.slow)
        for name, slot in SLOTS.items()
    ],
)
def test_what_lies_under_a_name(cli, place, slot):
    wrong = {}
    for name, strange in STRANGE.items():
        if name in slot.skipped.split() or (strange.name != "{}" and slot.at != "@"):
            continue
        folder = place / name.replace(" ", "-")
        for new in (folder, folder / "odd", folder / "out"):
            new.mkdir()
        (folder / "inputs").symlink_to(place / "inputs")
        os.chdir(folder)
        given = prepared(slot, strange, folder)
        try:
            with limited():
                ran = cli(*[word.replace("@", given) for word in slot.command.split(" ")])
        except BaseException as error:
            wrong[name] = f"raises {type(error).__name__}: {error}"[:300]
        else:
            wrong[name] = (problems(ran, slot, name), ran.code, ran.out[-100:], ran.err[-400:])
            if not wrong[name][0]:
                del wrong[name]
    assert not wrong, "\n".join(f"{name}: {why}" for name, why in wrong.items())


def prepared(slot: Slot, strange: Strange, folder: Path) -> str:
    """Put the strange thing in its place; return the path that the command is given."""
    ending = strange.name.format("x" + slot.ending)
    given = ending if "/" in ending else f"odd/{ending}"
    if strange.name != "{}":
        return given
    stem = given.removesuffix(slot.ending)
    target = folder / slot.at.replace(
        "@", stem if slot.at.endswith((".partial.h5", ".previous.h5")) else given
    )
    if slot.at in ("@/classifier.json", "@/head.safetensors"):
        shutil.copytree(folder / "inputs/c", folder / given)
        target.unlink()
    elif target.parent != folder / "odd":
        target.parent.mkdir()
        if slot.command.startswith("sweep"):
            (target.parent / "results.jsonl").touch()
            target.unlink(missing_ok=True)
    strange.make(target)
    return given
