"""Rows that a list leaves out: of every part, after these are divided, and remembered by what was trained."""

import json

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache import Classifier, sweep
from featcache.errors import DataError, UsageError
from featcache.splits.left_out import left_out_record
from featcache.splits.selection import SplitSpec, select_named_rows, select_rows
from featcache.sweeps.data import Protocol, SweepData

QUICK = {"head": "ridge", "l2": "1", "calibrate": False}


@pytest.fixture
def cache(tmp_path):
    """60 training and 30 test rows of three classes in turn."""
    features, labels = blobs(90)
    return feature_cache(tmp_path / "x.h5", features, labels, ["train"] * 60 + ["test"] * 30)


def ids_of(cache, *rows):
    return tuple(cache.ids[row] for row in rows)


@pytest.mark.parametrize("asked", [{}, {"train": "all[:50%]", "test": "[70:]", "shuffle_slices": True}])
def test_rows_leave_every_part_and_no_other_row_moves(cache, asked):
    whole = select_rows(cache, SplitSpec(**asked))
    out = [int(whole.train[3]), int(whole.val[0]), int(whole.val[2]), int(whole.test[1])]
    rows = select_rows(cache, SplitSpec(**asked, exclude=ids_of(cache, *out)))
    for part in ("train", "val", "test"):
        want = [row for row in getattr(whole, part) if row not in out]
        assert getattr(rows, part).tolist() == want, part
    assert rows.left_out == {"train": 1, "val": 2, "test": 1}
    assert rows.held_out == whole.held_out
    named = select_named_rows(cache, SplitSpec(**asked, exclude=ids_of(cache, *out)))
    assert not {*out} & {*named.train, *named.test}


def test_ids_of_no_row_leave_nothing_out(cache):
    """A photo that its owner has deleted since is not in a later cache of the same folder."""
    rows = select_rows(cache, SplitSpec(exclude=("gone.jpg",)))
    assert rows.left_out == {}
    assert rows.train.tolist() == select_rows(cache, SplitSpec()).train.tolist()
    assert Protocol(exclude=("gone.jpg",)).identity(cache) == Protocol().identity(cache)


def test_what_cannot_be_left_out_is_refused(cache):
    train = select_rows(cache, SplitSpec()).train
    whole_class = ids_of(cache, *train[cache.labels[train] == 1])
    with pytest.raises(DataError, match=rf"every training row of {cache.classes[1]} \(16\), so that no head"):
        select_rows(cache, SplitSpec(exclude=whole_class))
    with pytest.raises(UsageError, match=r"holds all 30 test rows; .* say other test rows: .* --test none"):
        select_rows(cache, SplitSpec(exclude=ids_of(cache, *range(60, 90))))
    with pytest.raises(UsageError, match=r"holds all 60 training rows; shorten it$"):
        select_rows(cache, SplitSpec(val="none", exclude=ids_of(cache, *range(60))))


def test_folds_shots_and_names_of_a_sweeps_heads_know_the_list(cache):
    out = ids_of(cache, 5, 7, 64)
    data = SweepData(cache, Protocol(folds=4, exclude=out), memory=2**30)
    assert data.train.tolist() == [row for row in range(60) if row not in (5, 7)] == data.val.tolist()
    assert len(data.test) == 29
    assert len(data.fold_of) == 58
    names = {
        Protocol(folds=4, exclude=given).identity(cache)
        for given in ((), out, out[:2], out[::-1], (*out, "x"))
    }
    assert len(names) == 3, "the order of a list, and ids of no row, make no other heads"


@pytest.mark.parametrize("folds", [0, 3])
def test_a_swept_classifier_remembers_the_list_and_its_lines_do_not_repeat_it(cache, tmp_path, folds):
    out = ids_of(cache, 5, 7, 64)
    result = sweep(cache, output=tmp_path / "out", folds=folds, exclude=out, **QUICK)
    assert result.classifier is not None
    kept = Classifier.load(result.classifier)
    told = SplitSpec.from_training(kept.training, val_fraction=0.2, seed=0)
    assert {*told.exclude} == {*out}
    assert kept.training["left_out"] == {**left_out_record(out), "rows": {"train": 2, "test": 1}}
    assert kept.metrics["test"]["count"] == 29
    lines = (tmp_path / "out" / "results.jsonl").read_text()
    assert out[0] not in lines
    assert json.loads(lines.splitlines()[0])["protocol"]["left_out"] == left_out_record(out)
    assert kept.seen is not None
    assert np.unique(kept.seen, axis=0).shape == (58, 2)


def test_an_older_record_leaves_nothing_out():
    assert SplitSpec.from_training({"selection": {"train": "all"}}, val_fraction=0.2, seed=0).exclude == ()
    assert "exclude" not in SplitSpec().to_json()
