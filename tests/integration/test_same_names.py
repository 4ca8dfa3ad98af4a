"""Two datasets that agree in every name, size and time and differ in bytes: neither ever gets the other's features."""

import io
import os
import shutil
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.fake_network import FakeNetwork, features_of
from PIL import Image

from featcache import backbones, extract, open_arrays, open_dataset, plan_extraction
from featcache.datasets import Dataset, file_state
from featcache.errors import IdentityError
from featcache.images.resizing import prepare

NETWORK: Any = FakeNetwork()
CLASSES, EACH = ("cat", "dog"), 6
WHEN = 1_600_000_000_000_000_000


@pytest.fixture(autouse=True)
def _own_home(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    # Files are looked at as soon as they are written here, and would be read again for that alone.
    monkeypatch.setattr(file_state, "_TICK_NS", 0)


def photos(seed: int) -> dict[tuple[str, int], bytes]:
    """Class and number to a bitmap, whose size is that of its pixels whatever they are."""
    found = {}
    for number, name in enumerate(CLASSES):
        for index in range(EACH):
            pixels = np.random.default_rng([seed, number, index]).integers(0, 256, (9, 8, 3), np.uint8)
            file = io.BytesIO()
            Image.fromarray(pixels).save(file, "BMP")
            found[name, index] = file.getvalue()
    return found


# One way each ---------------------------------------------------------------------------------------------------


def write_files(root: Path, seed: int) -> list[tuple[str, str]]:
    """Write the photos; return path and class of each."""
    written = []
    for (name, index), content in photos(seed).items():
        path = root / "images" / name / f"{index}.bmp"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        written.append((str(path.relative_to(root)), name))
    return written


def as_folder(root: Path, seed: int) -> Callable[[], Dataset]:
    write_files(root, seed)
    return lambda: open_dataset(f"folder:{root / 'images'}")


def as_csv(root: Path, seed: int) -> Callable[[], Dataset]:
    lines = [f"{path},{name}" for path, name in write_files(root, seed)]
    (root / "photos.csv").write_text("\n".join(["path,label", *lines]))
    return lambda: open_dataset(f"csv:{root / 'photos.csv'}")


def as_lists(root: Path, seed: int) -> Callable[[], Dataset]:
    names = [path.removeprefix("images/") for path, _ in write_files(root, seed)]
    (root / "train.txt").write_text("\n".join(names))
    return lambda: open_dataset(f"lists:{root}")


def as_paths(root: Path, seed: int) -> Callable[[], Dataset]:
    written = write_files(root, seed)
    names = [name for name, _ in written]
    return lambda: open_arrays([root / name for name in names], [label for _, label in written], ids=names)


def as_tar(root: Path, seed: int) -> Callable[[], Dataset]:
    with tarfile.open(root / "shard-000.tar", "w") as archive:
        for (name, index), content in photos(seed).items():
            for member, data in {f"{name}{index}.png": content, f"{name}{index}.cls": name.encode()}.items():
                info = tarfile.TarInfo(member)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return lambda: open_dataset(f"tar:{root}")


def hf_table(seed: int):
    datasets = pytest.importorskip("datasets", reason="the extra hub is not installed")
    datasets.disable_progress_bars()
    rows = [
        {
            "image": {"bytes": content, "path": None},
            "other": {"bytes": other, "path": None},
            "label": CLASSES.index(name),
        }
        for ((name, _), content), other in zip(photos(seed).items(), photos(seed + 100).values(), strict=True)
    ]
    label = datasets.ClassLabel(names=list(CLASSES))
    kinds = {"image": datasets.Image(), "other": datasets.Image(), "label": label}
    return datasets.Dataset.from_list(rows, features=datasets.Features(kinds))


def as_hf(root: Path, seed: int) -> Callable[[], Dataset]:
    hf_table(seed).save_to_disk(root / "pets")
    return lambda: open_dataset(f"hf:{root / 'pets'}?image=image")


def as_parquet(root: Path, seed: int) -> Callable[[], Dataset]:
    hf_table(seed).to_parquet(str(root / "pets.parquet"))
    return lambda: open_dataset(f"hf:{root / 'pets.parquet'}?image=image")


WAYS: Mapping[str, Callable[[Path, int], Callable[[], Dataset]]] = {
    "folder": as_folder,
    "csv": as_csv,
    "lists": as_lists,
    "paths": as_paths,
    "tar": as_tar,
    "hf": as_hf,
    "parquet": as_parquet,
}


def write(way: str, root: Path, seed: int) -> Callable[[], Dataset]:
    """Write a dataset whose files all have the same time; return what opens it."""
    root.mkdir(parents=True)
    opened = WAYS[way](root, seed)
    for path in root.rglob("*"):
        os.utime(path, ns=(WHEN, WHEN))
    return opened


# What must hold -------------------------------------------------------------------------------------------------


def require_own(cache, data: Dataset, seed: int) -> None:
    """Compare all features with those of the photos that were written, by the order of classes and numbers."""
    contents = photos(seed).values()
    want = {
        features_of(prepare(content, NETWORK.transforms)[None])[0].tobytes(): content for content in contents
    }
    rows = cache.rows_of()
    assert len(rows) == len(data.records) == len(want)
    for row, values in zip(rows, cache.features(rows), strict=True):
        assert want.get(values.tobytes()) == data.records[row].read(), f"{cache.ids[row]}: another's features"


@pytest.mark.one_by_default
@pytest.mark.parametrize("met", ["reuse", "home", "target"])
@pytest.mark.parametrize("way", WAYS)
def test_a_dataset_elsewhere_gets_its_own_features(tmp_path, way, met):
    first, second = (write(way, tmp_path / name / "set", seed) for seed, name in enumerate("ab"))
    a, b = first(), second()
    assert [(r.id, r.size) for r in a.records] == [(r.id, r.size) for r in b.records]
    target = tmp_path / "home/caches/a.h5" if met == "home" else tmp_path / "a.h5"
    done = extract(a, backbone=NETWORK, output=target)
    require_own(done.cache, a, 0)
    options: dict[str, Any] = (
        {"reuse": [target]} if met == "reuse" else {"overwrite": True} if met == "target" else {}
    )
    output = target if met == "target" else tmp_path / "b.h5"
    assert plan_extraction(b, backbone=NETWORK, output=output, **options).computed == len(b.records)
    done = extract(b, backbone=NETWORK, output=output, **options)
    assert (done.computed, done.reused) == (len(b.records), 0)
    require_own(done.cache, b, 1)


def test_another_folder_does_not_take_a_target_without_overwrite(tmp_path):
    first, second = (write("folder", tmp_path / name / "set", seed) for seed, name in enumerate("ab"))
    extract(first(), backbone=NETWORK, output=tmp_path / "a.h5")
    with pytest.raises(
        IdentityError, match=r"12 of its images are not in .*, and their features would be lost"
    ):
        extract(second(), backbone=NETWORK, output=tmp_path / "a.h5")


@pytest.mark.parametrize("way", WAYS)
def test_a_dataset_that_takes_the_place_of_another_gets_its_own_features(tmp_path, way):
    root = tmp_path / "set"
    extract(write(way, root, 0)(), backbone=NETWORK, output=tmp_path / "a.h5")
    shutil.rmtree(root)
    b = write(way, root, 1)()
    done = extract(b, backbone=NETWORK, output=tmp_path / "a.h5")
    require_own(done.cache, b, 1)
    assert done.computed == len(b.records)


def test_bytes_written_over_a_file_in_place_are_seen_without_loading_a_network_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(backbones, "load", lambda name, weights=None: NETWORK)
    spec = write("folder", tmp_path / "set", 0)().spec
    assert extract(spec, output=tmp_path / "a.h5").computed == 12
    for (name, index), content in photos(1).items():
        path = tmp_path / "set/images" / name / f"{index}.bmp"
        inode = path.stat().st_ino
        path.write_bytes(content)
        os.utime(path, ns=(WHEN, WHEN))
        assert path.stat().st_ino == inode
    done = extract(spec, output=tmp_path / "a.h5")
    assert done.computed == 12
    require_own(done.cache, open_dataset(spec), 1)
    monkeypatch.setattr(backbones, "load", lambda name, weights=None: pytest.fail("the network was loaded"))
    assert extract(spec, output=tmp_path / "a.h5").reused == 12


def test_another_column_of_the_same_table_gets_its_own_features(tmp_path):
    extract(write("hf", tmp_path / "set", 0)(), backbone=NETWORK, output=tmp_path / "a.h5")
    b = open_dataset(f"hf:{tmp_path / 'set/pets'}?image=other")
    done = extract(b, backbone=NETWORK, output=tmp_path / "b.h5", reuse=[tmp_path / "a.h5"])
    require_own(done.cache, b, 100)
