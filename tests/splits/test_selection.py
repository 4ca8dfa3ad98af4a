"""Which rows train, validate and test: of splits, slices, shares and groups; and that everything asks here."""

import hashlib
import json
from types import SimpleNamespace

import numpy as np
import pytest
from helpers.fake_network import FakeNetwork
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import save_photo
from hypothesis import given
from hypothesis import strategies as st

from featcache import Classifier, extract, sweep, train_head
from featcache.errors import DataError, UnknownNameError, UsageError
from featcache.splits.selection import SplitSpec, select_rows
from featcache.splits.stratified import draw_grouped, draw_stratified
from featcache.sweeps.data import Protocol, SweepData

QUICK = {"head": "ridge", "calibrate": False}
HELD_OUT = [1, 21, 30, 43, 50, 59]
"""A tenth of `cache` with seed 1, as it was held out before slices and groups could be asked for."""


def made(tmp_path, splits, *, groups=None, images=None, name="x.h5"):
    """A cache of three classes, its rows in turn of each; `groups` as if the cache had stored them."""
    features, labels = blobs(len(splits))
    cache = feature_cache(tmp_path / name, features, labels, splits, images=images)
    if groups is not None:
        cache.__dict__["groups"] = tuple(groups)  # the value that the property would remember
    return cache


@pytest.fixture
def cache(tmp_path):
    """60 training and 30 test rows, no validation split."""
    return made(tmp_path, ["train"] * 60 + ["test"] * 30)


def divided(rows):
    return rows.train.tolist(), rows.val.tolist(), rows.test.tolist()


# Without a word about it --------------------------------------------------------------------------------------


def test_a_share_of_the_training_rows_is_held_out_where_there_is_no_validation_split(cache):
    rows = select_rows(cache, SplitSpec(seed=3))
    np.testing.assert_array_equal(np.sort(np.concatenate([rows.train, rows.val])), np.arange(60))
    np.testing.assert_array_equal(rows.test, np.arange(60, 90))
    assert np.bincount(cache.labels[rows.val]).tolist() == [4, 4, 4]
    assert rows.held_out == "0.2 of train, stratified, seed 3"
    again, other = (select_rows(cache, SplitSpec(seed=seed)) for seed in (3, 4))
    np.testing.assert_array_equal(again.val, rows.val)
    assert set(other.val) != set(rows.val)


def test_the_held_out_rows_are_those_that_they_always_were(cache):
    """Classifiers that exist remember a share and a seed, and nothing else: these rows may never become others."""
    rows = select_rows(cache, SplitSpec(val_fraction=0.1, seed=1))
    assert rows.val.tolist() == HELD_OUT
    # The rule, written out: of each class the tenth whose sha256 of seed and content is smallest.
    want = []
    for label in range(3):
        own = [row for row in range(60) if cache.labels[row] == label]
        own.sort(key=lambda row: hashlib.sha256(b"1:" + cache.sha256[row].tobytes()).digest())
        want += own[:2]
    assert rows.val.tolist() == sorted(want)


def test_the_datasets_own_validation_split_is_used_whole(tmp_path):
    rows = select_rows(made(tmp_path, ["train"] * 18 + ["val"] * 12), SplitSpec(val_fraction=0.5))
    assert (len(rows.train), rows.val.tolist(), len(rows.test)) == (18, list(range(18, 30)), 0)
    assert rows.held_out == "the dataset's own split"


def test_nothing_is_held_out_where_nothing_is_wanted(cache, tmp_path):
    rows = select_rows(cache, SplitSpec(val_fraction=0))
    assert (len(rows.train), len(rows.val), rows.held_out) == (60, 0, "none")
    own = made(tmp_path, ["train"] * 6 + ["val"] * 3 + ["test"] * 3, name="own.h5")
    rows = select_rows(own, SplitSpec(val="none", test="none"))
    assert (len(rows.train), len(rows.val), len(rows.test), rows.held_out) == (6, 0, 0, "none")


def test_answers_are_in_what_is_held_out_in_their_shares():
    """Images that are of no class: rows with the same answers stand for one."""
    targets = np.repeat([[1, 0], [0, 1], [1, 1]], [20, 10, 5], axis=0).astype(np.float32)
    count = len(targets)
    cache = SimpleNamespace(
        path="x",
        splits=("train",),
        task="answers",
        labels=np.full(count, -1),
        targets=targets,
        groups=None,
        sha256=np.array([list(hashlib.sha256(b"%d" % row).digest()) for row in range(count)], np.uint8),
        rows_of=lambda split, order=None: np.arange(count),
    )
    rows = select_rows(cache, SplitSpec())  # pyright: ignore[reportArgumentType]
    held, counts = np.unique(targets[rows.val], axis=0, return_counts=True)
    assert held.tolist() == [[0, 1], [1, 0], [1, 1]]
    assert counts.tolist() == [2, 4, 1]


# Slices -------------------------------------------------------------------------------------------------------


def test_slices_train_validate_and_test(cache):
    rows = select_rows(cache, SplitSpec(train="train[:80%]", val="train[80%:]", test="test[-10:]"))
    assert divided(rows) == (list(range(48)), list(range(48, 60)), list(range(80, 90)))
    assert rows.held_out == "rows train[80%:]"


def test_a_share_of_a_slice_is_held_out(cache):
    rows = select_rows(cache, SplitSpec(train="train[:50%]+test[:6]", val_fraction=0.25, test="test[6:]"))
    assert sorted([*rows.train, *rows.val]) == [*range(30), *range(60, 66)]
    assert (len(rows.val), rows.test.tolist()) == (9, list(range(66, 90)))
    assert rows.held_out == "0.25 of train[:50%]+test[:6], stratified, seed 0"


def test_a_cache_without_training_rows_says_which_words_make_some(tmp_path):
    cache = made(tmp_path, ["test"] * 30)
    with pytest.raises(
        DataError,
        match=r"x\.h5 has no train split; it has test; say which rows train and test, such as "
        r"--train 'test\[:80%\]' --test 'test\[80%:\]'",
    ):
        train_head(cache, output=None)
    with pytest.raises(DataError, match="has no train split"):
        SweepData(cache, Protocol(), memory=2**30)
    # What it says does work.
    rows = select_rows(cache, SplitSpec(train="test[:80%]", test="test[80%:]"))
    assert (len(rows.train), len(rows.val), rows.test.tolist()) == (18, 6, list(range(24, 30)))
    with pytest.raises(DataError, match=r"--train 'all\[:80%\]' --test 'all\[80%:\]'"):
        select_rows(made(tmp_path, ["day 1"] * 6, name="days.h5"), SplitSpec())


@pytest.mark.parametrize(
    ("parts", "told"),
    [
        (
            {"train": "train[:50%]", "val": "train[40%:]"},
            r"x\.h5: 6 of the 36 val rows \(train\[40%:\]\) are train rows \(train\[:50%\]\) too "
            r"\(train/24\.jpg, train/25\.jpg, train/26\.jpg, …\); give slices that exclude each other, such as --train",
        ),
        (
            {"train": "all"},
            r"30 of the 30 test rows \(test\) are train rows \(all\) too .*; "
            "the cache's own test split is taken unless --test says another slice, or none",
        ),
        (
            {"val": "test[:1]"},
            r"1 of the 30 test rows \(test\) are val rows \(test\[:1\]\) too \(test/60\.jpg\)",
        ),
    ],
)
def test_rows_in_two_parts(cache, parts, told):
    with pytest.raises(UsageError, match=told):
        train_head(cache, output=None, **parts)
    with pytest.raises(UsageError, match=told):
        SweepData(cache, Protocol(**parts), memory=2**30)
    with pytest.raises(UsageError, match=told):  # which would train on what judges, or on the test rows
        SweepData(cache, Protocol(**parts, folds=3), memory=2**30)


def test_copies_of_an_image_in_two_parts_are_a_warning_and_no_refusal(tmp_path):
    images = list(range(30))
    images[29] = 0
    cache = made(tmp_path, ["train"] * 30, images=images)
    parts = {"train": "train[:70%]", "val": "train[70%:]"}
    found = train_head(cache, output=None, **QUICK, **parts).training["warnings"]
    leaks = [warning["message"] for warning in found if warning["code"] == "leak"]
    assert len(leaks) == 1
    assert leaks[0].startswith(
        "1 of 9 held-out train rows are copies of train rows (train/29.jpg = train/0.jpg)"
    )


@pytest.mark.parametrize(
    ("parts", "error", "told"),
    [
        ({"train": "trian[:80%]"}, UnknownNameError, r"x\.h5 has no split 'trian'; did you mean 'train'"),
        (
            {"val": "train[:0]"},
            UsageError,
            r"x\.h5 has no rows 'train\[:0\]': the slice is empty; give a larger one",
        ),
        ({"test": "test[:200]"}, UsageError, "of test, which has 30 rows, asked for are 0 to 200"),
        (
            {"train": "train[:1]"},
            DataError,
            r"fewer than two classes \(train\[:1\]: 1 rows; a slice such as train\[:80%\] loses whole classes where ",
        ),
        ({"group_by": "("}, UsageError, "is no regular expression"),
    ],
)
def test_parts_that_cannot_be(cache, parts, error, told):
    with pytest.raises(error, match=told):
        train_head(cache, output=None, **parts)


def test_training_rows_of_one_class(tmp_path):
    features, labels = blobs(6)
    splits = ["train" if label == 0 else "test" for label in labels]
    cache = feature_cache(tmp_path / "x.h5", features, labels, splits)
    with pytest.raises(DataError, match=r"training images are of fewer than two classes$"):
        train_head(cache, output=None)


def test_a_slice_of_sorted_rows_loses_classes_and_the_warning_says_why(tmp_path):
    features, labels = blobs(60)
    order = np.argsort(labels, kind="stable")
    cache = feature_cache(tmp_path / "x.h5", features[order], labels[order], ["train"] * 60)
    parts = {"train": "train[:60%]", "val": "train[60%:]"}
    found = train_head(cache, output=None, **QUICK, **parts).training["warnings"]
    (unseen,) = [warning["message"] for warning in found if warning["code"] == "unseen-classes"]
    assert unseen.startswith(
        "20 held-out train rows are of classes without train rows (cat) and always wrong"
    )
    assert "a slice such as train[:80%] loses whole classes where rows are sorted by class" in unseen


# Groups -------------------------------------------------------------------------------------------------------


def test_a_share_of_whole_groups_is_held_out(tmp_path):
    groups = [f"patient {row // 6}" for row in range(60)]
    cache = made(tmp_path, ["train"] * 60, groups=groups)
    rows = select_rows(cache, SplitSpec(seed=2))
    keys = [cache.sha256[row].tobytes() for row in range(60)]
    held = draw_grouped(keys, cache.labels, groups, fraction=0.2, seed=2)
    assert rows.val.tolist() == np.flatnonzero(held).tolist()
    assert rows.held_out == "0.2 of train, stratified, whole groups, seed 2"
    assert not {groups[row] for row in rows.train} & {groups[row] for row in rows.val}
    assert np.bincount(cache.labels[rows.val]).tolist() == [4, 4, 4]  # each group holds two of each class
    # The same groups by an expression over ids, and one that sees others, which wins over the cache's own.
    named = made(tmp_path, ["train"] * 60, name="named.h5")
    named.__dict__["ids"] = tuple(f"{group}/{row}.jpg" for row, group in enumerate(groups))
    by_name = select_rows(named, SplitSpec(group_by=r"(patient \d+)/", seed=2))
    assert divided(by_name) == divided(rows)
    alone = select_rows(cache, SplitSpec(group_by=r"\d+", seed=2))
    assert len({groups[row] for row in alone.val}) > 2


def test_groups_that_are_all_empty_are_none(tmp_path):
    cache = made(tmp_path, ["train"] * 60, groups=[""] * 60)
    keys = [cache.sha256[row].tobytes() for row in range(60)]
    rows = select_rows(cache, SplitSpec())
    want = draw_stratified(keys, cache.labels, fraction=0.2, seed=0)
    assert rows.val.tolist() == np.flatnonzero(want).tolist()
    assert rows.held_out == "0.2 of train, stratified, seed 0"


@pytest.mark.parametrize("group_by", [None, r"^(\w+)/"])
def test_folds_hold_whole_groups(tmp_path, group_by):
    groups = [f"g{row // 5}" if row < 50 else "" for row in range(90)]
    images = [*range(80), *range(70, 80)]  # the last ten are copies, and in no group
    cache = made(tmp_path, ["train"] * 60 + ["val"] * 30, groups=groups, images=images)
    cache.__dict__["ids"] = tuple(f"{group or f'own{row}'}/{row}.jpg" for row, group in enumerate(groups))
    data = SweepData(cache, Protocol(group_by=group_by, folds=4), memory=2**30)
    assert data.train.tolist() == data.val.tolist() == list(range(90))
    assert sorted(set(data.fold_of)) == [0, 1, 2, 3]
    for number in range(10):
        assert len(set(data.fold_of[number * 5 : number * 5 + 5])) == 1
    assert len(set(data.fold_of[50:70].tolist())) > 1, "rows without a group are no group"
    if group_by is None:
        assert data.fold_of[70:80].tolist() == data.fold_of[80:].tolist(), "copies in no group stay together"


def test_groups_of_a_table_are_held_out_whole_from_the_file_to_the_head(tmp_path):
    """End to end: what the table's column says is what the cache, a head and a sweep's folds go by."""
    names = [f"{kind}/{number}.png" for kind in ("cat", "dog") for number in range(8)]
    lines = [f"{name},{name[:3]},train,garden {int(name[4]) // 2}" for name in names]
    for name in names:
        save_photo(tmp_path / name, name)
    (tmp_path / "photos.csv").write_text("\n".join(["path,label,split,group", *lines]))
    done = extract(f"csv:{tmp_path / 'photos.csv'}", backbone=FakeNetwork(), output=tmp_path / "x.h5")
    cache = done.cache
    assert cache.groups == tuple(line.split(",")[3] for line in lines)
    rows = select_rows(cache, SplitSpec(val_fraction=0.25))
    assert [len(rows.train), len(rows.val)] == [12, 4]
    (garden,) = {cache.groups[row] for row in rows.val}
    assert garden not in {cache.groups[row] for row in rows.train}
    training = train_head(cache, output=None, **QUICK, val_fraction=0.25).training
    assert training["validation"] == "0.25 of train, stratified, whole groups, seed 0"
    folds = SweepData(cache, Protocol(folds=4), memory=2**30).fold_of
    assert len({(fold, group) for fold, group in zip(folds, cache.groups, strict=True)}) == 4
    torn = train_head(cache, output=None, **QUICK, train="[:7]+[8:15]", val="[7:8]+[15:]").training[
        "warnings"
    ]
    assert "torn-groups" in {warning["code"] for warning in torn}


@given(st.lists(st.sampled_from(["", "a", "b", "c", "d"]), min_size=12, max_size=40), st.integers(0, 5))
def test_no_group_is_on_both_sides(groups, seed):
    count = len(groups)
    cache = SimpleNamespace(
        path="x",
        splits=("train",),
        task="classes",
        ids=[str(row) for row in range(count)],
        labels=np.arange(count) % 3,
        sha256=np.array([list(hashlib.sha256(b"%d" % row).digest()) for row in range(count)], np.uint8),
        groups=groups,
        rows_of=lambda split, order=None: np.arange(count),
    )
    try:
        rows = select_rows(cache, SplitSpec(val_fraction=0.3, seed=seed))  # pyright: ignore[reportArgumentType]
    except DataError as error:  # every group may hold all rows of some class
        assert "none can be put aside" in str(error)  # noqa: PT017
        return
    assert sorted([*rows.train, *rows.val]) == list(range(count))
    torn = {groups[row] for row in rows.train} & {groups[row] for row in rows.val}
    assert torn <= {""}


# What is remembered -------------------------------------------------------------------------------------------


def test_a_classifier_remembers_its_rows_and_they_are_found_again(cache, tmp_path):
    parts = {"train": "all[:50%]", "test": "[70:]", "group_by": r"\d+"}
    train_head(cache, output=tmp_path / "head", val_fraction=0.3, seed=5, **QUICK, **parts)
    training = json.loads((tmp_path / "head" / "classifier.json").read_text())["training"]
    want = SplitSpec(**parts, val_fraction=0.3, seed=5)
    assert training["selection"] == want.to_json()
    kept = Classifier.load(tmp_path / "head")
    told = SplitSpec.from_training(kept.training, val_fraction=0.9, seed=9)
    assert divided(select_rows(cache, told)) == divided(select_rows(cache, want))


def test_a_swept_classifier_remembers_its_rows(cache, tmp_path):
    result = sweep(
        cache, output=tmp_path / "out", head="ridge", l2="1", train="train[:50%]", test="test[:9]",
        val_fraction=0.3, seed=4,
    )  # fmt: skip
    kept = Classifier.load(result.classifier)
    rows = select_rows(cache, SplitSpec.from_training(kept.training, val_fraction=0.2, seed=0))
    want = select_rows(cache, SplitSpec("train[:50%]", None, "test[:9]", 0.3, None, 4))
    assert divided(rows) == divided(want)
    assert kept.metrics["val"]["count"] == len(want.val)
    assert kept.metrics["test"]["count"] == 9
    row = json.loads((tmp_path / "out" / "results.jsonl").read_text().splitlines()[0])
    assert row["protocol"]["train"] == "train[:50%]"


def test_what_an_older_classifier_remembers_is_enough():
    older = SplitSpec.from_training({"val_fraction": 0.3}, val_fraction=0.3, seed=4)
    assert older == SplitSpec(val_fraction=0.3, seed=4)
    newer = SplitSpec.from_training({"selection": {"train": "all", "later": 1}}, val_fraction=0.2, seed=0)
    assert newer == SplitSpec(train="all")


def test_a_sweeps_heads_keep_their_names_and_other_rows_are_other_heads(cache):
    """Names of finished heads, which a sweep that goes on looks for: the hash of what older versions wrote."""
    from featcache.core.identity import sha256_json

    own = {"folds": 3, "val_fraction": 0.2, "group_by": "x", "seed": 7}
    older = sha256_json({"rows": cache.identity["rows"]["sha256"], "protocol": own})
    assert Protocol(group_by="x", seed=7, folds=3).identity(cache) == older
    changed = [
        Protocol(),
        Protocol(train="train[:50%]"),
        Protocol(val="test"),
        Protocol(test="none"),
        Protocol(group_by="x"),
        Protocol(group_by="x", folds=3),
        Protocol(folds=3),
    ]
    assert len({protocol.identity(cache) for protocol in changed}) == len(changed)


def test_a_sweep_without_validation_rows():
    with pytest.raises(
        UsageError, match="val none: expected a split or a slice, or folds; without validation rows"
    ):
        Protocol(val="none")
    assert Protocol(val="none", folds=2).folds == 2
