"""Datasets that a program puts together: what they must hold, and lists that are changed afterwards."""

import pickle
from functools import partial

import pytest
from helpers.fake_network import FakeNetwork
from helpers.photo_folders import photo_folder

import featcache
from featcache.core.tasks import MULTICLASS, MULTILABEL, REGRESSION
from featcache.datasets import Dataset, Record, open_dataset
from featcache.errors import DataError

RECORDS = [Record(str(number), number % 2, "", partial(bytes, 9), size=9) for number in range(4)]


def own(records, **given):
    return Dataset("mine", "mine", ("cat", "dog"), records, **given)


@pytest.mark.parametrize(
    ("record", "task", "message"),
    [
        ({"label": 2}, MULTICLASS, "label 2 of '4'; expected 0 to 1, an index into its classes"),
        ({"label": -1}, MULTICLASS, "label -1 of '4'; expected 0 to 1"),
        ({"label": None}, MULTICLASS, "a label, a size or a time of its records is no whole number"),
        ({"size": 2**70}, MULTICLASS, "a label, a size or a time of its records is no whole number"),
        ({"size": -5}, MULTICLASS, "size -5 of '4'; expected 0 or more bytes"),
        ({"target": (1.0,), "label": -1}, MULTILABEL, "1 targets of '4'; expected one for each of 2 names"),
        ({"label": -1}, REGRESSION, "0 targets of '4'; expected one for each of 2 names"),
        (
            {"label": 1, "target": (1.0, 0.0)},
            MULTILABEL,
            "label 1 of '4'; expected -1, as its task is answers",
        ),
        ({}, "multiclass", "no task 'multiclass'; expected one of classes, "),
    ],
)
def test_what_no_cache_can_hold_is_refused_by_name(record, task, message):
    given = {"id": "4", "label": 0, "split": "", "read": bytes} | record
    first = [] if task != MULTICLASS else RECORDS
    with pytest.raises(DataError, match=f"dataset 'mine'.*{message}"):
        open_dataset(own([*first, Record(**given)], task=task))


def test_no_images_are_refused(tmp_path):
    with pytest.raises(DataError, match="dataset 'mine' holds no images; expected one at least"):
        featcache.extract(own([]), backbone=FakeNetwork(), output=tmp_path / "a.h5")
    assert not [*tmp_path.iterdir()]


def test_a_list_may_be_changed_once_it_was_given(tmp_path):
    records = list(open_dataset(photo_folder(tmp_path / "photos", {"cat": 2, "dog": 2})).records)
    data = own(records)
    expected = [record.id for record in records]
    assert len(data.columns.ids) == 4
    records.append(records[0])
    records[0] = records[1]
    for given in (data, pickle.loads(pickle.dumps(data))):
        assert [record.id for record in given.records] == list(given.columns.ids) == expected
    featcache.extract(data, backbone=FakeNetwork(), output=tmp_path / "a.h5")
    assert list(featcache.FeatureCache(tmp_path / "a.h5").ids) == expected


def test_records_may_come_one_by_one():
    assert len(own(record for record in RECORDS).records) == 4
