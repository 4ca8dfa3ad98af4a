"""Fine-tuning from end to end, on a network of four stages."""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.photo_folders import photo_folder
from helpers.tiny_finetuning import CLASSES, tiny_classifier, tiny_network, tiny_photos

from featcache import Classifier, extract, finetune
from featcache.core.schema import Setting
from featcache.errors import DataError, IdentityError, Interrupted, UnknownNameError, UsageError

QUICK = {
    "epochs": 2,
    "batch_size": 8,
    "learning_rate": 1e-2,
    "augment": "none",
    "output": None,
    "patience": 9,
}


@pytest.fixture(scope="module")
def network():
    return tiny_network()


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return tiny_photos(tmp_path_factory.mktemp("tiny") / "photos")


@pytest.fixture(scope="module")
def classifier(network, photos):
    return tiny_classifier(network, photos)


@pytest.fixture(scope="module")
def cuts(network, photos):
    """The output of block_1, cached in both dtypes."""
    return {
        dtype: extract(
            photos,
            backbone=network,
            layers=("block_1:map",),
            dtype=dtype,
            output=photos.with_name(f"cut-{dtype}.h5"),
        ).path
        for dtype in ("float32", "float16")
    }


def tensors_of(result) -> dict[str, np.ndarray]:
    """All arrays of a classifier: the network's and the head's."""
    own = result.classifier.network.tensors
    return {**own, **{f"head.{name}": value for name, value in result.classifier.parameters.items()}}


def test_what_is_frozen_stays_bit_by_bit(classifier, network):
    done = finetune(classifier, train_from="block_2", **QUICK)
    after = done.classifier.network.tensors
    changed = {name for name, value in network.tensors.items() if not np.array_equal(value, after[name])}
    assert changed == {
        f"block_{number}.{name}" for number in (2, 3) for name in ("conv.kernel", "norm.scale", "norm.bias")
    }
    assert not np.array_equal(done.classifier.parameters["kernel"], classifier.parameters["kernel"])
    assert done.frozen_stages == ("block_1",)


def test_it_learns(classifier):
    done = finetune(classifier, train_from="all", **{**QUICK, "epochs": 8})
    losses = [record["loss"] for record in done.history if "loss" in record]
    assert losses[-1] < 0.75 * losses[0]
    assert done.history[0]["epoch"] == 0
    assert done.best_epoch > 0
    assert done.classifier.metrics["test"]["count"] == 12
    (note,) = done.notes
    assert "the frozen head is compared as it was before it was fitted again" in note


def test_photos_and_a_cached_cut_give_the_same(classifier, network, cuts):
    # By sgd, whose steps are as long as the gradient is: Adam's first ones are full steps, also where a gradient is
    # rounding noise.
    common = {**QUICK, "optimizer": "sgd"}
    from_photos = tensors_of(finetune(classifier, train_from="block_2", **common))
    exact = tensors_of(finetune(classifier, cache=cuts["float32"], **common))
    half = tensors_of(finetune(classifier, cache=cuts["float16"], **common))
    for name, value in from_photos.items():
        # The very same program on the very same numbers, which were stored and read again.
        np.testing.assert_array_equal(exact[name], value, err_msg=name)
        # float16 keeps 11 bits of what comes in, and twelve steps add up what that does: two digits of the way that
        # each array went.
        before = network.tensors.get(
            name, classifier.before_refit().parameters.get(name.removeprefix("head."))
        )
        way = np.abs(value - before).max()
        np.testing.assert_allclose(half[name], value, rtol=0, atol=2e-2 * way, err_msg=name)


def test_the_head_alone_may_train(classifier, network):
    done = finetune(classifier, train_from="head", **QUICK)
    assert done.classifier.network is network  # nothing of the backbone changed
    assert done.classifier.fingerprint == classifier.fingerprint
    assert not np.array_equal(done.classifier.parameters["kernel"], classifier.parameters["kernel"])


def test_a_first_phase_trains_only_the_head(classifier, network):
    done = finetune(classifier, train_from="block_3", head_epochs=1, **{**QUICK, "epochs": 1})
    assert [record["phase"] for record in done.history] == [0, 1, 2]
    frozen = {n for n in network.tensors if n.startswith(("block_1", "block_2"))}
    for name in frozen:
        np.testing.assert_array_equal(done.classifier.network.tensors[name], network.tensors[name])


def test_statistics_move_only_where_it_was_asked_for(classifier, network):
    done = finetune(classifier, train_from="block_3", batch_norm="update", **QUICK)
    after = done.classifier.network.tensors
    moved = {
        n
        for n, v in network.tensors.items()
        if n.endswith((".mean", ".var")) and not np.array_equal(v, after[n])
    }
    assert moved == {"block_3.norm.mean", "block_3.norm.var"}


RUNS = {
    "moving": {"batch_norm": "update", "optimizer": "nesterov", "average": 0.9, "label_smoothing": 0.1},
    "mixing": {"mixup": 0.3, "schedule": "polynomial", "warmup": 0.5, "end": 0.1},
    "accumulating": {"accumulate": 2, "optimizer": "sgd", "clip": 1.0, "weight_decay": 0.01},
    "augmenting": {
        "augment": "flip,random-resized-crop,colour",
        "head_epochs": 1,
        "class_weights": "balanced",
    },
}


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "name", [name if name == "moving" else pytest.param(name, marks=pytest.mark.slow) for name in RUNS]
)
def test_a_run_that_was_stopped_ends_like_one_that_was_not(classifier, tmp_path, name):
    settings = {**QUICK, "train_from": "block_2", **RUNS[name]}
    whole = finetune(classifier, **settings)
    for after in (1, 4):
        place = tmp_path / f"stopped-{after}"
        asked = iter(range(100))
        with pytest.raises(Interrupted, match="continue with --resume"):
            finetune(
                classifier,
                **{**settings, "output": place},
                stop=lambda asked=asked, after=after: next(asked) >= after,
            )
        resumed = finetune(classifier, **{**settings, "output": place}, resume=True)
        for array, value in tensors_of(whole).items():
            np.testing.assert_array_equal(tensors_of(resumed)[array], value, err_msg=array)
        assert _told(resumed) == _told(whole)


def _told(done) -> list[dict[str, float]]:
    """The history without what depends on the clock."""
    return [{k: v for k, v in r.items() if k not in ("seconds", "images_per_second")} for r in done.history]


def test_resuming_with_other_settings_is_refused(classifier, tmp_path):
    place = tmp_path / "run"
    with pytest.raises(Interrupted):
        finetune(classifier, **{**QUICK, "output": place}, stop=lambda: True)
    with pytest.raises(IdentityError, match=r"settings\.learning_rate: 0\.01 in the run, 0\.02 asked for"):
        finetune(classifier, **{**QUICK, "output": place, "learning_rate": 0.02}, resume=True)
    with pytest.raises(UsageError, match=r"--resume.*--overwrite"):
        finetune(classifier, **{**QUICK, "output": place})
    assert finetune(classifier, **{**QUICK, "output": place}, overwrite=True).folder == place


def test_a_missing_extra_is_told_before_anything_is_replaced(classifier, tmp_path, monkeypatch):
    place = tmp_path / "run"
    with pytest.raises(Interrupted):
        finetune(classifier, **{**QUICK, "output": place}, stop=lambda: True)
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(UsageError, match=r"pip install 'featcache\[tb\]'"):
        finetune(classifier, **{**QUICK, "output": place}, overwrite=True, tensorboard=True)
    assert list((tmp_path / "run.run" / "checkpoints").iterdir())


def test_a_place_that_cannot_be_used_is_refused_before_anything_is_trained(classifier, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="exists and is no classifier; choose another place"):
        finetune(classifier, **{**QUICK, "output": tmp_path})
    assert not Path(f"{tmp_path}.run").exists()


def test_nothing_to_resume(classifier, tmp_path):
    with pytest.raises(DataError, match="nothing to resume"):
        finetune(classifier, **{**QUICK, "output": tmp_path / "run"}, resume=True)
    with pytest.raises(UsageError, match="a run without an output saves nothing, so it cannot be resumed"):
        finetune(classifier, **QUICK, resume=True)


def test_a_run_that_diverges_keeps_the_best(classifier, monkeypatch):
    monkeypatch.setattr(Setting, "require_sensible", lambda self, value: None)
    done = finetune(
        classifier,
        train_from="all",
        **{**QUICK, "learning_rate": 1e38, "optimizer": "sgd", "schedule": "constant"},
    )
    assert done.stopped.startswith("diverged: the ")
    assert done.best_epoch == 0
    start = classifier.before_refit()  # which has not learnt from the validation photos, that judge
    np.testing.assert_array_equal(done.classifier.parameters["kernel"], start.parameters["kernel"])
    assert "not worth it" in done.verdict


def test_two_half_batches_are_one(classifier):
    """With sgd, and nothing that looks at the batch, averaged gradients of halves are the gradient of the whole."""
    common = {**QUICK, "optimizer": "sgd", "train_from": "block_2", "schedule": "constant", "epochs": 1}
    whole = tensors_of(finetune(classifier, **{**common, "batch_size": 24}))
    halves = tensors_of(finetune(classifier, **{**common, "batch_size": 12, "accumulate": 2}))
    for name, value in whole.items():
        # Sums in another order: rounding of float32.
        np.testing.assert_allclose(halves[name], value, rtol=1e-5, atol=1e-6, err_msg=name)


def test_rates_scale_the_steps(classifier, network):
    common = {**QUICK, "optimizer": "sgd", "train_from": "block_3", "schedule": "constant", "epochs": 1}
    common |= {"batch_size": 24, "momentum": 0.0}
    one = finetune(classifier, rates={"head": 0.0, "*": 0.1}, **common).classifier.network.tensors
    ten = finetune(classifier, rates={"head": 0.0, "*": 0.01}, **common).classifier.network.tensors
    before = network.tensors["block_3.conv.kernel"]
    step, small = (t["block_3.conv.kernel"] - before for t in (one, ten))
    # A difference of float32 numbers near 1 keeps an absolute 1e-7.
    np.testing.assert_allclose(step, 10 * small, atol=2e-6)
    assert np.abs(step).max() > 1e-4


def test_an_average_lags_behind(classifier):
    common = {**QUICK, "optimizer": "sgd", "train_from": "block_3", "schedule": "constant", "epochs": 1}
    common |= {"batch_size": 24}  # one step
    start, stepped = (
        classifier.before_refit().parameters["kernel"],
        finetune(classifier, **common).classifier.parameters["kernel"],
    )
    averaged = finetune(classifier, average=0.75, **common).classifier.parameters["kernel"]
    np.testing.assert_allclose(averaged, 0.75 * start + 0.25 * stepped, atol=1e-6)


@pytest.mark.slow
def test_a_head_that_was_solved_is_tuned_too(network, photos):
    """The usual head of few photos."""
    head = tiny_classifier(network, photos, head="logistic")
    done = finetune(head, train_from="head", **{**QUICK, "epochs": 1})
    assert done.classifier.head == "logistic"
    assert np.isfinite(done.history[-1]["loss"])
    assert done.trained == ()


@pytest.mark.slow
def test_an_mlp_head_keeps_its_hidden_layer_and_dropout(network, photos):
    head = tiny_classifier(network, photos, head="mlp", hidden=(5,))
    done = finetune(head, train_from="block_3", dropout=0.5, **QUICK)
    assert done.classifier.parameters["kernel_0"].shape == (10, 5)
    again = finetune(head, train_from="block_3", dropout=0.5, **QUICK)
    np.testing.assert_array_equal(
        again.classifier.parameters["kernel_0"], done.classifier.parameters["kernel_0"]
    )


def test_bfloat16_trains_in_float32_parameters(classifier):
    done = finetune(classifier, train_from="block_2", compute_dtype="bfloat16", **QUICK)
    assert {value.dtype for value in done.classifier.network.tensors.values()} == {np.dtype(np.float32)}
    assert np.isfinite(done.history[-1]["loss"])
    assert done.classifier.recipe["compute_dtype"] == "bfloat16"  # as it was judged, so it predicts


# Bad input -------------------------------------------------------------------------------------------------------


def test_unreadable_photos_are_left_out_and_told(network, tmp_path):
    photos = tiny_photos(tmp_path / "photos")
    classifier = tiny_classifier(network, photos)
    broken = photos / "train" / "cat" / "0.png"
    broken.write_bytes(broken.read_bytes()[:100])
    done = finetune(classifier, train_from="block_3", **QUICK)
    assert done.unreadable == {"train/cat/0.png": "truncated"}
    assert len(done.notes) == 2
    assert "not exactly those that the head was trained on" in done.notes[0]
    assert np.isfinite(done.history[-1]["loss"])


def test_photos_of_which_none_can_be_read_are_refused(network, tmp_path):
    photos = tiny_photos(tmp_path / "photos", train=2)
    classifier = tiny_classifier(network, photos)
    for path in (photos / "train").rglob("*.png"):
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"?" * 20)
    with pytest.raises(DataError, match="none of the training images could be read; the first: "):
        finetune(classifier, train_from="block_3", **QUICK)


def test_without_rows_that_judge_nothing_begins(network, tmp_path):
    photos = photo_folder(tmp_path / "photos", {f"train/{name}": 4 for name in CLASSES})
    classifier = tiny_classifier(network, photos, val_fraction=0.0)
    with pytest.raises(DataError, match="no validation and no test images, so nothing could tell whether"):
        finetune(classifier, train_from="block_3", **QUICK)


def test_other_classes_are_refused_by_name(classifier, tmp_path):
    other = photo_folder(tmp_path / "other", {"train/cat": 2, "train/dog": 2, "train/eel": 2})
    with pytest.raises(
        UsageError, match=r"other classes than the classifier \(the classifier lacks: eel; it lacks: owl\)"
    ):
        finetune(classifier, other, **QUICK)


def test_a_cut_of_other_weights_is_refused_by_name(classifier, photos, tmp_path):
    other = extract(photos, backbone=tiny_network(1), layers=("block_1:map",), output=tmp_path / "other.h5")
    with pytest.raises(
        IdentityError,
        match=r"another network than the classifier's \(backbone\.weights_sha256: .* in the classifier\)",
    ):
        finetune(classifier, cache=other, **QUICK)


def test_a_cache_without_a_map_is_refused(classifier, photos):
    pooled = photos.with_suffix(".h5")
    done = finetune(classifier, cache=pooled, **QUICK)  # the pooled features are the output of the last stage
    assert done.trained == ()
    with pytest.raises(UnknownNameError, match=r"holds no layer 'block_2:map'; it holds pool"):
        finetune(classifier, cache=pooled, layer="block_2:map", **QUICK)


def test_a_pooled_stage_is_no_cut(classifier, network, photos, tmp_path):
    pooled = extract(photos, backbone=network, layers=("block_2:avg",), output=tmp_path / "avg.h5")
    with pytest.raises(UsageError, match=r"holds no output of a whole stage .*--layer STAGE:map"):
        finetune(classifier, cache=pooled, **QUICK)


def test_both_photos_and_a_cut_are_refused(classifier, photos, cuts):
    with pytest.raises(UsageError, match="both photos and a cached cut were given"):
        finetune(classifier, photos, cache=cuts["float32"], **QUICK)
    with pytest.raises(UsageError, match="augment 'flip' with a cached cut"):
        finetune(classifier, cache=cuts["float32"], **{**QUICK, "augment": "flip"})


def test_saved_and_moved_it_predicts_as_it_was_judged(classifier, photos, tmp_path):
    """The folder brings its own backbone: scores, predictions and features are those of the run."""
    done = finetune(classifier, train_from="block_2", **{**QUICK, "epochs": 4, "output": tmp_path / "tuned"})
    moved = (tmp_path / "tuned").rename(tmp_path / "moved")
    loaded = Classifier.load(moved)
    predicted = np.concatenate(
        [loaded.predict_proba(sorted((photos / "test" / name).iterdir())) for name in CLASSES]
    )
    labels = np.repeat(np.arange(3), 4)
    assert np.mean(predicted.argmax(axis=1) == labels) == done.classifier.metrics["test"]["accuracy"]
    assert loaded.training["finetuned"]["verdict"] == done.verdict
    features = extract(photos, backbone=str(moved), output=tmp_path / "tuned.h5")
    assert features.cache.layers["pool"].fingerprint == loaded.fingerprint != classifier.fingerprint
    assert loaded.evaluate(features.path, "test").accuracy == done.tuned.accuracy
    seen = {split: loaded.evaluate(features.path, split).seen for split in ("train", "val", "test")}
    assert seen == {"train": 24, "val": 12, "test": 0}
    again = finetune(loaded, photos, train_from="block_3", **{**QUICK, "epochs": 1})
    assert again.frozen.accuracy == done.tuned.accuracy


def test_the_plan_says_what_a_cut_saves(classifier):
    from featcache import plan_finetuning

    plan = plan_finetuning(classifier, train_from="block_3", batch_size=8)
    assert plan.cut == "block_2:map"
    assert plan.cut_bytes == 2 * 48 * 8 * 8 * 8  # images × height × width × channels, in float16
    assert plan.epoch_from_photos > plan.epoch_from_cut > 0
    assert plan.trained_parameters == 8 * 10 + 2 * 10 + 10 * 3 + 3
    assert plan.command.startswith("featcache extract ")
    assert "--layer block_2:map --dtype float16" in plan.command
    assert "--split" not in plan.command


def test_a_cut_is_to_be_of_the_slice_that_the_head_saw(classifier):
    from featcache import plan_finetuning

    sliced = replace(classifier, provenance={**classifier.provenance, "slice": "all[:100%]"})
    plan = plan_finetuning(sliced, train_from="block_3", batch_size=8)
    assert " --split 'all[:100%]' --backbone" in plan.command


def test_replacing_the_classifier_needs_no_photos_twice(classifier):
    again = replace(classifier, provenance={**classifier.provenance, "dataset": "/nowhere"})
    with pytest.raises(DataError, match="/nowhere"):
        finetune(again, **QUICK)


def test_what_the_first_phase_learnt_is_kept_where_the_second_freezes_it(classifier, tmp_path):
    settings = {
        **QUICK,
        "train_from": "block_3",
        "head_epochs": 1,
        "rates": {"head": 0.0, "*": 1e-2},
        "epochs": 1,
    }
    alone = finetune(classifier, **{**QUICK, "train_from": "head", "epochs": 1, "learning_rate": 1e-3})
    both = finetune(classifier, **settings)
    np.testing.assert_array_equal(both.classifier.parameters["kernel"], alone.classifier.parameters["kernel"])
    place, asked = tmp_path / "run", iter(range(100))
    with pytest.raises(Interrupted):
        finetune(classifier, **{**settings, "output": place}, stop=lambda: next(asked) >= 5)
    resumed = finetune(classifier, **{**settings, "output": place}, resume=True)
    for name, value in tensors_of(both).items():
        np.testing.assert_array_equal(tensors_of(resumed)[name], value, err_msg=name)
