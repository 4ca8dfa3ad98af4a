"""`featcache.explain` from photos to pictures: neighbours, what cannot be read, hostile names, errors."""

import json
import shutil
from dataclasses import replace
from io import BytesIO

import numpy as np
import pytest
from helpers.tiny_finetuning import registered, tiny_network, tiny_photos
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from featcache import FeatureCache, explain, extract, train_head
from featcache.classifier.known.familiarity import Familiarity, sample_of
from featcache.classifier.known.knowledge import Knowledge
from featcache.classifier.known.thresholds import HeldOutScores
from featcache.errors import UnknownNameError, UsageError
from featcache.explanations.records import caption_of

HOSTILE = ("<script>alert(1)</script>", "line\nbreak \"quoted\" 'too'", "right \u202eto left", "x" * 200)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    with registered():
        root = tmp_path_factory.mktemp("explain")
        photos = tiny_photos(root / "photos")
        network = tiny_network()
        cache = extract(
            photos, backbone=network, layers=("pool",), image_statistics=False, output=root / "f.h5"
        )
        yield replace(train_head(cache, head="ridge", output=None), network=network), photos, root


def test_neighbours_are_the_nearest_by_cosine_and_never_the_photo_itself(made):
    classifier, photos, root = made
    files = sorted(photos.glob("*/*/*"))[::9]
    shown = explain(classifier, files, neighbours=4)
    cache = FeatureCache(root / "f.h5")
    trained = [row for row, name in enumerate(cache.ids) if name.split("/")[0] in ("train", "val")]
    oracle = NearestNeighbors(n_neighbors=len(trained), metric="cosine").fit(cache.features(trained))
    for file, photo in zip(files, shown.photos, strict=True):
        name = str(file.relative_to(photos))
        row = cache.ids.index(name)
        distances, order = oracle.kneighbors(cache.features([row]))
        expected = [
            (cache.ids[trained[place]], 1 - distance)
            for place, distance in zip(order[0], distances[0], strict=True)
            if cache.sha256[trained[place]].tobytes() != cache.sha256[row].tobytes()
        ][:4]
        assert [near.similarity for near in photo.neighbours] == pytest.approx(
            [s for _, s in expected], abs=1e-5
        )
        assert [near.label for near in photo.neighbours] == [
            near.id.split("/")[1] for near in photo.neighbours
        ]
        assert all(near.picture is not None for near in photo.neighbours)
        assert photo.trained_on == (not name.startswith("test/"))
        assert ("it is one of the training photos" in shown.to_html()) is any(
            p.trained_on for p in shown.photos
        )


def test_a_photo_unlike_anything_seen_is_said_to_be_so(made):
    classifier, photos, root = made
    file = sorted(photos.glob("test/*/*"))[0]
    assert not explain(classifier, file, neighbours=0).photos[0].unlike
    rows = FeatureCache(root / "f.h5").features(np.arange(9))
    near = Familiarity(
        sample_of(rows), HeldOutScores.of(np.full(100, -1.0))
    )  # all photos lie farther than that
    shown = explain(replace(classifier, known=Knowledge(familiarity=near)), file, neighbours=0)
    assert shown.photos[0].unlike
    assert shown.to_json()["photos"][0]["unlike"] is True
    assert caption_of(shown.photos[0], shown.task).startswith("unknown (unlike anything seen), else ")
    assert "1 photo: unlike anything seen" in shown.to_html()


def test_what_is_asked_for_is_shown(made):
    classifier, photos, _ = made
    file = sorted(photos.glob("test/*/*"))[0]
    shown = explain(classifier, file, top=1, neighbours=0)
    assert [heat.name for heat in shown.photos[0].heats] == list(classifier.predict(file)[0].classes[:1])
    shown = explain(classifier, file, classes=["owl", "cat"], neighbours=0)
    assert [heat.name for heat in shown.photos[0].heats] == ["owl", "cat"]
    document = json.loads(json.dumps(shown.to_json()))
    assert np.shape(document["photos"][0]["heats"][0]["map"]) == (8, 8)
    assert document["exact"] is True
    for wrong, error, text in (
        ({"classes": ["own"]}, UnknownNameError, "no class 'own'; did you mean 'owl'"),
        ({"classes": []}, UsageError, "no class was asked for"),
        ({"top": 0}, UsageError, "top 0: expected at least 1"),
        ({"neighbours": -1}, UsageError, "neighbours -1: expected at least 0"),
    ):
        with pytest.raises(error, match=text):
            explain(classifier, file, **wrong)


def test_a_photo_that_cannot_be_read_is_told_and_the_others_go_on(made, tmp_path):
    classifier, photos, _ = made
    good = sorted(photos.glob("test/*/*"))[0]
    bad = tmp_path / "bad.jpg"
    bad.write_bytes(b"no picture at all")
    shown = explain(classifier, [bad, good, bad])
    assert [photo.error is None for photo in shown.photos] == [False, True, False]
    assert shown.photos[1].heats
    assert "Cannot be explained: not an image" in shown.to_html()
    assert Image.open(BytesIO(shown.to_png())).size[1] > 600
    nothing = explain(classifier, bad)
    assert (nothing.gap, nothing.photos[0].heats) == (None, ())
    nothing.to_png()
    nothing.to_html()


def test_features_that_are_nan_are_said_and_not_drawn(made, monkeypatch):
    from featcache.explanations.subject import Subject

    classifier, photos, _ = made
    files = sorted(photos.glob("test/*/*"))[:3]
    usual = Subject.features

    def spoilt(self, images, *also):
        found = {name: value.copy() for name, value in usual(self, images, *also).items()}
        for value in found.values():
            value[1] = np.nan
        return found

    monkeypatch.setattr(Subject, "features", spoilt)
    shown = explain(classifier, files)
    assert [photo.error is None for photo in shown.photos] == [True, False, True]
    assert "features of it are NaN or infinite" in shown.photos[1].error
    assert len(shown.photos[2].neighbours) == 3


def test_hostile_names_are_shown_as_text(made, tmp_path):
    classifier, photos, _ = made
    renamed = replace(classifier, classes=HOSTILE[:3])
    files = [tmp_path / f"{name.replace('/', '_')[:200]}.jpg" for name in HOSTILE]
    for file in files:
        shutil.copy(sorted(photos.glob("test/cat/*"))[0], file)
    shown = explain(renamed, files, neighbours=1)
    html = shown.to_html()
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "\u202e" not in html
    assert "\\u202e" in html
    assert "line\\nbreak &#34;quoted&#34;" in html
    assert "x" * 200 in html
    assert Image.open(BytesIO(shown.to_png())).size[0] < 1500
    assert "<script>" not in shown._repr_html_()
    figure = shown.plot()
    figure.savefig(BytesIO())
    assert [len(axes.images) for axes in figure.axes] == [1] * 4 * 5


def test_without_the_training_cache_it_says_so(made, tmp_path):
    classifier, photos, _ = made
    file = sorted(photos.glob("test/*/*"))[0]
    gone = replace(classifier, provenance={**classifier.provenance, "cache": str(tmp_path / "gone.h5")})
    shown = explain(gone, file)
    assert shown.photos[0].neighbours == ()
    assert any("gone.h5, is gone" in note for note in shown.notes)
    assert explain(gone, file, neighbours=0).notes == ()


def test_the_network_compiles_once_for_many_photos(made):
    classifier, photos, _ = made
    files = sorted(photos.glob("*/*/*"))[:11]
    explain(classifier, files, method="grad-cam", neighbours=0)
    known = dict(classifier.network._compiled)
    (gradients,) = (program for key, program in known.items() if key[0] == "gradients")
    assert gradients._cache_size() == 1  # eleven photos in two batches of one size
    explain(classifier, files, method="grad-cam", neighbours=0)
    assert gradients._cache_size() == 1
    assert dict(classifier.network._compiled) == known


def test_the_function_keeps_its_name():
    import featcache.explanations.explain

    assert callable(featcache.explain)
