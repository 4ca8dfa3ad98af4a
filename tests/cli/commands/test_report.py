"""``featcache report``: the finding first, what to open last, names that say what a page is of."""

import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from helpers.feature_caches import blobs, feature_cache

from featcache import sweep, train_head
from featcache.cli.commands.report import default_name

pytestmark = pytest.mark.skipif(find_spec("jinja2") is None, reason="the extra report is not installed")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a cache, a classifier and a sweep."""
    root = tmp_path_factory.mktemp("made")
    features, labels = blobs(105)
    splits = ["train"] * 60 + ["val"] * 15 + ["test"] * 30
    cache = feature_cache(root / "own.h5", features, labels, splits)
    train_head(cache, output=root / "head", head="ridge")
    sweep(cache, head="prototype,ridge", output=root / "sweep")
    return root


def test_the_command_says_the_finding_first_and_what_to_open(cli, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = cli("report", made / "head")
    assert ran.code == 0, ran.err
    first, *_ = ran.out.splitlines()
    assert re.match(r"head-report\.html: \d+\.\d % right on 30 test photos$", first)
    assert ran.err.splitlines()[-1] == "next: open head-report.html in a browser"
    assert Path("head-report.html").is_file()
    again = cli("report", made / "own.h5", made / "head")
    assert again.code == 2
    assert "is a cache, which has no scores to compare" in again.err


def test_the_command_has_the_numbers_as_json(cli, made, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value = cli("report", made / "head", made / "sweep", "--json", "-o", "a.html").result
    assert value["report"] == "a.html"
    assert [own["name"] for own in value["sections"]["compared"]["classifiers"]]
    assert value["figures"] == []


@pytest.mark.parametrize(
    ("paths", "name"),
    [
        (["flowers.h5"], "flowers-report.html"),
        (["runs/head.run"], "head-report.html"),
        (["sweep"], "sweep-report.html"),
        (["a", "b", "c"], "a-and-2-report.html"),
        (["my.model"], "my.model-report.html"),
    ],
)
def test_the_default_name_says_what_it_is_of(paths, name):
    assert default_name([Path(path) for path in paths]) == name


@pytest.mark.slow
def test_figures_and_a_file_that_is_no_report(cli, made, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    ran = cli("report", made / "own.h5", "-o", "a.html", "--figures", "drawn", "--pictures", "0", "--json")
    assert sorted(ran.result["figures"]) == sorted(str(path) for path in Path("drawn").iterdir())
    Path("b.html").write_text("mine")
    refused = cli("report", made / "own.h5", "-o", "b.html")
    assert refused.code == 2
    assert (
        "b.html is there and no report of featcache; name another file, or replace it with --overwrite"
        in refused.err
    )
    assert cli("report", made / "own.h5", "-o", "b.html", "--overwrite").code == 0
    for given in ("own.h5", "head/page.html"):
        refused = cli("report", made / given.split("/")[0], "-o", made / given, "--overwrite")
        assert refused.code == 2, refused
