"""``featcache audit``: the lists as text, JSON and a table."""

import errno
import json
import os
from pathlib import Path

import pytest
from helpers.audited import flipped_cache

from featcache.auditing import audit as audit_module
from featcache.datasets import exclude_list as list_module


def test_lists_are_printed_with_their_first_entries(tmp_path: Path, cli) -> None:
    flipped_cache(tmp_path / "a.h5")
    ran = cli(
        "audit",
        tmp_path / "a.h5",
        "--only",
        "wrong-labels,imbalance",
        "--top",
        2,
        "--csv",
        tmp_path / "a.csv",
    )
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    assert lines[0].startswith("Labels that are probably wrong (wrong-labels): ")
    assert "labels of 240 probably wrong; an estimated " in lines[0]
    assert lines[1].split() == ["file", "label", "score", "why", "resembles"]
    assert any(line.startswith("  … and 98 more, ") and line.endswith("certain") for line in lines)
    assert "Rare classes (imbalance): 0 classes of 3" in ran.out
    assert (tmp_path / "a.csv").read_text().count("\n") == 1 + 100 + 3
    assert "a.csv: 103 lines" in ran.err


def test_lists_where_nothing_is_certain_are_counted_unless_they_are_asked_for(tmp_path: Path, cli) -> None:
    flipped_cache(tmp_path / "a.h5")
    ran = cli("audit", tmp_path / "a.h5")
    assert ran.code == 0, ran.err
    lines = ran.out.splitlines()
    place = next(
        number for number, line in enumerate(lines) if line.startswith("Rare classes (imbalance): 0 ")
    )
    assert lines[place + 1] == "  nothing certain; 3 to look at with --only imbalance"
    assert lines[place + 2] == ""
    wrong = next(
        number for number, line in enumerate(lines) if line.startswith("Labels that are probably wrong")
    )
    assert lines[wrong + 1].split() == ["file", "label", "score", "why", "resembles"]
    assert "to see the photos: featcache report" in ran.err


def test_json_holds_every_entry(tmp_path: Path, cli) -> None:
    flipped_cache(tmp_path / "a.h5")
    ran = cli("audit", tmp_path / "a.h5", "--only", "wrong-labels", "--json")
    (found,) = json.loads(ran.out)["result"]["lists"]
    assert len(found["entries"]) == 100
    assert found["figures"]["share"] > 0


def test_what_is_refused(tmp_path: Path, cli) -> None:
    flipped_cache(tmp_path / "a.h5", 30)
    for options, says in (
        (["--top", -1], "--top -1: expected 0 or more"),
        (["--csv", tmp_path / "a.txt"], "expected a file that ends in .csv"),
        (["--only", "labels"], "no list 'labels'"),
    ):
        ran = cli("audit", tmp_path / "a.h5", *options)
        assert ran.code != 0
        assert says in ran.err


def test_one_file_is_not_given_to_two_options(tmp_path: Path, cli) -> None:
    flipped_cache(tmp_path / "a.h5", 30)
    again = tmp_path / "b" / ".." / "s.csv"
    (tmp_path / "b").mkdir()
    ran = cli("audit", tmp_path / "a.h5", "--csv", tmp_path / "s.csv", "--exclude-list", again)
    assert ran.code == 2
    assert "--csv and --exclude-list both name" in ran.err
    assert not (tmp_path / "s.csv").exists()


def test_the_next_command_names_a_list_called_none_as_a_file(tmp_path: Path, cli, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    flipped_cache(tmp_path / "my photos.h5", 30)
    ran = cli("audit", "my photos.h5", "--only", "imbalance", "--exclude-list", "none")
    assert "featcache train-head 'my photos.h5' --exclude ./none" in ran.err


@pytest.mark.parametrize("option", ["--csv", "--exclude-list"])
def test_on_a_full_disk_the_lists_are_printed(tmp_path: Path, cli, monkeypatch, option: str) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    for module in (audit_module, list_module):
        monkeypatch.setattr(module, "replace_file", full)
    flipped_cache(tmp_path / "a.h5", 30)
    line = ("audit", tmp_path / "a.h5", "--only", "imbalance", option, tmp_path / "o.csv")
    ran = cli(*line)
    assert ran.code == 1
    assert ran.out.startswith("Rare classes (imbalance): ")
    assert f"cannot write {tmp_path / 'o.csv'}: No space left on device" in ran.err
    ran = cli(*line, "--json")
    assert (ran.code, len(ran.json["result"]["lists"])) == (1, 1)
    assert not {"csv", "exclude_list"} & set(ran.json["result"])


def test_what_takes_minutes_is_told_before_it_begins(
    tmp_path: Path, cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    flipped_cache(tmp_path / "a.h5")
    line = ("audit", tmp_path / "a.h5", "--only", "imbalance,outliers")
    assert "takes about" not in cli(*line).err
    monkeypatch.setattr(audit_module, "expected_seconds", lambda rows, wanted: 714.0)
    told = "auditing 240 photos takes about 12 minutes while nothing else runs; fewer lists: --only"
    assert told in cli(*line).err.splitlines()[0]
    assert told not in cli(*line, "--quiet").err
