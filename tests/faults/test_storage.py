"""Disks that are full, read-only or failing: a clear error, and no committed row is lost."""

import errno
import os
import subprocess
import sys

import numpy as np
import pytest
from helpers.programs import environment, run_on_small_disk
from helpers.small_caches import small

from featcache.cache import FeatureCache, partial_path
from featcache.core.disk import files as cache_files
from featcache.errors import StorageError

WANT = small(40, shapes={"pool": (1280,), "mixed7": (3, 5)})

# What runs inside a mount namespace of its own, in a folder that is a tmpfs of 600 KB.
PREAMBLE = """
import os, subprocess, sys
from pathlib import Path
import numpy as np
from helpers.programs import start_filler
from helpers.small_caches import small
from featcache.cache import CacheWriter, FeatureCache, partial_path
from featcache.core.disk import files, storage
from featcache.errors import StorageError
want = small(40, shapes={"pool": (1280,), "mixed7": (3, 5)})
large = small(400, shapes={"pool": (1280,)})
target = Path(sys.argv[1]) / "a.h5"
"""

FULL_AT_THE_START = """
try:
    large.create(target)
except StorageError as error:
    assert "needs 2.1 MB, has 0.6 MB" in str(error), error
else:
    raise AssertionError("2.1 MB fit into 0.6 MB")
assert list(target.parent.iterdir()) == []

# Where nobody can say how much is free, the reservation finds out.
storage.free_bytes = lambda folder: None
try:
    large.create(target)
except StorageError as error:
    assert "No space left on device [errno 28, ENOSPC]; free some space (needs 2.1 MB), or" in str(error), error
    assert "already written" not in str(error), error
else:
    raise AssertionError("2.1 MB fit into 0.6 MB")
assert list(target.parent.iterdir()) == []
assert want.wrong(want.publish(target)) == []
"""

FULL_MIDWAY = """
def unsupported(*args):
    raise OSError(95, "Operation not supported")

os.posix_fallocate = unsupported  # as on file systems that cannot reserve, such as NFS before 4.2
committed = 0
with want.create(target) as writer:
    want.fill(writer, range(16), block=2)
    filler = target.with_name("filler")
    with filler.open("wb", buffering=0) as stream:
        try:
            while stream.write(bytes(4096)):
                pass
        except OSError:
            pass
    try:
        for first in range(16, 40, 2):
            want.fill(writer, range(first, first + 2))
            committed = first
    except StorageError as error:
        assert "No space left on device [errno 28, ENOSPC]; free some space" in str(error), error
        assert "rows already written are safe" in str(error), error
    else:
        raise AssertionError("the disk was not full")
done = np.flatnonzero(CacheWriter.resume(target).done())
expected = [row for row in range(committed) if row not in want.quarantined]
assert done[: len(expected)].tolist() == expected, done
filler.unlink()
assert want.wrong(want.resume(target)) == []
"""

READ_ONLY = """
want.publish(target)
subprocess.run(["mount", "-o", "remount,ro", str(target.parent)], check=True)
try:
    want.create(target)
except StorageError as error:
    assert "Read-only file system [errno 30, EROFS]; the file system is read-only" in str(error), error
else:
    raise AssertionError("written to a read-only file system")
from featcache.cache import verify
assert want.wrong(FeatureCache(target)) == []
assert verify(target).ok
"""


FULL_FOR_MOMENTS = """
# Another program fills what is left again and again, and frees it. What is free at the start says nothing, and
# half of the time nothing can be reserved either.
storage.free_bytes = lambda folder: None
reservation, attempts = os.posix_fallocate, int(sys.argv[2]) if sys.argv[2:] else 200

def unsupported(*args):
    raise OSError(95, "Operation not supported")

filler = start_filler(target.with_name("filler"))
created = refused = 0
try:
    for attempt in range(attempts):
        os.posix_fallocate = reservation if attempt % 2 else unsupported
        partial_path(target).unlink(missing_ok=True)
        try:
            want.create(target).close()
        except StorageError as error:
            assert "No space left on device [errno 28, ENOSPC]; free some space" in str(error), error
            refused += 1
            continue
        created += 1
        with FeatureCache(partial_path(target)) as cache:
            assert cache.ids == want.rows.ids and cache.identity == want.identity
            assert not cache.written().any() and not cache.status.any()
            for name, column in want.rows.columns().items():
                assert (cache._stored.layout.columns[name] == column).all(), name
finally:
    os.kill(filler, 9)
    os.waitpid(filler, 0)
print(created, "created,", refused, "refused")
target.with_name("filler").unlink(missing_ok=True)
assert want.wrong(want.resume(target)) == []
"""


@pytest.mark.one_by_default
@pytest.mark.parametrize("program", [FULL_AT_THE_START, FULL_MIDWAY, FULL_FOR_MOMENTS, READ_ONLY])
def test_on_a_real_small_disk(program, tmp_path):
    run_on_small_disk(PREAMBLE + program, tmp_path)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (errno.EIO, r"Input/output error \[errno 5, EIO\]; the disk reports a failure"),
        (errno.ENOSPC, r"No space left on device \[errno 28, ENOSPC\]; free some space"),
        (errno.EDQUOT, r"Disk quota exceeded \[errno 122, EDQUOT\]; your quota is used up"),
        (errno.ESTALE, r"Stale file handle \[errno 116, ESTALE\]; the network file system lost the file"),
    ],
)
@pytest.mark.parametrize("failing", range(0, 24, 5))
def test_a_write_that_fails_names_file_reason_and_number(number, text, failing, tmp_path, monkeypatch):
    """The `failing`-th write fails; before that, half of it is written."""
    want = small(40, shapes={"pool": (1280,), "mixed7": (3, 5)}, quarantined={})
    target = tmp_path / "a.h5"
    real = os.pwrite
    calls = []

    def pwrite(descriptor, data, offset):
        calls.append(offset)
        if len(calls) > failing:
            real(descriptor, data[: len(data) // 2], offset)
            raise OSError(number, os.strerror(number))
        return real(descriptor, data, offset)

    with want.create(target) as writer:
        monkeypatch.setattr(cache_files.os, "pwrite", pwrite)
        with pytest.raises(StorageError, match=f"cannot write .*a.partial.h5: {text}") as caught:
            want.fill(writer, block=2)
        assert caught.value.errno == number
        monkeypatch.undo()
        done = np.flatnonzero(writer.done())
    with FeatureCache(partial_path(target)) as cache:
        np.testing.assert_array_equal(cache.features(done), want.features["pool"][done])
    # Four writes make two rows of two layers; half of the last one makes the first of them.
    assert len(done) - failing // 4 * 2 in (0, 1)
    assert want.wrong(want.resume(target)) == []


def test_an_fsync_that_fails_is_not_ignored(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with WANT.create(tmp_path / "a.h5") as writer:
        WANT.fill(writer)
        monkeypatch.setattr(cache_files.os, "fsync", fail)
        with pytest.raises(StorageError, match=r"cannot write .*: Input/output error \[errno 5, EIO\]"):
            writer.publish()
    assert not (tmp_path / "a.h5").exists()


def test_short_writes_and_reads_are_continued(tmp_path, monkeypatch):
    """A system call may do less than asked, on network file systems and after signals."""
    write, read = os.pwrite, os.preadv
    monkeypatch.setattr(
        cache_files.os, "pwrite", lambda d, data, at: write(d, data[: max(1, len(data) // 3)], at)
    )
    monkeypatch.setattr(cache_files.os, "preadv", lambda d, views, at: read(d, [views[0][:1000]], at))
    assert WANT.wrong(WANT.publish(tmp_path / "a.h5")) == []


@pytest.mark.skipif(os.getuid() != 0, reason="needs root, to become somebody else")
def test_without_permission(tmp_path):
    program = (
        "import os, sys; from pathlib import Path; from helpers.small_caches import small; import h5py\n"
        "from featcache.errors import StorageError; from featcache.cache import FeatureCache\n"
        # Everything is imported while this user may read the virtual environment.
        "from featcache.cache import create; small().create(Path('warm.h5')).close()\n"
        "try: FeatureCache('absent.h5')\n"
        "except FileNotFoundError: pass\n"
        "os.setuid(65534)\n"
        "for attempt in (lambda: small().create(Path('a.h5')), lambda: FeatureCache('secret.h5')):\n"
        "    try: attempt()\n"
        "    except StorageError as error: print(error)\n"
    )
    WANT.publish(tmp_path / "secret.h5").path.chmod(0o000)
    tmp_path.chmod(0o755)
    run = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.splitlines() == [
        "cannot write a.partial.h5: Permission denied [errno 13, EACCES]; your permissions do not allow that: "
        "have them changed, or write elsewhere with --output",
        "cannot read secret.h5: Permission denied [errno 13, EACCES]; your permissions do not allow that: have "
        "them changed",
    ]


SIDE_COMMANDS = """
from helpers.feature_caches import blobs, feature_cache
from featcache.cli.app import run
import contextlib, io, re

os.chdir(target.parent)
features, labels = blobs(24)
feature_cache(target, features, labels, ["train"] * 16 + ["test"] * 8).close()
assert run(["train-head", "a.h5", "--head", "prototype", "-o", "c", "-q"]) == 0
want.create(Path("b.h5")).close()
Path("photos").mkdir()
COMMANDS = {
    "train-head a.h5 --head prototype -o new": "cannot write the classifier to new",
    "train-head a.h5 --head prototype -o c": "cannot write the classifier to c",
    "sweep a.h5 --head prototype -o new": "cannot write new",
    "evaluate c --errors e.csv": "cannot write e.csv",
    "evaluate c --errors e.json": "cannot write e.json",
    "cache export a.h5 e.npz": "cannot write e.npz",
    "cache export a.h5 e.parquet": "cannot write e.parquet",
    "predict c photos/x.png --csv p.csv": "cannot write p.csv",
    "predict c photos/x.png --jsonl p.jsonl": "cannot write p.jsonl",
}
REMOVERS = {"cache rm a.h5": "cannot change a.h5", "cache gc --delete --unfinished": "cannot change b.h5"}
READERS = ("evaluate c", "cache ls", "cache info a.h5", "cache verify a.h5", "cache repair a.h5", "doctor", "cache gc")


def tried(line, code, told, number):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        found = run(line.split())
    errors = [each for each in err.getvalue().splitlines() if each.startswith("error: ")]
    assert found == code, (line, found, err.getvalue())
    assert len(errors) == bool(code), (line, err.getvalue())
    if code:
        assert errors[0].startswith(f"error: {told}") and f"[errno {number}, " in errors[0], errors
    assert not re.search("unexpected|report it|Traceback", err.getvalue()), err.getvalue()


def listing():
    return {path: path.stat().st_mtime_ns for path in sorted(Path().rglob("*")) if path.is_file()}


from helpers.photo_folders import save_photo
save_photo(Path("photos/x.png"))
before = listing()
"""

SIDE_READ_ONLY = """
subprocess.run(["mount", "-o", "remount,ro", str(target.parent)], check=True)
for line, told in {**COMMANDS, **REMOVERS}.items():
    tried(line, 1, told, 30)
for line in READERS:
    # An intact cache needs no repair, but whoever repairs holds it.
    tried(line, line.startswith("cache repair"), "cannot change a.h5", 30)
assert listing() == before
"""

SIDE_FULL = """
with open("filler", "ab", buffering=0) as stream:
    try:
        while stream.write(bytes(4096)):
            pass
    except OSError:
        pass
for line, told in COMMANDS.items():
    if not line.startswith("predict"):  # an empty file fits; the first row does not, and no network is here to make one
        tried(line, 1, told, 28)
for line in READERS:
    tried(line, 0, "", 0)
assert {path: time for path, time in listing().items() if path.name != "filler"} == before
for line in REMOVERS:
    tried(line, 0, "", 0)
"""


@pytest.mark.slow
@pytest.mark.parametrize("disk", [SIDE_READ_ONLY, SIDE_FULL], ids=["read-only", "full"])
def test_side_commands_on_a_real_disk(disk, tmp_path):
    run_on_small_disk(PREAMBLE + SIDE_COMMANDS + disk, tmp_path, size="1m")
