"""The sections about answers as they stand on a page: every link leads somewhere, and names of the data stay text."""

import re
from dataclasses import replace
from html import unescape
from importlib.util import find_spec

import numpy as np
import pytest
from helpers.report_material import HOSTILE, certain, material_of

from featcache.core.display import escaped
from featcache.reports.sections import calibration, confusion, multilabel, per_class, predictions, regression

pytestmark = pytest.mark.skipif(find_spec("jinja2") is None, reason="the extra report is not installed")

LABELS = np.repeat(np.arange(5), 3)
MULTICLASS = (confusion, per_class, calibration, predictions)


def rendered(modules, labels, values, task: str = "classes") -> str:
    from featcache.pages.page import render

    names = [f"{number} {HOSTILE[number % 5]}" for number in range(len(labels))]
    material = material_of(labels, values, classes=HOSTILE, names=names, task=task)
    found = [module.section(material) for module in modules]
    sections = [replace(each, template=f"sections/{each.template}") for each in found]
    return render(
        "page.html", packages=("featcache.reports",), title="made up", headline="", sections=sections
    )


@pytest.fixture(scope="module")
def pages() -> dict[str, str]:
    values = 0.8 * certain(np.roll(LABELS, 1), 5) + 0.04
    answers = np.eye(5, dtype=np.float32)[LABELS]
    return {
        "classes": rendered(MULTICLASS, LABELS, values),
        "answers": rendered([multilabel], 1 - answers, values, "answers"),
        "numbers": rendered([regression], answers, values, "numbers"),
    }


@pytest.mark.parametrize("kind", ["classes", "answers", "numbers"])
def test_names_of_the_data_are_shown_as_text(pages, kind):
    page = pages[kind]
    assert "alert(1)" in page
    assert "<script>alert" not in page
    assert page.count("<script>") == 1, "the page's own"
    text = unescape(re.sub(r"<[^>]*>", "", page))
    for number, name in enumerate(HOSTILE):
        assert escaped(name) in text
        assert escaped(f"{number} {name}") in text, "the file's name stands under its picture"
    assert not any(mark in page for mark in "\u202e\u2066")


@pytest.mark.parametrize("kind", ["classes", "answers", "numbers"])
def test_every_link_leads_to_one_place(pages, kind):
    places = re.findall(r' id="([^"]+)"', pages[kind])
    assert len(places) == len(set(places))
    links = set(re.findall(r' href="#([^"]+)"', pages[kind]))
    assert links <= set(places)
    if kind == "classes":
        assert {"confusion-0-0", "confusion-1-0"} <= links


def test_right_and_wrong_are_told_by_words_too(pages):
    page = pages["classes"]
    assert page.count('class="photo wrong"') == page.count("✗ wrong") > 0
    assert page.count('class="photo right"') == page.count("✓ right") > 0


def test_every_number_says_which_rows_it_is_of(pages):
    for page in pages.values():
        notes = re.findall(r'<div class="what">([^<]*)</div><p class="note">([^<]*)</p>', page)
        assert len(notes) == page.count('class="stat"') > 0
        assert all("15 test photos" in note or "rows" in note for _, note in notes)
