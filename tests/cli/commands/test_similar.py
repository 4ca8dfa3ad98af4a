"""``featcache similar``, and the options of other commands about near photos: text, JSON, tables, errors."""

import csv
import json

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache import train_head


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x, labels = blobs(30)
    x[29] = x[0]
    cache = feature_cache(
        tmp_path / "a.h5", x, labels, ["train"] * 20 + ["test"] * 10, images=[*range(29), 0]
    )
    train_head(cache, head="prototype", output=tmp_path / "c")
    return tmp_path


def value_of(ran):
    assert ran.code == 0, ran
    return json.loads(ran.out)["result"]


def test_the_nearest_photos_are_printed_and_written(cli, here):
    ran = cli("similar", "a.h5", "train/0.jpg", "--top", 3, "--csv", "s.csv")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert lines[0] == "train/0.jpg  (ant, train)"
    assert lines[1].split() == ["similarity", "label", "split", "photo"]
    assert lines[2].split() == ["1.000", "cat", "test", "test/29.jpg", "(the", "same", "bytes)"]
    assert len(lines) == 5
    value = value_of(cli("similar", "a.h5", "train/0.jpg", "--top", 3, "--json"))
    with open("s.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [each["id"] for each in value["photos"][0]["found"]] == [row["id"] for row in rows]
    assert value["searched"] == 30
    assert rows[0]["same_bytes"] == "true"
    own = value_of(cli("similar", "a.h5", "row:0", "--itself", "--split", "train", "--json"))
    assert own["photos"][0]["found"][0]["id"] == "train/0.jpg"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("similar a.h5 row:0 --photos x", "name one with --output FILE.html"),
        ("similar a.h5 row:0 -o s.png", "--output s.png: expected a name that ends in .html or .htm"),
        ("similar a.h5 row:0 --top 0", "--top 0: expected at least 1"),
        ("similar c a.h5", "a.h5 is a cache, which comes first: featcache similar a.h5 c"),
        ("similar c row:0", "c is a classifier, no cache of features"),
        ("predict --backbone lenet photo.jpg --neighbours 2", "a backbone alone has none"),
        ("predict c a.h5 --neighbours -1", "--neighbours -1: expected 0 or more"),
    ],
)
def test_what_does_not_fit_is_said(cli, here, line, said):
    ran = cli(*line.split())
    assert ran.code != 0
    assert said in ran.err


def test_predict_prints_and_writes_the_training_photos(cli, here):
    ran = cli("predict", "c", "a.h5", "--neighbours", 2, "--csv", "p.csv", "--jsonl", "p.jsonl")
    assert ran.code == 0
    lines = ran.out.splitlines()
    assert len(lines) == 90
    records = [json.loads(line) for line in (here / "p.jsonl").read_text().splitlines()]
    with open("p.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for number, (record, row) in enumerate(zip(records, rows, strict=True)):
        near = record["neighbours"]
        assert [row["neighbour"], row["neighbour_2"]] == [each["id"] for each in near]
        assert [float(row["similarity"]), float(row["similarity_2"])] == pytest.approx(
            [each["similarity"] for each in near], abs=1e-5
        )
        assert [text.split()[-1] for text in lines[3 * number + 1 : 3 * number + 3]] == [
            each["id"] for each in near
        ]
    assert value_of(cli("predict", "c", "a.h5", "--neighbours", 2, "--json"))["predictions"] == records
    assert "neighbours" not in value_of(cli("predict", "c", "a.h5", "--json"))["predictions"][0]


def test_evaluate_scores_the_features_as_a_search(cli, here):
    plain, scored = (value_of(cli("evaluate", "c", "--json", *more)) for more in ([], ["--retrieval"]))
    found = scored.pop("retrieval")
    assert "retrieval" not in plain
    assert scored == plain
    assert (found["queries"], found["alone"]) == (10, 0)
    text = cli("evaluate", "c", "--retrieval").out
    assert f"retrieval: mAP {100 * found['mean_average_precision']:.1f} %, recall@1 " in text
    assert "each of 10 photos searched among the others" in text


def test_a_regression_is_refused(cli, here):
    x, labels = blobs(30)
    cache = feature_cache(here / "n.h5", x, np.eye(3)[labels], ["train"] * 20 + ["test"] * 10, task="numbers")
    train_head(cache, head="ridge", output=here / "n")
    assert "retrieval" not in value_of(cli("evaluate", "n", "--json"))
    ran = cli("evaluate", "n", "--retrieval")
    assert "this classifier's task is regression; leave it out" in ran.err
