"""The command line: parse, call one public function, print. Each command is a module of its own."""

import sys

__all__ = ["main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code.

    0 ok, 1 runtime, 2 usage, 3 data or weights missing, 4 integrity, 130 interrupted.
    """
    from featcache.cli.app import run

    return run(sys.argv[1:] if arguments is None else arguments)
