"""Read a document of ours: its format and version first, then its content."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcache.core.disk.names import read_file
from featcache.core.documents.json_text import MOST_BYTES, parse
from featcache.core.documents.kinds import Kind, Misfit, shown
from featcache.errors import FeatcacheError, IntegrityError


@dataclass(frozen=True)
class DocumentFormat:
    """The format of a document.

    Parameters
    ----------
    content
        What stands in it.
    what
        What a damaged one is not, such as ``"a classifier's document"``.
    remedy
        What to do about a damaged one.
    name, version
        The values of its keys ``format`` and ``format_version``; nothing where it has none.
    error
        The class of the errors.
    """

    content: Kind
    what: str
    remedy: str
    name: str = ""
    version: int = 0
    error: type[FeatcacheError] = IntegrityError

    def read(self, text: bytes, origin: Path | str) -> dict[str, Any]:
        """Return the document in a text; raises as `parse` and `check` do."""
        value = self.parse(text, origin)
        self.check(value, origin)
        return value

    def parse(self, text: bytes, origin: Path | str) -> dict[str, Any]:
        """Return the document in a text, of this format and version; its content is left to `check`.

        Raises
        ------
        FeatcacheError
            Of class `error`, naming `origin`, the file.
        """
        try:
            value = parse(text)
        except ValueError as error:
            raise self.damaged(origin, f"not {self.what}: {error}") from error
        if not isinstance(value, dict):
            # A text or a number may be what stands in any file.
            found = shown(value) if isinstance(value, list) else "one value"
            raise self.damaged(origin, f"not {self.what}: it is {found}, expected an object")
        if self.name:
            self._require_version(value, origin)
        return value

    def is_of(self, text: bytes) -> bool:
        """Return whether a text is a document of this name, of whatever version."""
        try:
            value = parse(text)
        except ValueError:
            return False
        return isinstance(value, dict) and value.get("format") == self.name

    def check(self, value: Mapping[str, Any], origin: Path | str) -> None:
        """Raise an error of class `error`, naming file and key, for a document whose content does not fit."""
        try:
            self.content.check(value)
        except Misfit as misfit:
            raise self.damaged(origin, str(misfit)) from None

    def damaged(self, origin: Path | str, why: str) -> FeatcacheError:
        """Return the error about a document that is not what it should be."""
        return self.error(f"{origin} is damaged: {why}; {self.remedy}")

    def _require_version(self, value: Mapping[str, Any], origin: Path | str) -> None:
        version = value.get("format_version")
        if value.get("format") != self.name or type(version) is not int or version < 1:
            raise self.damaged(origin, f"not {self.what}")
        if version > self.version:
            raise self.error(
                f"{origin} has format version {version}, this featcache reads {self.version}: upgrade featcache"
            )


def read_limited(path: Path) -> bytes:
    """Return the bytes of a document's file, no more than a document may have and one; raises ``OSError``."""
    return read_file(path, MOST_BYTES + 1)
