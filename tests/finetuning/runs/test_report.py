"""Curves and the page about a run: what is drawn is what was told, and nothing else is needed to see it."""

import math
import re
import subprocess
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from featcache.errors import StorageError, UsageError
from featcache.finetuning.runs.report import best_epoch, curves_svg, write_report

TRAIN, VALIDATION = "#2f7fc4", "#cf6f1e"

HISTORY = [
    {"phase": 0, "epoch": 0, "step": 0, "val_loss": 0.9, "val_accuracy": 0.7},
    *(
        {
            "phase": 1 if epoch < 3 else 2,
            "epoch": epoch,
            "step": 10 * epoch,
            "loss": 0.8 / epoch,
            "accuracy": 0.7 + 0.05 * epoch,
            "val_loss": 0.5 + 0.1 * abs(epoch - 4),
            "val_accuracy": 0.75 + 0.01 * epoch,
            "learning_rate": 1e-3,
            "images_per_second": 123.4,
            "seconds": 5.25,
        }
        for epoch in range(1, 6)
    ),
]


def lines(svg: str, colour: str) -> list[np.ndarray]:
    """Return the points of each line of a colour, in the picture's coordinates, legends aside."""
    found = []
    for path in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}path"):
        if f"stroke: {colour}" in path.get("style", "") and path.get("clip-path"):
            points = re.findall(r"[ML] (\S+) (\S+)", path.get("d", ""))
            found.append(np.array(points, float))
    return found


def texts(svg: str) -> list[str]:
    return [text.text for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture(scope="module")
def svg() -> str:
    return curves_svg(HISTORY)


@pytest.mark.parametrize(("number", "key"), [(0, "loss"), (1, "accuracy")])
def test_the_lines_are_the_numbers(svg, number, key):
    pairs = [(TRAIN, key), (VALIDATION, f"val_{key}")]
    drawn = np.concatenate([lines(svg, colour)[number] for colour, _ in pairs])
    told = np.array([(r["epoch"], r[name]) for _, name in pairs for r in HISTORY if name in r])
    assert drawn.shape == told.shape
    for axis, scale in ((0, 1), (1, -1)):  # y grows downwards
        slope, shift = np.polyfit(told[:, axis], drawn[:, axis], 1)
        assert slope * scale > 0
        # One scale for both lines; matplotlib writes six digits after the point, of numbers below 1000.
        np.testing.assert_allclose(drawn[:, axis], slope * told[:, axis] + shift, atol=1e-5)


def test_the_kept_epoch_and_the_phases_are_marked(svg):
    epochs = lines(svg, VALIDATION)[0][:, 0]
    straight = [
        line[0, 0] for line in lines(svg, "currentColor") if len(line) == 2 and np.ptp(line[:, 0]) == 0
    ]
    assert epochs[4] in straight
    assert min(abs(straight - (epochs[2] + epochs[3]) / 2)) < 1e-5  # between the phases
    assert texts(svg).count("kept: epoch 4") == 1
    assert [text for text in texts(svg) if "phase" in text] == ["phase 1", "phase 2"] * 2
    assert "kept: epoch 2" in texts(curves_svg(HISTORY, best=2))


def test_the_best_epoch_is_of_the_lowest_validation_loss():
    assert best_epoch(HISTORY) == 4
    assert best_epoch([{"epoch": 1, "val_loss": 0.5}, {"epoch": 2, "val_loss": 0.5}]) == 1
    assert best_epoch([{"epoch": 1, "val_loss": None}, {"epoch": 2, "val_loss": math.nan}]) is None
    assert best_epoch([]) is None


@pytest.mark.parametrize(
    "history",
    [
        HISTORY[:1],
        [{"epoch": 1, "phase": 1, "loss": 0.5, "accuracy": 0.5}],
        [{"epoch": 0}, {"epoch": 1, "phase": 1, "loss": math.nan, "val_loss": math.inf, "accuracy": None}],
        [{"epoch": epoch, "loss": 1e30**epoch} for epoch in range(3)],
    ],
    ids=["the start", "no validation", "no numbers", "diverged"],
)
def test_whatever_is_missing(history, recwarn):
    svg = curves_svg(history)
    assert "phase 1" not in texts(svg)  # there is no other
    assert not [line for line in lines(svg, TRAIN) if not np.isfinite(line).all()]
    assert not recwarn.list


def test_it_needs_nothing_else_and_is_the_same_again(svg):
    assert svg == curves_svg(HISTORY)
    assert svg.startswith("<svg role=")
    assert not re.findall(r'(?:href|src)="(?!#)|url\((?!#)|@import|<script|<image', svg)
    assert set(re.findall(r"https?://[^\"]*", svg)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    # Its ink is the page's.
    assert set(re.findall("#[0-9a-f]{6}", svg)) == {TRAIN, VALIDATION}


def test_matplotlib_stays_as_it_was():
    program = (
        "import sys, featcache.finetuning.runs.report as curves\n"
        "assert not {'matplotlib', 'jinja2', 'jax', 'orbax'} & sys.modules.keys()\n"
        "import matplotlib; before = matplotlib.rcParams.copy()\n"
        "curves.curves_svg([{'epoch': 1, 'loss': 1.0}])\n"
        "assert 'matplotlib.pyplot' not in sys.modules\n"
        # The backend is chosen, and pyplot loaded, when somebody asks for it.
        "now = matplotlib.rcParams\n"
        "assert not [key for key in before if key != 'backend' and now[key] != before[key]]\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


# The page ----------------------------------------------------------------------------------------------------

TABLE = [["", "accuracy", "images"], ["frozen head", "0.8853", "367"], ["fine-tuned", "0.9319", "367"]]


class Page(HTMLParser):
    """Cells of tables by row, and every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data):
        self.text += data
        if self.tags and self.tags[-1][0] in ("td", "th") and self.rows[-1] and data.strip():
            self.rows[-1][-1] += data.strip()


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Page:
    return written(tmp_path_factory.mktemp("page"))


def written(tmp_path, **changes) -> Page:
    given = {
        "title": "Fine-tuning efficientnet_lite0",
        "history": HISTORY,
        "table": TABLE,
        "facts": {"trained": "blocks_5 and the head", "time": "361.2 s"},
        "verdict": "worth it: +4.7 points",
    }
    path = write_report(tmp_path / "report.html", **{**given, **changes})
    assert path == tmp_path / "report.html"
    return Page(path.read_text("utf-8"))


def test_the_page_says_everything(page):
    assert page.rows[:3] == TABLE
    assert page.rows[3] == [
        *("epoch", "phase", "steps", "learning rate", "loss", "validation loss", "accuracy"),
        *("validation accuracy", "images per second", "seconds"),
    ]
    assert page.rows[4] == ["0", "start", "0", "", "", "0.9000", "", "70.0 %", "", ""]
    assert page.rows[8] == ["4", "2", "40", "0.001", "0.2000", "0.5000", "90.0 %", "79.0 %", "123", "5.2"]
    assert [attrs for tag, attrs in page.tags if tag == "tr" and attrs] == [{"class": "kept"}]
    for text in ("worth it: +4.7 points", "blocks_5 and the head", "361.2 s", "kept: epoch 4"):
        assert text in page.text
    assert [tag for tag, _ in page.tags].count("svg") == 1


def test_columns_of_nothing_are_left_out(tmp_path):
    page = written(tmp_path, history=[{"epoch": 1, "loss": 0.5}], table=[], facts={})
    assert page.rows == [["epoch", "loss"], ["1", "0.5000"]]
    assert "Compared" not in page.text


def test_what_users_name_is_text(tmp_path):
    name = '<script>alert(1)</script> & "quotes" ü \udce4'
    page = written(
        tmp_path, title=name, verdict=name, facts={name: name}, table=[[name], [name]], history=HISTORY[:1]
    )
    assert not [tag for tag, _ in page.tags if tag == "script"]
    assert page.text.count('<script>alert(1)</script> & "quotes" ü') == 7


def test_the_page_needs_nothing_else(page):
    links = [
        value
        for _, attrs in page.tags
        for key, value in attrs.items()
        if key in ("src", "href", "xlink:href")
    ]
    assert all(link.startswith("#") for link in links)
    assert not [tag for tag, _ in page.tags if tag in ("link", "script", "img", "iframe")]
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy.startswith("default-src 'none'")


def test_a_page_is_replaced_or_left(tmp_path):
    (tmp_path / "report.html").write_text("the old one")
    assert "once more" in written(tmp_path, verdict="once more", history=HISTORY[:1]).text
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    with pytest.raises(StorageError, match=r"cannot write the page .*absent/report.html: No such file"):
        write_report(
            tmp_path / "absent" / "report.html",
            title="",
            history=HISTORY[:1],
            table=[],
            facts={},
            verdict="",
        )


def test_no_epoch(tmp_path):
    with pytest.raises(UsageError, match="the history has no epoch to draw; train for at least one"):
        written(tmp_path, history=[])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("package", ["matplotlib", "jinja2"])
def test_without_the_extra(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        UsageError, match=rf"need {package}, which is not .*: pip install 'featcache\[report\]'"
    ):
        written(tmp_path)
