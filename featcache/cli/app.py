"""The typer application, and what becomes of errors, Ctrl-C and closed pipes."""

import os
import signal
import sys
from contextlib import suppress
from types import FrameType
from typing import Annotated, Any

import typer

from featcache import __version__
from featcache.cli import backbones, demo, evaluate, extract, predict, train_head
from featcache.cli.console import Console, active
from featcache.errors import FeatcacheError

app = typer.Typer(
    name="featcache",
    help="Run a frozen image backbone once, keep its features, train heads in seconds.",
    no_args_is_help=True,
    add_completion=False,
    # Rich's markup would pull in its Markdown parser; --help must stay instant.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

for module in (extract, train_head, evaluate, predict, backbones, demo):
    app.command(module.NAME)(module.command)


def _version(value: bool) -> None:
    if value:
        typer.echo(f"featcache {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    del version


def run(arguments: list[str]) -> int:
    """Run one command; every error becomes one clear line and an exit code."""
    _terminate_like_ctrl_c()
    try:
        result: Any = app(arguments, standalone_mode=False)
        sys.stdout.flush()
    except FeatcacheError as error:
        return _fail(error, str(error), error.exit_code)
    except KeyboardInterrupt:
        return _fail(None, "interrupted; what was done is kept: run the same command again to go on", 130)
    except BrokenPipeError:  # `featcache … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        return _unexpected(error)
    return result if isinstance(result, int) else 0


def _fail(error: Exception | None, message: str, code: int) -> int:
    console = active() or Console()
    console.fail(type(error).__name__ if error else "Interrupted", message)
    return code


def _unexpected(error: Exception) -> int:
    # typer's own usage errors know how to print themselves and which code they mean.
    show, code = getattr(error, "show", None), getattr(error, "exit_code", None)
    if callable(show) and isinstance(code, int):
        show()
        return code
    if type(error).__name__ == "Abort":
        return _fail(None, "interrupted", 130)
    if os.environ.get("FEATCACHE_DEBUG"):
        raise error
    message = f"unexpected {type(error).__name__}: {error}. Set FEATCACHE_DEBUG=1 to see where, and report it"
    return _fail(error, message, 1)


def _terminate_like_ctrl_c() -> None:
    """Let SIGTERM unwind like Ctrl-C, so that what was done is kept and the resume command is named."""

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    with suppress(ValueError):  # not in the main thread: a program calls us as a function
        signal.signal(signal.SIGTERM, stop)
