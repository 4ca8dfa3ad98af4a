"""The plots of a classifier show the numbers of its evaluation, whatever its classes and files are called."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers.feature_caches import blobs, feature_cache
from helpers.photo_folders import save_photo
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from featcache import Classifier, train_head
from featcache.classifier.plots.figures import confusion_figure, reliability_chart
from featcache.core.display import percent
from featcache.errors import MissingExtraError, UsageError
from featcache.metrics.classification import evaluate
from featcache.pages.notebook import RIGHT, WRONG, end_of

HOSTILE = ("<script>$x^2$", "a\nb\u202e" + "c" * 200, "$\\frac{")


@pytest.fixture
def made(tmp_path, monkeypatch) -> Classifier:
    """A classifier that is often wrong, of classes with hostile names; only half of its test photos are there."""
    monkeypatch.chdir(tmp_path)
    features, labels = blobs(90)
    labels[60:80] = (labels[60:80] + 1) % 3
    cache = feature_cache(
        tmp_path / "x.h5", features, labels, ["train"] * 60 + ["test"] * 30, classes=HOSTILE
    )
    for number in range(60, 75):
        save_photo(Path(f"photos/test/{number}.jpg"), f"test/{number % 3}/{number}.png")
    return train_head(cache, output=None, epochs=3)


@pytest.fixture
def dataset(made):
    from featcache.datasets import Dataset, Record

    records = [
        Record(f"test/{number}.jpg", 0, "test", Path(f"photos/test/{number}.jpg").read_bytes)
        for number in range(60, 75)
    ]
    return Dataset("photos", "photos", HOSTILE, records)


def drawn(figure: Figure) -> bytes:
    """Draw it: text that matplotlib would read as a formula fails here."""
    png = figure._repr_png_()  # type: ignore[attr-defined]
    assert png.startswith(b"\x89PNG")
    return png


def test_the_confusion_matrix_has_every_count(made):
    figure = made.plot_confusion()
    (axes,) = figure.axes
    found = np.zeros((3, 3), int)
    for text in axes.texts:
        column, row = (int(place) for place in text.get_position())
        found[row, column] = int(text.get_text())
    assert found.tolist() == made.evaluate().confusion.tolist()
    assert axes.get_xlabel() == "predicted"
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert names[0] == HOSTILE[0]
    assert names[1].startswith(r"a\nb\u202ec")
    assert names[1].endswith("…")
    drawn(figure)


def test_many_classes_show_their_most_frequent_confusions():
    rng = np.random.default_rng(0)
    labels, probabilities = rng.integers(0, 40, 400), rng.dirichlet(np.ones(40), 400)
    scored = evaluate(labels, probabilities, classes=[f"c{n}" for n in range(40)], split="test")
    figure = confusion_figure(scored)  # type: ignore[arg-type]
    (axes,) = figure.axes
    widths = [bar.get_width() for bar in axes.patches]
    wrong = scored.confusion[~np.eye(40, dtype=bool)]
    assert widths == sorted(wrong.tolist(), reverse=True)[:20]
    true, guess = axes.get_yticklabels()[0].get_text().split(" → ")
    assert scored.confusion[int(true[1:]), int(guess[1:])] == wrong.max()


def test_the_reliability_diagram_has_the_bins_of_the_calibration_error(made):
    scored = made.evaluate()
    chart = reliability_chart(scored, 15)
    _, points = chart.series
    counts = [int(text.split()[0]) for text in points.texts]
    assert sum(counts) == scored.count
    gaps = np.abs(np.array(points.x) - np.array(points.y)) * np.array(counts) / scored.count
    assert gaps.sum() == pytest.approx(scored.calibration_error, abs=1e-6)
    assert all(low <= y <= high for low, y, high in zip(points.low, points.y, points.high, strict=True))
    drawn(made.plot_reliability())
    with pytest.raises(UsageError, match="bins=0: expected a whole number of at least 1, such as 15"):
        made.plot_reliability(bins=0)


def test_predictions_are_blue_and_right_or_red_and_wrong(made, dataset, monkeypatch):
    monkeypatch.setattr("featcache.classifier.plots.pictures.dataset_of", lambda classifier, photos: dataset)
    scored = made.evaluate()
    truth = dict(zip(scored.images.files, scored.images.truth == scored.images.guesses, strict=True))
    figure = made.plot_predictions(count=30)
    assert len(figure.axes) == 32
    seen = 0
    for axes in figure.axes[:30]:
        name, title = axes.get_xlabel(), axes.get_title()
        right = truth[name]
        assert title.startswith("✓" if right else "✗")
        assert ("true: " in title) == (not right)
        assert to_hex(axes.title.get_color()) == (RIGHT if right else WRONG)
        assert bool(axes.images) == (60 <= int(name[5:-4]) < 75), "only these photos are there"
        seen += 1
    assert seen == 30
    drawn(figure)


def test_the_mistakes_it_is_surest_of_come_first(made, dataset, monkeypatch):
    monkeypatch.setattr("featcache.classifier.plots.pictures.dataset_of", lambda classifier, photos: dataset)
    mistakes = sorted(made.evaluate().mistakes(), key=lambda each: -each.probability)
    figure = made.plot_predictions(which="mistakes", count=4)
    assert [axes.get_xlabel() for axes in figure.axes] == [each.file for each in mistakes[:4]]
    for axes, each in zip(figure.axes, mistakes, strict=False):
        assert percent(each.probability) in axes.get_title()
    first, again = (made.plot_predictions(count=4, seed=seed) for seed in (1, 1))
    assert [axes.get_xlabel() for axes in first.axes] == [axes.get_xlabel() for axes in again.axes]


def test_one_photo_has_room_for_the_sentence_below_it(made, dataset, monkeypatch):
    monkeypatch.setattr("featcache.classifier.plots.pictures.dataset_of", lambda classifier, photos: dataset)
    wrong = made.plot_predictions(which="mistakes", count=1)
    assert wrong.get_figwidth() >= 4
    assert wrong.get_supxlabel().startswith("this one is wrong; ")
    several = made.plot_predictions(which="mistakes", count=2)
    assert several.get_supxlabel().startswith("0 of these 2 right; ")


def test_of_a_long_name_its_end_is_shown():
    assert end_of("a/b.jpg") == "a/b.jpg"
    assert end_of("x" * 99 + "/b\u202e.jpg", 14) == r"…x/b\u202e.jpg"


def test_what_cannot_be_drawn_says_what_to_give(made, tmp_path):
    with pytest.raises(UsageError, match=r"(?s)the photos of .*x\.h5 cannot be opened.*give their folder"):
        made.plot_predictions()
    with pytest.raises(UsageError, match="which='best', count=12: expected 'random' or 'mistakes'"):
        made.plot_predictions(which="best")  # type: ignore[arg-type]
    features, _ = blobs(60)
    numbers = feature_cache(
        tmp_path / "n.h5",
        features,
        features[:, :1],
        ["train"] * 40 + ["test"] * 20,
        classes=("age",),
        task="numbers",
    )
    of_numbers = train_head(numbers, output=None)
    for name in ("plot_confusion", "plot_reliability", "plot_predictions"):
        with pytest.raises(UsageError, match="this plot is of classes, and this classifier's task is"):
            getattr(of_numbers, name)()


def test_without_matplotlib_the_extra_is_named(made, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    for plot in (made.plot_confusion, made.plot_reliability, made.plot_predictions):
        with pytest.raises(MissingExtraError, match=r"pip install 'featcache\[report\]'"):
            plot()


def test_pyplot_is_never_imported():
    code = (
        "import sys, numpy as np\n"
        "from featcache.classifier.plots.figures import confusion_figure\n"
        "from featcache.metrics.classification import evaluate\n"
        "scored = evaluate(np.arange(3), np.eye(3), classes='abc', split='test')\n"
        "assert confusion_figure(scored)._repr_png_()\n"
        "assert not {'matplotlib.pyplot', 'jax'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
