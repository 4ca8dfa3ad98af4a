"""What eight bits cost and gain, measured on photos; and models that say something else are refused."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import pytest

from featcache.errors import ExportError
from featcache.exporting.quantisation_cost import (
    QuantisationCost,
    calibration_and_test,
    quantisation_cost,
    require_agreement,
)
from featcache.exporting.quantised import MOST_PHOTOS
from featcache.graphs.convert import onnx_model
from featcache.metrics.intervals import share_interval

SIZE, COUNT = 6, 60


def colours(count: int = COUNT, seed: int = 0) -> np.ndarray:
    """Pictures uint8 ``[N, SIZE, SIZE, 3]`` of one colour each."""
    drawn = np.random.default_rng(seed).integers(0, 256, (count, 1, 1, 3))
    return np.broadcast_to(drawn, (count, SIZE, SIZE, 3)).astype(np.uint8)


def model(function, task: str = "multiclass") -> onnx.ModelProto:
    images = {"images": ((SIZE, SIZE, 3), np.uint8)}
    return onnx_model(function, images, metadata={"task": task})


def mean_colour(images):
    return images.astype(jnp.float32).mean(axis=(1, 2)) / 255


def brightest(offset: float = 0.0) -> onnx.ModelProto:
    """Which of red, green and blue is the most; red has an advantage of `offset`."""

    def function(images):
        features = mean_colour(images)
        logits = 20 * (features + jnp.array([offset, 0, 0]))
        return {"probabilities": jax.nn.softmax(logits), "logits": logits, "features": features}

    return model(function)


def classes(images: np.ndarray, offset: float = 0.0) -> np.ndarray:
    return (images[:, 0, 0] / 255 + np.array([offset, 0, 0])).argmax(axis=1)


def test_classes_and_accuracies_are_counted():
    images = colours()
    old, new = classes(images), classes(images, 0.2)
    labels = np.where(np.arange(COUNT) % 5 == 0, (old + 1) % 3, old)
    labels[::7] = -1
    found = quantisation_cost(brightest(), brightest(0.2), list(images), labels=labels)
    assert found.measured == "class"
    assert found.agreement == pytest.approx((old == new).mean())
    assert 0.5 < found.agreement < 0.95
    known = labels >= 0
    assert found.labelled == known.sum()
    right = [(each == labels)[known] for each in (old, new)]
    assert found.accuracy == pytest.approx([each.mean() for each in right])
    assert found.intervals == tuple(share_interval(each) for each in right)
    low, high = found.difference
    assert low < right[1].mean() - right[0].mean() < high
    values = images[:, 0, 0] / 255
    ours, theirs = (jax.nn.softmax(20 * (values + np.array([each, 0, 0]))) for each in (0, 0.2))
    assert found.largest_difference == pytest.approx(float(np.abs(ours - theirs).max()), abs=1e-5)
    assert found.sizes == (brightest().ByteSize(), brightest(0.2).ByteSize())
    assert min(*found.speed, found.speed_ratio) > 0


def test_same_model_agrees_with_itself():
    found = quantisation_cost(brightest(), brightest(), list(colours(9)))
    assert (found.agreement, found.largest_difference, found.photos) == (1.0, 0.0, 9)
    assert (found.accuracy, found.labelled) == (None, 0)
    require_agreement(found)
    unknown = quantisation_cost(brightest(), brightest(), list(colours(9)), labels=[-1] * 9)
    assert unknown.accuracy is None


def test_labels_are_those_that_either_says():
    def said(least):
        return model(
            lambda images: {"probabilities": jax.nn.sigmoid(50 * (mean_colour(images) - least))}, "multilabel"
        )

    images = colours()
    found = quantisation_cost(said(0.5), said(0.6), list(images))
    values = images[:, 0, 0] / 255
    assert found.measured == "labels"
    assert found.agreement == pytest.approx((values > 0.6).sum() / (values > 0.5).sum())


@pytest.mark.parametrize("name", ["values", "features"])
def test_numbers_keep_a_share_of_their_variance(name):
    images = list(colours())
    plain = model(lambda images: {name: mean_colour(images)}, "regression")
    shifted = model(lambda images: {name: mean_colour(images) + 0.1}, "regression")
    found = quantisation_cost(plain, shifted, images)
    assert found.measured == name
    values = np.stack(images)[:, 0, 0] / 255
    # Every one of the 3 N numbers is off by 0.1.
    expected = 1 - values.size * 0.01 / ((values - values.mean(axis=0)) ** 2).sum()
    assert found.agreement == pytest.approx(expected, abs=1e-5)
    assert found.largest_difference == pytest.approx(0.1 / values.max(), rel=1e-4)
    nothing = quantisation_cost(plain, model(lambda images: {name: jnp.log(mean_colour(images) - 2)}), images)
    assert nothing.agreement == 0


def test_model_that_says_something_else_is_refused_with_figures():
    images = colours()
    found = quantisation_cost(brightest(), brightest(0.5), list(images), labels=classes(images))
    with pytest.raises(ExportError) as caught:
        require_agreement(found)
    text = str(caught.value)
    same = f"{100 * found.agreement:.1f} %"
    assert text.startswith(
        f"nothing was written: in eight bits this model has the same class for {same}, and "
    )
    assert f"accuracy: 100.0 % before, {same} now, of 60 held-out photos (95 % interval" in text
    assert text.endswith("or export with --float16 (half the size), or without either")


def test_photos_that_ranges_were_measured_on_do_not_judge():
    images = list(colours())
    with pytest.raises(ExportError, match=r"^2 photos of 10 to judge .* were used to measure its ranges"):
        quantisation_cost(brightest(), brightest(), images[:10], calibration=images[8:])
    with pytest.raises(ExportError, match="there are no photos to judge"):
        quantisation_cost(brightest(), brightest(), [])


@pytest.mark.parametrize("count", [2, 41, 3000])
def test_photos_are_shared_out(count):
    measure, judge = calibration_and_test(count)
    assert sorted([*measure, *judge]) == list(range(count))
    assert len(measure) == min(count // 2, MOST_PHOTOS)
    assert [list(each) for each in calibration_and_test(count)] == [list(measure), list(judge)]
    # Of a folder's photos, which lie class by class, both have some of each half.
    if count > 40:
        assert 0 < (measure < count / 2).mean() < 1


def test_cost_is_said_line_by_line():
    cost = QuantisationCost(
        photos=300,
        agreement=0.9899,
        measured="class",
        largest_difference=0.2049,
        speed=(214.2, 315.4),
        speed_ratio=1.472,
        sizes=(16_704_317, 7_012_345),
        labelled=300,
        accuracy=(0.99, 0.9833),
        intervals=((0.971, 0.997), (0.962, 0.993)),
        difference=(-0.0211, 0.0072),
    )
    assert cost.rows() == [
        (
            "accuracy",
            "99.0 % before, 98.3 % now, of 300 held-out photos (95 % interval 96.2–99.3 %; change -2.1 to +0.7 points)",
        ),
        (
            "agreement",
            "the same class for 99.0 % on 300 photos; largest difference 0.205 between probabilities",
        ),
        ("speed", "1.47 times as fast on one core of this machine (214 to 315 images/s)"),
        ("size", "16.7 MB to 7.0 MB"),
    ]
    assert json.loads(json.dumps(cost.to_json()))["accuracy"] == [0.99, 0.9833]
    assert re.search(
        r"on 300 photos; largest difference 0\.205 of the largest value",
        str(QuantisationCost(300, 0.97, "features", 0.2049, (1, 1), 1, (1, 1)).rows()),
    )
