"""What fine-tuning and evaluations take as photos: specs with options, and folders in which a class cannot be read."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.tiny_finetuning import CLASSES, tiny_network, tiny_photos

from featcache import Classifier, extract, finetune, plan_finetuning, train_head
from featcache.errors import DataError, UsageError
from featcache.finetuning.settings import tune_settings
from featcache.finetuning.setup import prepare_setup

pytestmark = pytest.mark.filterwarnings("ignore::featcache.FeatcacheWarning")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Splits as the years are called that the photos are of."""
    root = tmp_path_factory.mktemp("setup") / "visits"
    tiny_photos(root, train=5)
    for split, year in (("train", "2019"), ("val", "2020"), ("test", "2021")):
        (root / split).rename(root / year)
    return root


@pytest.fixture(scope="module")
def spec(photos) -> str:
    return f"folder:{photos}?splits=train=2019,val=2020,test=2021&classes_at=2"


@pytest.fixture(scope="module")
def classifier(spec, tmp_path_factory) -> Classifier:
    network = tiny_network()
    output = tmp_path_factory.mktemp("cache") / "visits.h5"
    cache = extract(spec, backbone=network, layers=("pool",), output=output)
    return replace(train_head(cache, epochs=2, output=None), network=network)


def counts(classifier: Classifier, dataset, **more) -> list[int]:
    """How many photos would train, validate and test."""
    settings = tune_settings(classifier, cached=False, augment="none")
    data = prepare_setup(
        classifier, dataset, settings, cache=None, layer=None, report=lambda progress: None, workers=1, **more
    ).data
    return [len(rows) for rows in (data.rows.train, data.rows.val, data.rows.test)]


@pytest.mark.parametrize("given", [True, False])
def test_a_spec_with_options_is_tuned_on_as_it_was_extracted(classifier, spec, given):
    assert counts(classifier, spec if given else None) == [15, 12, 12]


def test_without_the_options_both_readings_are_named(classifier, photos):
    with pytest.raises(DataError, match=r"classes_at 1.*classes_at 2"):
        counts(classifier, photos)


def test_such_a_spec_is_scored(classifier, spec, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path))
    assert classifier.evaluate(spec).count == 12
    assert classifier.evaluate(spec, "all").count == 39


def test_of_classes_that_cannot_be_read_the_classifier_decides(classifier, photos, tmp_path, without_plugins):
    copied = shutil.copytree(photos, tmp_path / "visits")
    spec = f"folder:{copied}?splits=train=2019,val=2020,test=2021"
    (copied / "2019/fox").mkdir()
    (copied / "2019/fox/1.heic").touch()
    with pytest.raises(
        DataError,
        match=r"would be empty, as no picture in it is read \(2019/fox/: 1 HEIC\).*add allow_empty_classes$",
    ):
        counts(classifier, spec)
    assert counts(classifier, spec, allow_empty_classes=True) == [15, 12, 12]
    for year in ("2019", "2020", "2021"):
        shutil.rmtree(copied / year / CLASSES[0])
    (copied / "2019" / CLASSES[0]).mkdir()
    (copied / "2019" / CLASSES[0] / "1.heic").touch()
    with pytest.raises(
        UsageError, match=rf"has other classes than the classifier \(it lacks: {CLASSES[0]}\)"
    ):
        counts(classifier, spec, allow_empty_classes=True)


SPLITS = {"train": "2019", "val": "2020", "test": "2021"}


@pytest.mark.parametrize("start", [finetune, plan_finetuning])
def test_options_say_how_the_folder_is_read(classifier, photos, start):
    for options, told in (
        ({"splits": {"train": "2019", "test": "2022"}}, r"splits: no folder 2022 in .*; did you mean '2021'"),
        ({"splits": SPLITS, "classes_at": 7}, "classes_at 7: no class folder of images is there"),
        ({"label_from": "{label}-{}.png"}, r"39 of 39 names do not fit label_from '\{label\}-\{\}\.png'"),
    ):
        with pytest.raises((DataError, UsageError), match=told):
            start(classifier, photos, **options)


@pytest.mark.parametrize("start", [finetune, plan_finetuning])
def test_options_without_photos_are_refused(classifier, start):
    for options, told in (
        ({"label_from": "{label}_{}.png"}, "label_from {label}_{}.png"),
        ({"splits": SPLITS}, "splits {'train': '2019', 'val': '2020', 'test': '2021'}"),
        ({"classes_at": 2}, "classes_at 2"),
        ({"allow_empty_classes": True}, "allow_empty_classes"),
    ):
        with pytest.raises(UsageError) as refused:
            start(classifier, **options)
        assert str(refused.value) == f"{told}: it is for photos, and none are given; name their folder"


def test_the_photos_of_the_extraction_are_read_as_they_were_then(photos, spec, tmp_path, without_plugins):
    copied = shutil.copytree(photos, tmp_path / "visits")
    (copied / "2019/fox").mkdir()
    (copied / "2019/fox/1.heic").touch()
    own = spec.replace(str(photos), str(copied))
    network = tiny_network()
    options = {"backbone": network, "layers": ("pool",), "output": tmp_path / "visits.h5"}
    trained = train_head(extract(own, allow_empty_classes=True, **options), epochs=2, output=None)
    assert counts(replace(trained, network=network), None) == [15, 12, 12]
