"""What an audit would leave out: the list that it writes, and that a head is then trained without."""

import csv

import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache import train_head
from featcache.auditing.audit import Audit
from featcache.auditing.ranked import RankedList, Resembled, Suspect
from featcache.datasets.exclude_list import read_exclude

IDS = tuple(f"train/{row}.jpg" for row in range(40)) + tuple(f"test/{row}.jpg" for row in range(40, 60))


def suspect(row: int, *, label="ant", **told) -> Suspect:
    return Suspect(row, IDS[row], label, IDS[row].split("/")[0], 1.0, "looks like bee (0.9)", **told)


def like(row: int, relation: str) -> Resembled:
    return Resembled(row, IDS[row], "bee", IDS[row].split("/")[0], relation, 0.99)


LISTS = (
    RankedList(
        "wrong-labels", "Wrong labels", "two", "how wrong",
        (
            suspect(3, certain=True, leave_out=(3,), resembles=(like(9, "nearest photo"),)),
            suspect(4, leave_out=(4,)),
            suspect(41, certain=True, leave_out=(41,)),
        ),
    ),
    RankedList(
        "copies", "Copies", "one", "how near",
        (
            suspect(7, certain=True, leave_out=(41, 8), resembles=(like(8, "cropped"), like(41, "the same bytes"))),
            suspect(10, resembles=(like(11, "nearly the same"),), leave_out=(11,)),
        ),
    ),
)  # fmt: skip


@pytest.fixture
def cache(tmp_path):
    features, labels = blobs(60)
    return feature_cache(tmp_path / "x.h5", features, labels, ["train"] * 40 + ["test"] * 20)


@pytest.fixture
def audit(cache) -> Audit:
    return Audit(str(cache.path), "pool", 60, "classes", LISTS)


def test_what_is_certain_is_listed_with_its_reasons(audit):
    assert audit.exclude_list() == [
        ("train/3.jpg", "wrong-labels: looks like bee (0.9)"),
        ("test/41.jpg", "wrong-labels: looks like bee (0.9)"),
        ("train/8.jpg", "copies: cropped: train/7.jpg (train, ant) stays"),
        ("test/41.jpg", "copies: the same bytes: train/7.jpg (train, ant) stays"),
    ]


def test_the_written_list_is_read_by_training(audit, cache, tmp_path):
    place = tmp_path / "list.csv"
    assert audit.write_exclude(place) == 3
    lines = [line for line in place.read_text().splitlines() if not line.startswith("#")]
    rows = list(csv.DictReader(lines))
    assert [row["id"] for row in rows] == ["train/3.jpg", "test/41.jpg", "train/8.jpg"]
    assert rows[1]["reason"].count(";") == 1, "both reasons"
    head = train_head(cache, output=None, head="ridge", l2=1, exclude=place)
    assert head.training["left_out"]["rows"] == {"train": 2, "test": 1}
    place.write_text("\n".join(line for line in place.read_text().splitlines() if "train/8" not in line))
    assert read_exclude(place, cache.ids, origin="x.h5") == ("train/3.jpg", "test/41.jpg")


def test_an_audit_without_findings_writes_a_list_of_nothing(cache, tmp_path):
    nothing = Audit(str(cache.path), "pool", 60, "classes", ())
    assert nothing.write_exclude(tmp_path / "list.csv") == 0
    assert (tmp_path / "list.csv").read_text().endswith("id,reason\n")
