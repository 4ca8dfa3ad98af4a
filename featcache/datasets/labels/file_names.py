r"""Labels in the names of files, such as ``cat.0.jpg``: read by a template or by a regular expression.

A template (``{label}_{}.jpg``) reads like the names. A regular expression can do more, and can take for ever:
``(a+)+b`` doubles its time with each letter, and Python cannot stop it in a thread. So whatever is more than a plain
template is searched for in a process of its own, which ends after a time that a thousand times as many names would not
take.
"""

import json
import os
import re
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from featcache.core.argument_types import spelled
from featcache.core.child_process import child_process
from featcache.datasets.names import shown, why_not_kept
from featcache.errors import DataError, UsageError, did_you_mean
from featcache.images.names import EXTENSIONS
from featcache.splits.slices import SPLITS

PARTS = ("label", "split", "group")
"""What a name may tell, and how the parts of a pattern that tell it are called."""

EXPECTED = (
    "expected a template such as '{label}_{}.jpg', where {} is any text, or a regular expression with one group, such "
    r"as '(.+)_\d+\.jpg$'"
)
_MOST = 500
"""Characters of a pattern."""
_PLAIN = 2
"""Placeholders of a template that can be tried in as many ways as a name has letters, and needs no other process."""
_SECONDS, _NAMES_PER_SECOND = 10, 50_000
_WALL_SECONDS = 300
_MEMORY = 2**30
_BYTES_PER_NAME = 2**12
_CHILD = Path(__file__).with_name("matching_child.py")
_FIELD = re.compile(r"\{([^{}]*)\}|\*")
_QUANTIFIER = re.compile(r"\d+,?\d*|,\d+")


class Told(NamedTuple):
    """What the name of a file tells.

    Parameters
    ----------
    label, split, group
        As written, without the spaces around them; empty where nothing is told.
    """

    label: str
    split: str = ""
    group: str = ""


@dataclass(frozen=True)
class NamePattern:
    """A template or a regular expression that finds labels in names.

    Parameters
    ----------
    text
        As the user wrote it.
    expression
        The regular expression that is searched for.
    with_folders
        Whether it is searched for in the path below the dataset's folder, or in the name of the file alone.
    plain
        Whether it surely is quick.
    """

    text: str
    expression: str
    with_folders: bool
    plain: bool = False

    @classmethod
    def parse(cls, text: str) -> "NamePattern":
        """Read a pattern.

        Raises
        ------
        UsageError
            If it is neither a template nor a regular expression, or does not say what the label is.
        """
        if len(text) > _MOST:
            raise _refusal(f"{text[:40]}…", f"it has {len(text):,} characters; expected at most {_MOST}")
        fields = [field for field in _FIELD.findall(text) if not _QUANTIFIER.fullmatch(field)]
        if "{" in text and any(field or "{}" in text for field in fields):
            return _template(text)
        return _regular_expression(text)

    def read(self, names: Sequence[str]) -> list[Told | None]:
        """Return what each name tells; ``None`` where the pattern does not fit.

        Parameters
        ----------
        names
            Paths below the dataset's folder, with forward slashes.

        Raises
        ------
        UsageError
            If the expression takes too long for a name.
        """
        searched = names if self.with_folders else [os.path.basename(name) for name in names]
        if self.plain:
            find = re.compile(self.expression).search
            found = [match and match.groupdict() for match in map(find, searched)]
        else:
            found = self._apart(searched)
        return [_told(parts) for parts in found]

    def require(self, names: Sequence[str], found: Sequence[Told | None], folder: Path) -> list[Told]:
        """Return what each name tells, splits by their usual names.

        Parameters
        ----------
        names, found
            Given to `read`, and returned by it.
        folder
            Where they are, for messages.

        Raises
        ------
        DataError
            If the pattern does not fit a name, or what is told cannot be stored, or is no split; shows the first ones.
        """
        told = [own for own in found if own is not None]
        option = f"{spelled('label_from')} {self.text!r}"
        if len(told) < len(found):
            missed = [name for name, own in zip(names, found, strict=True) if own is None]
            example = next(
                (f" ({name!r} is {own.label!r})" for name, own in zip(names, found, strict=True) if own), ""
            )
            raise DataError(
                f"{folder}: {len(missed)} of {len(names)} names do not fit {option}: "
                f"{', '.join(map(shown, missed[:3]))}{', …' if len(missed) > 3 else ''}; {len(told)} do{example}. "
                "Change it so that it fits all, give the folder of those alone that it fits, or move the others away"
            )
        for name, own in zip(names, told, strict=True):
            if why := why_not_kept(own.label) or why_not_kept(own.group):
                raise DataError(f"{folder}: what {option} finds in {shown(name)} {why}")
            if own.split.casefold() not in ("", *SPLITS):
                raise DataError(
                    f"{folder}: {own.split!r}, which {option} finds in {shown(name)}, is no split; "
                    f"{did_you_mean(own.split, SPLITS)}"
                )
        return [own._replace(split=SPLITS.get(own.split.casefold(), "")) for own in told]

    def _apart(self, names: Sequence[str]) -> list[dict[str, str] | None]:
        """Search in a process of its own."""
        seconds = _SECONDS + len(names) // _NAMES_PER_SECOND
        with tempfile.TemporaryFile() as file:
            file.write(json.dumps({"expression": self.expression, "names": list(names)}).encode())
            file.seek(0)
            memory = _MEMORY + _BYTES_PER_NAME * len(names)
            try:
                with child_process(
                    _CHILD,
                    (seconds, memory),
                    packages=("featcache",),
                    file=file,
                    seconds=_WALL_SECONDS + seconds,
                ) as child:
                    assert child.stdout is not None
                    answer = child.stdout.read()
                    child.wait()
            except OSError as error:
                raise DataError(
                    f"{spelled('label_from')} {self.text!r}: no process could be started to search in: {error}; use a "
                    f"template with at most {_PLAIN} placeholders, such as '{{label}}_{{}}.jpg'"
                ) from error
        found: dict[str, Any] = json.loads(answer) if answer else {"slow": None}
        if "slow" in found:
            where = "" if found["slow"] is None else f", and {names[found['slow']]!r} was not done"
            raise _refusal(
                self.text,
                f"it took more than {seconds} s for {len(names):,} names{where}. Repeats within repeats, as in (a+)+, "
                "can be tried in endlessly many ways; write it without, or as a template such as '{label}_{}.jpg'",
            )
        return found["parts"]


def _told(parts: dict[str, str] | None) -> Told | None:
    if parts is None:
        return None
    label, split, group = ((parts.get(part) or "").strip() for part in PARTS)
    return Told(label, split, group) if label else None


def _refusal(text: str, why: str) -> UsageError:
    return UsageError(f"{spelled('label_from')} {text!r}: {why}")


def _template(text: str) -> NamePattern:
    """Turn a template into an expression; labels are as long as can be, other placeholders as short."""
    fields: list[str] = []
    ended = os.path.splitext(text)
    stem, suffix = ended if ended[1].casefold() in EXTENSIONS else (text, "")

    def field(match: re.Match[str]) -> str:
        name = match[1] or ""
        if name and name not in PARTS:
            raise _refusal(text, f"no placeholder {{{name}}}; {did_you_mean(name, PARTS)}; {{}} is any text")
        if name and name in fields:
            raise _refusal(text, f"the placeholder {{{name}}} stands twice; write {{}} for one of them")
        fields.append(name)
        return f"(?P<{name}>[^/]+{'' if name == 'label' else '?'})" if name else "[^/]+?"

    pieces, end = [], 0
    for match in _FIELD.finditer(stem):
        pieces += [re.escape(stem[end : match.start()]), field(match)]
        end = match.end()
    pieces.append(re.escape(stem[end:]))
    if "label" not in fields:
        raise _refusal(text, f"no placeholder {{label}}; {EXPECTED}")
    ending = f"(?i:{re.escape(suffix)})" if suffix else r"\.[^./]+"
    expression = rf"(?:\A|/){''.join(pieces)}{ending}\Z"
    return NamePattern(text, expression, "/" in text, plain=len(fields) <= _PLAIN and "/" not in text)


def _regular_expression(text: str) -> NamePattern:
    try:
        with warnings.catch_warnings():  # of what a later version of Python may read otherwise
            warnings.simplefilter("ignore")
            compiled = re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        python = " (in Python, groups are named (?P<label>…))" if re.search(r"\(\?<\w", text) else ""
        raise _refusal(text, f"it is no regular expression: {error}{python}; {EXPECTED}") from None
    named = compiled.groupindex
    if wrong := [name for name in named if name not in PARTS]:
        raise _refusal(text, f"no group called {wrong[0]!r}; {did_you_mean(wrong[0], PARTS)}")
    if "label" in named:
        return NamePattern(text, text, "/" in text)
    if compiled.groups - len(named) != 1:
        count = compiled.groups - len(named)
        which = "; call the one that is the label (?P<label>…), and others (?:…)" if count else ""
        raise _refusal(text, f"it has {count or 'no'} groups{which}; {EXPECTED}")
    return NamePattern(text, text, "/" in text)
