"""Pages: everything of the data is escaped, nothing is fetched, only the package's own scripts may run."""

import base64
import hashlib
import re
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from helpers.sample_charts import HOSTILE, charts
from helpers.sample_page import sample_page
from jinja2 import UndefinedError

from featcache.core.display import escaped
from featcache.errors import MissingExtraError
from featcache.pages.page import environment, render
from featcache.pages.sprites import Thumbnail

IMPORT = '{% from "parts.html" import chart, photo, gallery, table, note, matrix, more, share_bar %}'


class Page(HTMLParser):
    """Elements, texts and attributes of a page, and whether every element is closed."""

    VOID = frozenset({"meta", "input", "path", "link", "br", "wbr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture(scope="module")
def html() -> str:
    return sample_page()


@pytest.fixture(scope="module")
def page(html) -> Page:
    return Page(html)


def part(source: str, **content: object) -> str:
    return environment().from_string(IMPORT + source).render(**content)


def test_hostile_names_are_texts(page):
    scripts = [attrs for tag, attrs in page.elements if tag == "script"]
    assert scripts == [{}]  # page.js
    text = " ".join(page.texts)
    for name in HOSTILE[:-1]:
        assert escaped(name) in text, name
    assert "\u202e" not in text
    assert "49" not in re.findall(r"\{\{.*?\}\}", text)


def test_nothing_is_fetched(page):
    fetching = {"src", "srcset", "data", "poster", "action", "background"}
    for tag, attrs in page.elements:
        assert not fetching & attrs.keys(), (tag, attrs)
        assert tag not in {"link", "iframe", "img", "object", "embed"}
        assert str(attrs.get("href", "#")).startswith("#")
        assert not [name for name in attrs if name.startswith("on")]
    css = "".join(page.texts)
    assert all(url.startswith("data:image/webp;base64,") for url in re.findall(r"url\((.*?)\)", css))
    assert "@import" not in css


def test_the_policy_allows_the_packages_scripts_only(page):
    (policy,) = [attrs["content"] for tag, attrs in page.elements if attrs.get("http-equiv")]
    (script,) = [text for text in page.texts if '"use strict"' in text]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy == (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    )


def test_ids_are_unique_and_links_have_targets(page):
    ids = [attrs["id"] for _, attrs in page.elements if attrs.get("id")]
    assert len(ids) == len(set(ids))
    targets = {attrs["href"] for tag, attrs in page.elements if tag == "a"}
    assert targets <= {f"#{name}" for name in ids}


def test_the_same_content_gives_the_same_bytes(html):
    assert sample_page() == html
    assert len(html) < 600_000


def test_a_table_writes_numbers_by_their_column_and_sorts_by_their_value():
    html = part(
        "{{ table(columns, rows) }}",
        columns=["class", {"label": "recall", "kind": "percent"}, {"label": "n", "kind": "number"}],
        rows=[("cat", 0.91234, 1234), ({"text": "dog", "href": "#dog"}, None, {"text": "few", "value": 3})],
    )
    cells = re.findall(r"<td(.*?)>(.*?)</td>", html)
    assert [re.sub("<.*?>", "", text) for _, text in cells] == ["cat", "91.2 %", "1,234", "dog", "–", "few"]
    assert [re.search('data-sort="(.*?)"', attributes)[1] for attributes, _ in cells] == [
        "cat", "0.91234", "1234", "dog", "", "3",
    ]  # fmt: skip
    assert '<a href="#dog">dog</a>' in html


def test_a_matrix_shows_counts_shares_and_links():
    html = part(
        "{{ matrix(names, counts, links) }}",
        names=("cat", "<b>"),
        counts=[[3, 1], [0, 0]],
        links={(0, 1): "#x"},
    )
    assert '<a href="#x">1</a><small>25.0 %</small>' in html
    assert 'data-tip="cat taken for &lt;b&gt;: 1 of 4 (25.0 %)"' in html
    assert html.count('class="zero"') == 2
    assert [re.findall('--share:(.*?)"', html)] == [["0.750", "0.250"]]


def test_a_photo_says_right_or_wrong_with_a_sign_and_its_name():
    html = part(
        '{{ photo(thumbnail, "a\\nb.jpg", "cat", "wrong") }}', thumbnail=Thumbnail(2, 96, 192, 90, 60)
    )
    assert "✗ wrong" in html
    assert "a\\nb.jpg</bdi>" in html
    assert "sheet2" in html
    assert "width:90px;height:60px;background-position:-96px -192px" in html
    assert "no picture" in part('{{ photo(none, "a.jpg") }}')


def test_names_of_numpy_are_shown_like_any_other():
    assert part("{{ name }}", name=np.str_("a\u202eb<i>")) == "a\\u202eb&lt;i&gt;"


def test_a_share_outside_0_and_1_does_not_break_its_bar():
    assert "width:100.0%" in part("{{ share_bar(1.2) }}")
    assert "width:0.0%" in part("{{ share_bar(-1) }}")


def test_a_chart_has_title_legend_note_and_numbers():
    html = part("{{ chart(one) }}", one=charts()["curves"])
    assert "<figcaption>Loss falls until epoch 21</figcaption>" in html
    assert html.count("<li ") == 3
    assert "set &lt;test&gt;." in html
    assert "<summary>Numbers</summary>" in part("{{ chart(one) }}", one=charts()["standing"])


def test_a_name_that_a_template_lacks_is_an_error_not_a_gap():
    with pytest.raises(UndefinedError, match="'nothing' is undefined"):
        environment().from_string("{{ nothing }}").render()


def test_a_name_that_is_not_utf_8_is_shown():
    html = render("page.html", title="a\udcffb", headline="", sections=[])
    assert "<title>a\\udcffb</title>" in html


def test_without_jinja2_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    environment.cache_clear()
    with pytest.raises(MissingExtraError, match=r"pages need jinja2.*featcache\[report\]"):
        environment()
