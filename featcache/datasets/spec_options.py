"""Options behind a folder in a spec, ``folder:photos?classes_at=2``: read, and written."""

import os
import re
from collections.abc import Sequence
from urllib.parse import quote, unquote

from featcache.core.argument_types import spelled
from featcache.errors import UsageError, did_you_mean

LABEL_FROM = "label_from"
SPLITS = "splits"
CLASSES_AT = "classes_at"
FOLDER_OPTIONS = (LABEL_FROM, SPLITS, CLASSES_AT)
_SAFE = "{}()[]<>^$*+.,:;!|/\\=@'\" "
"""Signs that stay as they are in a value: those of expressions and templates, but for ``?``, ``&``, ``#`` and ``%``."""


def read_options(text: str, known: Sequence[str] = FOLDER_OPTIONS) -> tuple[str, dict[str, str]]:
    """Return the path in the spec of a folder, and the options behind it.

    They begin behind the first ``?`` that the name of one of them follows; any other ``?`` belongs to the path. In
    values, ``%26`` stands for ``&``, ``%25`` for ``%``.

    Raises
    ------
    UsageError
        If an option is unknown, given twice, or has no value.
    """
    start = re.search(rf"\?(?=(?:{'|'.join(known)})=)", text)
    if start is None:
        return text, {}
    options: dict[str, str] = {}
    for part in filter(None, text[start.end() :].split("&")):
        key, _, value = part.partition("=")
        if key not in known:
            why = f"no option {key!r}; {did_you_mean(key, known)}; in a value, & is written %26"
            raise UsageError(f"dataset {text!r}: {why}")
        if key in options:
            raise UsageError(f"dataset {text!r}: option {key} is given twice; give it once")
        if not value:
            raise UsageError(f"dataset {text!r}: option {key} has no value; expected {key}=VALUE")
        options[key] = unquote(value)
    return text[: start.start()], options


def why_not_text(value: str) -> str:
    """Return why a value cannot stand in a spec, as the end of a sentence about it; nothing if it can."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        return f"holds what is no text at position {error.start + 1}; write it in UTF-8, or as {{}} or ."
    return ""


def with_option(spec: str | os.PathLike[str], key: str, value: str, kinds: Sequence[str]) -> str:
    """Return the spec of a folder with an option behind it.

    Parameters
    ----------
    spec
        ``"photos/"`` or ``"folder:photos"``, which may have other options.
    key, value
        The option.
    kinds
        The kinds of datasets that there are, of which only folders have such options.

    Raises
    ------
    UsageError
        If the spec is of another kind, or has the option already.
    """
    name = os.fspath(spec)
    kind, colon, _ = name.partition(":")
    if colon and kind in kinds and kind != "folder":
        raise UsageError(f"{spelled(key)} {value!r}: it is for folders, and {name!r} is none; leave it out")
    if why := why_not_text(value):
        raise UsageError(f"{spelled(key)} {value!r}: it {why}")
    path, options = read_options(name)
    if key in options:
        raise UsageError(
            f"{spelled(key)} {value!r}: {name!r} says {key}={options[key]} itself; leave one out"
        )
    options[key] = value
    written = "&".join(f"{name}={quote(own, safe=_SAFE)}" for name, own in options.items())
    return f"{'' if path.startswith('folder:') else 'folder:'}{path}?{written}"
