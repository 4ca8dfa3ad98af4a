"""The guide's notebooks hold what they show, small enough to be read on the web, and show it again when they run."""

from pathlib import Path

import make_notebooks
import nbformat
import pytest
from make_notebooks import differences, notebooks, shape

from featcache.backbones.registry import resolve
from featcache.backbones.weights.download import locate

MOST_BYTES = 400_000
BOOKS = notebooks()


@pytest.fixture(params=BOOKS, ids=[path.name for path in BOOKS])
def book(request):
    return nbformat.read(request.param, as_version=4)


def test_there_is_one():
    assert [path.name for path in BOOKS] == ["first-classifier.ipynb"]
    assert all(path.stat().st_size < MOST_BYTES for path in BOOKS)


def test_every_cell_ran_in_order_without_an_error_or_a_warning(book):
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert {output.output_type for output in outputs} == {"execute_result", "stream"}
    assert {output.name for output in outputs if output.output_type == "stream"} == {"stdout"}
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 5


def test_nothing_of_the_machine_is_in_it(book):
    assert book.metadata.language_info == {"name": "python"}
    assert not [cell for cell in book.cells if "execution" in cell.metadata]
    text = "\n".join(shape(book))
    assert "/tmp/" not in text
    assert " at 0x" not in text


def a_notebook(path: Path, source: str) -> Path:
    cells = [nbformat.v4.new_code_cell(source)]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


@pytest.mark.slow
def test_what_differs_is_told_but_not_numbers_that_are_rounded_otherwise(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(make_notebooks, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    path = a_notebook(tmp_path / "docs" / "x.ipynb", "print('accuracy 91.2 %')")
    monkeypatch.setattr("sys.argv", ["make_notebooks.py"])
    assert make_notebooks.main() == 0
    assert "accuracy 91.2 %" in path.read_text()
    path.write_text(path.read_text().replace("print('accuracy 91.2 %')", "print('accuracy 91.3 %')"))
    assert differences(path) == []
    path.write_text(path.read_text().replace("print('accuracy 91.3 %')", "print('error 8.7 %')"))
    monkeypatch.setattr("sys.argv", ["make_notebooks.py", "--check"])
    capsys.readouterr()
    assert make_notebooks.main() == 1
    assert capsys.readouterr().out == (
        "docs/x.ipynb shows something else now: python tools/make_notebooks.py\n"
        "- cell 0: stream (stdout) accuracy N %\n"
        "+ cell 0: stream (stdout) error N %\n"
    )


@pytest.mark.slow
@pytest.mark.skipif(
    locate(resolve("efficientnet_lite0")) is None, reason="the notebook's network is the demo's"
)
@pytest.mark.parametrize("path", BOOKS, ids=[path.name for path in BOOKS])
def test_it_shows_the_same_when_it_runs(path):
    assert differences(path) == []
