"""Commands whose standard streams are closed, full, or both: no traceback, and the exit code of what was done."""

import os
import re
import subprocess
import sys

import pytest
from helpers.fake_network import FakeNetwork
from helpers.photo_folders import photo_folder
from helpers.small_caches import small

from featcache import backbones
from featcache.cache import FeatureCache

pytestmark = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")

MISSING = "error: no folder nowhere; expected a folder to look for caches in\n"
FULL = r"error: cannot write /dev/full: No space left .*, or send the output to another file\n"


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    ("command", "code", "said", "buffered"),
    [
        ("cache ls . 2>&-", 0, "", True),
        ("cache ls . <&- >&- 2>&-", 0, "", True),
        ("cache ls nowhere >&-", 3, MISSING, True),
        ("cache ls nowhere --json >/dev/full", 3, MISSING + FULL, True),
        ("cache ls nowhere --json >/dev/full", 3, MISSING + FULL, False),
        ("cache ls nowhere --json >/dev/full 2>/dev/full", 3, "", False),
        ("cache ls nowhere 2>/dev/full", 3, "", True),
        ("cache ls . >/dev/full 2>&-", 1, "", True),
        ("cache --help >/dev/full", 1, FULL, True),
        ("cache --help >/dev/full", 1, FULL, False),
        ("cache 2>/dev/full", 2, "", False),
    ],
)
def test_streams_that_take_nothing(tmp_path, command, code, said, buffered):
    small(4).publish(tmp_path / "a.h5")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, filter(None, sys.path)))}
    environment.pop("PYTHONUNBUFFERED", None)
    if not buffered:
        environment["PYTHONUNBUFFERED"] = "1"
    shell = f'"{sys.executable}" -m featcache {command}'
    done = subprocess.run(
        ["sh", "-c", shell], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert re.fullmatch(said, done.stderr), done.stderr
    assert done.returncode == code
    assert ("a.h5" in done.stdout) == (command == "cache ls . 2>&-")


@pytest.mark.parametrize("stderr", ["closed", "full"])
def test_an_extraction_whose_notes_cannot_be_printed_has_not_failed(cli, tmp_path, monkeypatch, stderr):
    monkeypatch.setattr(backbones, "load", lambda name="", weights=None: FakeNetwork())
    photos = photo_folder(tmp_path / "photos", {"train/cat": 2, "train/dog": 2})
    with open("/dev/full", "w", buffering=1) as full:
        monkeypatch.setattr(sys, "stderr", None if stderr == "closed" else full)
        ran = cli("extract", photos, "-o", tmp_path / "a.h5")
        full.flush()  # what could not be printed is no more to be printed
    assert ran.code == 0
    assert "4 computed" in ran.out
    assert len(FeatureCache(tmp_path / "a.h5")) == 4
