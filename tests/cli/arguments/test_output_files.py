"""Files that a command writes never take the place of what it reads."""

import pytest

from featcache.cli.arguments.output_files import require_output
from featcache.errors import UsageError


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "c").mkdir()
    for name in ("c/classifier.json", "t.csv", "a.png", "x.h5", "old.csv"):
        (tmp_path / name).write_text("kept")
    (tmp_path / "link.csv").symlink_to("t.csv")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("a.png", r"--csv a\.png: it is there and does not end in \.csv or \.json, so it may be"),
        ("x.h5", "it is there and does not end in"),
        ("t.csv", r"--csv t\.csv is what is read here, and would be replaced; name another file"),
        ("link.csv", "is what is read here"),
        ("c/classifier.json", "lies in c, a folder of featcache's own files"),
        ("c/new.csv", "lies in c, a folder of featcache's own files"),
    ],
)
@pytest.mark.parametrize("table", ["t.csv", "csv:t.csv", "csv:t.csv?label=x"])
def test_inputs_are_not_replaced(here, name, says, table):
    with pytest.raises(UsageError, match=says):
        require_output("--csv", here.relative_to(here) / name, (".csv", ".json"), ["c", "a.png", table])


@pytest.mark.parametrize("name", ["new.csv", "old.csv", "NEW.CSV", "new.txt"])
def test_other_files_are(here, name):
    require_output("--csv", here / name, (".csv",), ["c", "a.png", "csv:t.csv", "csv:\0"])
    assert (here / "old.csv").read_text() == "kept"
