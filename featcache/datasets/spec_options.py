"""Options behind the path in a spec, ``folder:photos?classes_at=2``: read, and written."""

import os
import re
from collections.abc import Collection, Mapping, Sequence
from urllib.parse import unquote

from featcache.core.argument_types import spelled
from featcache.core.disk.names import expanded
from featcache.errors import UsageError, did_you_mean

LABEL_FROM = "label_from"
SPLITS = "splits"
CLASSES_AT = "classes_at"
FOLDER_OPTIONS = (LABEL_FROM, SPLITS, CLASSES_AT)
_AMPERSAND = "in a value, & is written %26"
_NOT_PLAIN = re.compile(r"[%&?#\x00-\x1f\x7f]")
"""Signs that are not written as they are in a value: those that end one or begin options, and control characters."""


def read_options(kind: str, text: str, known: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Return the path in a spec, and the options behind it.

    They begin behind the first ``?`` that the name of one of them follows; any other ``?`` belongs to the path. What is
    there under the whole text is meant by it.

    Parameters
    ----------
    kind
        Of the dataset, such as ``"folder"``, for messages.
    text
        The spec, with or without the ``folder:`` in front.
    known
        Names of options.

    Raises
    ------
    UsageError
        If an option is unknown, given twice, or has no value.
    """
    start = re.search(rf"\?(?=(?:{'|'.join(known)})=)", text)
    if start is None or os.path.exists(expanded(text.removeprefix(f"{kind}:"))):
        return text, {}
    spec = text if text.startswith(f"{kind}:") else f"{kind}:{text}"
    return text[: start.start()], parse_options(text[start.end() :], known, spec)


def parse_options(
    query: str,
    known: Sequence[str],
    spec: str,
    *,
    may_be_empty: Collection[str] = (),
    unknown: str = _AMPERSAND,
    twice: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Return the options of ``NAME=VALUE&NAME=VALUE``; in values, ``%26`` stands for ``&``, ``%25`` for ``%``.

    Parameters
    ----------
    query
        What follows the ``?``.
    known
        Names of options.
    spec
        The whole spec, for messages.
    may_be_empty
        Options whose value may be none.
    unknown, twice
        Hints for messages: where an option is unknown, and where that of a name is given twice.

    Raises
    ------
    UsageError
        If an option is unknown, given twice, or has no value.
    """
    options: dict[str, str] = {}
    for part in filter(None, query.split("&")):
        key, equals, value = part.partition("=")
        if key not in known:
            raise UsageError(f"dataset {spec!r}: no option {key!r}; {did_you_mean(key, known)}; {unknown}")
        if key in options:
            hint = (twice or {}).get(key, "")
            raise UsageError(f"dataset {spec!r}: option {key} is given twice; give it once{hint}")
        if not equals or (not value and key not in may_be_empty):
            raise UsageError(f"dataset {spec!r}: option {key} has no value; expected {key}=VALUE")
        options[key] = unquote(value)
    return options


def written(options: Mapping[str, str]) -> str:
    """Return options as they stand behind the ``?`` of a spec.

    Examples
    --------
    >>> written({"root": "größe 1", "map": "a&b:c"})
    'root=größe 1&map=a%26b:c'
    """
    return "&".join(
        f"{key}={_NOT_PLAIN.sub(lambda sign: f'%{ord(sign[0]):02X}', value)}"
        for key, value in options.items()
    )


def option_of(spec: str, key: str) -> str:
    """Return the value of an option in a spec; empty where it has none."""
    found = re.search(rf"[?&]{key}=([^&]*)", spec)
    return unquote(found[1]) if found else ""


def with_options(spec: str, options: Mapping[str, str]) -> str:
    """Return a spec with these options in it, in the place of others of the same names."""
    head, mark, query = spec.rpartition("?")
    path, kept = (head, query.split("&")) if mark and (not query or re.match(r"\w+=", query)) else (spec, [])
    kept = [part for part in kept if part.partition("=")[0] not in options and part]
    return f"{path}?{'&'.join([*kept, written(options)])}"


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
    path, options = read_options("folder", name, FOLDER_OPTIONS)
    if key in options:
        raise UsageError(
            f"{spelled(key)} {value!r}: {name!r} says {key}={options[key]} itself; leave one out"
        )
    folder = path if path.startswith("folder:") else f"folder:{path}"
    return f"{folder}?{written({**options, key: value})}"
