"""`featcache.similar`: what is asked about, what is found, and what is said where something is amiss."""

import csv
import json
import re
import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from helpers.tiny_finetuning import tiny_network
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from featcache import FeatureCache, extract, similar
from featcache.errors import (
    DataError,
    IdentityError,
    IntegrityError,
    MissingFileError,
    UnknownNameError,
    UsageError,
)


def nearest(cache: FeatureCache, vector: np.ndarray, rows: list[int], layer: str = "pool") -> list[str]:
    """Names of the rows, the nearest first, by scikit-learn."""
    x = cache.features(rows, layer).astype(float)
    x = x.reshape(len(x), -1, x.shape[-1]).mean(axis=1)
    found = (
        NearestNeighbors(n_neighbors=len(rows), metric="cosine").fit(x).kneighbors(vector[None].astype(float))
    )
    return [cache.ids[rows[place]] for place in found[1][0]]


@pytest.mark.parametrize("layer", ["pool", "block_2:map"])
@pytest.mark.parametrize("split", [None, "test", "train[:50%]"])
def test_rows_are_found_by_cosine_and_a_row_is_not_its_own_neighbour(searched, layer, split):
    cache = FeatureCache(searched.path)
    names = [cache.ids[0], *(name for name in cache.ids if name.startswith("test/"))][:3]
    shown = similar(cache, names, top=4, layer=layer, split=split)
    for each, name in zip(shown.photos, names, strict=True):
        row = cache.ids.index(name)
        rows = [other for other in cache.rows_of(split).tolist() if other != row]
        x = cache.features([row], layer)[0].astype(float).reshape(-1, cache.layers[layer].shape[-1])
        assert [near.similarity for near in each.found] == sorted(
            (n.similarity for n in each.found), reverse=True
        )
        want = nearest(cache, x.mean(axis=0), rows, layer)[:4]
        copies = {near.id for near in each.found if near.similarity > 1 - 1e-6}
        assert [n.id for n in each.found if n.id not in copies] == [n for n in want if n not in copies]
        assert (each.row, each.label, each.split) == (row, name.split("/")[1], name.split("/")[0])
        assert all(n.id.split("/")[:2] == [n.split, n.label] for n in each.found)
    assert shown.searched == len(cache.rows_of(split))


def test_a_photo_whose_bytes_are_a_row_needs_no_network_and_its_copies_are_marked(searched):
    cache = FeatureCache(searched.path)
    name = str(searched.first.relative_to(searched.photos))
    shown = similar(searched.path, [searched.first, name, cache.ids.index(name), searched.first.read_bytes()])
    assert [cache.ids[each.row] for each in shown.photos] == [name] * 3 + ["test/cat/copy.png"]
    for each in shown.photos[:3]:
        assert name not in [near.id for near in each.found]
        assert [near.id for near in each.found if near.same_bytes] == ["test/cat/copy.png"]
        assert each.found[0].similarity == pytest.approx(1, abs=1e-6)
    assert (
        f"is row {cache.ids.index(name)} of the cache, {name}, and 1 more are rows; a row is not shown"
        in shown.notes[0]
    )
    itself = similar(cache, name, itself=True).photos[0]
    assert {near.id for near in itself.found[:2]} == {name, "test/cat/copy.png"}


def test_other_photos_get_the_features_that_the_recipe_gives(searched, tmp_path):
    # Other bytes of the same pixels: the nearest row is the picture itself.
    with Image.open(searched.first) as image:
        pixels = np.asarray(image.convert("RGB"))
    Image.fromarray(pixels).save(tmp_path / "again.bmp")
    (tmp_path / "none.png").write_text("no picture")
    given = [tmp_path / "again.bmp", pixels, tmp_path / "none.png"]
    shown = similar(searched.path, given, backbone=searched.network, top=2)
    for each in shown.photos[:2]:
        assert each.row is None
        assert {near.id for near in each.found} == {
            str(searched.first.relative_to(searched.photos)),
            "test/cat/copy.png",
        }
        assert each.found[0].similarity == pytest.approx(1, abs=1e-5)
    assert shown.photos[1].id == "1"
    assert (shown.photos[2].found, shown.photos[2].error) == (
        (),
        "not an image: no image format is known by it",
    ) or (shown.photos[2].error and not shown.photos[2].found)


def test_a_name_with_two_meanings_is_refused_with_both(searched, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cache = FeatureCache(searched.path)
    name = cache.ids[0]
    Path(name).parent.mkdir(parents=True)
    shutil.copy(searched.photos / name, name)
    assert similar(cache, name).photos[0].row == 0  # the same picture: no matter which is meant
    Image.new("RGB", (16, 16), "red").save(name)
    with pytest.raises(UsageError, match=re.escape(f"for the row name row:0, for the file ./{name}")):
        similar(cache, name)
    assert similar(cache, "row:0").photos[0].id == name
    for file in (f"./{name}", Path(name)):
        assert similar(cache, file, backbone=searched.network).photos[0].row is None


def test_what_is_amiss_is_said(searched, tmp_path):
    cache = FeatureCache(searched.path)
    stem = cache.ids[0].rpartition("/")[2]
    for given, error, said in (
        (
            stem,
            UnknownNameError,
            f"is neither a row of .* nor a photo on this disk; did you mean 'test/cat/{stem}'",
        ),
        ("train/cat/brokn.png", UnknownNameError, "did you mean 'train/cat/broken.png'"),
        ("qqqq", UnknownNameError, "the first row is 'test/cat/0.png'"),
        ("train/cat/broken.png", DataError, "which has no features: the picture could not be read"),
        ("row:99999", UsageError, f"has no row 99999; its rows are 0 to {len(cache) - 1}"),
        (-1, UsageError, "has no row -1"),
        (True, UsageError, "True is no photo"),
        ([], UsageError, "no photo and no row is named"),
        (str(searched.path), DataError, "is a cache of features, no photo|is a cache.*, no photo"),
        (tmp_path / "gone.png", MissingFileError, "no image .*gone.png"),
    ):
        with pytest.raises(error, match=said):
            similar(cache, given)
    with pytest.raises(UsageError, match="top 0: expected at least 1"):
        similar(cache, 0, top=0)
    with pytest.raises(UnknownNameError, match="holds no layer 'pol'; did you mean 'pool'"):
        similar(cache, 0, layer="pol")
    with pytest.raises(UnknownNameError, match="tset"):
        similar(cache, 0, split="tset")
    with pytest.raises(MissingFileError, match="no cache"):
        similar(tmp_path / "gone.h5", 0)


def test_a_backbone_that_gives_other_features_is_refused(searched):
    photo = np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(
        IdentityError, match=r"gives other features than the cache holds:\n.*weights_sha256[^$]*--weights"
    ):
        similar(searched.path, photo, backbone=tiny_network(seed=1))


def test_json_table_and_page_tell_the_same(searched, tmp_path):
    shown = similar(searched.path, ["row:1", searched.first], top=3)
    value = json.loads(json.dumps(shown.to_json()))
    assert [each["id"] for each in value["photos"]] == [each.id for each in shown.photos]
    rows = list(csv.DictReader(shown.to_csv(tmp_path / "s.csv").splitlines()))
    assert (tmp_path / "s.csv").read_text() == shown.to_csv()
    assert [row["id"] for row in rows] == [near["id"] for each in value["photos"] for near in each["found"]]
    assert shown.to_frame()["id"].tolist() == [row["id"] for row in rows]
    page = shown.to_html(tmp_path / "s.html")
    assert page.count('class="thumb sheet0"') == 8
    assert "no picture" not in page
    for row in rows:
        assert f'title="{row["id"]}"' in page
    assert "row:1" not in shown._repr_html_()


def test_the_page_says_that_photos_have_moved_and_hostile_names_are_text(searched, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(searched.photos, moved)
    evil = tmp_path / "<script>alert(1)</script>"
    evil.mkdir(parents=True)
    Image.new("RGB", (16, 16), "red").save(evil / "a.png")
    shown = similar(searched.path, [evil / "a.png", 0], backbone=searched.network, top=2)
    searched.photos.rename(tmp_path / "away")
    try:
        page = shown.to_html()
        assert "There are no pictures" in page
        assert "name where they are with --photos DATASET" in page
        assert page.count("no picture</span>") == 5
        assert "<script>alert" not in page
        assert shown.to_html(photos=moved).count("no picture</span>") == 0
    finally:
        (tmp_path / "away").rename(searched.photos)


def test_an_unlabelled_cache_is_searched(searched, tmp_path):
    made = extract(
        searched.photos,
        backbone=searched.network,
        layers=("pool",),
        unlabelled=True,
        output=tmp_path / "u.h5",
    )
    shown = similar(made.path, 0, top=2)
    assert [near.label for near in shown.photos[0].found] == ["", ""]
    assert "The nearest has similarity" in shown.to_html()


def test_a_damaged_row_is_named(searched, tmp_path):
    data = bytearray(Path(searched.path).read_bytes())
    cache = FeatureCache(searched.path)
    row = cache.features([3], "pool").tobytes()
    assert data.count(row) == 1
    place = data.index(row)
    data[place] ^= 1
    (tmp_path / "bad.h5").write_bytes(data)
    with pytest.raises(IntegrityError, match="rows of layer pool are damaged, the first is row 3"):
        similar(tmp_path / "bad.h5", 0)


def test_photos_may_come_as_open_files(searched):
    shown = similar(searched.path, BytesIO(searched.first.read_bytes()), backbone=searched.network, top=1)
    assert shown.photos[0].found[0].similarity == pytest.approx(1, abs=1e-5)
