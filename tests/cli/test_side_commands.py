"""Every command on what is no file, no folder or not there: one line with the name, what was expected, what to do."""

import os
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.side_commands import (
    ANOTHER,
    LONG,
    READ_NOTHING,
    READERS,
    WRITE_NOTHING,
    WRITERS,
    commands,
    error_of,
)

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no FIFOs")


def test_no_command_is_forgotten():
    assert {*READERS, *READ_NOTHING} == commands()
    assert {name.partition(" --")[0] for name in WRITERS} | WRITE_NOTHING == commands()


# What lies under a name -------------------------------------------------------------------------------------


def as_fifo(path: Path) -> None:
    os.mkfifo(path)


def as_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def as_loop(path: Path) -> None:
    path.symlink_to(path.name)


def as_dangling(path: Path) -> None:
    path.symlink_to("nowhere")


KINDS: dict[str, Callable[[Path], object]] = {
    "a FIFO": as_fifo,
    "a device": as_device,
    "a link that leads back to itself": as_loop,
    "a link to nowhere, which is missing": as_dangling,
    "a file": lambda path: path.write_text("text"),
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
