"""Scripts end in one line where a user can mend what is wrong."""

from pathlib import Path

import pytest
from script import run_script

from featcache.errors import DataError


def main(folder: Path) -> None:
    if folder.name == "nobody":
        raise DataError("folder nobody: there are no photos")
    (folder / "a").write_text("x")


def _run(monkeypatch, *given: str) -> object:
    monkeypatch.setattr("sys.argv", ["script.py", *given])
    with pytest.raises(SystemExit) as ended:
        run_script(main)
    return ended.value.code


def test_what_featcache_says_is_one_line_and_its_exit_code(monkeypatch, capsys):
    assert _run(monkeypatch, "nobody") == DataError.exit_code
    assert capsys.readouterr().err == "error: folder nobody: there are no photos\n"


def test_a_file_that_cannot_be_written_is_one_line(monkeypatch, capsys, tmp_path):
    (tmp_path / "file").touch()
    assert _run(monkeypatch, str(tmp_path / "file")) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_what_goes_well_ends_as_typer_does(monkeypatch, tmp_path):
    assert _run(monkeypatch, str(tmp_path)) == 0
    assert (tmp_path / "a").read_text() == "x"
