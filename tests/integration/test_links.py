"""No link of the pages leads nowhere, and the tool that says so finds each kind of broken link."""

from pathlib import Path

import pytest
from check_links import problems

ROOT = Path(__file__).resolve().parents[2]


def test_every_relative_link_of_the_pages_leads_somewhere():
    assert problems(ROOT) == []


@pytest.fixture
def pages(tmp_path):
    """Two pages that link to each other, and a module that names one of them."""
    (tmp_path / "docs").mkdir()
    (tmp_path / "featcache").mkdir()
    (tmp_path / "README.md").write_text(
        "# Top\n\nSee [the page](docs/a.md#what-is-read-again) and [top](#top).\n"
    )
    (tmp_path / "docs" / "a.md").write_text(
        "# A\n\n## What is *read*, again?\n\n## A\n\n[b](../README.md), [2](#a-1)\n"
    )
    (tmp_path / "featcache" / "x.py").write_text('"""See ``docs/a.md``."""\n')
    return tmp_path


def test_links_that_lead_somewhere_are_not_reported(pages):
    with (pages / "README.md").open("a") as page:
        page.write(
            "`[x](no.md)`, `featcache/x.py`, [web](https://example.org/no.md)\n\n```\n[y](no.md)\n```\n"
        )
    assert problems(pages) == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[a](docs/b.md)", "README.md: no file docs/b.md"),
        ("[a\nb](docs/b.md)", "README.md: no file docs/b.md"),
        ("![a](docs/b.svg)", "README.md: no file docs/b.svg"),
        ('<img src="docs/b.svg">', "README.md: no file docs/b.svg"),
        ("[a](docs/a.md#what-is-read)", "README.md: no heading docs/a.md#what-is-read"),
        ("[a](#bottom)", "README.md: no heading #bottom"),
        ("in `featcache/y.py`", "README.md: no file featcache/y.py"),
    ],
)
def test_a_link_that_leads_nowhere_is_reported(pages, text, problem):
    (pages / "README.md").write_text(f"# Top\n\n{text}\n")
    assert problems(pages) == [problem]


def test_a_page_that_a_message_names_must_exist(pages):
    (pages / "featcache" / "x.py").write_text('raise ValueError("see docs/b.md")\n')
    assert problems(pages) == ["featcache/x.py: no page docs/b.md"]
