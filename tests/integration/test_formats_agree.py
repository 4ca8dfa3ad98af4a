"""The same photos through every source: the same row hashes, the same features, and nothing computed twice."""

import hashlib
import io
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from helpers.fake_network import FakeNetwork, features_of
from helpers.shape_pictures import COUNTS, NAMES, picture
from PIL import Image

from featcache import Dataset, extract, open_arrays, open_dataset
from featcache.images.resizing import prepare

SPLITS = {"train": "train", "validation": "val", "test": "test"}
PHOTOS = {
    (split, index): (NAMES[index % len(NAMES)], picture(split, index))
    for split in SPLITS
    for index in range(COUNTS[split])
}
"""Split and number to class and bytes, as `tfds_shapes` prepares them."""


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Path:
    """The photos as a TFDS dataset, prepared by TFDS itself."""
    folder = tmp_path_factory.mktemp("tfds")
    script = Path(__file__).parents[1] / "helpers" / "tfds_shapes.py"
    command = [sys.executable, script, folder, "array_record"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return folder


# One way each -------------------------------------------------------------------------------------------------


def as_folder(root: Path) -> Dataset:
    for (split, index), (name, content) in PHOTOS.items():
        path = root / split / name / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return open_dataset(str(root))


def as_csv(root: Path) -> Dataset:
    lines = ["path,label,split"]
    for (split, index), (name, content) in PHOTOS.items():
        path = root / f"{split}{index}.png"
        path.write_bytes(content)
        lines.append(f"{path.name},{name},{SPLITS[split]}")
    (root / "photos.csv").write_text("\n".join(lines))
    return open_dataset(f"csv:{root / 'photos.csv'}")


def as_lists(root: Path) -> Dataset:
    for (split, index), (name, content) in PHOTOS.items():
        path = root / "images" / name / f"{split}{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        with (root / f"{SPLITS[split]}.txt").open("a") as file:
            file.write(f"{name}/{path.name}\n")
    return open_dataset(f"lists:{root}")


def as_tar(root: Path) -> Dataset:
    for split in SPLITS:
        with tarfile.open(root / f"{SPLITS[split]}-000.tar", "w") as archive:
            for (own, index), (name, content) in PHOTOS.items():
                if own == split:
                    for member, data in {f"{index}.png": content, f"{index}.cls": name.encode()}.items():
                        info = tarfile.TarInfo(member)
                        info.size = len(data)
                        archive.addfile(info, io.BytesIO(data))
    return open_dataset(f"tar:{root}")


def as_arrays(root: Path) -> Dataset:
    del root
    return open_arrays(
        [content for _, content in PHOTOS.values()],
        [name for name, _ in PHOTOS.values()],
        splits=[split for split, _ in PHOTOS],
    )


def as_hf(root: Path) -> Dataset:
    datasets = pytest.importorskip("datasets", reason="the extra hub is not installed")
    datasets.disable_progress_bars()
    kinds = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=NAMES)})
    parts = {
        split: datasets.Dataset.from_list(
            [
                {"image": {"bytes": content, "path": None}, "label": NAMES.index(name)}
                for (own, _), (name, content) in PHOTOS.items()
                if own == split
            ],
            features=kinds,
        )
        for split in SPLITS
    }
    datasets.DatasetDict(parts).save_to_disk(root)
    return open_dataset(f"hf:{root}")


WAYS: Mapping[str, Callable[[Path], Dataset]] = {
    "folder": as_folder,
    "csv": as_csv,
    "lists": as_lists,
    "tar": as_tar,
    "arrays": as_arrays,
    "hf": as_hf,
}


# What must hold -----------------------------------------------------------------------------------------------


def facts(cache) -> dict[str, tuple[str, str, bytes]]:
    """Row hash to class, split and the exact bytes of the features."""
    rows = cache.rows_of()
    values = cache.features(rows)
    return {
        cache.sha256[row].tobytes().hex(): (
            cache.classes[cache.labels[row]],
            str(cache.split_names()[row]),
            value.tobytes(),
        )
        for row, value in zip(rows, values, strict=True)
    }


@pytest.fixture(scope="module")
def from_tfds(prepared, tmp_path_factory):
    """The features by way of TFDS, which the other sources are held against."""
    data = open_dataset(f"tfds:tiny_shapes:1.2.0?data_dir={prepared}")
    output = tmp_path_factory.mktemp("caches") / "tfds.h5"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FEATCACHE_HOME", str(output.parent / "home"))
        return extract(data, backbone=FakeNetwork(), output=output)


def test_tfds_gives_what_the_photos_give_by_hand(from_tfds):
    """The oracle: hashes of the bytes that were written, and pixels of each photo brought to size alone."""
    network = FakeNetwork()
    expected = {
        hashlib.sha256(content).hexdigest(): (
            name,
            SPLITS[split],
            features_of(prepare(content, network.transforms)[None])[0].tobytes(),
        )
        for (split, _), (name, content) in PHOTOS.items()
    }
    assert facts(from_tfds.cache) == expected
    assert len(expected) == len(PHOTOS) == from_tfds.computed


@pytest.mark.parametrize("way", WAYS)
def test_hashes_and_features_are_the_same_whatever_the_source(from_tfds, tmp_path, way):
    (tmp_path / "set").mkdir()
    done = extract(WAYS[way](tmp_path / "set"), backbone=FakeNetwork(), output=tmp_path / "own.h5")
    assert done.computed == len(PHOTOS), "nothing was copied: this compares two computations"
    assert facts(done.cache) == facts(from_tfds.cache)


@pytest.mark.parametrize("way", WAYS)
def test_a_second_source_reuses_every_row_of_the_first(from_tfds, tmp_path, way):
    (tmp_path / "set").mkdir()

    class Silent(FakeNetwork):
        def function(self, layers, **options):
            return lambda *_: pytest.fail("the network ran")

    data = WAYS[way](tmp_path / "set")
    done = extract(data, backbone=Silent(), reuse=[from_tfds], output=tmp_path / "second.h5")
    assert (done.computed, done.reused) == (0, len(PHOTOS))
    assert facts(done.cache) == facts(from_tfds.cache)


def test_pixels_in_an_array_are_other_bytes_of_the_same_features(from_tfds, tmp_path):
    """What is no file has another hash, as documented; what a network sees of it is the same."""
    pixels = np.stack([np.asarray(Image.open(io.BytesIO(content))) for _, content in PHOTOS.values()])
    labels = [name for name, _ in PHOTOS.values()]
    done = extract(
        images=pixels, labels=labels, splits="train", backbone=FakeNetwork(), output=tmp_path / "x.h5"
    )
    ours, theirs = facts(done.cache), facts(from_tfds.cache)
    assert not ours.keys() & theirs.keys()
    assert {value[2] for value in ours.values()} == {value[2] for value in theirs.values()}
