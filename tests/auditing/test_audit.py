"""`featcache.audit`: which lists are made of which cache, what is refused, and what is written."""

import csv
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.audited import flipped_cache, made_classes
from helpers.feature_caches import feature_cache

import featcache
from featcache.auditing import audit as audit_module
from featcache.auditing.audit import COLUMNS, audit
from featcache.auditing.effect import measure_effect
from featcache.auditing.ranked import RankedList, Suspect
from featcache.errors import MissingExtraError, UnknownNameError, UsageError

PICTURES = ("copies", "looks")
OWN = ("wrong-labels", "overlaps", "outliers", "inseparable", "imbalance")


def test_lists_are_made_told_and_written(tmp_path: Path) -> None:
    cache, wrong = flipped_cache(tmp_path / "a.h5")
    found = featcache.audit(tmp_path / "a.h5", only=["imbalance", *OWN])
    assert tuple(own.kind for own in found.lists) == OWN
    assert len(wrong) / 2 <= found["wrong-labels"].certain <= len(wrong)
    assert json.loads(json.dumps(found.to_json()))["lists"][0]["entries"][0]["suggested"]
    assert found["wrong-labels"].finding in repr(found)
    assert found["outliers"].finding in found._repr_html_()
    count = found.write_csv(tmp_path / "a.csv")
    with open(tmp_path / "a.csv", encoding="utf-8-sig", newline="") as file:
        header, *lines = csv.reader(file)
    assert tuple(header) == COLUMNS
    assert len(lines) == count == sum(len(own.entries) for own in found.lists)
    assert lines[0][:3] == ["wrong-labels", "1", found.lists[0].entries[0].id]
    again = audit(cache, only="wrong-labels").to_json()["lists"]
    assert again == found.to_json()["lists"][:1]
    with pytest.raises(UsageError, match=r"expected a file that ends in \.csv"):
        found.write_csv(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"only": "wrong-label"}, UnknownNameError, r"no list 'wrong-label'; did you mean 'wrong-labels'\?"),
        ({"only": []}, UsageError, "only names no list; expected some of wrong-labels"),
        ({"only": "groups"}, UsageError, "the list groups cannot be made: no photo has a group"),
        ({"layer": "pol"}, UnknownNameError, "holds no layer 'pol'"),
    ],
)
def test_what_cannot_be_made_is_refused(tmp_path: Path, options: dict, error: type, says: str) -> None:
    cache, _ = flipped_cache(tmp_path / "a.h5", 30)
    with pytest.raises(error, match=says):
        audit(cache, **options)


def test_lists_of_other_tasks_and_of_few_photos_are_skipped_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = audit_module._finder
    nothing = RankedList("copies", "", "", "", ())
    monkeypatch.setattr(
        audit_module,
        "_finder",
        lambda kind: (lambda rows, **long: nothing) if kind in PICTURES else real(kind),
    )
    cache = feature_cache(tmp_path / "a.h5", np.ones((4, 2), np.float32), [0, 1, 0, 1], ["train"] * 4)
    monkeypatch.setitem(cache.identity["dataset"], "task", "unlabelled")
    found = audit(cache)
    assert set(found.skipped) == {"wrong-labels", "overlaps", "inseparable", "imbalance", "groups"}
    assert "is for multiclass tasks" in found.skipped["overlaps"]
    few = feature_cache(tmp_path / "b.h5", *made_classes(6), ["train"] * 6)
    assert "different photos or more are needed" in audit(few).skipped["wrong-labels"]
    with pytest.raises(UnknownNameError, match="the list groups was not made: no photo has a group"):
        audit(few)["groups"]


def test_without_cleanlab_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache, _ = flipped_cache(tmp_path / "a.h5", 30)
    monkeypatch.setitem(sys.modules, "cleanlab", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'featcache\[audit\]'"):
        audit(cache, only="wrong-labels")
    assert audit(cache, only="imbalance").lists


# The effect -----------------------------------------------------------------------------------------------------


@pytest.fixture
def neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    """Heads by nearest neighbours in the place of the default one, which takes seconds to compile."""
    from featcache.classifier import train_head as module

    real = module.train_head
    monkeypatch.setattr(module, "train_head", lambda *given, **named: real(*given, head="knn", **named))


@pytest.mark.slow
def test_the_effect_is_judged_on_photos_that_are_no_suspects(tmp_path: Path) -> None:
    cache, wrong = flipped_cache(tmp_path / "a.h5", 240, 0.1)
    found = audit(cache, only="wrong-labels", effect=True)
    effect = found.effect
    suspects = {entry.row for entry in found["wrong-labels"].entries if entry.certain}
    assert effect.left_out == sum(row < 180 for row in suspects) > 0
    assert effect.judged == 60 - sum(row >= 180 for row in suspects)
    assert effect.judged_by == "test"
    assert effect.trained == 180
    assert effect.interval[0] <= effect.difference <= effect.interval[1]
    assert effect.difference == pytest.approx(effect.accuracy_without - effect.accuracy)
    assert found.to_json()["effect"]["finding"] == effect.finding
    assert len(wrong) >= len(suspects) > 0


def test_many_wrong_labels_matter(tmp_path: Path, neighbours: None) -> None:
    """With most of a class labelled as another, leaving these out is seen in the accuracy."""
    features, labels = made_classes(300)
    given = labels.copy()
    bad = np.flatnonzero((labels == 1) & (np.arange(300) < 200))[:55]
    given[bad] = 0
    cache = feature_cache(tmp_path / "a.h5", features, given, ["train"] * 200 + ["test"] * 100)
    entries = tuple(
        Suspect(row, cache.ids[row], "ant", "train", 1.0, "", certain=True, leave_out=(row,))
        for row in bad.tolist()
    )
    effect = measure_effect(cache, [RankedList("wrong-labels", "", "", "", entries)])
    assert effect.matters
    assert effect.difference > 0.2
    assert "leaving them out helps" in effect.finding


def test_without_a_split_to_judge_by_a_fifth_is_held_out(tmp_path: Path, neighbours: None) -> None:
    features, labels = made_classes(200)
    cache = feature_cache(tmp_path / "a.h5", features, labels, ["train"] * 200)
    entry = Suspect(3, cache.ids[3], "ant", "train", 1.0, "", certain=True, leave_out=(3,))
    other = Suspect(4, cache.ids[4], "bee", "train", 1.0, "", certain=True, leave_out=(4, 5, 6, 7, 8))
    effect = measure_effect(cache, [RankedList("wrong-labels", "", "", "", (entry, other))])
    assert effect.trained == 160
    assert 34 <= effect.judged <= 40
    assert not effect.matters
    assert "no difference that so many photos can show" in effect.finding


def test_nothing_to_leave_out_is_said(tmp_path: Path) -> None:
    cache, _ = flipped_cache(tmp_path / "a.h5", 60, 0.0)
    found = audit(cache, only="imbalance", effect=True)
    assert found.effect is None
    assert "names no training photo to leave out" in found.skipped["effect"]


def test_an_effect_that_cannot_be_measured_leaves_the_lists(tmp_path: Path) -> None:
    """All training photos of a class are copies of a test photo of another label, and are to be left out."""
    features, labels = made_classes(30)
    images = np.arange(30)
    images[labels == 2] = 2
    splits = ["train"] * 24 + ["test"] * 6
    cache = feature_cache(tmp_path / "a.h5", features, labels, splits, images=images)
    found = audit(cache, only="copies", effect=True)
    assert found.effect is None
    assert found["copies"].entries
    assert "no two heads can be trained" in found.skipped["effect"]
    assert "every training row of cat (8)" in found.skipped["effect"]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("split", ["train", "pictures"])
def test_of_too_few_photos_for_an_effect_the_lists_are_there(tmp_path: Path, count: int, split: str) -> None:
    features, labels = made_classes(count)
    cache = feature_cache(tmp_path / "a.h5", features, labels, [split] * count, images=[0] * count)
    found = audit(cache, only="copies", effect=True)
    assert (found.effect, len(found.lists)) == (None, 1)
    assert "the effect cannot be measured, as no two heads can be trained" in found.skipped["effect"]


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seeds_that_no_generator_takes_are_refused(tmp_path: Path, seed: int) -> None:
    cache, _ = flipped_cache(tmp_path / "a.h5", 30)
    with pytest.raises(UsageError, match=rf"seed {seed}: expected in 0\.\.2\^32"):
        audit(cache, seed=seed)
