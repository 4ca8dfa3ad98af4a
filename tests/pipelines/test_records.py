"""Records of experiments: what is written is read again, by the table and by the report."""

import json
from pathlib import Path

import pytest
import records
from common import TEXTURES
from helpers.experiment_records import CONTENT
from records import Comparison, ours, read_records, write_record

from featcache.errors import DataError

RESULTS = Path(__file__).parents[2] / "pipelines" / "results"


def test_what_is_written_is_plain_complete_and_read_again(tmp_path, capsys):
    path = write_record(tmp_path / "new" / "folder", "e0", **CONTENT | {"data": TEXTURES})
    (record,) = read_records(path.parent)
    assert path.name == "e0.json"
    assert record["data"] == "data/textures"
    assert record["result"] == {"accuracy": 0.5, "confusion": [[1, 0], [0, 1]], "none": None}
    assert record["seconds"]["extract"] == 1.3
    assert record["seconds"]["processor"] > 0
    assert record["comparisons"][0]["interval"] == [0.867, 0.92]
    assert {"python", "featcache", "jax", "numpy", "scikit-learn"} <= set(record["versions"])
    assert {"machine", "processor", "cores", "device"} == set(record["hardware"])
    said = capsys.readouterr().out
    assert "e0: accuracy: published 90.0 %, ours 89.4 % (86.7–92.0 %)" in said


def test_what_is_no_record_is_not_written(tmp_path):
    with pytest.raises(
        DataError, match=r"e0\.json is damaged: images is -1, expected a whole number of at least 0"
    ):
        write_record(tmp_path, "e0", **CONTENT | {"images": -1})
    assert list(tmp_path.iterdir()) == []


def test_a_run_that_is_killed_as_it_writes_leaves_the_record_of_before(tmp_path, monkeypatch):
    path = write_record(tmp_path, "e0", **CONTENT)
    before = path.read_bytes()

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("featcache.core.disk.files.os.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_record(tmp_path, "e0", **CONTENT | {"images": 7})
    assert path.read_bytes() == before
    assert len(read_records(tmp_path)) == 1


def test_of_a_folder_other_json_is_left_alone_and_a_damaged_record_is_named(tmp_path):
    (tmp_path / "else.json").write_text('{"format": "something else"}')
    assert read_records(tmp_path) == []
    (tmp_path / "cut.json").write_text('{"format": "featcache-record", "format_version": 1, "na')
    with pytest.raises(
        DataError, match=r"cut\.json is damaged: not a record of an experiment: .*; run the script"
    ):
        read_records(tmp_path)


@pytest.mark.parametrize(
    ("comparison", "text"),
    [
        (Comparison("a", None, None), "–"),
        (Comparison("a", None, 0.5), "50.0 %"),
        (Comparison("a", 5.0, 7.314, (6.9, 7.7), "x"), "7.31× (6.9× to 7.7×)"),
        (Comparison("a", None, -0.0001, (-0.007, 0.007), "points"), "+0.0 points (-0.7 to +0.7 points)"),
        (Comparison("a", None, 4500.4, unit="s"), "4,500 s"),
        (Comparison("a", 72.0, 65.04, unit="s"), "65 s"),
    ],
)
def test_numbers_are_shown_with_their_unit(comparison, text):
    assert ours(comparison) == text


def test_the_committed_records_are_records_and_name_no_folder_of_one_machine():
    found = read_records(RESULTS)
    assert len(found) == len(list(RESULTS.glob("*.json"))) >= 11
    for record in found:
        text = json.dumps(record)
        assert "/work" not in text, record["name"]
        assert "/tmp" not in text, record["name"]
        assert record["fingerprints"], record["name"]
        assert record["small"] == all("random" in source for source in record["weights"].values()), record[
            "name"
        ]
        for name in record["figures"]:
            assert (RESULTS / name).is_file(), name


def test_the_command_is_the_one_for_the_folder_above(monkeypatch):
    monkeypatch.setattr(
        "sys.argv", ["/somewhere/pipelines/e2_flowers.py", "--output", "x", "--data", "my flowers"]
    )
    assert records.command_line() == "python pipelines/e2_flowers.py --data 'my flowers'"
