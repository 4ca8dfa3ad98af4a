"""Batches: decided by the epoch alone, whoever asks and wherever they begin."""

import numpy as np
import pytest
from helpers.tiny_finetuning import tiny_classifier, tiny_network, tiny_photos

from featcache import extract
from featcache.datasets import open_dataset
from featcache.finetuning.data import from_photos
from featcache.finetuning.inputs import CachedActivations, InMemoryInputs, batches, epoch_order
from featcache.finetuning.phases import make_model
from featcache.images.augmentation import Augmentation


@pytest.fixture(scope="module")
def cut(tmp_path_factory) -> CachedActivations:
    photos = tiny_photos(tmp_path_factory.mktemp("views") / "photos")
    done = extract(
        photos,
        backbone=tiny_network(),
        layers=("block_1:map",),
        views=3,
        augment="flip,random-resized-crop",
        output=photos.with_suffix(".h5"),
    )
    return CachedActivations(done.cache, "block_1:map", "block_1", seed=5)


def rows_of(found) -> list[int]:
    return [row for batch in found for row in batch.rows.tolist()]


def test_each_epoch_draws_one_view_of_each_photo(cut):
    every = cut.cache.features(cut.cache.rows_of("train"), "block_1:map", view="all")
    rows = cut.cache.rows_of("train")
    chosen = []
    for epoch in (1, 2, 3):
        (batch,) = batches(cut, rows, len(rows), epoch=epoch)
        same = np.array(
            [[np.array_equal(x, view) for view in views] for x, views in zip(batch.x, every, strict=True)]
        )
        assert same.any(axis=1).all()
        chosen.append(same.argmax(axis=1))
    # 24 photos and 3 views: every view is drawn, and no epoch draws as another does.
    assert all(set(views) == {0, 1, 2} for views in chosen)
    assert not np.array_equal(chosen[0], chosen[1])


def test_what_judges_sees_plain_photos(cut):
    rows = cut.cache.rows_of("val")
    (batch,) = batches(cut, rows, len(rows), epoch=None)
    np.testing.assert_array_equal(batch.x, cut.cache.features(rows, "block_1:map", view=0))


def test_whoever_goes_on_gets_the_same_batches(cut):
    order = epoch_order(cut.cache.rows_of("train"), seed=0, epoch=2)
    whole = list(batches(cut, order, 5, epoch=2))
    rest = list(batches(cut, order, 5, epoch=2, first=3))
    assert len(whole) == 5
    for ours, theirs in zip(rest, whole[3:], strict=True):
        np.testing.assert_array_equal(ours.rows, theirs.rows)
        np.testing.assert_array_equal(ours.x, theirs.x)


def test_orders_differ_between_epochs_and_seeds_and_hold_every_row():
    rows = np.arange(100, 140)
    orders = [epoch_order(rows, seed=seed, epoch=epoch) for seed, epoch in ((0, 1), (0, 2), (1, 1))]
    assert all(sorted(order) == rows.tolist() for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    np.testing.assert_array_equal(orders[0], epoch_order(rows, seed=0, epoch=1))


def test_the_last_batch_is_filled_up_or_left_out(cut):
    rows = cut.cache.rows_of("train")[:7]
    filled = list(batches(cut, rows, 5, epoch=None))
    assert rows_of(filled) == [*rows.tolist(), -1, -1, -1]
    assert filled[-1].x.shape[0] == 5
    assert rows_of(batches(cut, rows, 5, epoch=None, drop_last=True)) == rows[:5].tolist()
    # Nothing would be left of fewer rows than a batch.
    assert rows_of(batches(cut, rows[:3], 5, epoch=None, drop_last=True)) == [*rows[:3].tolist(), -1, -1]


@pytest.mark.parametrize("after", [None, "block_2", "head"])
def test_photos_go_through_the_frozen_part_in_batches_of_the_platform(tmp_path, monkeypatch, after):
    """As many as a step takes on an accelerator, two at a time on a CPU; the values are the same."""
    network, photos = tiny_network(), tiny_photos(tmp_path / "photos")
    head = tiny_classifier(network, photos)
    data = from_photos(head, open_dataset(str(photos)), report=lambda progress: None)
    model = make_model(head, network, "float32")
    rows, found = data.rows.train[:12], {}
    for platform, on_cpu in (("cpu", True), ("accelerator", False)):
        monkeypatch.setattr("featcache.extraction.batching.on_cpu", lambda on_cpu=on_cpu: on_cpu)
        inputs = data.inputs(model, after=after, augmentation=Augmentation.parse("flip"), seed=1, workers=2)
        found[platform] = list(inputs.stream(rows, epoch=1, size=5))
    assert [len(numbers) for numbers, _ in found["cpu"]] == [2] * 6
    assert [len(numbers) for numbers, _ in found["accelerator"]] == [5, 5, 2]
    small, large = (np.concatenate([values for _, values in chunks]) for chunks in found.values())
    # Float32 sums in another order where batches are wider.
    np.testing.assert_allclose(large, small, rtol=0, atol=1e-5 * max(1.0, float(np.abs(small).max())))


class Flaky:
    """Inputs of which some rows cannot be read; counts what it is asked for."""

    after = None

    def __init__(self, bad: set[int]) -> None:
        self.bad, self.unreadable, self.asked = bad, {}, 0

    def stream(self, rows, *, epoch, size):
        for row in rows.tolist():
            self.asked += 1
            if row in self.bad:
                self.unreadable[row] = "truncated"
                yield np.zeros(0, np.int64), np.zeros(0)
            else:
                yield np.array([row]), np.full((1, 2), row, np.float32)


def test_a_row_that_cannot_be_read_leaves_its_place_empty():
    rows = np.arange(6)
    first, second = batches(Flaky({1, 5}), rows, 3, epoch=1)
    assert first.rows.tolist() == [0, -1, 2]
    assert second.rows.tolist() == [3, 4, -1]
    assert first.x[:, 0].tolist() == [0, 0, 2]
    only = list(batches(Flaky({0, 1, 2}), rows, 3, epoch=1))
    assert [batch.rows.tolist() for batch in only] == [[3, 4, 5]]


def test_rows_that_judge_are_made_once():
    inputs = Flaky({4})
    kept = InMemoryInputs(inputs)
    rows = np.arange(6)
    once, again = (list(batches(kept, rows, 4, epoch=None)) for _ in range(2))
    assert inputs.asked == 6
    for ours, theirs in zip(once, again, strict=True):
        np.testing.assert_array_equal(ours.rows, theirs.rows)
        np.testing.assert_array_equal(ours.x, theirs.x)


def test_only_so_many_are_kept():
    inputs = Flaky(set())
    kept = InMemoryInputs(inputs, limit=3 * 8)  # three rows of two float32
    rows = np.arange(6)
    for _ in range(2):
        assert rows_of(batches(kept, rows, 6, epoch=None)) == rows.tolist()
    assert inputs.asked == 6 + 3
