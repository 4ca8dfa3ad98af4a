"""Checks of rows: each on rows that it must find, and on rows that it must not."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache.checks.rows import Finding, check_rows, class_counts, duplicates, torn_groups

CLASSES = ("ant", "bee", "cat")
PARTS = {"train": np.arange(6), "val": np.arange(6, 9), "test": np.arange(9, 12)}
LABELS = np.arange(12) % 3
KEYS = [b"%d" % row for row in range(12)]
IDS = [f"{row}.jpg" for row in range(12)]


def copied(**copies: int) -> list[bytes]:
    """Keys in which row ``r7`` is a copy of the row that is given for it."""
    return [KEYS[copies.get(f"r{row}", row)] for row in range(12)]


def only(found: list[Finding]) -> Finding:
    assert len(found) == 1, found
    return found[0]


# Copies -----------------------------------------------------------------------------------------------------


def test_rows_that_are_all_different_are_well():
    assert duplicates(KEYS, LABELS, PARTS, ids=IDS, classes=CLASSES) == []


def test_copies_within_a_part_are_well_where_they_have_one_label():
    assert duplicates(copied(r3=0, r11=9), np.zeros(12, int), PARTS) == []


def test_training_copies_with_different_labels_are_found():
    found = only(duplicates(copied(r4=0, r3=0), LABELS, PARTS, ids=IDS, classes=CLASSES))
    assert found.code == "conflicting-labels"
    assert found.message == (
        "1 image is in train more than once with different labels (0.jpg (ant) = 4.jpg (bee)): "
        "no head can learn both; correct the labels, or remove the copies"
    )
    found = only(duplicates(copied(r4=0, r5=1), LABELS, PARTS))
    assert "2 images are in train" in found.message
    assert "(row 0 (class 0) = row 4 (class 1), row 1 (class 1) = row 5 (class 2))" in found.message


def test_validation_copies_with_different_labels_are_not_what_is_learnt():
    assert duplicates(copied(r7=6), LABELS, PARTS) == []


def test_copies_across_parts_are_found_for_each_two_of_them():
    found = duplicates(copied(r6=0, r9=0, r10=1), LABELS, PARTS, ids=IDS)
    assert [finding.code for finding in found] == ["leak"] * 3
    assert [finding.message.split(":")[0] for finding in found] == [
        "1 of 3 val rows are copies of train rows (6.jpg = 0.jpg)",
        "2 of 3 test rows are copies of train rows (9.jpg = 0.jpg, 10.jpg = 1.jpg)",
        "1 of 3 test rows are copies of val rows (9.jpg = 6.jpg)",
    ]
    assert "the val score is too good; remove the copies from one of the two" in found[0].message


def test_rows_that_were_held_out_of_train_are_called_so(tmp_path):
    features, labels = blobs(12)
    cache = feature_cache(tmp_path / "x.h5", features, labels, ["train"] * 9 + ["test"] * 3)
    keys = np.array(cache.sha256)
    keys[6], keys[9] = keys[0], keys[7]
    cache.sha256 = keys
    found = [each.message for each in check_rows(cache, PARTS) if each.code == "leak"]
    ids = cache.ids
    assert found[0].startswith(
        f"1 of 3 held-out train rows are copies of train rows ({ids[6]} = {ids[0]}): the validation score is too"
    )
    assert found[1].startswith(
        f"1 of 3 test rows are copies of held-out train rows ({ids[9]} = {ids[7]}): the test"
    )


def test_a_dataset_without_splits_has_images():
    parts = {"dataset": np.arange(12)}
    found = only(duplicates(copied(r4=0), LABELS, parts, ids=IDS, classes=CLASSES))
    assert found.message.startswith(
        "1 image is in the dataset more than once with different labels (0.jpg (ant)"
    )
    told = [each.message for each in class_counts({"dataset": counted(4, 60, 30)}, CLASSES)]
    assert told[0].startswith("class bee has 60 images and ant 4, 15 times fewer; ")
    assert told[1].startswith("1 of 3 classes have fewer than 5 images (ant: 4); ")


def test_of_many_copies_the_first_few_are_named():
    parts = {"train": np.arange(0, 50), "test": np.arange(50, 100)}
    keys = [b"%d" % (row % 50) for row in range(100)]
    found = only(duplicates(keys, np.zeros(100, int), parts))
    assert "50 of 50 test rows" in found.message
    assert "(row 50 = row 0, row 51 = row 1, row 52 = row 2, and 47 more)" in found.message
    found = only(duplicates(keys, np.zeros(100, int), {"train": np.arange(50), "test": np.arange(50, 53)}))
    assert "(row 50 = row 0, row 51 = row 1, row 52 = row 2)" in found.message


def test_there_may_be_no_parts_and_empty_ones():
    assert duplicates(KEYS, LABELS, {}) == []
    assert duplicates(KEYS, LABELS, {"train": np.arange(12), "val": np.zeros(0, int)}) == []


def test_groups_on_both_sides_are_found_for_each_two_parts():
    groups = ("a", "a", "b", "", "", "c", "a", "b", "", "c", "c", "")
    found = torn_groups(groups, PARTS)
    assert [finding.code for finding in found] == ["torn-groups"] * 2
    assert [finding.message.split(":")[0] for finding in found] == [
        "2 of 2 groups in val have rows in train too (a, b)",
        "1 of 1 groups in test have rows in train too (c)",
    ]
    assert torn_groups((*"aaaaaabbbccc",), PARTS) == []
    assert torn_groups(("",) * 12, PARTS) == []


# Classes ----------------------------------------------------------------------------------------------------


def counted(*counts: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)), counts)


def test_classes_of_about_the_same_size_are_well():
    assert class_counts({"train": counted(90, 10, 20), "val": counted(3, 0, 9)}, CLASSES) == []


def test_a_class_ten_times_as_large_as_another_is_an_imbalance_unless_classes_are_weighted():
    labels = {"train": counted(20, 200, 60)}
    found = only(class_counts(labels, CLASSES))
    assert found.code == "imbalance"
    assert "class bee has 200 train rows and ant 20, 10 times fewer; use class weights" in found.message
    assert class_counts(labels, CLASSES, class_weights="balanced") == []
    assert class_counts({"train": counted(21, 200, 60)}, CLASSES) == []


def test_classes_of_fewer_than_five_rows_are_named_with_their_number():
    found = only(class_counts({"train": counted(4, 30, 1)}, CLASSES, class_weights="balanced"))
    assert found.code == "tiny-classes"
    assert "2 of 3 classes have fewer than 5 train rows (ant: 4, cat: 1); add images" in found.message
    assert class_counts({"train": counted(5, 30, 5)}, CLASSES) == []


def test_classes_that_are_only_tested_are_found():
    found = class_counts({"train": counted(9, 9), "val": counted(2, 2), "test": counted(1, 1, 4)}, CLASSES)
    assert only(found).code == "unseen-classes"
    assert only(found).message == (
        "4 test rows are of classes without train rows (cat) and always wrong; split anew, stratified by class: a "
        "slice such as train[:80%] loses whole classes where rows are sorted by class, as in folders; with "
        "--shuffle-slices it does not, nor does the share that --val-fraction draws"
    )
    # A class that is nowhere is no mistake of the split.
    assert class_counts({"train": counted(9, 9), "val": counted(2, 2)}, CLASSES) == []


def test_classes_that_nothing_judges_are_found_where_chance_does_not_explain_it():
    found = only(class_counts({"train": counted(40, 40, 40), "val": counted(30)}, CLASSES))
    assert found.code == "unjudged-classes"
    assert found.message.startswith(
        "2 classes that train rows are of have no val rows, by chance one had at least 10 (bee, cat): the val score "
    )
    assert class_counts({"train": counted(40, 40, 40), "val": counted(29)}, CLASSES) == []  # 9.7 each
    assert class_counts({"train": counted(40, 40, 40), "test": counted()}, CLASSES) == []


def test_classes_without_training_rows_are_no_imbalance():
    assert class_counts({"train": counted(9, 0, 9)}, CLASSES) == []
    assert class_counts({"train": counted()}, CLASSES) == []
    assert class_counts({}, CLASSES) == []


# A cache ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaking", [False, True])
def test_a_cache_is_checked_by_the_images_it_was_made_of(tmp_path, leaking):
    x, labels = blobs(36)
    splits = ["train"] * 24 + ["val"] * 6 + ["test"] * 6
    cache = feature_cache(tmp_path / "a.h5", x, labels.tolist(), splits)
    parts = {split: cache.rows_of(split) for split in ("train", "val", "test")}
    if leaking:
        # The same image again would have the same features; here only its hash is the same.
        cache.sha256 = cache.sha256.copy()
        cache.sha256[35] = np.frombuffer(hashlib.sha256(b"4").digest(), np.uint8)
    found = check_rows(cache, parts)
    assert [finding.message.split(":")[0] for finding in found] == (
        ["1 of 6 test rows are copies of train rows (test/35.jpg = train/4.jpg)"] if leaking else []
    )


def test_a_cache_is_checked_for_its_classes_with_the_weights_that_are_used(tmp_path):
    x, _ = blobs(66)
    labels = [0] * 60 + [1] * 6
    cache = feature_cache(tmp_path / "a.h5", x, labels, ["train"] * 66)
    parts = {"train": cache.rows_of("train")}
    assert only(check_rows(cache, parts)).code == "imbalance"
    assert check_rows(cache, parts, class_weights="balanced") == []


def test_a_finding_is_plain_json():
    found = class_counts({"train": counted(1, 9)}, CLASSES)
    assert json.loads(json.dumps([finding.to_json() for finding in found]))[0]["code"] == "tiny-classes"


def test_rows_are_checked_without_jax():
    code = "import sys, featcache.checks.rows; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
