"""Clusters of copies: what is found, which photo stays, and what is said of it."""

import json

import numpy as np
import pytest
from helpers.audited_photos import AuditedPhotos, cropped, encoded, mirrored, scene
from PIL import Image

from featcache.auditing.copies.copies import find_copies
from featcache.auditing.copies.evidence import judge
from featcache.auditing.copies.same_picture import Likeness


def audited(
    copies: dict[str, tuple[int, bytes]],
    *,
    others: int = 24,
    labels: dict[str, int] | None = None,
    **more: bool,
) -> AuditedPhotos:
    """Return different photos, ``train/0`` and on, and copies: of which of them, and as what bytes."""
    random = np.random.default_rng(0)
    pictures = {f"train/{seed}": encoded(scene(seed)) for seed in range(others)}
    features = random.standard_normal((others, 128))
    pictures |= {name: data for name, (_, data) in copies.items()}
    near = [features[of] + 0.15 * random.standard_normal(128) for of, _ in copies.values()]
    given = [(labels or {}).get(name, 0) for name in pictures]
    return AuditedPhotos(pictures, np.concatenate([features, *([near] if near else [])]), given, **more)


def test_every_kind_of_copy_is_found_and_named() -> None:
    images = [scene(seed) for seed in range(5)]
    rows = audited(
        {
            "test/plain": (0, encoded(images[0])),
            "test/re-encoded": (1, encoded(images[1], 60)),
            "test/resized": (2, encoded(images[2].resize((108, 81)))),
            "test/cropped": (3, encoded(cropped(images[3]))),
            "test/mirrored": (4, encoded(mirrored(images[4]))),
        }
    )
    found = find_copies(rows, pictures=rows.read)
    assert {entry.id: entry.resembles[0].relation for entry in found.entries} == {
        "test/plain": "the same bytes",
        "test/re-encoded": "re-encoded",
        "test/resized": "resized",
        "test/cropped": "cropped",
        "test/mirrored": "mirrored",
    }
    assert all(
        entry.certain and entry.why.startswith("a leak: 2 files of one photo") for entry in found.entries
    )
    # The test copies stay, and the training copies go: photos 0 to 4 are rows 10 to 14 of the cache.
    assert sorted(row for entry in found.entries for row in entry.leave_out) == [10, 11, 12, 13, 14]
    assert found.finding == (
        "5 photos are there more than once, as 10 files: 5 of them in several splits, which leaks."
    )
    json.dumps(found.to_json())


def test_leaks_come_before_other_copies_and_labels_that_differ_before_the_rest() -> None:
    images = [scene(seed) for seed in range(4)]
    rows = audited(
        {
            "train/same": (0, encoded(images[0], 60)),
            "train/torn": (1, encoded(images[1], 60)),
            "val/leak": (2, encoded(images[2], 60)),
            "test/both": (3, encoded(images[3], 60)),
        },
        labels={"train/torn": 1, "test/both": 2},
    )
    found = find_copies(rows, pictures=rows.read)
    assert [entry.id for entry in found.entries] == ["test/both", "val/leak", "train/1", "train/0"]
    assert [int(entry.score) for entry in found.entries] == [3, 2, 1, 0]
    assert "labels differ (ant, cat), so that all but one of these labels are wrong" in found.entries[0].why
    assert found.figures["leaks"] == 2
    assert found.figures["different_labels"] == 2
    assert found.figures["relations"] == {"re-encoded": 4}


def test_a_cluster_of_several_copies_is_one_entry_and_keeps_one() -> None:
    image = scene(0)
    rows = audited(
        {
            "train/small": (0, encoded(image.resize((90, 68)))),
            "train/twin": (0, encoded(image)),
            "train/other": (0, encoded(mirrored(image))),
        },
        labels={"train/0": 0, "train/small": 1, "train/twin": 1, "train/other": 1},
    )
    (entry,) = find_copies(rows, pictures=rows.read).entries
    # The label of most, and of these the largest picture.
    assert entry.id == "train/twin"
    assert {own.id: own.relation for own in entry.resembles} == {
        "train/0": "the same bytes",
        "train/small": "resized",
        "train/other": "mirrored",
    }
    assert len(entry.leave_out) == 3


def test_near_features_of_other_pictures_are_no_copy() -> None:
    rows = audited({"test/other": (0, encoded(scene(99)))})
    found = find_copies(rows, pictures=rows.read)
    assert found.entries == ()
    assert found.figures["near_pairs"] == 1
    assert found.finding == "No photo is there more than once."


def test_the_next_shot_is_worth_a_look_only() -> None:
    image = scene(0)
    moved = Image.blend(image, scene(99), 0.4)
    rows = audited({"test/next": (0, encoded(moved))})
    (entry,) = find_copies(rows, pictures=rows.read).entries
    assert (entry.certain, entry.leave_out) == (False, ())
    assert entry.why.startswith("2 photos nearly the same in test and train; features at 0.")
    assert entry.resembles[0].relation == "nearly the same"


def test_a_recoloured_copy_is_named() -> None:
    pixels = np.asarray(scene(0))
    rows = audited({"test/warm": (0, encoded(Image.fromarray(pixels // np.array([1, 2, 3], np.uint8))))})
    (entry,) = find_copies(rows, pictures=rows.read).entries
    assert entry.resembles[0].relation == "recoloured"


def test_without_pictures_colours_decide() -> None:
    images = [scene(seed) for seed in range(3)]
    copies = {
        "test/re-encoded": (0, encoded(images[0], 60)),
        "test/mirrored": (1, encoded(mirrored(images[1]))),
        "test/other": (2, encoded(scene(99))),
    }
    found = find_copies(audited(copies), pictures=None)
    assert {entry.id: entry.resembles[0].relation for entry in found.entries if entry.certain} == {
        "test/re-encoded": "nearly the same",
        "test/mirrored": "mirrored",
    }
    assert "colours at 0." in found.entries[0].why
    blind = find_copies(audited(copies, colours=False), pictures=None)
    # Features alone prove nothing.
    assert blind.certain == 0
    assert len(blind.entries) == 3


def test_pictures_that_are_gone_are_judged_by_colours() -> None:
    rows = audited({"test/copy": (0, encoded(scene(0), 60))})

    def gone(name: str) -> bytes:
        raise FileNotFoundError(name)

    (entry,) = find_copies(rows, pictures=gone).entries
    assert entry.certain
    assert entry.resembles[0].relation == "nearly the same"


def test_blank_pictures_are_no_copies_for_their_colour() -> None:
    blank = {f"test/{grey}": (0, encoded(Image.new("RGB", (90, 90), (grey,) * 3))) for grey in (250, 251)}
    rows = audited(blank)
    found = find_copies(rows, pictures=rows.read)
    assert not any(entry.certain for entry in found.entries)


def test_pairs_beyond_the_limit_are_judged_by_colours() -> None:
    rows = audited({"test/copy": (0, encoded(scene(0), 60))})
    found = find_copies(rows, pictures=rows.read, most_compared=0)
    assert found.figures["pictures_compared"] == 0
    assert (found.certain, found.entries[0].resembles[0].relation) == (1, "nearly the same")


def test_exact_copies_need_no_features_that_differ() -> None:
    data = encoded(scene(0))
    rows = AuditedPhotos({"train/a": data, "test/b": data}, np.ones((2, 4)), [0, 1])
    (entry,) = find_copies(rows, pictures=rows.read).entries
    assert entry.why == (
        "a leak: 2 files of one photo in test and train; labels differ (ant, bee), so that all but one of these labels "
        "are wrong; the same bytes"
    )
    assert (entry.id, entry.leave_out, entry.resembles[0].similarity) == ("test/b", (10,), 1.0)


def test_it_tells_how_far_it_is() -> None:
    rows, told = audited({"test/copy": (0, encoded(scene(0), 60))}), []
    find_copies(rows, pictures=rows.read, on_progress=told.append)
    assert [(own.stage, own.note, own.done, own.total) for own in told] == [
        ("copies", "features", 25, 25),
        ("copies", "pictures", 1, 1),
    ]


@pytest.mark.parametrize("count", [0, 1])
def test_next_to_no_rows(count: int) -> None:
    rows = AuditedPhotos({"train/0": encoded(scene(0))}, np.ones((1, 4)))
    if not count:
        rows = _Empty()
    assert find_copies(rows, pictures=None).entries == ()


class _Empty:
    task, classes, ids, splits = "classes", ("ant",), (), ()
    rows = labels = np.zeros(0, int)
    sha256 = np.zeros((0, 32), np.uint8)

    def vectors(self, places: np.ndarray | slice) -> np.ndarray:
        return np.zeros((0, 4), np.float32)

    def statistics(self, places: np.ndarray | slice) -> np.ndarray | None:
        return np.zeros((0, 54), np.float32)

    def label_of(self, place: int) -> str:
        raise IndexError(place)


def alike_to(agreement: float) -> Likeness:
    return Likeness(agreement, mirrored=False, scale=(1, 1), shift=(0, 0), resized=False)


@pytest.mark.parametrize(
    ("ratio", "agreement", "certain"),
    [(0.5, 0.95, True), (0.78, 0.95, True), (0.5, 0.7, False), (0.78, 0.7, None), (0.5, 0.3, None)],
)
def test_the_farther_the_features_the_more_pictures_have_to_say(
    ratio: float, agreement: float, certain: bool | None
) -> None:
    verdict = judge(ratio, None, alike_to(agreement))
    assert certain == (None if verdict is None else verdict.certain)


@pytest.mark.parametrize(("ratio", "certain"), [(0.5, True), (0.78, None)])
def test_colours_alone_are_asked_of_near_features_only(ratio: float, certain: bool | None) -> None:
    verdict = judge(ratio, (0.01, 0.05, False), None)
    assert certain == (None if verdict is None else verdict.certain)
