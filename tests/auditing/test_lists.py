"""Lists beside wrong labels: pairs of classes, outliers, rare classes, torn groups."""

from pathlib import Path

import numpy as np
import pytest
from helpers.audited import made_classes
from helpers.feature_caches import feature_cache

from featcache.auditing import outliers
from featcache.auditing.balance import find_imbalance, find_torn_groups
from featcache.auditing.classes import find_inseparable, find_overlaps
from featcache.auditing.material import Audited
from featcache.auditing.outliers import find_outliers
from featcache.errors import UsageError


def test_classes_whose_labels_are_mixed_up_come_first(tmp_path: Path) -> None:
    features, labels = made_classes(240)
    given = labels.copy()
    ants = np.flatnonzero(labels == 0)[:20]
    given[ants] = 1
    found = find_overlaps(Audited(feature_cache(tmp_path / "a.h5", features, given, ["train"] * 240)))
    first = found.entries[0]
    assert first.label == "ant / bee"
    assert first.certain
    assert 0.05 <= first.score <= 20 / 160 + 0.01  # of a quarter of the class, the count is cautious
    assert first.row in ants
    assert {near.row for near in first.resembles} <= set(ants.tolist())
    assert found.finding.startswith("1 pair of classes")


def test_classes_of_one_distribution_are_not_separated(tmp_path: Path) -> None:
    features, labels = made_classes(240)
    twins = np.flatnonzero(labels == 1)
    features[twins] = made_classes(240, seed=5)[0][np.flatnonzero(labels == 0)]
    found = find_inseparable(Audited(feature_cache(tmp_path / "a.h5", features, labels, ["train"] * 240)))
    assert found.entries[0].label == "ant / bee"
    assert found.entries[0].certain
    assert found.entries[0].score == pytest.approx(0.5, abs=0.12)
    assert not any(entry.certain for entry in found.entries[1:])
    assert "by chance 50 %" in found.entries[0].why


@pytest.mark.parametrize("compared", [4000, 60])
def test_far_photos_are_outliers_of_their_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compared: int
) -> None:
    monkeypatch.setattr(outliers, "COMPARED", compared)
    features, labels = made_classes(240, apart=12.0)
    features[[31, 200]] = -features[[31, 200]]
    found = find_outliers(Audited(feature_cache(tmp_path / "a.h5", features, labels, ["train"] * 240)))
    assert {entry.row for entry in found.entries[:2]} == {31, 200}
    assert found.entries[1].certain
    assert found.entries[0].leave_out == ()
    assert [entry.score for entry in found.entries] == sorted(
        (own.score for own in found.entries), reverse=True
    )


def test_the_distance_is_that_to_the_kth_photo_of_the_class(tmp_path: Path) -> None:
    features, labels = made_classes(60)
    rows = Audited(feature_cache(tmp_path / "a.h5", features, labels, ["train"] * 60))
    places = np.flatnonzero(labels == 0)
    unit = features[places] / np.linalg.norm(features[places], axis=1, keepdims=True)
    # Its own distance is the least, 0, so that the k-th other one is at index k.
    expected = np.sort(1 - unit.astype(np.float64) @ unit.T.astype(np.float64), axis=1)[
        :, outliers.NEIGHBOURS
    ]
    np.testing.assert_allclose(outliers._to_neighbour(rows, places), expected, atol=1e-5)


def test_rare_classes_come_first(tmp_path: Path) -> None:
    labels = [0] * 60 + [1] * 40 + [2] * 4
    features = np.ones((104, 3), np.float32)
    found = find_imbalance(Audited(feature_cache(tmp_path / "a.h5", features, labels, ["train"] * 104)))
    assert [(entry.label, entry.certain) for entry in found.entries] == [
        ("cat", True),
        ("bee", False),
        ("ant", False),
    ]
    assert found.entries[0].score == pytest.approx(15)
    assert "ant has 60 images and cat 4, 15 times fewer" in found.finding
    assert found.figures["counts"] == {"ant": 60, "bee": 40, "cat": 4}


def test_groups_on_both_sides(tmp_path: Path) -> None:
    features, labels = made_classes(6)
    rows = Audited(feature_cache(tmp_path / "a.h5", features, labels, ["train"] * 4 + ["test"] * 2))
    with pytest.raises(UsageError, match="no photo has a group"):
        find_torn_groups(rows)
    rows.groups = ("p1", "p2", "p1", "", "p1", "")
    found = find_torn_groups(rows)
    (entry,) = found.entries
    assert entry.row == 0
    assert entry.why == "group p1: 2 in train, 1 in test"
    assert [near.row for near in entry.resembles] == [4]
    assert "1 of 1 groups in test have rows in train too (p1)" in found.finding


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_of_few_photos_as_many_are_evidence_as_there_are_others(tmp_path: Path, count: int) -> None:
    features, labels = made_classes(count)
    found = find_outliers(Audited(feature_cache(tmp_path / "a.h5", features, labels, ["train"] * count)))
    assert len(found.entries) == count
    for entry in found.entries:
        others = [near.row for near in entry.resembles]
        assert sorted(others) == [row for row in range(count) if row != entry.row]
        assert np.isfinite([near.similarity for near in entry.resembles]).all()
