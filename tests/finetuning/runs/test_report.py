"""The page of a run: what is drawn is what was told, and nothing else is needed to see it."""

import math
import re
import sys
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest

from featcache.errors import MissingExtraError, StorageError, UsageError
from featcache.finetuning.runs.report import write_report

SVG = "{http://www.w3.org/2000/svg}"

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


TABLE = [["", "accuracy", "images"], ["frozen head", "0.8853", "367"], ["fine-tuned", "0.9319", "367"]]


class Page(HTMLParser):
    """Cells of tables by row, and every tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.rows: list[list[str]] = []
        self.text = ""
        self.inside = False
        self.html = text
        self.feed(text)

    @property
    def told(self) -> list[list[str]]:
        """Rows of tables that are not the numbers of a chart, which start with the name of a series."""
        return [row for row in self.rows if row[0] not in ("series", "training", "validation")]

    @property
    def charts(self) -> list[ElementTree.Element]:
        drawn = re.findall(r'<svg class="chart".*?\n</svg>', self.html, re.DOTALL)
        return [ElementTree.fromstring(one) for one in drawn]

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")
            self.inside = True

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self.inside = False

    def handle_data(self, data):
        self.text += data
        if self.inside:
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


def line(chart: ElementTree.Element, kind: str) -> np.ndarray:
    """Return the points of the one line of a kind."""
    (path,) = [path for path in chart.iter(f"{SVG}path") if path.get("class") == kind]
    return np.array(re.findall(r"[ML](\S+) ([^\sML]+)", path.get("d", "")), float)


@pytest.mark.parametrize(("number", "key"), [(0, "loss"), (1, "accuracy")])
def test_the_lines_are_the_numbers(page, number, key):
    drawn = np.concatenate([line(page.charts[number], kind) for kind in ("line dashed", "line")])
    told = np.array([(r["epoch"], r[name]) for name in (key, f"val_{key}") for r in HISTORY if name in r])
    assert drawn.shape == told.shape
    for axis, sign in ((0, 1), (1, -1)):  # y grows downwards
        slope, shift = np.polyfit(told[:, axis], drawn[:, axis], 1)
        assert slope * sign > 0
        # One scale for both lines; places are written to a tenth of a pixel.
        np.testing.assert_allclose(drawn[:, axis], slope * told[:, axis] + shift, atol=0.12)


def test_the_kept_epoch_and_the_phases_are_marked(page, tmp_path):
    for chart in page.charts:
        epochs = line(chart, "line")[:, 0]
        marked = [path.get("d", "") for path in chart.iter(f"{SVG}path") if path.get("class") == "level"]
        kept, phase = (float(re.match(r"M(\S+)", path)[1]) for path in marked)
        assert kept == pytest.approx(epochs[4], abs=0.11)
        assert phase == pytest.approx((epochs[2] + epochs[3]) / 2, abs=0.11)
        texts = [text.text for text in chart.iter(f"{SVG}text") if text.get("class") == "said"]
        assert texts == ["kept: epoch 4", "phase 2"]
    assert "kept: epoch 2" in written(tmp_path, best=2).text


@pytest.mark.parametrize(
    ("history", "charts", "finding"),
    [
        (HISTORY[:1], 2, "Epoch 0 of 0 was kept, validation 70.0 %; no epoch was better than the start"),
        (
            [{"epoch": 1, "phase": 1, "loss": 0.5, "accuracy": 0.5}],
            2,
            "without validation rows to choose one by",
        ),
        (
            [{"epoch": 0}, {"epoch": 1, "loss": math.nan, "accuracy": None}],
            0,
            "2 epochs without loss and accuracy",
        ),
        (
            [{"epoch": epoch, "loss": 1e30**epoch} for epoch in range(3)],
            1,
            "2 epochs of fine-tuning, without",
        ),
    ],
    ids=["the start", "no validation", "no numbers", "diverged"],
)
def test_whatever_is_missing(tmp_path, history, charts, finding):
    page = written(tmp_path, history=history)
    assert finding in page.text
    assert len(page.charts) == charts
    assert not re.search(r'd="[^"]*(nan|inf)', page.html)
    assert "phase 2" not in page.text


def test_why_it_ended_is_said(tmp_path):
    text = written(tmp_path, stopped="diverged: the loss of epoch 6 is nan", notes=["it is slow"]).text
    assert "The fine-tuning diverged after epoch 5" in text
    assert "It is slow." in text


def test_the_page_says_everything(page):
    assert page.told[:3] == [["classifier", *TABLE[0][1:]], *TABLE[1:]]
    assert "Frozen head 0.8853, fine-tuned 0.9319" in page.text
    assert page.told[3] == [
        *("epoch", "phase", "steps", "learning rate", "loss", "validation loss", "accuracy"),
        *("validation accuracy", "images per second", "seconds"),
    ]
    assert page.told[4] == ["0", "start", "0", "–", "–", "0.9000", "–", "70.0 %", "–", "–"]
    assert page.told[8] == ["4", "2", "40", "0.001", "0.2000", "0.5000", "90.0 %", "79.0 %", "123", "5.2"]
    assert [attrs for tag, attrs in page.tags if tag == "tr" and attrs] == [{"class": "strong"}]
    for text in ("worth it: +4.7 points", "blocks_5 and the head", "361.2 s"):
        assert text in page.text


def test_columns_of_nothing_are_left_out(tmp_path):
    page = written(tmp_path, history=[{"epoch": 1, "loss": 0.5}], table=[], facts={})
    assert page.told == [["epoch", "loss"], ["1", "0.5000"]]
    assert "Compared" not in page.text


def test_what_users_name_is_text(tmp_path):
    name = '<script>alert(1)</script> & "quotes" ü \udce4'
    page = written(
        tmp_path, title=name, verdict=name, facts={name: name}, table=[[name], [name]], history=HISTORY[:1]
    )
    own = re.findall(r"<script>(.*?)</script>", page.html, re.DOTALL)
    assert len(own) == 1, "the page's own"
    assert "alert" not in own[0]
    # Title and heading, verdict, fact and value, a heading and a cell of the table, and what these two say in words.
    assert page.text.count('<script>alert(1)</script> & "quotes" ü') == 8


def test_the_page_needs_nothing_else(page):
    links = [value for _, attrs in page.tags for key, value in attrs.items() if key in ("src", "href")]
    assert all(link.startswith("#") for link in links)
    assert not [tag for tag, _ in page.tags if tag in ("link", "img", "iframe")]
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


def test_without_the_extra(tmp_path, monkeypatch):
    from featcache.pages.page import environment

    environment.cache_clear()
    monkeypatch.setitem(sys.modules, "jinja2", None)
    with pytest.raises(
        MissingExtraError, match=r"need jinja2, which is not .*; pip install 'featcache\[report\]'"
    ):
        written(tmp_path)
