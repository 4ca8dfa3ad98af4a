"""Every command on what is no file, no folder or not there: one line with the name, what was expected, what to do.

The commands are asked of the program itself, so that a new one has to be added to the tables here.
"""

import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from helpers.fake_network import FakeNetwork
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder
from helpers.refusing_disk import refuse_writes
from helpers.small_caches import small

from featcache import backbones
from featcache.cli import app as cli_app
from featcache.cli import main
from featcache.core import compilation_cache

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs")

CACHE = "a cache, the file that featcache extract writes"
CLASSIFIER = "a classifier, the folder that featcache train-head writes"
PHOTOS = "a dataset folder, ROOT/CLASS/image.jpg or ROOT/{train,val,test}/CLASS/image.jpg"
NO_CACHE = "no cache gone; make one with: featcache extract DATASET --output gone"
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
    "train-head": Reads("train-head {} -o new", "file", CACHE, NO_CACHE, "use"),
    "sweep": Reads("sweep {} -o new", "file", CACHE, NO_CACHE, "use"),
    "finetune": Reads("finetune {} photos -o new", "folder", CLASSIFIER, NO_CLASSIFIER),
    "evaluate": Reads("evaluate {}", "folder", CLASSIFIER, NO_CLASSIFIER),
    "predict": Reads("predict {} photos", "folder", CLASSIFIER, NO_CLASSIFIER),
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
    "cache info": Reads("cache info {}", "file", CACHE, NO_CACHE, "use"),
    "cache verify": Reads("cache verify {}", "file", CACHE, NO_CACHE, "use"),
    "cache repair": Reads("cache repair {}", "file", CACHE, NO_CACHE, "use"),
    "cache export": Reads("cache export {} new.npz", "file", CACHE, NO_CACHE, "use"),
    "cache rm": Reads(
        "cache rm {}",
        "file",
        CACHE,
        "no cache gone; featcache cache ls FOLDER lists those in a folder",
        "find",
    ),
}
READ_NOTHING = {"backbones", "backbones show", "demo"}

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
    "cache export": Writes("cache export a.h5 {}", "file", ("new.npz", "new.parquet"), ANOTHER, False),
    "evaluate": Writes("evaluate c --errors {}", "file", ("new.csv", "new.json"), ANOTHER, False),
    "predict": Writes("predict c photos --csv {}", "file", ("new.csv",), ANOTHER, False),
    "predict --jsonl": Writes("predict c photos --jsonl {}", "file", ("new.jsonl",), ANOTHER, False),
    "predict --copy-to": Writes(
        "predict c photos --copy-to {}", "folder", elsewhere="write elsewhere with --copy-to"
    ),
}
WRITE_NOTHING = {
    "backbones", "backbones show", "data check", "doctor", "cache ls", "cache info", "cache verify", "cache rm",
    "cache gc", "cache repair",
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


def test_no_command_is_forgotten():
    assert {*READERS, *READ_NOTHING} == commands()
    assert {name.partition(" --")[0] for name in WRITERS} | WRITE_NOTHING == commands()


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from featcache import train_head

    root = tmp_path_factory.mktemp("side")
    photo_folder(root / "photos", {"cat": 2, "dog": 2})
    features, labels = blobs(24)
    feature_cache(root / "a.h5", features, labels, ["train"] * 16 + ["val"] * 4 + ["test"] * 4).close()
    small().create(root / "b.h5").close()
    (root / "file").write_text("text")
    train_head(root / "a.h5", head="prototype", output=root / "c")
    return root


@pytest.fixture
def place(inputs, tmp_path, monkeypatch) -> Path:
    shutil.copytree(inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(backbones, "load", lambda name="", weights=None: FakeNetwork())
    return tmp_path


def error_of(ran, code: int, out: str | None = "") -> str:
    """Return the one line that a command ended with, without its ``error: ``."""
    assert ran.code == code, ran
    lines = [line for line in ran.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, ran.err
    for word in ("Traceback", "unexpected", "report it"):
        assert word not in ran.err
    if out is not None:
        assert ran.out == out
    return lines[0].removeprefix("error: ")


# What lies under a name -------------------------------------------------------------------------------------


def as_fifo(path: Path) -> None:
    os.mkfifo(path)


def as_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def as_loop(path: Path) -> None:
    path.symlink_to(path.name)


def as_dangling(path: Path) -> None:
    path.symlink_to("nowhere")


KINDS: dict[str, Callable[[Path], None]] = {
    "a FIFO": as_fifo,
    "a device": as_device,
    "a link that leads back to itself": as_loop,
    "a link to nowhere, which is missing": as_dangling,
    "a file": lambda path: path.write_text("text") and None,
    "a folder": Path.mkdir,
}


@pytest.mark.parametrize("reads", READERS.values(), ids=READERS)
def test_what_is_read_is_something_else(cli, place, reads):
    for kind, make in KINDS.items():
        given = place / "given"
        if kind == f"a {reads.kind}":
            continue
        make(given)
        line = error_of(cli(*reads.line.format("given").split()), 3)
        assert line.startswith(f"given is {kind}; expected {reads.expected}; name one"), line
        given.unlink() if not given.is_dir() else given.rmdir()


@pytest.mark.parametrize("reads", READERS.values(), ids=READERS)
def test_what_is_read_is_not_there(cli, place, reads):
    assert error_of(cli(*reads.line.format("gone").split()), 3).startswith(reads.missing)
    below = error_of(cli(*reads.line.format("file/gone").split()), 3)
    assert below.startswith(reads.missing.replace("gone", "file/gone"))
    assert "(file is a file, no folder)" in below
    of_nobody = error_of(cli(*reads.line.format("~nobody-at-all/gone").split()), 3)
    assert of_nobody.startswith(reads.missing.replace("gone", "~nobody-at-all/gone"))
    long = error_of(cli(*reads.line.format(LONG).split()), reads.code)
    told = f"cannot {reads.verb} {LONG}: File name too long [errno 36, ENAMETOOLONG]; choose a shorter name"
    assert long.startswith(told[:20]), long
    assert long.endswith(told[-70:]), long
    if reads.kind == "file":
        for name in (".", "/"):
            assert re.match(rf"{name} is a folder", error_of(cli(*reads.line.format(name).split()), 3))


@pytest.mark.parametrize("writes", WRITERS.values(), ids=WRITERS)
def test_what_is_written_has_the_name_of_something_else(cli, place, writes):
    for name in writes.names:
        for kind, make in KINDS.items():
            if kind in (f"a {writes.kind}", "a link to nowhere, which is missing"):
                continue
            make(place / name)
            before = os.lstat(place / name)
            ran = cli(*writes.line.format(name).split())
            line = error_of(ran, ran.code if ran.code == 1 and "demo" in writes.line else 2)
            said = rf"output (\S*/)?({name}|dev/zero)(/\S+)? is {kind}, expected a (file|folder) or nothing; "
            assert re.fullmatch(said + writes.elsewhere, line), line
            after = os.lstat(place / name)
            assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
            (place / name).unlink() if not (place / name).is_dir() else (place / name).rmdir()


@pytest.mark.parametrize("writes", WRITERS.values(), ids=WRITERS)
def test_what_is_written_lies_nowhere(cli, place, writes):
    if "finetune" in writes.line:
        pytest.skip("its head and weights are looked at first")
    for name in writes.names:
        ran = cli(*writes.line.format(f"file/{name}").split())
        line = error_of(ran, 2 if "copy-to" in writes.line else 1)
        assert "file is a file, no folder; " in line or re.match(
            r"output \S*file is a file, expected a folder", line
        ) or line.startswith(
            f"cannot write file/{name}: Not a directory [errno 20, ENOTDIR]; something else has that name"
        ), line  # fmt: skip
        assert line.endswith(writes.elsewhere)
        if not writes.makes_folders:
            line = error_of(cli(*writes.line.format(f"no/{name}").split()), 1)
            assert line == (
                f"cannot write no/{name}: No such file or directory [errno 2, ENOENT]; a part of that path is "
                f"missing: check it, or make the folder, or {ANOTHER}"
            )
    assert not (place / "no").exists()


def test_no_pipe_or_device_is_replaced_by_a_table(cli, place):
    """As ``--csv /dev/stdout`` would be, by whoever may write to /dev."""
    os.mkfifo("new.csv")
    cli("predict", "c", "photos", "--csv", "new.csv")
    cli("evaluate", "c", "--errors", "new.csv")
    assert Path("new.csv").is_fifo()


# Disks ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("number", "advice"),
    [
        (errno.EROFS, "the file system is read-only: mount it for writing"),
        (errno.EACCES, "your permissions do not allow that: have them changed"),
        (errno.EIO, "the disk reports a failure: look at the system's log"),
        (errno.EDQUOT, "your quota is used up: free some space"),
        (errno.ENOTCONN, "the server or program behind that file system is gone: mount it again"),
        (errno.EINVAL, "the file system there cannot do that, as some of network, cloud and FAT disks cannot"),
    ],
)  # fmt: skip
def test_tables_and_lists_on_a_disk_that_refuses(cli, place, monkeypatch, number, advice):
    """Scores are printed all the same; the rest of the commands is in `test_refused_commands`."""
    (place / "disk").mkdir()
    refuse_writes(monkeypatch, place / "disk", number)
    for line in ("predict c photos --csv disk/t.csv", "predict c photos --jsonl disk/t.jsonl"):
        told = rf"cannot write disk/t\.\w+: .* \[errno {number}, {errno.errorcode[number]}\]; {advice}, or {ANOTHER}"
        assert re.fullmatch(told, error_of(cli(*line.split()), 1))
    ran = cli("evaluate", "c", "--errors", "disk/t.csv")
    assert re.fullmatch(told, error_of(ran, 1, out=None))
    assert ran.out.startswith("test: accuracy ")


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            OSError(errno.EBADF, "Bad file descriptor", "x.h5"),
            "cannot use x.h5: Bad file descriptor [errno 9, EBADF]; look at the disk",
        ),
        (
            OSError(errno.EMFILE, "Too many open files"),
            "cannot use a file, which the system does not name: Too many open files [errno 24, EMFILE]; too many "
            "files are open: close some, or raise the limit (ulimit -n)",
        ),
        (
            OSError("Truncated file"),
            "the system or a library could not read or write something: OSError: Truncated file; look at the files "
            "and disks that the command uses; FEATCACHE_DEBUG=1 shows where it happened",
        ),
        (MemoryError(), "memory has run out; close other programs, or ask for less at once"),
    ],
)
def test_what_no_function_foresaw(cli, place, monkeypatch, error, told):
    def failing(*args, **options):
        raise error

    monkeypatch.setattr("featcache.cache.list_caches", failing)
    assert error_of(cli("cache", "ls"), 1) == told


# What vanishes between being listed and being opened --------------------------------------------------------


@pytest.mark.parametrize("line", ["cache ls", "cache gc", "cache gc --delete --unfinished", "doctor"])
def test_a_file_that_vanishes_after_it_was_listed_is_left_out(cli, place, monkeypatch, line):
    """Whoever opens a cache of the folder finds that an extraction or another ``gc`` has just removed it."""
    from featcache.cache import maintenance, set_aside

    real = maintenance.FeatureCache

    def vanishing(path):
        Path(path).unlink()
        return real(path)

    for module in (maintenance, set_aside):
        monkeypatch.setattr(module, "FeatureCache", vanishing)
    ran = cli(*line.split())
    assert ran.code == 0, ran.err
    assert "error" not in ran.err
    assert "a.h5" not in ran.out


# Odd places -------------------------------------------------------------------------------------------------


HEALTHY = (
    "extract photos -o new.h5",
    "evaluate c",
    "backbones",
    "cache gc",
    "doctor",
)
HOMES: dict[str, tuple[Callable[[Path], str], str]] = {
    "a file": (lambda place: str(place / "file"), r"\S+/file cannot be written \(\S+/file is a file, no folder\), so"),
    "below a file": (lambda place: str(place / "file" / "x"), r"\S+/file/x cannot be written \(\S+/file is a file, no"),
    "a FIFO": (lambda place: os.mkfifo(place / "f") or str(place / "f"), r"\S+/f cannot be written \(\S+/f is a FIFO"),
    "a device": (lambda place: "/dev/null", r"/dev/null cannot be written \(/dev/null is a device, no folder\)"),
    "a loop": (lambda place: (place / "l").symlink_to("l") or str(place / "l"), r"\S+/l \(not made yet\), .* GB free"),
    "nowhere": (lambda place: (place / "d").symlink_to("no") or str(place / "d"), r"\S+/d \(not made yet\), .* GB"),
    "too long": (lambda place: f"{place}/{LONG}", rf"\S+/{LONG} cannot be used: File name too long; set FEAT"),
    "nobody's": (lambda place: "~nobody-at-all/x", r"~nobody-at-all/x is below whatever folder a command is run in;"),
    "relative": (lambda place: "a home", r"a home is below whatever folder a command is run in; set FEATCACHE_HOME to"),
    "blank": (lambda place: " ", r"  is below whatever folder a command is run in; set FEATCACHE_HOME to a whole path"),
    "kernel's": (lambda place: "/proc/1/x", r"/proc/1/x"),
}  # fmt: skip


@pytest.fixture
def keeping_programs(monkeypatch) -> None:
    """The command line looks for a place for compiled programs, as it does outside of tests; JAX is not told."""
    monkeypatch.setattr(compilation_cache, "_own_cache", lambda: None)
    monkeypatch.setattr(compilation_cache, "_configure", lambda folder: None)


def as_a_program(monkeypatch, capsys, line: str):
    monkeypatch.setattr(sys, "argv", ["featcache", *line.split()])
    capsys.readouterr()
    code = main()
    return code, *capsys.readouterr()


@pytest.mark.usefixtures("keeping_programs")
@pytest.mark.parametrize(("home", "said"), HOMES.values(), ids=HOMES)
def test_an_odd_home_stops_no_command_that_needs_none(place, monkeypatch, capsys, home, said):
    monkeypatch.setenv("FEATCACHE_HOME", home(place))
    for line in HEALTHY:
        code, out, err = as_a_program(monkeypatch, capsys, line)
        assert code == 0, err
        assert not re.search("error|Traceback|unexpected", err)
    assert re.search(rf"home +{said}", out), out


@pytest.mark.usefixtures("keeping_programs")
def test_a_home_that_is_not_set_is_found_without_a_users_folder(place, monkeypatch, capsys):
    for name in ("FEATCACHE_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(place / "nobody"))
    for line in ("doctor", "cache gc", "backbones", "data check photos"):
        assert as_a_program(monkeypatch, capsys, line)[0] == 0


GONE = "; the folder that this runs in is gone: change to another one (cd)"


@pytest.mark.usefixtures("keeping_programs")
@pytest.mark.parametrize("reads", READERS.values(), ids=READERS)
def test_the_folder_that_it_runs_in_is_gone(place, monkeypatch, capsys, reads):
    (place / "here").mkdir()
    monkeypatch.chdir(place / "here")
    (place / "here").rmdir()
    code, out, err = as_a_program(monkeypatch, capsys, reads.line.format("gone"))
    assert code in (1, 3)
    assert out == ""
    [line] = err.splitlines()
    assert line.startswith("error: ")
    assert line.endswith(GONE)
    assert "unexpected" not in line
    monkeypatch.chdir(place)
