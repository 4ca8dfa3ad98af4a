"""The command line: each command is a module that parses arguments, calls one public function and prints."""

import os
import sys

__all__ = ["main"]

COMPILING = ("extract", "train-head", "sweep", "finetune", "evaluate", "predict", "demo")
"""Commands that compile programs with JAX."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code.

    0 ok, 1 runtime, 2 usage, 3 data or weights missing, 4 integrity, 130 interrupted.
    """
    open_missing_streams()
    from featcache.cli.app import run

    if arguments is None:
        arguments = sys.argv[1:]
        _keep_programs(arguments)
    return run(arguments)


def open_missing_streams() -> None:
    """Give a process that was started without some of its standard streams (``2>&-``) ones that lead nowhere.

    Their numbers are taken, too: else the next file that is opened gets them, and what a library prints.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            try:
                os.fstat(number)
            except OSError:
                _lead_nowhere(number)
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115


def _lead_nowhere(number: int) -> None:
    opened = os.open(os.devnull, os.O_RDWR)
    if opened != number:
        os.dup2(opened, number)
        os.close(opened)


def _keep_programs(arguments: list[str]) -> None:
    """Enable the compilation cache for this process. Programs that call `main` keep their own JAX settings."""
    if arguments and arguments[0] in COMPILING and "--help" not in arguments:
        from featcache.core.compilation_cache import enable_compilation_cache

        enable_compilation_cache()
