"""What may lie under the name of a file: whatever a file system can hold, or a name that it cannot."""

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path

SECRET = "root:$6$not-to-be-shown"
"""The beginning of a file that is none of ours; whoever prints it has shown what nobody asked for."""


@dataclass(frozen=True)
class Strange:
    """Something under a name.

    Parameters
    ----------
    make
        Puts it there; the path's folder is there.
    said
        What an error calls it, as a regular expression.
    name
        The name, where it is the name that is strange; ``{}`` in it is replaced by a usual one.
    """

    make: Callable[[Path], object]
    said: str
    name: str = "{}"


def _listen(path: Path) -> None:
    # A socket's path has at most 107 bytes.
    with chdir(path.parent), socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


def _file(path: Path) -> None:
    path.write_text(f"{SECRET}\n" * 300)


def _folder(path: Path) -> None:
    path.mkdir()
    (path / "other.txt").write_text(SECRET)


def _nothing(path: Path) -> None:
    del path


STRANGE: Mapping[str, Strange] = {
    "FIFO": Strange(os.mkfifo, "a FIFO"),
    "socket": Strange(_listen, "a socket"),
    "null": Strange(lambda path: path.symlink_to(os.devnull), "a device"),
    "zero": Strange(lambda path: path.symlink_to("/dev/zero"), "a device"),
    "folder": Strange(_folder, "folder|holds no|exists and is no|no classifier.json|is not prepared"),
    "file": Strange(
        lambda path: path.write_text(f"{SECRET}\n" * 300), "a file|text|no |not a |not valid|invalid|damaged"
    ),
    "empty": Strange(lambda path: path.touch(), "a file|[Ee]mpty|no |nothing|none|0 bytes|length 0"),
    "loop": Strange(lambda path: path.symlink_to(path.name), "a link that leads back to itself"),
    "dangling": Strange(
        lambda path: path.symlink_to("gone-from-here"), "a link to .*gone-from-here, which is missing"
    ),
    "missing": Strange(_nothing, "no |missing|nothing"),
    "controls": Strange(_nothing, "", name="\x1b]0;owned\x07\u202e{}"),
    "long": Strange(_nothing, "300|too long|longer", name="n" * 300 + "{}"),
    "NUL": Strange(_nothing, "NUL", name="a\0b{}"),
    "under a file": Strange(lambda path: None, "", name="inputs/plain.txt/{}"),
}
