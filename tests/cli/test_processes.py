"""What only a process of its own shows: signals, closed pipes, the installed command."""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from helpers.photo_folders import photo_folder

from featcache import FeatureCache
from featcache.backbones.registry import resolve
from featcache.backbones.weights.download import locate
from featcache.cache import partial_path
from featcache.errors import FeatcacheError

COMMAND = [sys.executable, "-c", "import sys; from featcache.cli import main; sys.exit(main())"]

needs_weights = pytest.mark.skipif(
    locate(resolve("efficientnet_lite0")) is None, reason="needs efficientnet_lite0's weights"
)


def run(*arguments: object, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False, **options
    )


def test_the_installed_command_is_the_function():
    installed = Path(sys.executable).with_name("featcache")
    if not installed.exists():
        pytest.skip("featcache is not installed as a command here")
    done = subprocess.run([installed, "extract", "/nowhere"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == run("extract", "/nowhere").stderr


@pytest.mark.one_by_default
@pytest.mark.parametrize(
    "arguments",
    [("backbones",), ("extract", "/nowhere", "--json"), ("extract", "--oops", "--json"), ("--help",)],
)
def test_a_closed_pipe_gives_no_traceback(arguments):
    """As in ``featcache backbones | head -0``."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(
            [*COMMAND, *arguments],
            stdout=write_end,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
            check=False,
        )
    finally:
        os.close(write_end)
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr
    assert done.returncode == 1


@needs_weights
def test_a_limit_on_the_size_of_files_is_an_error_and_no_signal(tmp_path):
    photo_folder(tmp_path / "photos", {"cat": 3, "dog": 3})
    limited = ["sh", "-c", 'ulimit -f 16; exec "$@"', "sh", *COMMAND]
    arguments = ["extract", tmp_path / "photos", "--output", tmp_path / "a.h5", "--layer", "stem"]
    done = subprocess.run(
        [*limited, *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 1
    assert "a.partial.h5: File too large [errno 27, EFBIG]; a limit on the size of files" in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["photos"]


# Signals ----------------------------------------------------------------------------------------------------

IMAGES = 400


def rows_written(partial: Path) -> int:
    """How many rows an unfinished cache has; 0 while it is being created."""
    try:
        with FeatureCache(partial) as cache:
            return int(cache.written().sum())
    except (FeatcacheError, OSError):
        return 0


def interrupt(process: subprocess.Popen, number: int, partial: Path, more_than: int) -> int:
    """Send a signal once the unfinished cache has more rows than that; return how many it had."""
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline:
        found = rows_written(partial)
        assert process.poll() is None, f"it ended before it was interrupted: {process.communicate()[1]}"
        if found > more_than:
            process.send_signal(number)
            return found
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
    raise AssertionError("no rows were written")


@pytest.mark.slow
@needs_weights
def test_an_interrupted_extraction_says_so_and_the_same_command_finishes_it(tmp_path, cli, monkeypatch):
    photo_folder(tmp_path / "photos", {"cat": IMAGES // 2, "dog": IMAGES // 2})
    # An early layer compiles fast; one image at a time on one thread leaves time to interrupt.
    arguments = ["extract", "photos", "-o", "out.h5", "-l", "stem", "--workers", "1", "--batch-size", "1"]
    partial, kept = partial_path(tmp_path / "out.h5"), 0
    for number in (signal.SIGTERM, signal.SIGINT):
        process = subprocess.Popen(
            [*COMMAND, *arguments], cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        try:
            found = interrupt(process, number, partial, more_than=kept)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
        assert (process.returncode, out) == (130, "")
        said = re.fullmatch(
            rf"error: stopped after (\d+) of {IMAGES} images, which are kept; run the same command again to go on\n",
            err,
        )
        assert said, err
        assert found <= int(said[1]) == rows_written(partial) < IMAGES
        kept = int(said[1])
        assert not (tmp_path / "out.h5").exists()

    monkeypatch.chdir(tmp_path)
    done = cli(*arguments, "--json").result
    assert (done["resumed"], done["computed"]) == (kept, IMAGES - kept)
    with FeatureCache(tmp_path / "out.h5") as cache:
        assert len(cache.rows_of()) == IMAGES
        features = cache.features(cache.rows_of())
        assert len(np.unique(features, axis=0)) == IMAGES, "every row has values of its own"
    assert not partial.exists()


@needs_weights
@pytest.mark.slow
def test_the_demo_as_a_new_user_runs_it(tmp_path):
    done = run("demo", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    accuracy = float(re.search(r"^test: accuracy ([\d.]+) %", done.stdout, re.MULTILINE)[1])
    assert accuracy > 90
    assert (tmp_path / "featcache-demo" / "classifier" / "classifier.json").is_file()
    again = run("demo", "--json", cwd=tmp_path)
    assert '"computed": 0' in again.stdout
