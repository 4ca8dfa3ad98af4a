"""The documentation site: what its checker finds, what becomes of links, and whether everybody can read it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import make_weights
import pytest
from check_site import problems
from helpers.browser import chromium, missing, opened, violations

from featcache.backbones.registry import pretrained_weights

ROOT = Path(__file__).resolve().parents[2]


# What is fetched from elsewhere ------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path):
    """Two pages that link to each other, with a style sheet, as a browser opens them without a network."""
    (tmp_path / "guide").mkdir()
    (tmp_path / "index.html").write_text(
        '<link rel="stylesheet" href="page.css"><link rel="canonical" href="https://example.org/">'
        '<a href="guide/a%20b.html#top">a</a><a href="https://example.org/">elsewhere</a>'
        '<img src="data:image/png;base64,AAAA"><script>const where = "https://example.org/"</script>'
    )
    (tmp_path / "guide" / "a b.html").write_text(
        '<script src="../x.js"></script><a href="../index.html">up</a>'
    )
    (tmp_path / "page.css").write_text("/* https://example.org/licence */ a { background: url(x.svg) }")
    return tmp_path


def test_a_site_that_has_all_it_shows_is_in_order(site):
    assert problems(site) == []


@pytest.mark.parametrize(
    "fetched",
    [
        '<link rel="stylesheet" href="https://example.org/x">',
        '<link rel="preconnect" href="//example.org/x">',
        '<script src="https://example.org/x"></script>',
        '<img src="https://example.org/x">',
        '<img srcset="small.png 1x, https://example.org/x 2x">',
        '<iframe src="http://example.org/x"></iframe>',
        '<frame src="http://example.org/x">',
        '<base href="https://example.org/x">',
        '<body background="//example.org/x">',
        "<style>@import 'https://example.org/x';</style>",
        '<p style="background: url(//example.org/x)">',
    ],
)
def test_what_a_page_fetches_from_elsewhere_is_found(site, fetched):
    page = site / "guide" / "a b.html"
    page.write_text(page.read_text() + fetched)
    (found,) = problems(site)
    assert found.startswith("guide/a b.html: fetches ")
    assert "//example.org/x" in found


def test_what_a_style_sheet_fetches_from_elsewhere_is_found(site):
    (site / "page.css").write_text('@font-face { src: url("https://example.org/x") }')
    assert problems(site) == ["page.css: fetches https://example.org/x"]


def test_a_page_that_no_link_leads_to_is_found(site):
    (site / "lost.html").write_text('<a href="index.html">up</a>')
    assert problems(site) == ["lost.html: no link leads here from index.html"]


def test_links_with_a_query_or_to_a_folder_lead_to_pages(site):
    (site / "folder").mkdir()
    (site / "folder" / "index.html").write_bytes(b"\xff")
    (site / "asked.html").write_text('<a href="folder/">down</a><a href="\0">nowhere</a>')
    page = site / "guide" / "a b.html"
    page.write_text(page.read_text() + '<a href="../asked.html?x=1#y">asked</a>')
    assert problems(site) == []


def test_a_folder_that_is_no_site_is_told(tmp_path):
    assert problems(tmp_path) == [f"{tmp_path}: no index.html; build it with sphinx-build docs {tmp_path}"]


# The page of weights -----------------------------------------------------------------------------------------


def test_the_page_of_weights_has_each_with_its_licence_and_what_pins_it():
    rows = {line.split("`")[1]: line for line in make_weights.page().splitlines() if line.startswith("| `")}
    known = pretrained_weights()
    assert set(rows) == set(known)
    for name, weights in known.items():
        pinned = weights.file.sha256 or getattr(weights.file, "md5", None) or "no hash is published"
        assert f"| {weights.licence} |" in rows[name]
        assert pinned in rows[name]


# What becomes of the pages -----------------------------------------------------------------------------------

GUIDE = """# Guide

[reference](reference.md#f), [changes](../CHANGELOG.md#new-things), [front](../README.md), [`code`](../tools/x.py),
[folder](../tools), ![picture](one.svg)
"""
REFERENCE = """# Reference

## f

**Parameters**

- `path`, `url` (`str | None`):
  Where it is.
- `deep`

**Plain**

- a plain list
"""


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Build a small repository with the settings of this one; returns what was said, the code and the folder."""
    if not _has_sphinx():
        missing("sphinx and furo are not installed: pip install -e '.[docs]'")

    def build(guide=GUIDE, **environment):
        root = tmp_path_factory.mktemp("repository")
        for folder in ("_extensions", "_static"):
            shutil.copytree(ROOT / "docs" / folder, root / "docs" / folder)
        (root / "tools").mkdir()
        (root.parent / "mine.txt").write_text("mine")
        settings = (ROOT / "docs" / "conf.py").read_text()
        settings += 'repository_pages = {"index": "README.md", "changes": "CHANGELOG.md"}\n'
        settings += 'described_pages = ["reference"]\n'
        pages = {
            "pyproject.toml": '[project]\nname = "featcache"\n',
            "README.md": "# Front\n\n[guide](docs/guide.md), ![picture](docs/one.svg)\n",
            "CHANGELOG.md": "# Changes\n\n## New things\n\n[guide](docs/guide.md)\n",
            "tools/x.py": "",
            "docs/conf.py": settings,
            "docs/index.md": "```{include} ../README.md\n```\n\n```{toctree}\nguide\nreference\nchanges\n```\n",
            "docs/changes.md": "```{include} ../CHANGELOG.md\n```\n",
            "docs/guide.md": guide,
            "docs/reference.md": REFERENCE,
            "docs/one.svg": '<svg xmlns="http://www.w3.org/2000/svg"/>',
        }
        for name, text in pages.items():
            (root / name).write_text(text)
        command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "docs", "site"]
        kept = {name: value for name, value in os.environ.items() if not name.startswith("GITHUB_")}
        kept |= {"PYTHONPATH": str(ROOT), **environment}
        done = subprocess.run(command, cwd=root, env=kept, capture_output=True, text=True, check=False)
        return done.returncode, done.stderr, root / "site"

    return build


def _has_sphinx():
    probe = [sys.executable, "-c", "import furo, myst_nb, sphinx_copybutton"]
    return subprocess.run(probe, capture_output=True, check=False).returncode == 0


@pytest.mark.slow
def test_links_that_are_right_on_github_are_right_on_the_site(built):
    code, said, site = built(GITHUB_SERVER_URL="https://example.org", GITHUB_REPOSITORY="us/featcache")
    assert said == ""
    assert code == 0
    assert problems(site) == []
    guide, front, changes = (
        (site / f"{name}.html").read_text().replace("\n", " ") for name in ("guide", "index", "changes")
    )
    assert 'href="reference.html#f"' in guide
    assert 'href="changes.html#new-things"' in guide
    assert 'href="index.html"><span class="std std-doc">front' in guide
    assert 'href="https://example.org/us/featcache/blob/main/tools/x.py"' in guide
    assert 'href="https://example.org/us/featcache/tree/main/tools"' in guide
    assert 'src="_images/one.svg"' in guide
    assert 'href="guide.html"' in changes
    assert 'href="guide.html"' in front
    assert 'src="_images/one.svg"' in front
    described = (site / "reference.html").read_text()
    assert described.count("<dt>") == 2
    assert '<code class="type docutils literal notranslate">' in described
    assert "<li><p>a plain list</p></li>" in described


@pytest.mark.slow
def test_without_a_repository_its_files_are_named_and_what_is_not_there_is_an_error(built):
    code, said, site = built(
        guide=GUIDE
        + "\n[no page](no.md), [no heading](reference.md#no), [no file](../no.py), [out](../../mine.txt)\n"
    )
    assert code == 1
    for lost in (
        "'no.md'",
        "'reference': 'no'",
        "'../no.py'",
        "link to ../../mine.txt, outside of the repository",
    ):
        assert lost in said
    assert said.count("WARNING") == 4
    assert not [*site.rglob("mine.txt")]  # a file that is nobody's to publish
    guide = (site / "guide.html").read_text()
    assert '<code class="docutils literal notranslate"><span class="pre">code</span></code>' in guide
    assert "tools/x.py" not in guide


# What a reader sees ------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scheme"),
    [("index", "light"), ("index", "dark"), ("guide/datasets", "dark"), ("reference/api", "light")],
)
def test_everybody_can_read_the_pages(name, scheme):
    if "SITE" not in os.environ:
        pytest.skip("SITE names no built site: .ci/site /tmp/site, SITE=/tmp/site")
    site, phone = Path(os.environ["SITE"]), {"width": 390, "height": 844}
    with (
        chromium() as browser,
        opened(browser, site / f"{name}.html", beside=site, color_scheme=scheme, viewport=phone) as shown,
    ):
        assert (shown.asked, shown.said) == ([], [])
        assert shown.page.evaluate("document.documentElement.scrollWidth") <= phone["width"]
        assert violations(shown.page) == []
