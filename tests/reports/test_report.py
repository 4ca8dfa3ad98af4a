"""A whole page: what stands on it, where it is written, and what is refused."""

import json
import os
import re
import sys
from html.parser import HTMLParser
from importlib.util import find_spec

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder
from helpers.tiny_finetuning import registered, tiny_network

import featcache
from featcache import extract, report, sweep, train_head
from featcache.errors import MissingExtraError, StorageError, UsageError
from featcache.reports.report import GENERATOR, SECTIONS

pytestmark = pytest.mark.skipif(find_spec("jinja2") is None, reason="the extra report is not installed")

HOSTILE = ("<script>alert(1)</script>", "say \"cheese\" & 'smile'", "left\u202eright\nbelow" + "x" * 200)


class Read(HTMLParser):
    """The texts of a page, without scripts and styles, and its tags with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.tags, self._within = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag in ("script", "style"):
            self._within.append(tag)

    def handle_endtag(self, tag):
        if self._within and tag == self._within[-1]:
            self._within.pop()

    def handle_data(self, data):
        if not self._within:
            self.texts.append(data)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a cache, a classifier and a sweep."""
    root = tmp_path_factory.mktemp("made")
    features, labels = blobs(105)
    splits = ["train"] * 60 + ["val"] * 15 + ["test"] * 30
    cache = feature_cache(root / "own.h5", features, labels, splits)
    train_head(cache, output=root / "head", head="ridge")
    sweep(cache, head="prototype,ridge", output=root / "sweep")
    return root


@pytest.fixture(scope="module")
def page(made):
    return report(made / "head")


def test_a_page_says_what_it_is_about_and_has_the_sections_in_their_order(made, page):
    read = Read(page.html)
    text = " ".join(" ".join(read.texts).split())
    accuracy = featcache.Classifier.load(made / "head").evaluate().accuracy
    assert f"{100 * accuracy:.1f} % right on 30 test photos" in text
    assert page.summary.title == "Classifier: head"
    assert page.material.moved in text
    keys = [own["id"] for tag, own in read.tags if tag == "section"]
    assert keys == [section.key for section in page.sections]
    assert keys[:2] == ["data", "recipe"]
    for section in page.sections:
        assert "".join(section.headline.split()) in "".join(text.split())


def test_a_page_asks_for_nothing(page):
    read = Read(page.html)
    assert "default-src 'none'" in next(own["content"] for tag, own in read.tags if own.get("http-equiv"))
    for tag, own in read.tags:
        for name in ("src", "href", "xlink:href"):
            assert re.match(r"data:image/webp;|#", own.get(name) or "#"), (tag, own)
    assert "http://" not in page.html.replace("http://www.w3.org/", "")
    assert "https://" not in page.html


def test_the_numbers_behind_it_are_json(made, page):
    value = json.loads(json.dumps(page.to_json(), allow_nan=False))
    assert set(value) == {"version", "path", "summary", "moved", "notes", "sections"}
    assert list(value["sections"]) == [section.key for section in page.sections]
    assert value["sections"]["data"]["counts"]["test"] == {"ant": 10, "bee": 10, "cat": 10}
    assert value["summary"]["facts"][0]["name"] == "accuracy"


def test_a_sweep_a_cache_and_a_comparison_have_pages_too(made):
    swept = report(made / "sweep")
    assert re.search(
        r"; by (ridge|prototype) on mobilenet_v2.tv_in1k pool, chosen of \d+ heads$", swept.summary.headline
    )
    alone = report(made / "own.h5", pictures=0)
    assert alone.summary.headline == "105 photos of 3 classes: ant, bee, cat"
    both = report([made / "head", made / "sweep"])
    assert both.sections[0].key == "compared"
    assert both.summary.headline.startswith("2 classifiers compared: ")
    for each in (swept, alone, both):
        assert Read(each.html).texts


@pytest.mark.one_by_default
@pytest.mark.parametrize("task", ["answers", "numbers"])
def test_other_tasks_have_pages_too(tmp_path, task):
    random = np.random.default_rng(0)
    features = random.normal(size=(60, 4)).astype(np.float32)
    targets = features[:, :2] if task == "numbers" else (features[:, :2] > 0).astype(np.float32)
    splits = ["train"] * 40 + ["test"] * 20
    cache = feature_cache(tmp_path / "a.h5", features, targets, splits, task=task, classes=("p", "q"))
    own = {"head": "ridge"} if task == "numbers" else {"epochs": 1}
    train_head(cache, output=tmp_path / "c", **own)
    found = report(tmp_path / "c")
    words = {
        "numbers": "of the variance explained on 20 test photos",
        "answers": "of the answers right on 20 test",
    }
    assert words[task] in found.summary.headline


def test_numbers_that_are_worse_than_their_mean_are_no_share(tmp_path):
    random = np.random.default_rng(0)
    features, targets = random.normal(size=(45, 30)).astype(np.float32), random.normal(size=(45, 1))
    splits = ["train"] * 30 + ["test"] * 15
    cache = feature_cache(tmp_path / "a.h5", features, targets, splits, task="numbers", classes=("p",))
    train_head(cache, output=tmp_path / "c", head="ridge", l2=1e-6)
    headline = report(tmp_path / "c").summary.headline
    assert re.match(r"-\d+\.\d{4} is R², worse than always answering the mean, on 15 test photos$", headline)


def test_hostile_names_are_shown_and_not_run(tmp_path):
    features, labels = blobs(45)
    splits = ["train"] * 30 + ["test"] * 15
    cache = feature_cache(tmp_path / "<blink>own.h5", features, labels, splits, classes=HOSTILE)
    train_head(cache, output=tmp_path / "<blink>head", head="ridge")
    found = report(tmp_path / "<blink>head")
    read = Read(found.html)
    text = " ".join(" ".join(read.texts).split())
    assert "<script>alert(1)</script>" in text
    assert "Classifier: <blink>head" in text
    assert "\u202e" not in found.html
    assert len([tag for tag, _ in read.tags if tag == "blink"]) == 0
    assert "<script>alert" not in found.html


def test_pictures_are_those_of_the_photos(tmp_path):
    photos = photo_folder(tmp_path / "photos", {"cat": 4, "dog": 4})
    with registered():
        cache = extract(photos, backbone=tiny_network(), output=tmp_path / "own.h5").cache
    found = report(cache.path)
    assert found.material.moved == ""
    thumbs = [own for tag, own in Read(found.html).tags if "thumb" in (own.get("class") or "").split()]
    assert {own["aria-label"] for own in thumbs} == set(cache.ids)
    assert "data:image/webp;base64," in found.html
    bare = report(cache.path, pictures=0)
    assert "There are no pictures: none were asked for." in bare.html
    assert not [own for tag, own in Read(bare.html).tags if "sheet0" in (own.get("class") or "")]


def test_photos_that_changed_are_counted_and_the_first_is_named(tmp_path):
    photos = photo_folder(tmp_path / "photos", {"cat": 4, "dog": 4})
    with registered():
        cache = extract(photos, backbone=tiny_network(), output=tmp_path / "own.h5").cache
    (photos / "cat" / "0.png").write_bytes(b"no picture")
    (photos / "cat" / "1.png").unlink()
    found = report(cache.path)
    assert re.search(
        r"1 of 8 photos is not in .*photos any more, .*1 photo without a picture, the first is cat/0\.png: .*another "
        r"picture than its features were computed of",
        found.material.moved,
    )
    assert found.material.moved in " ".join(Read(found.html).texts)


def test_it_is_written_at_once_and_replaces_an_earlier_one(made, page, tmp_path):
    path = tmp_path / "page.html"
    done = report(made / "head", path)
    assert done.path == path
    assert path.read_bytes() == done.html.encode("utf-8", "replace")
    assert GENERATOR in path.read_text()[:4096]
    page.write(path)
    assert os.listdir(tmp_path) == ["page.html"]


def test_a_file_that_is_no_report_is_kept_unless_told(made, page, tmp_path):
    path = tmp_path / "thesis.html"
    path.write_text("<html>my thesis</html>")
    for write in (page.write, lambda path: report(made / "head", path)):
        with pytest.raises(
            UsageError, match=r"thesis\.html is there and no report of featcache; .*--overwrite"
        ):
            write(path)
    assert path.read_text() == "<html>my thesis</html>"
    page.write(path, overwrite=True)
    assert GENERATOR in path.read_text()[:4096]
    with pytest.raises(UsageError, match="is a folder, expected a file or nothing"):
        page.write(tmp_path)
    with pytest.raises(StorageError, match="a part of that path is missing"):
        page.write(tmp_path / "no" / "page.html")


def test_figures_are_written_as_svg_and_png(page, tmp_path):
    pytest.importorskip("matplotlib")
    found = page.figures(tmp_path / "figures")
    names = {chart.name for section in page.sections for chart in section.charts}
    assert {path.name for path in found} == {f"{name}.{kind}" for name in names for kind in ("svg", "png")}
    assert (tmp_path / "figures" / "data-counts.svg").read_bytes().startswith(b"<?xml")
    assert (tmp_path / "figures" / "data-counts.png").read_bytes().startswith(b"\x89PNG")


def test_a_section_that_fails_is_a_bug_and_loses_no_page_silently(made, monkeypatch):
    from featcache.reports.sections import data

    monkeypatch.setattr(data, "section", lambda material: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        report(made / "own.h5")


def test_without_the_extra_it_says_what_to_install(made, monkeypatch):
    module = sys.modules["featcache.reports.report"]
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    with pytest.raises(
        MissingExtraError, match=r"a report needs jinja2, which is not installed: pip install 'featc"
    ):
        report(made / "head")


def test_wrong_arguments_are_told(made):
    with pytest.raises(UsageError, match="pictures -1: expected 0 or more"):
        report(made / "head", pictures=-1)
    with pytest.raises(UsageError, match="map 'umap': expected pca or tsne"):
        report(made / "head", map="umap")
    for seed in (-1, 2**70):
        with pytest.raises(UsageError, match=rf"seed {seed}: expected in 0\.\.2\^32"):
            report(made / "head", seed=seed)
    for path in (3, None, b"head", [3]):
        with pytest.raises(UsageError, match=r"path .*: expected text, a path or a list of texts or paths"):
            report(path)
    with pytest.raises(UsageError, match="output None: expected text or a path"):
        report(made / "own.h5", pictures=0).write(None)


def test_the_same_classifier_twice_is_no_comparison(made):
    with pytest.raises(UsageError, match=r"head.*head.*: one of these is named twice; name each once"):
        report([made / "head", made / ".." / made.name / "head"])


def test_a_cache_without_rows_to_score_is_shown_with_the_scores_that_were_saved(tmp_path):
    features, labels = blobs(45)
    cache = feature_cache(tmp_path / "own.h5", features, labels, ["train"] * 45)
    train_head(cache, output=tmp_path / "head", head="ridge")
    found = report(tmp_path / "head")
    assert re.match(r"\d+\.\d % right on 9 validation photos$", found.summary.headline)
    assert "there are no rows to score it on" in found.material.notes[0]
    assert [section.key for section in found.sections] == ["data", "recipe", "map"]
    other = feature_cache(tmp_path / "own.h5", features, labels, ["train"] * 45, classes=("p", "q", "r"))
    assert other.classes == ("p", "q", "r")
    assert [section.key for section in report(tmp_path / "head").sections] == ["recipe"]


def test_one_photo_and_photos_without_labels_are_told_in_words(tmp_path):
    one = feature_cache(tmp_path / "one.h5", np.ones((1, 4), np.float32), [0], ["train"], classes=("a",))
    assert report(one.path).summary.headline == "1 photo of 1 class: a"
    photos = photo_folder(tmp_path / "photos", {".": 2})
    with registered():
        extract(photos, backbone=tiny_network(), output=tmp_path / "own.h5", unlabelled=True)
    found = report(tmp_path / "own.h5")
    assert found.summary.headline == "2 photos without labels"
    assert [fact.name for fact in found.summary.facts] == ["photos"]


def test_progress_counts_the_sections(made):
    seen = []
    report(made / "own.h5", on_progress=lambda progress: seen.append((progress.stage, progress.done)))
    assert [done for _, done in seen] == list(range(1, len(seen) + 1))
    assert {stage for stage, _ in seen} == {"report"}


def test_sections_are_named_once():
    assert len(set(SECTIONS)) == len(SECTIONS)


def test_it_reads_well_in_a_notebook(page):
    assert page.summary.headline in page._repr_html_()
    assert repr(page) == f"Report({page.summary.headline}; {', '.join(each.key for each in page.sections)})"
