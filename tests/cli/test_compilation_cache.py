"""Commands keep compiled programs, say so, and clear them away."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from featcache.core.compilation_cache import programs_folder

COMMAND = [sys.executable, "-c", "import sys; from featcache.cli import main; sys.exit(main())"]
SETTINGS = ("JAX_COMPILATION_CACHE_DIR", "JAX_COMPILATION_CACHE_MAX_SIZE", "FEATCACHE_COMPILATION_CACHE")


@pytest.fixture(autouse=True)
def own_home(tmp_path, monkeypatch):
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    # The test's programs compile faster than those that are worth keeping.
    monkeypatch.setenv("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*COMMAND, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return done


def compiled(doctor: subprocess.CompletedProcess[str]) -> list[tuple[str, str]]:
    found = json.loads(doctor.stdout)["result"]["findings"]
    return [(each["state"], each["detail"]) for each in found if each["topic"] == "compiled"]


@pytest.mark.slow
def test_a_second_command_uses_the_programs_of_the_first_and_survives_their_damage(trained, tmp_path):
    def train(name: str) -> tuple[bytes, str]:
        done = run("train-head", trained.cache, "-o", tmp_path / name, "--epochs", 3)
        return (tmp_path / name / "head.safetensors").read_bytes(), done.stderr

    first, _ = train("first")
    programs = {path: path.read_bytes() for path in programs_folder().glob("*-cache")}
    assert programs
    again, told = train("again")
    assert again == first
    assert "compiled" not in told
    assert {path: path.read_bytes() for path in programs_folder().glob("*-cache")} == programs

    for path, content in programs.items():
        path.write_bytes(content[: len(content) // 2])
    damaged, told = train("damaged")
    assert damaged == first
    assert told.count("damaged compiled programs were deleted and are compiled again\n") == 1
    assert "persistent compilation cache" not in told
    assert set(programs_folder().glob("*-cache")) == set(programs)

    ((state, detail),) = compiled(run("doctor", tmp_path, "--json"))
    assert state == "ok"
    assert detail.startswith(f"{len(programs)} programs, ")
    assert detail.endswith(f" of at most 500 MB, in {programs_folder()}")


def test_the_doctor_says_why_nothing_is_kept(cli, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATCACHE_COMPILATION_CACHE", "0")
    findings = cli("doctor", tmp_path, "--json").result["findings"]
    (told,) = [(each["state"], each["detail"]) for each in findings if each["topic"] == "compiled"]
    assert told == ("note", "commands keep no compiled programs: FEATCACHE_COMPILATION_CACHE is 0")


@pytest.mark.parametrize("arguments", [["train-head", "--help"], ["--version"], ["cache", "ls", "."], []])
def test_commands_that_compile_nothing_make_no_folder(cli, own_home, monkeypatch, arguments):
    from featcache.cli import main

    monkeypatch.setattr(sys, "argv", ["featcache", *arguments])
    main()
    assert not own_home.exists()


def test_called_as_a_function_it_leaves_the_process_as_it_is(cli, own_home):
    before = dict(os.environ)
    assert cli("train-head", "/nowhere.h5").code == 3
    assert dict(os.environ) == before
    assert not own_home.exists()


# cache gc ---------------------------------------------------------------------------------------------------


@pytest.fixture
def folders() -> tuple[Path, Path]:
    """Programs of this machine, and those that another one used two months ago."""
    mine = programs_folder()
    old = mine.with_name("jax0.1-of-another")
    then = time.time() - 60 * 86_400
    mine.parent.mkdir(parents=True, mode=0o700)
    for folder in (mine, old):
        folder.mkdir(mode=0o700)
        (folder / "jit_f-1-cache").write_bytes(bytes(2_000_000))
        (folder / "jit_f-1-atime").write_bytes(bytes(8))
    for path in (*old.iterdir(), old):
        os.utime(path, (then, then))
    return mine, old


def test_gc_lists_and_deletes_old_programs(cli, folders, tmp_path):
    mine, old = folders
    listed = cli("cache", "gc", tmp_path)
    assert listed.out.startswith(
        f"would remove {old} (2.0 MB): compiled programs (1) of another machine, JAX or featcache, "
    )
    assert listed.out.count("\n") == 1
    assert listed.err == "nothing was deleted; do it with --delete\n"
    assert (
        f"kept {mine} (2.0 MB): compiled programs (1) of this machine, last used "
        in cli("cache", "gc", tmp_path, "-v").out
    )
    assert old.exists()

    removed = cli("cache", "gc", tmp_path, "--delete", "--json").result
    assert [(left["path"], left["removable"]) for left in removed["leftovers"]] == [(str(old), True)]
    assert (mine.exists(), old.exists()) == (True, False)


def test_gc_deletes_all_programs_when_asked_to(cli, folders, tmp_path):
    assert cli("cache", "gc", tmp_path, "--programs").out.count("would remove ") == 2
    assert cli("cache", "gc", tmp_path, "--programs", "--delete").out.count("removed ") == 2
    assert [folder.exists() for folder in folders] == [False, False]
