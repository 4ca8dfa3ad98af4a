"""Search for a regular expression in names; runs as a script, in a process of its own.

`featcache.datasets.labels.file_names` starts it with ``{"expression": …, "names": […]}`` on standard input. Written to
standard output is ``{"parts": […]}``, an object or null for each name, or ``{"slow": NUMBER}``: the name at which the
time was over.
"""

import json
import math
import re
import signal
import sys
import warnings
from typing import Any


class SlowError(Exception):
    """The time is over."""


def main(seconds: float) -> dict[str, Any]:
    """Return the answer to the question on standard input.

    Parameters
    ----------
    seconds
        Of processor time. A signal ends the search: Python looks for signals while it searches.
    """
    question = json.load(sys.stdin)
    warnings.simplefilter("ignore")
    compiled = re.compile(question["expression"])
    only = None if "label" in compiled.groupindex else 1 + _unnamed(compiled)

    def over(*_: object) -> None:
        raise SlowError

    signal.signal(signal.SIGVTALRM, over)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    parts: list[dict[str, str] | None] = []
    try:
        for name in question["names"]:
            found = compiled.search(name) or ("/" in question["expression"] and compiled.search(f"/{name}"))
            parts.append(None if not found else _parts(found, only))
    except (SlowError, MemoryError):
        return {"slow": len(parts)}
    return {"parts": parts}


def _unnamed(compiled: re.Pattern[str]) -> int:
    """Return the place of the only group without a name, from 0."""
    named = {*compiled.groupindex.values()}
    return next(number for number in range(compiled.groups) if number + 1 not in named)


def _parts(found: re.Match[str], only: int | None) -> dict[str, str]:
    parts = found.groupdict() | ({} if only is None else {"label": found[only]})
    return {name: text for name, text in parts.items() if text}


def _start(arguments: list[str]) -> None:
    seconds, memory, *packages = arguments
    sys.path += packages
    from featcache.core.child_process import limit_process

    limit_process(2 * math.ceil(float(seconds)) + 1, int(memory))  # where the signal is not looked for
    json.dump(main(float(seconds)), sys.stdout)


if __name__ == "__main__":
    _start(sys.argv[1:])
