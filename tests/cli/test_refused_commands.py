"""Every command on a disk that is read-only, full, forbidden or failing: one line with the path, exit code 1."""

import errno
import os
import re
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers.fake_network import FakeNetwork
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder
from helpers.refusing_disk import FULL, refuse_reads, refuse_writes
from helpers.small_caches import small
from helpers.tiny_finetuning import registered, tiny_classifier, tiny_network, tiny_photos

from featcache import backbones
from featcache.cache import partial_path

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="paths of descriptors are read from /proc")

NUMBERS = (errno.EROFS, errno.ENOSPC, errno.EACCES, errno.EIO)
ADVICE = {
    errno.EROFS: "the file system is read-only: mount it for writing",
    errno.ENOSPC: r"free some space \(.*has .*\)",
    errno.EDQUOT: "your quota is used up: free some space",
    errno.EACCES: "your permissions do not allow that: have them changed",
    errno.EIO: "the disk reports a failure: look at the system's log",
}
QUICK = "--head prototype"


@dataclass(frozen=True)
class Case:
    """A command, what else it may advise than to mend the disk, and whether a full disk is no obstacle to it."""

    arguments: str
    elsewhere: str = ""
    works_when_full: bool = False


WITH_OUTPUT = ", or write elsewhere with --output"
WRITERS = {
    "extract": Case("extract inputs/photos -o disk/new.h5", WITH_OUTPUT),
    "extract more": Case("extract inputs/photos -o disk/a.h5 --overwrite", WITH_OUTPUT),
    "demo": Case("demo -o disk/demo", WITH_OUTPUT),
    "train-head": Case(f"train-head inputs/features.h5 -o disk/new {QUICK}", WITH_OUTPUT),
    "train-head again": Case(f"train-head inputs/features.h5 -o disk/c {QUICK}", WITH_OUTPUT),
    "sweep": Case(f"sweep inputs/features.h5 -o disk/new {QUICK}", WITH_OUTPUT),
    "sweep again": Case(f"sweep inputs/features.h5 -o disk/sweep {QUICK}", WITH_OUTPUT),
    "finetune": Case("finetune inputs/tiny inputs/tiny-photos -o disk/new --epochs 1", WITH_OUTPUT),
    "export": Case("export inputs/tiny -o disk/m.onnx", ", or name another file"),
    "cache export npz": Case("cache export inputs/features.h5 disk/f.npz", ", or name another file"),
    "cache export parquet": Case("cache export inputs/features.h5 disk/f.parquet", ", or name another file"),
    "cache repair": Case("cache repair disk/damaged.h5", works_when_full=True),
    "cache rm": Case("cache rm disk/a.h5", works_when_full=True),
    "cache gc": Case("cache gc disk --delete --unfinished", works_when_full=True),
}
READERS = {
    "train-head": f"train-head disk/a.h5 -o new {QUICK}",
    "sweep": f"sweep disk/a.h5 -o new {QUICK}",
    "evaluate": "evaluate disk/c",
    "predict": "predict disk/c inputs/photos",
    "finetune": "finetune disk/c inputs/photos -o new",
    "cache info": "cache info disk/a.h5",
    "cache verify": "cache verify disk/a.h5",
    "cache repair": "cache repair disk/a.h5",
    "cache export": "cache export disk/a.h5 new.npz",
    "cache rm": "cache rm disk/a.h5",
}


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos, features and a classifier of the tiny network, and a folder of what commands change."""
    root = tmp_path_factory.mktemp("refused")
    here, disk = root / "inputs", root / "disk"
    disk.mkdir()
    photo_folder(here / "photos", {"cat": 2, "dog": 2})
    features, labels = blobs(24)
    splits = ["train"] * 16 + ["val"] * 4 + ["test"] * 4
    feature_cache(here / "features.h5", features, labels, splits).close()
    with registered():
        tiny_classifier(tiny_network(), tiny_photos(here / "tiny-photos", train=2), epochs=1).save(
            here / "tiny"
        )
    make_disk(here, disk)
    return root


def make_disk(here: Path, disk: Path) -> None:
    from featcache import sweep, train_head

    want = small()
    shutil.copyfile(here / "features.h5", disk / "a.h5")
    want.create(disk / "b.h5").close()
    want.publish(disk / "damaged.h5").close()
    data = bytearray((disk / "damaged.h5").read_bytes())
    data[data.index(want.features["pool"][2].tobytes()) + 8] ^= 1
    (disk / "damaged.h5").chmod(0o644)
    (disk / "damaged.h5").write_bytes(data)
    train_head(here / "features.h5", head="prototype", output=disk / "c")
    sweep(here / "features.h5", head="knn", output=disk / "sweep", save_best=False)


@pytest.fixture
def place(inputs, tmp_path, monkeypatch) -> Iterator[Path]:
    """The working directory of a command: inputs that stay, and a disk of its own."""
    (tmp_path / "inputs").symlink_to(inputs / "inputs")
    shutil.copytree(inputs / "disk", tmp_path / "disk")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(backbones, "load", lambda name="", weights=None: FakeNetwork())
    with registered():
        yield tmp_path


def error_of(ran, code: int = 1) -> str:
    """Return the one line that a command ended with."""
    assert ran.code == code, ran
    *notes, last = ran.err.splitlines()
    assert last.startswith("error: ")
    assert not any(line.startswith("error: ") for line in notes), ran.err
    for word in ("Traceback", "unexpected", "report it"):
        assert word not in ran.err
    assert ran.out == ""
    return last


TOLD = pytest.mark.filterwarnings("default::featcache.errors.FeatcacheWarning")
"""The command prints such warnings as a user sees them; elsewhere tests make errors of them."""


@TOLD
@pytest.mark.parametrize("number", [*NUMBERS, errno.EDQUOT], ids=errno.errorcode.get)
@pytest.mark.parametrize("case", WRITERS.values(), ids=WRITERS)
def test_a_disk_that_cannot_be_written_is_told_in_one_line(cli, place, monkeypatch, case, number):
    refuse_writes(monkeypatch, place / "disk", number)
    ran = cli(*case.arguments.split())
    monkeypatch.undo()
    if number in FULL and case.works_when_full:
        assert ran.code == 0, ran.err
    else:
        line = error_of(ran)
        where = rf"error: cannot \w+( the classifier to)? (\S*/)?disk/\S+: {re.escape(os.strerror(number))} "
        number_and_advice = (
            rf"\[errno {number}, {errno.errorcode[number]}\]; {ADVICE[number]}{case.elsewhere}$"
        )
        assert re.match(where + number_and_advice, line), line
    left = [
        path.name
        for path in (place / "disk").rglob("*")
        if re.search(r"\.lock$|owner\.json$|\.new-", path.name)
    ]
    assert left == [], "nothing is left of a command that could not begin"


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO], ids=errno.errorcode.get)
@pytest.mark.parametrize("arguments", READERS.values(), ids=READERS)
def test_a_file_that_cannot_be_read_is_told_in_one_line(cli, place, monkeypatch, arguments, number):
    refuse_reads(monkeypatch, place / "disk", number)
    line = error_of(cli(*arguments.split()))
    where = rf"error: cannot (read|change) (\S*/)?disk/\S+: {re.escape(os.strerror(number))} "
    assert re.match(where + rf"\[errno {number}, {errno.errorcode[number]}\]; {ADVICE[number]}$", line), line


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO], ids=errno.errorcode.get)
def test_one_file_that_cannot_be_read_does_not_hide_the_others(cli, place, monkeypatch, number):
    refuse_reads(monkeypatch, place / "disk" / "a.h5", number)
    found = {Path(row["path"]).name: row for row in cli("cache", "ls", "disk", "--json").result["caches"]}
    assert found.keys() == {"a.h5", "b.partial.h5", "damaged.h5"}
    assert found["a.h5"]["state"] == "unreadable"
    assert f"{os.strerror(number)} [errno {number}" in found["a.h5"]["detail"]
    assert cli("cache", "gc", "disk").code == 0


def refuse_replacing(monkeypatch, name):
    """Let the disk be full when a file of this name is put in its place."""

    def replace(source, target, real=os.replace):
        if Path(target).name == name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(source, target)

    monkeypatch.setattr(os, "replace", replace)


SWEEP = ("sweep", "inputs/features.h5", "-o", "disk/new", *QUICK.split())
REFUSED = r"cannot write disk/new/{}: No space .*\(needs .*, has .*\), or write elsewhere with --output"


def test_a_sweep_without_its_summary_has_failed(cli, place, monkeypatch):
    with monkeypatch.context() as patched:
        refuse_replacing(patched, "summary.json")
        line = error_of(cli(*SWEEP))
    assert re.fullmatch("error: " + REFUSED.format("summary.json"), line)
    assert cli(*SWEEP).code == 0


@TOLD
def test_a_sweep_without_its_table_is_done_and_says_how_to_get_it(cli, place, monkeypatch):
    with monkeypatch.context() as patched:
        refuse_replacing(patched, "results.parquet")
        ran = cli(*SWEEP)
    assert ran.code == 0
    warned = [line for line in ran.err.splitlines() if line.startswith("warning: cannot")]
    again = "all results are in results.jsonl, and the same command writes the table again"
    assert re.fullmatch(f"warning: {REFUSED.format('results.parquet')}; {again}", *warned)
    assert sorted(os.listdir("disk/new")) == ["classifier", "results.jsonl", "summary.json"]
    assert cli(*SWEEP).code == 0
    assert Path("disk/new/results.parquet").exists()


def test_a_sweep_that_could_not_begin_leaves_no_folder(cli, place, monkeypatch):
    """The folder fits on the disk, and the record of who writes it does not."""

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("featcache.core.disk.lock.json.dump", full)
    for target in ("disk/new", "disk/deep/er/new"):
        line = error_of(cli("sweep", "inputs/features.h5", "-o", target, *QUICK.split()))
        assert re.match(rf"error: cannot write {target}\S*: No space left on device \[errno 28", line)
    assert not {"new", "deep"} & set(os.listdir("disk"))


@TOLD
def test_a_name_that_may_not_survive_a_power_cut_is_told_in_one_line(cli, place, monkeypatch):
    def fsync(descriptor, real=os.fsync):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    ran = cli("cache", "export", "inputs/features.h5", "disk/out.npz")
    assert ran.code == 0
    [line] = [line for line in ran.err.splitlines() if line.startswith("warning: ")]
    assert line.startswith(
        "warning: disk/out.npz is in place, but a power cut may undo that: its folder could not "
    )
    assert "[errno 5, EIO]" in line
    assert Path("disk/out.npz").exists()


def test_a_folder_that_cannot_be_listed(cli, place, monkeypatch):
    def refusing(real):
        def list_(path):
            if Path(path).name == "disk":
                raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
            return real(path)

        return list_

    # Python 3.13's pathlib calls the latter.
    for name in ("listdir", "scandir"):
        monkeypatch.setattr(os, name, refusing(getattr(os, name)))
    for arguments in ("cache ls disk", "cache gc disk"):
        assert "cannot list disk: Input/output error [errno 5, EIO]" in error_of(cli(*arguments.split()))


def test_what_no_function_foresaw_is_told_with_the_path_that_the_system_gives(cli, place, monkeypatch):
    def list_caches(folder):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), f"{folder}/x")

    monkeypatch.setattr("featcache.cache.list_caches", list_caches)
    said = (
        "error: cannot use disk/x: Permission denied [errno 13, EACCES]; your permissions do not allow that"
    )
    assert error_of(cli("cache", "ls", "disk")).startswith(said)
    monkeypatch.setenv("FEATCACHE_DEBUG", "1")
    with pytest.raises(PermissionError):
        cli("cache", "ls", "disk")


def test_gc_clears_the_home_too(cli, place, monkeypatch):
    """Hashes of a dataset that is gone, and a download whose process was killed."""
    shutil.copytree(place / "inputs" / "photos", place / "photos")
    # The hashes of files that were written milliseconds ago are not remembered.
    monkeypatch.setattr("featcache.datasets.file_state._is_fresh", lambda changed_ns: False)
    assert cli("extract", "photos", "-o", "disk/new.h5").code == 0
    weights = place / "home" / "weights"
    weights.mkdir(parents=True)
    killed = weights / f".x.pth.new-{2**22 + 1}-00000000"
    killed.write_bytes(bytes(1000))
    os.utime(killed, (0, 0))
    assert [Path(row["path"]) for row in cli("cache", "gc", "inputs", "--json").result["leftovers"]] == [
        killed
    ]
    shutil.rmtree(place / "photos")
    listed = cli("cache", "gc", "inputs").out.splitlines()
    assert re.fullmatch(
        r"would remove .*/weights/\.x\.pth\.new-\S+ \(0\.0 MB\): unfinished x\.pth", listed[0]
    )
    said = rf"would remove .*/hashes/\w+ \(.*\): remembered hashes of a dataset that is gone, folder:{place}/photos"
    assert re.fullmatch(said, listed[1])
    assert cli("cache", "gc", "inputs", "--delete").out.count("removed ") == 2
    assert cli("cache", "gc", "inputs", "--json").result["leftovers"] == []


# Real disks -------------------------------------------------------------------------------------------------


def test_a_full_disk_can_be_cleared(cli, place, small_disk):
    """Not a byte is left: neither the lock's record nor anything else can be written."""
    want = small()
    for name in ("a.h5", "b.h5"):
        want.publish(small_disk / name).close()
    want.create(small_disk / "c.h5").close()
    (small_disk / "d.h5.owner.json").write_text("half of a rec")
    shutil.copyfile(small_disk / "a.h5", small_disk / "d.h5")
    fill(small_disk)
    ran = cli("extract", "inputs/photos", "-o", small_disk / "new.h5")
    assert re.search(
        r"cannot write .*new\.h5: No space .*free some space \(has 0 bytes\), or write", error_of(ran)
    )
    assert cli("cache", "rm", small_disk / "a.h5").code == 0
    fill(small_disk)
    assert cli("cache", "gc", small_disk, "--delete", "--unfinished").code == 0
    fill(small_disk)
    assert cli("cache", "rm", small_disk / "b.h5", small_disk / "d.h5").code == 0
    assert [path.name for path in small_disk.iterdir()] == ["filler"]


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_an_export_that_fills_the_disk_leaves_the_one_before(cli, place, small_disk, ending):
    features = np.random.default_rng(0).normal(size=(150, 1000)).astype(np.float32)
    splits = ["train"] * 75 + ["test"] * 75
    feature_cache(place / "large.h5", features, np.arange(150) % 3, splits).close()
    (small_disk / f"f.{ending}").write_bytes(b"before")
    fill(small_disk, but=200_000)
    line = error_of(cli("cache", "export", place / "large.h5", small_disk / f"f.{ending}"))
    said = rf"error: cannot write .*f\.{ending}: .*ENOSPC\]; free some space \(needs 0\.6 MB, has 0\.2 MB\), or name"
    assert re.match(said, line), line
    assert sorted(path.name for path in small_disk.iterdir()) == [f"f.{ending}", "filler"]
    assert (small_disk / f"f.{ending}").read_bytes() == b"before"


def test_rows_are_called_safe_only_where_there_are_rows(cli, place, monkeypatch):
    """The write that fails is the first of a row, or a later one."""
    for failing, safe in ((0, False), (40, True)):
        calls = []

        def pwrite(descriptor, data, offset, real=os.pwrite, calls=calls, failing=failing):
            if (
                ".partial.h5" in os.readlink(f"/proc/self/fd/{descriptor}")
                and "new" not in os.readlink(f"/proc/self/fd/{descriptor}").rpartition(".partial.h5")[2]
            ):
                calls.append(offset)
                if len(calls) > failing:
                    raise OSError(errno.EIO, os.strerror(errno.EIO))
            return real(descriptor, data, offset)

        with monkeypatch.context() as patched:
            patched.setattr(os, "pwrite", pwrite)
            with pytest.raises(OSError, match=r"cannot write .*EIO\]; the disk reports a failure") as caught:
                small(40).publish(place / f"{failing}.h5")
        said = "rows already written are safe, the same command goes on from them" in str(caught.value)
        assert said == safe
        assert partial_path(place / f"{failing}.h5").exists()


def test_results_that_cannot_be_printed(place):
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    import subprocess

    command = [sys.executable, "-m", "featcache", "cache", "ls", "disk"]
    with open("/dev/full", "w") as full:
        ran = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert ran.returncode == 1
    said = r"error: cannot write /dev/full: No space left .*free some space .*, or send the output to another file\n"
    assert re.fullmatch(said, ran.stderr), ran.stderr


def fill(folder: Path, but: int = 0) -> None:
    """Leave a disk only so many bytes."""
    with (folder / "filler").open("ab", buffering=0) as stream:
        try:
            while stream.write(bytes(4096)):
                pass
        except OSError:
            stream.truncate(max(0, stream.tell() - but))


@pytest.fixture
def small_disk(tmp_path: Path):
    """A disk of 1 MB, mounted for the test."""
    import subprocess

    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"mounting a small disk is not allowed here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)
