"""Commands on refusing disks, with vanishing files, odd homes and no folder to run in: one line, or none is needed."""

import errno
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.refusing_disk import refuse_writes
from helpers.side_commands import ANOTHER, LONG, READERS, error_of

from featcache.cli import main
from featcache.core import compilation_cache

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="paths of descriptors are read from /proc")

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
    out = ""
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
