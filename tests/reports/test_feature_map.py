"""The map of features of a report: rows, colours, mistakes; light, and harmless whatever names say."""

import base64
import io
import json

import numpy as np
import pytest
from helpers.feature_caches import accept_any_number, feature_cache
from helpers.made_sweeps import HOSTILE, MadePhotos, material
from PIL import Image

from featcache.errors import DataError
from featcache.reports.sections import feature_map
from featcache.reports.sections.feature_map import section
from featcache.reports.still_map import colours, places

CENTRES = np.array([[0, 0, 0], [9, 0, 0], [0, 5, 0]], np.float32)


@pytest.fixture
def cache(tmp_path):
    labels = np.arange(60) % 3
    features = CENTRES[labels] + np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    return feature_cache(tmp_path / "a.h5", features, labels, ["train"] * 30 + ["test"] * 30)


def answers(cache, rows, wrong=()):
    """Return probabilities that are right but in some places, where the next class is taken."""
    own = cache.labels[rows].copy()
    own[list(wrong)] = (own[list(wrong)] + 1) % 3
    return np.eye(3, dtype=np.float32)[own]


def test_points_are_the_rows_of_the_evaluation_and_crosses_its_mistakes(cache):
    rows = cache.rows_of("test")
    found = section(
        material(
            cache=cache,
            rows=rows,
            split="test",
            values=answers(cache, rows, (3, 7)),
            labels=cache.labels[rows],
        )
    )
    assert found.data["rows"] == rows.tolist()
    assert found.data["mistakes"] == 2
    drawn = found.content["map"]
    assert drawn["label"] == cache.labels[rows].tolist()
    assert drawn["name"] == [cache.ids[row] for row in rows]
    assert drawn["wrong"] == {str(n): int((cache.labels[rows[n]] + 1) % 3) for n in (3, 7)}
    assert drawn["classes"] == ["ant", "bee", "cat"]
    told = " ".join(found.content["told"])
    assert "30 test photos, by its features of layer pool; its colour is its class." in told
    assert "A cross marks 2 mistakes" in told
    first, second = found.data["explained"]
    assert f"{100 * first:.1f} % and {100 * second:.1f} % of the variance" in told
    assert [row[4] for row in found.content["cells"]] == [1, 1, 0]


def test_places_are_the_components_at_one_scale(cache):
    found = section(material(cache=cache))
    points = np.array(found.data["points"])
    drawn = np.array([found.content["map"]["x"], found.content["map"]["y"]]).T
    extent = np.ptp(points, axis=0).max()
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    expected = 5000 + (points - middle) / extent * 10_000 * [1, -1]
    assert np.abs(drawn - expected).max() <= 1


def test_a_cache_alone_has_no_mistakes(cache):
    found = section(material(cache=cache))
    assert found.data["mistakes"] is None
    assert found.content["map"]["wrong"] == {}
    assert len(found.data["rows"]) == 60
    assert (
        found.headline
        == "On the map, 99.7 % of the five nearest photos are of the same class; no two mix much"
    )


def test_the_still_picture_has_a_mark_for_each_class_on_no_background(cache):
    rows = cache.rows_of("test")
    found = section(
        material(cache=cache, rows=rows, values=answers(cache, rows, (3,)), labels=cache.labels[rows])
    )
    kind, _, text = found.content["still"].partition(",")
    assert kind == "data:image/webp;base64"
    picture = np.array(Image.open(io.BytesIO(base64.b64decode(text))).convert("RGBA")).astype(int)
    assert picture.shape == (feature_map.HEIGHT, feature_map.WIDTH, 4)
    assert picture[0, 0, 3] == 0
    for colour in (*colours(3), "#e0322f"):
        wanted = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
        near = np.abs(picture[..., :3] - wanted).max(axis=2) < 24
        assert (near & (picture[..., 3] > 200)).sum() > 10, colour


@pytest.mark.parametrize("ground", [0xFF, 0x16])
def test_colours_of_classes_are_seen_on_both_grounds(ground):
    def luminance(parts):
        linear = [(p / 255) / 12.92 if p <= 10 else ((p / 255 + 0.055) / 1.055) ** 2.4 for p in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    for colour in colours(8):
        own = luminance([int(colour[at : at + 2], 16) for at in (1, 3, 5)])
        low, high = sorted((own, luminance([ground] * 3)))
        assert (high + 0.05) / (low + 0.05) >= 2.4, colour
    assert len(set(colours(100))) == 100


def test_thumbnails_are_asked_for_mistakes_first(cache, monkeypatch):
    monkeypatch.setattr(feature_map, "PICTURES", 4)
    rows = cache.rows_of("test")
    photos = MadePhotos()
    made = material(
        cache=cache, rows=rows, values=answers(cache, rows, (3, 7)), labels=cache.labels[rows], sprites=photos
    )
    pictures = section(made).content["map"]["pictures"]
    assert {"3", "7"} < set(pictures)
    assert len(pictures) == 4
    assert sorted(photos.asked) == sorted(cache.ids[rows[int(n)]] for n in pictures)
    assert all(own[0] == 0 and own[3:] == [96, 64] for own in pictures.values())


def test_what_has_no_thumbnail_comes_without(cache):
    found = section(material(cache=cache, sprites=MadePhotos(lambda name: name.startswith("train/"))))
    assert set(found.content["map"]["pictures"]) == set(map(str, range(30)))


def test_ten_thousand_of_more_points_stay_light(tmp_path):
    """The page without pictures is to stay under 1 MB: of that the map may take two thirds."""
    draw = np.random.default_rng(0)
    names = [f"class number {number}" for number in range(100)]
    labels = draw.integers(0, 100, 10_500)
    features = (draw.normal(size=(100, 32))[labels] + draw.normal(size=(10_500, 32))).astype(np.float32)
    cache = feature_cache(tmp_path / "a.h5", features, labels, ["train"] * 10_500, classes=names)
    found = section(material(cache=cache, seed=1))
    assert len(found.data["rows"]) == feature_map.MOST
    assert found.data["rows"] == sorted(set(found.data["rows"]))
    assert "10,000 photos, drawn at random from 10,500" in found.content["told"][0]
    light = len(json.dumps(found.content["map"])) + len(found.content["still"])
    assert light < 650_000
    assert section(material(cache=cache, seed=1)).data["rows"] == found.data["rows"]


def test_of_wide_features_fewer_are_read(cache, monkeypatch):
    monkeypatch.setattr(feature_map, "MOST_BYTES", 10 * 3 * 4)
    found = section(material(cache=cache))
    assert len(found.data["rows"]) == 10
    assert "10 photos, drawn at random from 60" in found.content["told"][0]


def test_long_names_end_as_they_do(cache, monkeypatch):
    monkeypatch.setattr(type(cache), "ids", tuple(f"{'n' * 200}/{row}.jpg" for row in range(60)))
    names = section(material(cache=cache)).content["map"]["name"]
    assert {len(name) for name in names} == {60}
    assert names[7].endswith("/7.jpg")
    assert names[7].startswith("…")


def test_answers_and_numbers_have_colours_too(tmp_path):
    features = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    several = np.array([[1, 0], [0, 1], [0, 0]] * 3)
    cache = feature_cache(
        tmp_path / "a.h5", features, several, ["train"] * 9, classes=("red", "old"), task="answers"
    )
    drawn = section(material(cache=cache)).content["map"]
    assert drawn["classes"] == ["red", "old", "none of these"]
    assert drawn["label"] == [0, 1, 2] * 3
    cache = feature_cache(
        tmp_path / "b.h5", features, np.arange(9.0)[:, None], ["train"] * 9, classes=("size",), task="numbers"
    )
    drawn = section(material(cache=cache)).content["map"]
    assert drawn["classes"][0] == "size 0 to 2"
    assert [drawn["label"].count(quarter) for quarter in range(4)] == [3, 2, 2, 2]


def test_one_class_and_few_rows(tmp_path):
    features = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    cache = feature_cache(tmp_path / "a.h5", features, [0, 0, 0], ["train", "train", "test"])
    unlabelled = material(cache=cache, labels=np.full(3, -1))
    assert section(unlabelled).headline == "3 photos without labels"
    assert section(unlabelled).content["map"]["label"] == [3, 3, 3]
    assert section(material(cache=cache)).headline == "3 photos of one class, ant"
    assert section(material(cache=cache, rows=cache.rows_of("test"))) is None
    assert section(material(cache=cache, rows=np.array([], int))) is None
    assert section(material()) is None


def test_t_sne_of_too_few_photos_is_told(tmp_path):
    pytest.importorskip("openTSNE", reason="openTSNE, the extra `tsne`, is not installed")
    features = np.random.default_rng(0).normal(size=(3, 4)).astype(np.float32)
    cache = feature_cache(tmp_path / "a.h5", features, [0, 1, 2], ["train"] * 3)
    assert (
        "There are too few photos that differ for t-SNE."
        in section(material(cache=cache, tsne=True)).content["told"]
    )


def test_features_that_are_no_numbers_are_refused(tmp_path, monkeypatch):
    accept_any_number(monkeypatch)
    features = np.ones((4, 2), np.float32)
    features[1, 1] = np.nan
    cache = feature_cache(tmp_path / "a.h5", features, [0, 1, 2, 0], ["train"] * 4)
    with pytest.raises(DataError, match="features of layer pool are NaN or infinite, which no map can show"):
        section(material(cache=cache))


def test_points_at_one_place_are_in_the_middle():
    np.testing.assert_array_equal(places(np.zeros((3, 2))), np.full((3, 2), 5000))
    assert places(np.zeros((0, 2))).shape == (0, 2)


def test_hostile_names_are_text_in_the_inline_data(tmp_path):
    """The element ends at ``</script``; ``<!--`` before ``<script`` would keep it open."""
    jinja2 = pytest.importorskip("jinja2", reason="jinja2, the extra `report`, is not installed")
    features = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    names = (*HOSTILE[:5], "<!--<script>")
    cache = feature_cache(tmp_path / "a.h5", features, range(6), ["train"] * 6, classes=names)
    drawn = section(material(cache=cache)).content["map"] | {"name": [*HOSTILE[:5], "caf\udce9\u2028"]}
    template = jinja2.Environment(autoescape=True).from_string("{{ map | tojson }}")
    text = template.render(map=drawn)
    assert not set("<>&'") & set(text)
    text.encode("utf-8")  # lone surrogates are escaped
    assert json.loads(text) == drawn
