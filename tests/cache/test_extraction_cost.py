"""What an extraction took, recorded behind the header: read back, outside of every digest, worth no row."""

import hashlib
import json
from dataclasses import asdict

import numpy as np
import pytest
from helpers.small_caches import small

from featcache.cache import CacheWriter, ExtractionCost, FeatureCache, verify
from featcache.cache.extraction_cost import ROOM, cost_span
from featcache.cache.header import read_header
from featcache.core.disk.files import PinnedFile

COST = ExtractionCost(computed=13, kept=0, seconds=41.9021, compute_seconds=38.2)


def published(path, cost):
    want = small()
    with want.create(path) as writer:
        want.fill(writer, range(13))
        return writer.publish(cost)


def rewritten(path, change):
    """The same file with other bytes in the room for the line."""
    with PinnedFile(path) as file:
        offset, _ = cost_span(file)
    content = bytearray(path.read_bytes())
    content[offset : offset + ROOM] = change(bytes(content[offset : offset + ROOM]))
    other = path.with_name("other.h5")
    other.write_bytes(content)
    return other


def test_it_is_read_back_to_the_millisecond(tmp_path):
    cache = published(tmp_path / "a.h5", COST)
    assert cache.extraction_cost == ExtractionCost(13, 0, 41.902, 38.2)
    assert cache.extraction_cost.images_per_second == pytest.approx(13 / 38.2)
    assert cache.extraction_cost.whole


def test_the_line_is_what_the_page_of_the_format_says(tmp_path):
    cache = published(tmp_path / "a.h5", COST)
    check, _, body = cache.path.read_bytes().split(b"\n")[3].partition(b" ")
    assert check.decode() == hashlib.sha256(body).hexdigest()
    assert json.loads(body) == asdict(COST) | {"seconds": 41.902}


def test_all_else_is_as_without_it(tmp_path):
    """Byte for byte: neither the digest nor what it covers knows of the line."""
    plain, told = published(tmp_path / "a.h5", None), published(tmp_path / "b.h5", COST)
    assert plain.extraction_cost is None
    with PinnedFile(plain.path) as one, PinnedFile(told.path) as other:
        assert read_header(one) == read_header(other)
        offset, room = cost_span(other)
    first, second = plain.path.read_bytes(), told.path.read_bytes()
    assert first[:offset] == second[:offset]
    assert first[offset + room :] == second[offset + room :]
    assert not any(first[offset : offset + room])


@pytest.mark.parametrize("bit", [0, 70 * 8, 100 * 8 + 3, 110 * 8])
def test_a_damaged_line_counts_as_none_and_costs_no_row(tmp_path, bit):
    def flipped(line):
        assert line[bit // 8]
        return bytes(byte ^ (1 << bit % 8 if place == bit // 8 else 0) for place, byte in enumerate(line))

    other = rewritten(published(tmp_path / "a.h5", COST).path, flipped)
    assert FeatureCache(other).extraction_cost is None
    assert verify(other).ok


@pytest.mark.parametrize(
    "value",
    [
        {"computed": 1, "kept": 0, "seconds": 1.0},
        {"computed": -1, "kept": 0, "seconds": 1.0, "compute_seconds": 1.0},
        [],
    ],
)
def test_of_a_line_that_is_another_ones_nothing_is_told(tmp_path, value):
    body = json.dumps(value).encode()
    line = hashlib.sha256(body).hexdigest().encode() + b" " + body + b"\n"
    other = rewritten(published(tmp_path / "a.h5", None).path, lambda _: line.ljust(ROOM, b"\0"))
    assert FeatureCache(other).extraction_cost is None


def test_what_a_later_version_tells_besides_is_left_out(tmp_path):
    body = json.dumps(asdict(COST) | {"watts": 3}).encode()
    line = hashlib.sha256(body).hexdigest().encode() + b" " + body + b"\n"
    other = rewritten(published(tmp_path / "a.h5", None).path, lambda _: line.ljust(ROOM, b"\0"))
    assert FeatureCache(other).extraction_cost == COST


def test_a_later_run_replaces_the_line_of_an_earlier_one(tmp_path):
    """As where a kill came between the line and the final name; the shorter line leaves nothing of the longer."""
    want = small()
    with want.create(tmp_path / "a.h5") as writer:
        want.fill(writer, range(13))
        writer._record(ExtractionCost(13, 0, 123456.789, 123456.789).encode())
    with CacheWriter.resume(tmp_path / "a.h5") as writer:
        cache = writer.publish(ExtractionCost(0, 13, 1.0, 0.0))
    assert cache.extraction_cost == ExtractionCost(0, 13, 1.0, 0.0)
    assert cache.extraction_cost.images_per_second is None
    assert np.count_nonzero(np.frombuffer(cache.path.read_bytes()[:4096], np.uint8) == ord("\n")) == 4
