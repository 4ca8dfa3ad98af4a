"""Files that a command writes beside its text: of the kind asked for, and never in the place of what it reads."""

import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from featcache.core.disk.names import FILE, require_free, require_its_folder
from featcache.errors import UsageError

_ANOTHER = "name another file"


def require_output(
    option: str, path: Path, endings: Sequence[str], inputs: Iterable[str], *, made: bool = False
) -> None:
    """Refuse a file that would replace an input, or something of another kind.

    Parameters
    ----------
    option
        Such as ``--csv``.
    path
        What it names; a file of one of the `endings` that is there is replaced.
    endings
        How a file ends that may be replaced, such as ``.csv``.
    inputs
        What the command reads: files, folders, and specs of datasets such as ``csv:labels.csv``.
    made
        Whether the command makes the file's folder where that is missing.

    Raises
    ------
    UsageError
        If it is there and ends otherwise or is no file, is one of the inputs, or lies in a folder of featcache's own
        files, such as the classifier's.
    StorageError
        If it can have no such name, or its folder is missing: what is computed for it would be lost.
    """
    require_free(path, FILE, elsewhere=_ANOTHER)
    if path.suffix.casefold() not in endings and path.is_file():
        raise UsageError(
            f"{option} {path}: it is there and does not end in {' or '.join(endings)}, so it may be something else; "
            f"remove it, or {_ANOTHER}"
        )
    if not made:
        require_its_folder(path, elsewhere=_ANOTHER)
    for name in inputs:
        for given in {name, name.split(":", 1)[-1].split("?", 1)[0]}:
            if _is_same(path, given):
                raise UsageError(f"{option} {path} is what is read here, and would be replaced; {_ANOTHER}")
            if _is_ours(Path(given)) and _is_same(path.parent, given):
                raise UsageError(
                    f"{option} {path} lies in {given}, a folder of featcache's own files; name a file outside"
                )


def require_distinct(outputs: Mapping[str, Path | None]) -> None:
    """Refuse one file for two options: the second would replace what the first wrote.

    Parameters
    ----------
    outputs
        What options such as ``--csv`` name; ``None`` where one was not given.

    Raises
    ------
    UsageError
        Naming both options.
    """
    options: dict[str, str] = {}
    for option, path in outputs.items():
        if path is None:
            continue
        first = options.setdefault(os.path.realpath(path), option)
        if first != option:
            raise UsageError(f"{first} and {option} both name {path}; give each a name of its own")


def _is_same(path: Path, given: str) -> bool:
    with suppress(OSError, ValueError):
        return os.path.samefile(path, given)
    return False


def _is_ours(folder: Path) -> bool:
    with suppress(OSError, ValueError):
        return any((folder / name).exists() for name in ("classifier.json", "results.jsonl"))
    return False
