"""Photos that a list leaves out of a fine-tuning, beside those that its head was trained without."""

from dataclasses import replace

import pytest
from helpers.tiny_finetuning import tiny_classifier, tiny_network, tiny_photos

from featcache import FeatureCache, finetune, plan_finetuning, train_head
from featcache.classifier.scored.seen import which_seen
from featcache.errors import DataError, IdentityError

QUICK = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-2, "augment": "none", "output": None}
HEAD = {"head": "linear", "epochs": 5, "learning_rate": 1e-2, "output": None}


@pytest.fixture(scope="module")
def network():
    return tiny_network()


@pytest.fixture(scope="module")
def cache(network, tmp_path_factory) -> FeatureCache:
    photos = tiny_photos(tmp_path_factory.mktemp("tiny") / "photos")
    return FeatureCache(tiny_classifier(network, photos).provenance["cache"])


@pytest.mark.slow
def test_a_list_is_added_to_that_of_the_head(cache, network):
    rows = {split: len(cache.rows_of(split)) for split in cache.splits}
    own, further = (cache.ids[cache.rows_of(split)[0]] for split in ("train", "test"))
    start = replace(train_head(cache, exclude=[own], **HEAD), network=network)
    done = finetune(start, train_from="head", exclude=[further], **QUICK)
    assert done.tuned.count == rows["test"] - 1
    training = done.classifier.training
    assert training["selection"]["exclude"] == [own, further]
    assert training["left_out"]["rows"] == {"train": 1, "test": 1}
    assert done.classifier.seen is not None
    assert which_seen(done.classifier.seen, cache.sha256).sum() == rows["train"] + rows["val"] - 1
    plan = plan_finetuning(start, train_from="head", exclude=[further])
    assert (plan.train, plan.val, plan.test) == (rows["train"] - 1, rows["val"], rows["test"] - 1)
    with pytest.raises(DataError, match=r"exclude: 1 of its 1 ids are of no photo in .*: 'x\.png'"):
        finetune(start, train_from="head", exclude=["x.png"], **QUICK)


def test_a_run_with_another_list_is_another_run(cache, network, tmp_path):
    first, second = (cache.ids[row] for row in cache.rows_of("train")[:2])
    start = replace(train_head(cache, **HEAD), network=network)
    own = {**QUICK, "output": tmp_path / "x", "train_from": "head"}
    finetune(start, exclude=[first], **own)
    with pytest.raises(IdentityError, match=r"left_out"):
        finetune(start, exclude=[second], resume=True, **own)
