"""Every page of the documentation, run from top to bottom as its reader would."""

import pytest
from helpers.doc_pages.blocks import name_of, pages
from helpers.doc_pages.running import run_page

from featcache.backbones.registry import resolve
from featcache.backbones.weights.download import locate


@pytest.mark.slow
@pytest.mark.filterwarnings("always::featcache.errors.FeatcacheWarning")
@pytest.mark.skipif(
    locate(resolve("efficientnet_lite0")) is None, reason="the names of caches are those of published weights"
)
@pytest.mark.parametrize("page", pages(), ids=name_of)
@pytest.mark.usefixtures("small_backbone")
def test_a_page_does_what_it_says(page, tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "Agg")
    place, tools = tmp_path / "reader", tmp_path / "tools"
    for each in (place, tools):
        each.mkdir()
    problems = run_page(page, place, tools)
    assert not problems, "\n" + "\n".join(problems)
