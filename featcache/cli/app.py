"""The typer application: runs a command and maps exceptions, Ctrl-C and closed pipes to exit codes."""

import os
import signal
import sys
import warnings
from contextlib import suppress
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer

from featcache.cli.arguments.options import SectionedCommand, WholeHelpGroup, with_device
from featcache.cli.commands import (
    audit,
    backbones,
    cache,
    data,
    demo,
    doctor,
    evaluate,
    explain,
    export,
    extract,
    finetune,
    predict,
    report,
    similar,
    suggest,
    sweep,
    train_head,
)
from featcache.cli.console import (
    Console,
    OutputClosedError,
    active,
    drop_output,
    escaped,
    escaped_lines,
    forget,
    output_error,
    tell,
)
from featcache.cli.signals import after_interruption
from featcache.core.argument_types import named_as_options
from featcache.core.compilation_cache import forget_damaged, is_about_programs
from featcache.core.devices.choice import why_not_started
from featcache.core.disk.storage import is_of_storage, storage_error
from featcache.core.version import __version__
from featcache.errors import FeatcacheError, FeatcacheWarning, first_line

INTERRUPTED = 130
PACKAGE = Path(__file__).parents[1]
_UNNAMED = "a file, which the system does not name"
_WHERE = "look at the files and disks that the command uses; FEATCACHE_DEBUG=1 shows where it happened"

app = typer.Typer(
    name="featcache",
    cls=WholeHelpGroup,
    help="Run a frozen image backbone once, keep its features, train heads in seconds.",
    no_args_is_help=True,
    add_completion=False,
    # Rich's markup would pull in its Markdown parser; --help must stay instant.
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

COMPUTING = (
    extract,
    train_head,
    sweep,
    finetune,
    evaluate,
    predict,
    similar,
    explain,
    audit,
    suggest,
    demo,
)
"""Commands that compute, and take ``--device``."""

for module in (*COMPUTING, export, report, doctor):
    command = with_device(module.command) if module in COMPUTING else module.command
    app.command(module.NAME, cls=SectionedCommand)(command)
app.add_typer(backbones.group)
app.add_typer(cache.group)
app.add_typer(data.group)


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
    """Run one command; prints an exception as one line and returns its exit code."""
    _interrupt_on_sigterm()
    _escape_unencodable()
    forget()
    pillow: list[str] = []
    try:
        with warnings.catch_warnings():
            warnings.showwarning = partial(_show_warning, warnings.showwarning, pillow)
            code = _run(arguments)
            if (console := active()) is not None:
                console.tell_warnings()
        _note_pillow(pillow)
    except (BrokenPipeError, OutputClosedError):  # `featcache … | head`
        drop_output()
        if (console := active()) is not None and console.kept:
            console.note(f"the output was closed; {console.kept}")
        return 1
    return _flush(code)


def _flush(code: int) -> int:
    """Print what is left of the output; returns the exit code, which a failure changes unless it tells of one."""
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        drop_output()
        code = 1
    except OSError as error:  # `featcache … > FILE` on a disk that is full
        unprinted = output_error(error)
        drop_output()
        code = _fail("StorageError", str(unprinted), code or 1, as_json=False)
    try:
        sys.stderr.flush()
    except (OSError, ValueError):
        drop_output(sys.stderr)
    return code


def _show_warning(
    usual: Any, pillow: list[str], message: Warning | str, category: type, filename: str, *rest: Any
) -> None:
    """Print featcache's warnings as one line, unless quiet, and leave those of libraries unchanged.

    Pillow's are collected in `pillow`: it has one for every broken tag of every image.
    """
    console = active()
    if console is not None and is_about_programs(str(message)):
        if forget_damaged(str(message)):
            console.note("damaged compiled programs were deleted and are compiled again")
        else:
            console.detail(f"a compiled program was not kept: {message}")
    elif "PIL" in Path(filename).parts:
        if category.__name__ != "DecompressionBombWarning":  # what is too large for us is refused by name
            pillow.append(str(message))
    elif console is not None and (
        issubclass(category, FeatcacheWarning) or Path(filename).is_relative_to(PACKAGE)
    ):
        console.warning(str(message))
    else:
        usual(escaped_lines(str(message)), category, filename, *rest)


def _note_pillow(warned: list[str]) -> None:
    """Print one warning for all of Pillow's, unless quiet."""
    console = active()
    if console is not None and warned:
        first = escaped(warned[0][:200])
        times = "once" if len(warned) == 1 else f"{len(warned):,} times"
        console.note(f"warning: Pillow warned {times} of damaged or unusual images, first of: {first}")


def _run(arguments: list[str]) -> int:
    as_json = "--json" in arguments
    if any("\0" in argument for argument in arguments):  # of a program that calls `main`
        return _fail(
            "UsageError", "an argument holds a NUL character; no file's name can, so give another", 2, as_json
        )
    try:
        with named_as_options():
            result: Any = app(arguments, prog_name=app.info.name, standalone_mode=False)
    except FeatcacheError as error:
        return _fail(type(error).__name__, str(error), error.exit_code, as_json)
    except KeyboardInterrupt:
        return _interrupted(as_json)
    except (BrokenPipeError, OutputClosedError):
        raise
    except OSError as error:
        return _refused(error, as_json)
    except Exception as error:
        return _unexpected(error, as_json)
    if result == INTERRUPTED:  # typer's result for Ctrl-C
        return _interrupted(as_json)
    return result if isinstance(result, int) else 0


def _fail(kind: str, message: str, code: int, as_json: bool) -> int:
    console = active() or Console(as_json=as_json)
    console.fail(kind, message + _gone())
    return code


def _gone() -> str:
    """Say where the folder that this runs in was deleted: then no name in it means anything."""
    try:
        os.getcwd()
    except OSError:
        return "; the folder that this runs in is gone: change to another one (cd)"
    return ""


def _interrupted(as_json: bool) -> int:
    console = active()
    kept = (console.kept if console else "") or after_interruption(console.command if console else "")
    message = f"interrupted; {kept}"
    return _fail("Interrupted", message, INTERRUPTED, as_json)


def _refused(error: OSError, as_json: bool) -> int:
    """Say what the system refused where no function did: with whatever path the system gives."""
    if os.environ.get("FEATCACHE_DEBUG"):
        raise error
    if error.filename is None and active() is None:  # typer prints help and the version itself
        unprinted = output_error(error)
        drop_output()
        return _fail("StorageError", str(unprinted), 1, as_json=False)
    name = error.filename if isinstance(error.filename, str | bytes) else None
    if name is not None or is_of_storage(error):
        path = Path(_UNNAMED if name is None else os.fsdecode(name))
        message = str(storage_error(error, path, "use"))
    else:
        message = f"the system or a library could not read or write something: {first_line(error)}; {_WHERE}"
    return _fail("StorageError", message, 1, as_json)


def _unexpected(error: Exception, as_json: bool) -> int:
    kind = type(error).__name__
    if kind == "Abort":
        return _interrupted(as_json)
    if kind == "NoArgsIsHelpError":
        tell(error.ctx.get_help())  # type: ignore[attr-defined]
        return 2
    # Usage errors of typer, recognised by attributes: whether their class is click's depends on typer's version.
    code, text = getattr(error, "exit_code", None), getattr(error, "format_message", None)
    if isinstance(code, int) and callable(text):
        command = error.ctx.command_path if getattr(error, "ctx", None) else app.info.name  # type: ignore[attr-defined]
        return _fail("UsageError", f"{text()} (see {command} --help)", code, as_json)
    if os.environ.get("FEATCACHE_DEBUG"):
        raise error
    if isinstance(error, MemoryError):
        return _fail(kind, "memory has run out; close other programs, or ask for less at once", 1, as_json)
    if why := why_not_started(error):
        return _fail("UsageError", why, 2, as_json)
    message = f"unexpected {kind}: {error}. Set FEATCACHE_DEBUG=1 to see the traceback, and report it"
    return _fail(kind, message, 1, as_json)


def _escape_unencodable() -> None:
    """Escape characters that the terminal's encoding lacks, so that printing a result never fails on a ``×``."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError):  # replaced by an object that is no text file
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]


def _interrupt_on_sigterm() -> None:
    """Make SIGTERM raise `KeyboardInterrupt`, so that finished work is kept and the user is told how to resume."""

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        raise KeyboardInterrupt

    with suppress(ValueError):  # not in the main thread, when a program calls `main`
        signal.signal(signal.SIGTERM, stop)
