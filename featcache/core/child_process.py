"""Processes that read what a library cannot be trusted with: isolated, without files, with limits on time and memory.

One flipped bit in a file can crash a library of C++ or keep it busy for ever, and a few bytes can make it take all
memory. So it reads such a file in a process of its own, which is a script beside the module that starts it.
"""

import importlib.util
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO


@contextmanager
def child_process(
    script: Path,
    arguments: Sequence[object],
    *,
    packages: Sequence[str],
    file: BinaryIO | int,
    more_files: Sequence[int] = (),
    seconds: float | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a script on an open file; the process ends with the block.

    Isolated, so that neither ``PYTHON*`` variables nor the working folder decide what is imported; packages then may
    have to be looked for where this process found them.

    Parameters
    ----------
    script
        What to run; it calls `limit_process` before it looks into the file.
    arguments
        For the script, before the folders of `packages`.
    packages
        What the script imports.
    file
        Its standard input.
    more_files
        Descriptors that it has under the same numbers.
    seconds
        Time after which it is killed; ``None`` where only its processor time is limited.
    environment
        Variables of the environment beside those of this process.

    Raises
    ------
    OSError
        If no process can be started.
    """
    command = [sys.executable, "-I", str(script), *map(str, arguments), *_package_folders(packages)]
    started = subprocess.Popen(
        command,
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=more_files,
        env=os.environ
        | {"OPENBLAS_NUM_THREADS": "1"}
        | dict(environment or {}),  # threads take address space
    )
    with started as child:
        alarm = threading.Timer(seconds, child.kill) if seconds is not None else None
        if alarm is not None:
            alarm.start()
        try:
            yield child
        finally:
            if alarm is not None:
                alarm.cancel()
            child.kill()


def end_of(code: int, library: str) -> str:
    """Say why a child process died by a signal, for what follows "its structure"."""
    slow: Mapping[int, str] = {
        signal.SIGKILL: f"takes {library} too long, or more memory than this machine has",
        signal.SIGXCPU: f"takes {library} too long",
    }
    return slow.get(-code, f"crashes the {library} library (signal {-code})")


def limit_process(seconds: int, memory: int) -> None:
    """Limit this process, which has opened all it needs: it can open and write nothing more.

    Parameters
    ----------
    seconds
        Of processor time.
    memory
        Address space in bytes.
    """
    limits: dict[int, tuple[int, int]] = {
        resource.RLIMIT_CPU: (seconds, seconds + 1),
        resource.RLIMIT_AS: (memory, memory),
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_FSIZE: (0, 0),
        # Everything needed is open: from here on no link, plug-in or external file can be.
        resource.RLIMIT_NOFILE: (0, 0),
    }
    for kind, limit in limits.items():
        try:
            resource.setrlimit(kind, limit)
        except (ValueError, OSError):  # a lower limit is set already, or (macOS, memory) none can be
            continue


def _package_folders(names: Sequence[str]) -> set[str]:
    origins: list[Any] = [spec.origin for name in names if (spec := importlib.util.find_spec(name))]
    return {str(Path(origin).parents[1]) for origin in origins if origin}
