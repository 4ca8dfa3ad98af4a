"""Running a command in this process, and what every command's output must be like."""

import json
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Ran:
    """Exit code and output of a command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one JSON object on stdout."""
        assert self.out.count("\n") == 1, self.out
        return json.loads(self.out, parse_constant=pytest.fail)  # NaN and Infinity are no JSON

    @property
    def result(self) -> dict[str, Any]:
        assert self.code == 0, self.err
        return self.json["result"]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Ran]]:
    from featcache.cli import main

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def cli(*arguments: object) -> Ran:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ran(code, out, err)

    yield cli
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(scope="session")
def side_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What side commands are run on; tests copy it."""
    from helpers.side_commands import make_inputs

    root = tmp_path_factory.mktemp("side")
    make_inputs(root)
    return root


@pytest.fixture
def place(side_inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory of side commands."""
    from helpers.fake_network import FakeNetwork

    from featcache import backbones

    shutil.copytree(side_inputs, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(backbones, "load", lambda name="", weights=None: FakeNetwork())
    return tmp_path
