"""The files of an export: the model, and what a program beside it has to know, each replaced at one blow."""

import shlex
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from featcache.core.classifier_folder import is_classifier
from featcache.core.disk.files import made_folder, replace_file
from featcache.core.disk.names import FILE, FOLDER, require_free, resolved
from featcache.core.disk.storage import storage_errors
from featcache.core.documents.json_text import MOST_BYTES, parse, to_text
from featcache.errors import StorageError, UsageError
from featcache.exporting.description import FORMAT, LABELS, PREPROCESSING, labels

ONNX, STABLEHLO = ".onnx", ".stablehlo"

ANOTHER = "name another file"
_ANOTHER_FOLDER = "name a file in a folder of its own"

_CORE_ML = (
    "Core ML has no converter from ONNX any more; onnxruntime runs model.onnx on iOS, through Core ML, too"
)

_ELSEWHERE = {
    ".tflite": (
        "LiteRT's converter runs in an environment of its own: export to model.onnx, and go on as "
        "docs/guide/export.md says"
    ),
    ".pt": "PyTorch reads ONNX through onnx2torch; export to model.onnx",
    ".pb": "TensorFlow reads StableHLO and ONNX; export to model.onnx",
    ".mlmodel": _CORE_ML,
    ".mlpackage": _CORE_ML,
}


def require_places(path: Path | None, page: Path | None) -> str:
    """Return the kind of model to write, to a file, to a page's folder or both; raise where that cannot be.

    Raises
    ------
    UsageError
        As `require_output`; or if the folder holds anything else, or a page is asked for with a file of another kind.
    StorageError
        If something on the way to the folder is no folder.
    """
    ending = ONNX if path is None else require_output(path)
    if page is not None:
        from featcache.exporting.web import ANOTHER_FOLDER, require_place

        if ending != ONNX:
            raise UsageError(f"a page in a browser runs {ONNX} models, and {path} is none; name model{ONNX}")
        for place in page.parents:
            require_free(place, FOLDER, elsewhere=ANOTHER_FOLDER, error=StorageError)
        require_place(resolved(page))
    return ending


def require_no_folder(path: Path) -> None:
    """Raise `UsageError` for the name of a folder, and say how a file in it is named, or that a classifier is read.

    Who swaps a command's two names (``featcache export -o classifier model.onnx``) is told the right order.
    """
    if is_classifier(path):
        raise UsageError(
            f"output {path} is a classifier, which is what an export reads; run: "
            f"featcache export {shlex.quote(str(path))} -o model{ONNX}"
        )
    in_it = path.is_dir() and path.suffix.casefold() not in (ONNX, STABLEHLO)
    require_free(
        path, FILE, elsewhere=f"name a file in it, such as {path / f'model{ONNX}'}" if in_it else ANOTHER
    )


def require_output(path: Path) -> str:
    """Return the kind of model that a file's name asks for; raise for one that cannot be written there.

    Raises
    ------
    UsageError
        If the name ends otherwise, is a folder's, or the files beside it describe another model or are someone's own.
    StorageError
        If something on the way to it is no folder.
    """
    require_no_folder(path)
    ending = path.suffix.casefold()
    if ending not in (ONNX, STABLEHLO):
        said = _ELSEWHERE.get(ending, "")
        raise UsageError(
            f"output {path}: expected a name that ends in {ONNX} or {STABLEHLO}"
            + (f". {said}" if said else "")
        )
    for place in path.parents:
        require_free(place, FOLDER, elsewhere=ANOTHER, error=StorageError)
    if is_classifier(path.parent):
        raise UsageError(
            f"output {path} lies in {path.parent}, a folder of featcache's own files; name a file outside"
        )
    _require_beside(path)
    return ending


def _require_beside(path: Path) -> None:
    """Refuse to replace the description of another model, or a list of labels that is someone's own."""
    described, listed = path.parent / PREPROCESSING, path.parent / LABELS
    for file in (described, listed):
        require_free(file, FILE, elsewhere=_ANOTHER_FOLDER)
    if not described.exists():
        if listed.exists():
            raise UsageError(
                f"output {path}: {listed} is there, and not of an export, so it may be something else; "
                f"{_ANOTHER_FOLDER}"
            )
        return
    told = _read(described)
    if told.get("format") != FORMAT:
        raise UsageError(
            f"output {path}: {described} is there, and not of an export, so it may be something else; "
            f"{_ANOTHER_FOLDER}"
        )
    if listed.exists() and not _is_listed(listed, told.get("classes")):
        raise UsageError(
            f"output {path}: {listed} is not as an export wrote it, so it may be your own; {_ANOTHER_FOLDER}, or "
            f"remove {listed}"
        )
    other = str(told.get("model", ""))
    if other != path.name and other in _names(path.parent):
        raise UsageError(
            f"output {path}: {described} tells how photos are prepared for {other}, which is there, too; "
            f"{_ANOTHER_FOLDER}, or remove {other}"
        )


def _is_listed(path: Path, classes: Any) -> bool:
    """Whether a list of labels is the one that was written beside a model of these classes."""
    if not (isinstance(classes, list) and classes and all(isinstance(name, str) for name in classes)):
        return False
    with storage_errors(path, "read", elsewhere=_ANOTHER_FOLDER):
        return path.read_bytes() == labels(classes)


def _names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        with path.open("rb") as stream:
            value = parse(stream.read(MOST_BYTES + 1))
        if isinstance(value, dict):
            return value
    return {}


def write_model(path: Path, model: bytes, document: Mapping[str, Any]) -> tuple[Path, ...]:
    """Write a model, and the files beside it; the model comes last, so that it never lies there without them.

    A model has its folder for itself, so a folder that is missing is made.

    Raises
    ------
    StorageError
        If one cannot be written; a model that was there is still there, with what was beside it.
    """
    with storage_errors(path, elsewhere=ANOTHER), made_folder(path.parent, elsewhere=ANOTHER):
        return _write(path, model, document)


def _write(path: Path, model: bytes, document: Mapping[str, Any]) -> tuple[Path, ...]:
    described, listed = path.parent / PREPROCESSING, path.parent / LABELS
    classes = document["classes"]
    beside = {described: to_text(document, indent=1).encode() + b"\n"}
    if classes:
        beside[listed] = labels(classes)
    before = {file: file.read_bytes() if file.exists() else None for file in beside}
    try:
        for file, content in {**beside, path: model}.items():
            with storage_errors(file, elsewhere=ANOTHER, needs=len(content)):
                replace_file(file, content)
    except BaseException:
        _restore(before)
        raise
    if not classes and listed.exists():  # of the model that was replaced
        with storage_errors(listed, "remove", elsewhere=ANOTHER):
            listed.unlink()
    return (path, *beside)


def _restore(before: Mapping[Path, bytes | None]) -> None:
    """Bring the files beside a model back to what they were, as far as the disk lets it."""
    for file, content in before.items():
        with suppress(OSError):
            file.unlink(missing_ok=True) if content is None else replace_file(file, content)
