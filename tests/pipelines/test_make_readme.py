"""The tables of the pipelines' page."""

from pathlib import Path

import make_readme
import pytest
import typer
from helpers.experiment_records import CONTENT
from records import Comparison, read_records, write_record

PIPELINES = Path(__file__).parents[2] / "pipelines"


@pytest.fixture
def page(tmp_path, monkeypatch) -> Path:
    found = tmp_path / "README.md"
    found.write_text("before\n<!-- tables: made by make_readme.py -->\nold\n<!-- end of tables -->\nafter\n")
    monkeypatch.setattr(make_readme, "PAGE", found)
    monkeypatch.setattr(make_readme, "RESULTS", tmp_path / "results")
    return found


def test_experiments_come_in_their_order_and_a_stand_in_shows_no_number_of_its_own(tmp_path, page):
    results = tmp_path / "results"
    write_record(results, "a_study", **CONTENT | {"title": "A study | of <pipes>"})
    write_record(results, "e10_x", **CONTENT | {"title": "E10: x", "differs": "smaller"})
    write_record(results, "e2_y", **CONTENT | {"title": "E2: y"})
    stand_in = [Comparison("accuracy", 0.9736, 0.111)]
    write_record(results, "e7_z", **CONTENT | {"title": "E7: z", "small": True, "comparisons": stand_in})
    make_readme.main()
    text = page.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    places = [text.index(title) for title in ("E2: y", "E10: x", "A study \\| of &lt;pipes>", "E7: z")]
    assert places == sorted(places)
    assert "| accuracy | 90.0 % | 89.4 % | 86.7–92.0 % |" in text
    assert "accuracy 97.4 %" in text
    assert "11.1 %" not in text
    make_readme.main(check=True)  # and nothing is out of date


def test_a_page_that_is_out_of_date_fails_the_check(tmp_path, page, capsys):
    write_record(tmp_path / "results", "e2_y", **CONTENT)
    with pytest.raises(typer.Exit) as stopped:
        make_readme.main(check=True)
    assert stopped.value.exit_code == 1
    assert "is out of date: run python pipelines/make_readme.py" in capsys.readouterr().out
    assert "old" in page.read_text()


@pytest.mark.parametrize("line", ["<!-- tables: made by make_readme.py -->", "<!-- end of tables -->"])
def test_a_page_without_the_lines_around_its_tables_stays_as_it_is(tmp_path, page, line):
    write_record(tmp_path / "results", "e2_y", **CONTENT)
    page.write_text(before := page.read_text().replace(line, ""))
    with pytest.raises(
        ValueError, match=rf"README\.md has no line '{line}'; put it back, and run this again"
    ):
        make_readme.main()
    assert page.read_text() == before


def test_the_committed_page_is_of_the_committed_records():
    text = (PIPELINES / "README.md").read_text("utf-8")
    assert make_readme.page(text, read_records(PIPELINES / "results")) == text
