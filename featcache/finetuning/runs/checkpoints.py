"""Checkpoints of a fine-tuning run: arrays stored by orbax, and one JSON file each that makes them valid.

A save writes the arrays into a folder of a new name, syncs it to disk, and then renames one JSON file into place. That
file names the folder and holds the position in the run and the checksums. A process killed at any moment leaves the
old checkpoint or the new one. A folder that no JSON file names is a leftover::

    checkpoints/last.json             format, position, where each array is, checksums
    checkpoints/last-6f1c03d2/        see `featcache.finetuning.runs.array_store`
    checkpoints/best.json …
"""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcache.core.disk.files import make_folder, replace_file
from featcache.core.disk.storage import ELSEWHERE, require_space, storage_error
from featcache.core.disk.temporaries import remove_leftovers
from featcache.core.documents.document_format import DocumentFormat, read_limited
from featcache.core.documents.kinds import SHA256, Items, Record, Table, Text, Whole
from featcache.core.identity import sha256_tensors
from featcache.errors import FeatcacheError, IntegrityError, MissingFileError, StorageError, UsageError
from featcache.finetuning.runs.array_store import gather, on_host, read_tree, take, write_tree

if TYPE_CHECKING:
    import jax

NAMES = ("last", "best")

_SIDE = Whole(0, 2**40)
_DTYPE = Text(pattern=r"bool|u?int\d+|b?float\d+(_\w+)?|complex\d+", means="a type of numbers")
_INSIDE = Text(pattern=r"(?!(.*/)?\.{1,2}(/|$))[^/\0][^\0]*", means="the path of a file in the folder")

CHECKPOINT = DocumentFormat(
    Record(
        {
            "folder": Text(pattern="(last|best)-[0-9a-f]{8}", means="the name of a checkpoint's folder"),
            "arrays": Table(
                Record(
                    {
                        "vector": Text(1, 200),
                        "start": _SIDE,
                        "dtype": _DTYPE,
                        "shape": Items(_SIDE, most=32),
                    }
                )
            ),
            "arrays_sha256": SHA256,
            "files": Table(SHA256, names=_INSIDE),
            "position": Table(),  # `featcache.finetuning.position` checks it
        }
    ),
    what="the JSON file of a checkpoint",
    remedy="start the run anew with --overwrite",
    name="featcache-checkpoint",
    version=1,
)

_LEFTOVER = re.compile(r"(last|best)-[0-9a-f]{8}.*")


class Checkpoints:
    """The checkpoints of one run, written by one process; opening them removes leftovers of killed saves.

    Parameters
    ----------
    folder
        Their folder; created by the first save.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()  # orbax refuses relative paths
        self._clean()

    def names(self) -> tuple[str, ...]:
        """Return those of `NAMES` that exist."""
        return tuple(name for name in NAMES if self._record(name).is_file())

    def save(
        self, name: str, arrays: Mapping[str, "np.ndarray | jax.Array"], position: Mapping[str, Any]
    ) -> None:
        """Save a checkpoint, atomically replacing the one of that name.

        Parameters
        ----------
        name
            One of `NAMES`.
        arrays
            Numeric arrays of any dtype and shape, by any names.
        position
            Plain JSON values: without NaN and infinity.

        Raises
        ------
        UsageError
            If the name is not one of `NAMES`, an array is not numeric, or the position is not JSON.
        StorageError
            If it cannot be written; the earlier checkpoint is unchanged.
        """
        self._require(name)
        plain = on_host(arrays)
        position = _json_values(position)
        tree, places = gather(plain)
        fresh = self.folder / f"{name}-{secrets.token_hex(4)}"
        needs = sum(value.nbytes for value in tree.values())
        try:
            with _save_errors(fresh, needs, intact=name in self.names()), ThreadPoolExecutor(1) as beside:
                make_folder(self.folder)
                require_space(fresh, needs, "save", elsewhere=ELSEWHERE)
                # In a thread, so that an interruption waits until orbax is done.
                files = beside.submit(write_tree, fresh, tree)
                document = {
                    "format": CHECKPOINT.name,
                    "format_version": CHECKPOINT.version,
                    "folder": fresh.name,
                    "arrays": places,
                    "arrays_sha256": sha256_tensors(plain.items()),
                    "files": files.result(),
                    "position": position,
                }
                replace_file(self._record(name), _with_checksum(document))
        finally:  # the folder that the JSON file names is kept
            self._clean()

    def restore(self, name: str) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
        """Return the arrays of a checkpoint, bit for bit as saved, and its position.

        Raises
        ------
        MissingFileError
            If there is no checkpoint of that name.
        IntegrityError
            If it is damaged, or of a newer version.
        StorageError
            If it cannot be read.
        """
        self._require(name)
        document = self._document(name)
        folder = self.folder / document["folder"]
        try:
            tree = read_tree(folder, document["files"])
        except IntegrityError as error:
            raise self._damaged(name, str(error)) from error
        except OSError as error:
            raise storage_error(error, folder, "read") from error
        try:
            arrays = {key: take(tree, place) for key, place in document["arrays"].items()}
        except IntegrityError as error:
            raise self._damaged(name, str(error)) from error
        if sha256_tensors(arrays.items()) != document["arrays_sha256"]:
            raise self._damaged(name, f"the arrays that orbax read from {folder} do not match their checksum")
        return arrays, document["position"]

    def _require(self, name: str) -> None:
        if name not in NAMES:
            raise UsageError(f"checkpoint {name!r}: expected one of {', '.join(NAMES)}")

    def _record(self, name: str) -> Path:
        return self.folder / f"{name}.json"

    def _document(self, name: str) -> dict[str, Any]:
        path = self._record(name)
        try:
            text = read_limited(path)
        except FileNotFoundError as error:
            there = ", ".join(self.names()) or "none (a run saves its first after an epoch)"
            raise MissingFileError(
                f"no checkpoint {name!r} in {self.folder}; existing checkpoints: {there}"
            ) from error
        except OSError as error:
            raise storage_error(error, path, "read") from error
        try:
            document = CHECKPOINT.parse(text, path)
            checksum = document.pop("document_sha256", None)
            if _checksum(document) != checksum:
                raise IntegrityError(f"{path} does not match its checksum")
            CHECKPOINT.check(document, path)
        except IntegrityError as error:
            raise self._damaged(name, str(error).removesuffix(f"; {CHECKPOINT.remedy}")) from error
        return document

    def _damaged(self, name: str, why: str) -> IntegrityError:
        others = [f"{other!r}" for other in self.names() if other != name]
        rest = f"; {' and '.join(others)} may still be good" if others else ""
        return IntegrityError(
            f"the checkpoint {name!r} is damaged: {why}{rest}; start the run anew with --overwrite"
        )

    def _clean(self) -> None:
        """Remove leftovers of killed saves; errors are ignored, because leftovers only take space."""
        if not self.folder.is_dir():
            return
        kept: dict[str, str | None] = {}
        for name in self.names():
            try:
                kept[name] = self._document(name)["folder"]
            except FeatcacheError:  # its folder is unknown: keep all, they may help a repair
                kept[name] = None
        for path in self.folder.iterdir():
            match = _LEFTOVER.fullmatch(path.name)
            if match is None or (match[1] in kept and kept[match[1]] in (None, path.name)):
                continue
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name in NAMES:
            remove_leftovers(self._record(name))


@contextmanager
def _save_errors(path: Path, needs: int, *, intact: bool) -> Iterator[None]:
    """Turn system errors of a save into `StorageError`, saying whether the earlier checkpoint is intact."""
    try:
        yield
    except Exception as error:
        found = _system_error(error)
        if found is None:
            raise
        rest = "; the earlier checkpoint is intact, continue from it with --resume" if intact else ""
        said = storage_error(found, path, "save", elsewhere=ELSEWHERE, needs=needs)
        failure = StorageError(f"{said}{rest}")
        failure.errno = found.errno
        raise failure from error


def _system_error(error: Exception) -> OSError | None:
    """Return the operating system's error; tensorstore gives its number in the message."""
    if isinstance(error, OSError):
        return error
    match = re.search(r"os_error_code='(\d+)'", str(error))
    return OSError(int(match[1]), os.strerror(int(match[1]))) if match else None


def _json_values(position: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return json.loads(json.dumps(dict(position), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise UsageError(f"the position of a checkpoint has to be plain JSON values: {error}") from error


def _checksum(document: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(document).encode()).hexdigest()


def _with_checksum(document: Mapping[str, Any]) -> bytes:
    """Return the document's text with its checksum in it."""
    return (json.dumps({**document, "document_sha256": _checksum(document)}) + "\n").encode()
