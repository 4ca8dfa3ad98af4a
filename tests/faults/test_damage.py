"""Flipped bits and truncations anywhere in a finished file: the right values or a refusal, nothing else."""

import os
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import h5py
import pytest
from helpers.small_caches import Small, small

from featcache.cache import CacheWriter, FeatureCache, partial_path, verify
from featcache.cache.header import read_header
from featcache.core.disk.files import PinnedFile
from featcache.errors import DataError, FeatcacheError, IntegrityError

WANT = small(40, shapes={"pool": (64,), "mixed7": (3, 5)})


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("damage") / "a.h5"
    WANT.publish(path).close()
    return path


def verdict(path: Path, want: Small) -> str:
    """Read everything: "right", "refused", or in what it is wrong."""
    try:
        with FeatureCache(path) as cache:
            wrong = want.wrong(cache)
            cache.verify()
    except FeatcacheError:
        return "refused"
    return f"wrong: {', '.join(wrong)}" if wrong else "right"


def verdicts_of_flips(path: Path, copy: Path, flips: list[tuple[int, int]]) -> Counter:
    """Verdicts on copies of a file with (byte, bit) flipped."""
    data = path.read_bytes()
    found: Counter[str] = Counter()
    copy.write_bytes(data)
    # In place: where a file is emptied first, the disk is waited for.
    with copy.open("r+b", buffering=0) as stream:
        for position, bit in flips:
            os.pwrite(stream.fileno(), bytes([data[position] ^ 1 << bit]), position)
            found[verdict(copy, WANT)] += 1
            os.pwrite(stream.fileno(), data[position : position + 1], position)
    assert copy.read_bytes() == data
    return found


def data_ranges(path: Path) -> list[tuple[str, int, int]]:
    """Name, first and last byte of every dataset; what is in none is HDF5's own."""
    ranges = []

    def add(name, item):
        if isinstance(item, h5py.Dataset):
            ranges.append((name, item.id.get_offset(), item.id.get_offset() + item.nbytes))

    with h5py.File(path) as file:
        file.visititems(add)
    return ranges


def test_300_random_bit_flips(finished, tmp_path):
    chance = random.Random(0)
    size = finished.stat().st_size
    flips = [(chance.randrange(size), chance.randrange(8)) for _ in range(300)]
    found = verdicts_of_flips(finished, tmp_path / "b.h5", flips)
    assert set(found) <= {"right", "refused"}, found
    assert found["refused"] > 100


def test_bit_flips_in_every_dataset(finished, tmp_path):
    """Random flips seldom hit the small ones."""
    chance = random.Random(1)
    for name, first, last in data_ranges(finished):
        flips = [(chance.randrange(first, last), chance.randrange(8)) for _ in range(8)]
        found = verdicts_of_flips(finished, tmp_path / "b.h5", flips)
        # The features of quarantined rows (NaN) mean nothing, so a flip in them changes nothing.
        harmless = "right" if name.startswith("features/") else "refused"
        assert set(found) <= {harmless, "refused"}, (name, found)
        assert found["refused"] >= 4, (name, found)


@pytest.mark.parametrize("share", [200, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(1200)])])
def test_bit_flips_in_the_headers(share, finished, tmp_path):
    """Featcache's own and HDF5's: a flip in the latter made HDF5 2.0 loop for ever, so it must not be asked."""
    data = finished.read_bytes()
    text = len(data) - len(data.split(b"\n", 3)[3])
    padding = ("padding of the user block", text, data.index(b"\x89HDF"))
    outside = [padding, *data_ranges(finished)]
    own = [p for p in range(len(data)) if not any(first <= p < last for _, first, last in outside)]
    flips = [(position, bit) for position in own for bit in range(8)]
    chosen = random.Random(3).sample(flips, len(flips) // share)
    assert set(verdicts_of_flips(finished, tmp_path / "b.h5", chosen)) == {"refused"}


def test_a_truncated_file_is_refused_at_any_length(finished, tmp_path):
    data = finished.read_bytes()
    chance = random.Random(2)
    end = max(last for _, _, last in data_ranges(finished))
    lengths = {0, 1, 8, 96, 512, 2048, 4096, end - 1, *(chance.randrange(end) for _ in range(60))}
    copy = tmp_path / "b.h5"
    for length in sorted(lengths):
        copy.write_bytes(data[:length])
        with pytest.raises(IntegrityError, match=r"b\.h5"):
            WANT.wrong(FeatureCache(copy))


def test_a_file_with_more_behind_it_is_read(finished, tmp_path):
    (tmp_path / "b.h5").write_bytes(finished.read_bytes() + b"appended by a careless copy")
    assert verdict(tmp_path / "b.h5", WANT) == "right"


@pytest.mark.parametrize("column", ["id", "sha256", "label", "split"])
@pytest.mark.parametrize("finish", [True, False], ids=["finished", "unfinished"])
def test_a_row_table_lost_while_the_file_was_created(column, finish, tmp_path):
    """As in files of versions that took the digest of what had reached the disk: every checksum holds."""
    target = tmp_path / "a.h5"
    with WANT.create(target) as writer:
        WANT.fill(writer)
        if finish:
            writer.publish()
    path = target if finish else partial_path(target)
    lose(path, f"rows/{column}")
    with pytest.raises(
        IntegrityError,
        match=r"the row table is not the one that the identity names: .* delete it and run the same",
    ):
        FeatureCache(path)
    assert not verify(path).ok
    if not finish:
        assert CacheWriter.resume(target) is None
        assert WANT.wrong(WANT.resume(target)) == []


def test_an_identity_lost_while_the_file_was_created(finished, tmp_path):
    copy = tmp_path / "b.h5"
    copy.write_bytes(finished.read_bytes())
    lose(copy, "identity")
    with pytest.raises(IntegrityError, match=r"the identity is no JSON: .* delete it and run the same"):
        FeatureCache(copy)
    assert not verify(copy).ok


def lose(path: Path, dataset: str) -> None:
    """Make a dataset zeros, and the header one that agrees."""
    path.chmod(0o644)
    with PinnedFile(path) as file, path.open("r+b", buffering=0) as stream:
        header = read_header(file)
        offset, length = header.datasets[dataset]
        stream.seek(offset)
        stream.write(bytes(length))
        stream.seek(0)
        stream.write(replace(header, sha256=header.digest(file)).encode())


@pytest.mark.parametrize(
    "content", [b"", b"<!doctype html><p>404 not found", b"\x89PNG\r\n\x1a\n", bytes(10**6)]
)
def test_something_else_under_the_name(content, tmp_path):
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(
        IntegrityError, match=r"is no featcache cache: .*; restore it from a copy, or delete it"
    ):
        FeatureCache(tmp_path / "a.h5")


def test_a_folder_or_a_pipe_under_the_name(tmp_path):
    os.mkfifo(tmp_path / "a.h5")
    (tmp_path / "b.h5").mkdir()
    for name in ("a.h5", "b.h5"):  # a pipe would block whoever opens it
        with pytest.raises(DataError, match=f"{name} is a (FIFO|folder); expected a cache"):
            FeatureCache(tmp_path / name)


def test_two_files_cut_and_joined_are_refused(finished, tmp_path):
    """Rows of another cache of the same recipe and layout, as a failed restore may leave them."""
    other = small(40, seed=9, shapes={"pool": (64,), "mixed7": (3, 5)})
    other.publish(tmp_path / "other.h5").close()
    mine, theirs = finished.read_bytes(), (tmp_path / "other.h5").read_bytes()
    refused = 0
    for cut in range(2048, len(mine), 1500):
        (tmp_path / "b.h5").write_bytes(mine[:cut] + theirs[cut:])
        found = verdict(tmp_path / "b.h5", WANT)
        refused += found == "refused"
    assert refused
