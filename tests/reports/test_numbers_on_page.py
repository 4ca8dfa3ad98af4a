"""Every number of a multiclass page, read from its HTML, is that of `featcache evaluate` and of scikit-learn."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from sklearn import metrics as sklearn
from sklearn.calibration import calibration_curve

import featcache
from featcache import report, train_head

pytest.importorskip("jinja2", reason="jinja2, the extra `report`, is not installed")


class Tables(HTMLParser):
    """The tables of a page as texts of cells, each with the section that it stands in; numbers of charts are such too.

    Parts of a cell, such as a count and its share, are told apart by a space.
    """

    def __init__(self, page):
        super().__init__()
        self.tables, self._section, self._cell = [], "", None
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        if tag == "section":
            self._section = dict(attributes)["id"]
        if tag == "table":
            self.tables.append((self._section, []))
        if tag == "tr":
            self.tables[-1][1].append([])
        if tag in ("td", "th"):
            self._cell = []

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.tables[-1][1][-1].append(" ".join(" ".join(self._cell).split()))
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell.append(data)

    def rows(self, section, *first):
        """Return the rows below the head of the table that begins with these columns."""
        return next(
            rows[1:] for own, rows in self.tables if own == section and rows[0][: len(first)] == [*first]
        )


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    """A classifier that makes mistakes, its evaluation, the tables of its page, and its answers on the test rows."""
    root = tmp_path_factory.mktemp("numbers")
    features, labels = blobs(180, width=3)
    splits = ["train"] * 90 + ["val"] * 30 + ["test"] * 60
    cache = feature_cache(root / "own.h5", features, labels, splits)
    train_head(cache, output=root / "head", head="ridge")
    classifier = featcache.Classifier.load(root / "head")
    found = report(root / "head", pictures=0)
    values = classifier.probabilities(cache.features(cache.rows_of("test"), "pool"))
    return classifier.evaluate().to_json(), found, Tables(found.html), labels[-60:], values


def share(value):
    return f"{100 * value:.1f} %"


def test_the_first_lines(scored):
    told, found, _, labels, values = scored
    right = sklearn.accuracy_score(labels, values.argmax(axis=1))
    assert 0 < right < 1
    assert told["accuracy"] == right
    low, high = told["interval"]
    assert found.summary.headline == f"{share(right)} right on {told['count']} test photos"
    text = re.sub(r"<[^>]*>", " ", found.html)
    assert share(right) in text
    assert f"{100 * low:.1f}–{100 * high:.1f} %" in text


def test_the_confusions(scored):
    told, _, tables, labels, values = scored
    matrix = sklearn.confusion_matrix(labels, values.argmax(axis=1))
    assert told["confusion"] == matrix.tolist()
    for row, counts in zip(tables.rows("confusion", "truth ↓ taken for →"), matrix, strict=True):
        shown = ["·" if not n else f"{n} {share(n / counts.sum())}" for n in counts]
        assert row[1:] == [*shown, str(counts.sum())]
    pairs = {(row[0], row[1]): int(row[2]) for row in tables.rows("confusion", "true class", "taken for")}
    names = ("ant", "bee", "cat")
    assert pairs == {(names[i], names[j]): n for (i, j), n in np.ndenumerate(matrix) if n and i != j}


def test_the_classes(scored):
    told, _, tables, labels, values = scored
    guesses = values.argmax(axis=1)
    wanted = np.array(sklearn.precision_recall_fscore_support(labels, guesses)[:3]).T
    rows = tables.rows("per-class", "class", "photos", "predicted")
    assert len(rows) == len(wanted) == 3
    for number, (row, want) in enumerate(zip(rows, wanted, strict=True)):
        assert row[1:3] == [str((labels == number).sum()), str((guesses == number).sum())]
        assert [cell.partition(" (")[0] for cell in row[3:6]] == [share(value) for value in want]
        area = sklearn.average_precision_score(labels == number, values[:, number])
        assert row[6].startswith(share(area))
        assert row[7] == f"{sklearn.roc_auc_score(labels == number, values[:, number]):.3f}"
        own = told["classes"][number]
        np.testing.assert_allclose([own["precision"], own["recall"], own["f1"]], want)


def test_the_calibration(scored):
    """Bins are equally wide between chance and 1; of each the mean confidence and the share that is right."""
    _, found, tables, labels, values = scored
    rows = tables.rows("calibration", "series", "confidence: the largest probability", "share that is right")
    shown = [row[1:3] for row in rows if row[0] == "after calibration"]
    sure, right = values.max(axis=1), values.argmax(axis=1) == labels
    fractions, means = calibration_curve(right, (sure - 1 / 3) / (2 / 3), n_bins=10)
    assert len(shown) == len(means) > 3
    assert shown == [
        [share(1 / 3 + 2 / 3 * mean), share(part)] for mean, part in zip(means, fractions, strict=True)
    ]
    assert [
        [share(own["confidence"]), share(own["accuracy"])]
        for own in found.to_json()["sections"]["calibration"]["bins"]
    ] == shown


def test_the_probabilities_of_photos(scored):
    """Below each mistake its classes with their probabilities, from the largest on, and its file."""
    _, found, _, labels, values = scored
    text = found.html[found.html.index('id="predictions"') :]
    photos = re.findall(
        r'<figure class="photo wrong">.*?<span class="said">(.*?)</span>(.*?)<bdi class="file" title="test/(\d+).jpg">',
        text,
        re.DOTALL,
    )
    wrong = np.flatnonzero(values.argmax(axis=1) != labels)
    assert {int(row) - 120 for *_, row in photos} == set(wrong.tolist())
    names = np.array(["ant", "bee", "cat"])
    for first, others, row in photos:
        own, truth = values[int(row) - 120], names[labels[int(row) - 120]]
        order = np.argsort(-own)
        said = [f"{names[n]} {share(own[n])}" for n in order]
        assert first == f"{said[0]}, truly {truth}"
        assert re.findall(r'<span class="said">(.*?)</span>', others) == said[1:]


def test_the_data(scored):
    _, _, tables, labels, _ = scored
    rows = tables.rows("data", "class", "train", "val", "test", "all")
    assert [int(row[3]) for row in rows] == np.bincount(labels).tolist()
    assert [int(row[4]) for row in rows] == [60, 60, 60]
