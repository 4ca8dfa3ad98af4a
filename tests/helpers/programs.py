"""Programs that tests run in processes of their own: where they find the helpers, a small disk, and children."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest


def environment(**variables: str) -> dict[str, str]:
    """Return the variables of this process, with which programs also find the helpers, and others."""
    places = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    return {**os.environ, "PYTHONPATH": places, **variables}


def run_on_small_disk(
    program: str, folder: Path, *arguments: str, size: str = "600k", timeout: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a Python program in a mount namespace of its own, in which a folder is a tmpfs; it must end well.

    The program's arguments are the folder and `arguments`. Where nothing may be mounted, the test is skipped.
    """
    unshare = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--mount", "--map-root-user"]
    if shutil.which("unshare") is None:
        pytest.skip("mounting a small disk needs unshare")
    mount = f'mount -t tmpfs -o size={size} tmpfs "{folder}" && exec "$@"'
    mounted = [*unshare, "sh", "-c", mount, "sh"]
    probe = subprocess.run([*mounted, "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"mounting a small disk is not allowed here: {probe.stderr.strip()}")
    run = subprocess.run(
        [*mounted, sys.executable, "-c", program, str(folder), *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert run.returncode == 0, run.stderr
    return run


def start_filler(path: Path) -> int:
    """Fork a process that fills and frees the disk with a file, as long as this process lives; returns its number."""
    this = os.getpid()
    filler = os.fork()
    if filler:
        return filler
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)
        tries = random.Random(0)
        while os.getppid() == this:
            for _ in range(tries.randrange(100)):
                with suppress(OSError):
                    os.write(descriptor, bytes(65536))
            os.ftruncate(descriptor, 0)
            os.lseek(descriptor, 0, 0)
            for _ in range(tries.randrange(3000)):
                os.getppid()
    finally:
        os._exit(0)


def in_a_child(function: Callable[[], str]) -> str:
    """Return what a function answers in a forked process; an error, or the signal that ended it, instead."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        try:
            answer = function()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, answer.encode())
        os._exit(0)
    os.close(writing)
    with open(reading, "rb") as stream:
        answer = stream.read().decode()
    status = os.waitpid(child, 0)[1]
    return answer if not status else f"signal {status}"
