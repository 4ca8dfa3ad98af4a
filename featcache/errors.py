"""The exceptions that featcache raises, with their exit codes, and the warning that it issues.

Every message says what was given, what was expected and what to do next. Each class also inherits a
matching builtin, so that a script may catch ``FileNotFoundError`` without knowing featcache, and carries
the exit code of the command line.
"""

import difflib
from collections.abc import Iterable

_LONGEST = 200
"""Characters of a name that is compared with others, or shown whole."""


class FeatcacheError(Exception):
    """Base of all errors that featcache raises; exit code 1."""

    exit_code = 1


class UsageError(FeatcacheError, ValueError):
    """An argument has an invalid value; exit code 2."""

    exit_code = 2


class UnknownNameError(UsageError, LookupError):
    """A backbone, layer, class, split or command of that name does not exist; exit code 2."""


class DataError(FeatcacheError, ValueError):
    """The dataset cannot be used (missing, empty, one class, nothing readable); exit code 3."""

    exit_code = 3


class ImageError(DataError):
    """One image cannot be decoded; exit code 3.

    Parameters
    ----------
    reason
        One of `featcache.images.decoding.QUARANTINE_REASONS`.
    detail
        Description of the problem.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class MissingFileError(DataError, FileNotFoundError):
    """A named file or folder does not exist; exit code 3."""


class WeightsError(FeatcacheError, ValueError):
    """A weights file is missing, offline, damaged or of another network; exit code 3."""

    exit_code = 3


class IntegrityError(FeatcacheError, OSError):
    """A cache or classifier is damaged, truncated or was edited; exit code 4."""

    exit_code = 4


class IdentityError(IntegrityError):
    """Features or weights are intact, but their identity differs from the expected one; exit code 4."""


class Interrupted(FeatcacheError, RuntimeError):  # noqa: N818 - the field's word, as in KeyboardInterrupt
    """The work was stopped on request; finished work is kept; exit code 130."""

    exit_code = 130


class LockedError(FeatcacheError, BlockingIOError):
    """Another process is writing the same cache, sweep or run; exit code 1."""


class StorageError(FeatcacheError, OSError):
    """The disk is full, read-only or missing; exit code 1."""


class ExportError(UsageError):
    """A model of which another program's format has no exact form; exit code 2."""


class FeatcacheWarning(UserWarning, RuntimeWarning):
    """Something is probably not as it was meant, was left out, or was mended: said once, by functions and commands."""


def did_you_mean(name: str, known: Iterable[str], *, many: int = 3) -> str:
    """Return a clause that names the most similar known names, or else lists the known ones.

    Parameters
    ----------
    name
        The name given.
    known
        The names that exist.
    many
        Maximum number of similar names.

    Returns
    -------
    str
        ``"did you mean 'block_13'?"`` or ``"known: a, b, c"``.
    """
    names = list(known)
    # The time that comparing takes grows with the square of the lengths, and names may be those of a file.
    compared = [n.lower() for n in names if len(n) <= _LONGEST] if len(name) <= _LONGEST else []
    near = difflib.get_close_matches(name.lower(), compared, n=many, cutoff=0.6)
    if near:
        spelled = {n.lower(): n for n in names}
        return "did you mean " + " or ".join(repr(spelled[n]) for n in near) + "?"
    shown = [n if len(n) <= _LONGEST else f"{n[:80]}…" for n in names[:12]]
    return "known: " + ", ".join(shown) + (", …" if len(names) > 12 else "")


def first_line(error: BaseException) -> str:
    """Summarise a library's exception for a message: its type and the first line of its text."""
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or ['no reason given'])[0]}"


class MissingExtraError(FeatcacheError, ImportError):
    """An optional dependency is not installed; exit code 1."""
