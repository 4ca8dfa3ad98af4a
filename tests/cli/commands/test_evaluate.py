"""``featcache evaluate``: photos in the place of a cache, the photos that are wrong, and the scores beside accuracy."""

import csv
import json
import re
from pathlib import Path

import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import photo_folder

from featcache import train_head
from featcache.core.display import percent

pytestmark = pytest.mark.usefixtures("small_backbone")


@pytest.fixture
def mixed_up(tmp_path, monkeypatch):
    """A classifier that is often wrong: the labels of its test rows are shifted."""
    monkeypatch.chdir(tmp_path)
    features, labels = blobs(90)
    labels[60:80] = (labels[60:80] + 1) % 3
    cache = feature_cache(tmp_path / "x.h5", features, labels, ["train"] * 60 + ["test"] * 30)
    return train_head(cache, output=tmp_path / "classifier", epochs=5)


def test_the_worst_ten_and_the_scores_of_all_classes(cli, mixed_up):
    ran = cli("evaluate", "classifier")
    want = mixed_up.evaluate()
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert (
        lines[1]
        == f"  balanced accuracy {percent(want.balanced_accuracy)}, macro F1 {percent(want.f1_macro)}"
    )
    low, high = want.classes[0].recall_interval
    assert re.search(rf"^ant +\S+ % +\S+ % +{100 * low:.1f}–{100 * high:.1f} % ", ran.out, re.MULTILINE)
    count = len(want.mistakes())
    start = lines.index(f"{count} of 30 wrong, the worst 10:")
    assert lines[start + 1].split() == ["file", "truth", "guess", "probability", "of", "the", "truth"]
    shown = [line.split() for line in lines[start + 2 : start + 12]]
    for row, each in zip(shown, want.mistakes(10), strict=True):
        assert row[:3] == [each.file, each.truth, each.guess]
        assert row[3:] == [f"{100 * each.probability:.1f}", "%", f"{100 * each.truth_probability:.1f}", "%"]
    assert lines[start + 12] == "(all of them: --errors FILE.csv)"


def test_errors_go_to_a_file(cli, mixed_up):
    ran = cli("evaluate", "classifier", "--errors", "wrong.csv")
    want = mixed_up.evaluate().mistakes()
    assert ran.err == f"wrong.csv: {len(want)} of 30 photos, which it gets wrong\n"
    with Path("wrong.csv").open(newline="") as stream:
        assert [row["file"] for row in csv.DictReader(stream)] == [each.file for each in want]
    result = cli("evaluate", "classifier", "--errors", "wrong.json", "--json").result
    assert [each["file"] for each in json.loads(Path("wrong.json").read_text())] == [
        each.file for each in want
    ]
    assert [each["file"] for each in result["worst"]] == [each.file for each in want[:10]]
    assert result["balanced_accuracy"] == mixed_up.evaluate().balanced_accuracy


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--errors", "wrong.txt"), r"errors wrong\.txt: expected a file that ends in \.csv or \.json"),
        (("new", "--cache", "x.h5"), r"new and --cache x\.h5: expected one of them"),
    ],
)
def test_what_contradicts_itself_is_refused_before_anything_runs(cli, mixed_up, arguments, says):
    ran = cli("evaluate", "classifier", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert re.search(says, ran.err)


def test_errors_of_numbers_are_refused(cli, tmp_path):
    features, _ = blobs(60)
    cache = feature_cache(
        tmp_path / "x.h5", features, features[:, :1], ["train"] * 60, classes=("age",), task="numbers"
    )
    train_head(cache, output=tmp_path / "classifier")
    ran = cli("evaluate", tmp_path / "classifier", cache.path, "--split", "all", "--errors", "wrong.csv")
    assert ran.code == 2
    assert "it lists photos of a wrong class, and this classifier's task is regression" in ran.err


def test_a_folder_is_extracted_and_scored_whole(cli, trained, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo_folder(Path("fresh"), {"cat": 3, "dog": 3, "owl": 3})
    ran = cli("evaluate", trained.folder, "fresh")
    assert ran.out.startswith("all: accuracy "), ran.err
    assert "on 9 images" in ran.out.splitlines()[0]
    assert ran.err == "every image is scored: fresh has no splits of its own\n"
    assert [*Path().iterdir()] == [Path("fresh")], "nothing is left in the working directory"
    cached = cli("evaluate", trained.folder, trained.cache)
    assert cached.out == cli("evaluate", trained.folder).out
