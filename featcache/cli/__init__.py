"""The command line: parse, call one public function, print. Each command is a module of its own."""

import sys

__all__ = ["main"]

COMPILING = ("extract", "train-head", "sweep", "finetune", "evaluate", "predict", "demo")
"""Commands that JAX compiles programs for."""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit code.

    0 ok, 1 runtime, 2 usage, 3 data or weights missing, 4 integrity, 130 interrupted.
    """
    from featcache.cli.app import run

    if arguments is None:
        arguments = sys.argv[1:]
        _keep_programs(arguments)
    return run(arguments)


def _keep_programs(arguments: list[str]) -> None:
    """Let this process keep what it compiles: it is ours. Who calls `main` as a function has settings of their own."""
    if arguments and arguments[0] in COMPILING and "--help" not in arguments:
        from featcache.core.compilation_cache import enable_compilation_cache

        enable_compilation_cache()
