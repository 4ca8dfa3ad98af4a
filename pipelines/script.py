"""How each script here is run: its options by typer, and what goes wrong in one line."""

import sys
from collections.abc import Callable
from typing import Any

import typer

from featcache.errors import FeatcacheError, first_line


def run_script(main: Callable[..., Any]) -> None:
    """Run a script by its command line; what a user can mend is said in one line, as featcache's commands do.

    Raises
    ------
    SystemExit
        With featcache's exit code of an error, 1 for a file that cannot be written; as typer ends otherwise.
    """
    try:
        typer.run(main)
    except (FeatcacheError, OSError) as error:
        text = str(error) if isinstance(error, FeatcacheError) else first_line(error)
        print(f"error: {text}", file=sys.stderr)
        raise SystemExit(getattr(error, "exit_code", 1)) from None
