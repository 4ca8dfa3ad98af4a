"""A folder with a page that classifies photos in a browser, with the network, and all that it needs, beside it.

The page is ``templates/``: `pixels.js` resizes and crops as Pillow does, `decoding.js` and `exif.js` read photos,
`verdict.js` says what the numbers mean, `page.js` is what is clicked, and `service-worker.js` keeps all of it for when
there is no network. ``onnxruntime-web`` (`featcache.exporting.web_runtime`) runs the model.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

import PIL

from featcache.core.disk.files import made_folder, write_durably
from featcache.core.disk.folder_swap import put_in_place, remove_folder
from featcache.core.disk.names import FOLDER, read_file, require_file, require_free, resolved
from featcache.core.disk.storage import storage_errors
from featcache.core.disk.syncing import sync_folder
from featcache.core.disk.temporaries import held_folder, remove_leftovers
from featcache.core.documents.json_text import to_text
from featcache.core.identity import sha256_file
from featcache.core.tasks import TASK_NAMES, TASKS
from featcache.core.version import __version__
from featcache.errors import UsageError
from featcache.exporting.description import FORMAT, LABELS, PREPROCESSING, labels
from featcache.exporting.web_runtime import PROGRAM, WebRuntime, web_runtime
from featcache.pages.palette import DARK, LIGHT

ANOTHER_FOLDER = "name another folder"
"""What to do where the folder cannot be written."""

INDEX = "index.html"
_MODEL = "model.onnx"
_RUNTIME = "onnxruntime-web.js"
_SCRIPTS = ("page.js", "decoding.js", "exif.js", "pixels.js", "verdict.js")
_WORKER = "service-worker.js"
_STYLES = "page.css"
_WRITTEN = frozenset((INDEX, _MODEL, PREPROCESSING, LABELS, _RUNTIME, PROGRAM, _STYLES, _WORKER, *_SCRIPTS))
_GENERATOR = '<meta name="generator" content="featcache'
_TALL_FIRST_SINCE = 13
"""Pillow's version since which it resamples down before across where a picture is tall: see ``pixels.js``."""


def write_web_folder(
    folder: Path,
    model: Path | bytes,
    preprocessing: Mapping[str, Any],
    *,
    runtime: Path | None = None,
) -> list[Path]:
    """Write a page that classifies photos in a browser, from any static server, and without a network once it was open.

    Parameters
    ----------
    folder
        Where; a folder that this has written, and that holds nothing else, is replaced at one blow.
    model
        An exported classifier: its file, or its bytes. Input uint8 ``[N, H, W, 3]``; its first output are probabilities
        or numbers ``[N, C]``, and one named ``distance`` may follow.
    preprocessing
        What stands in the ``preprocessing.json`` beside an exported model.
    runtime
        Where onnxruntime-web is, see `featcache.exporting.web_runtime.web_runtime`.

    Returns
    -------
    list of Path
        The files, in the order of their names.

    Raises
    ------
    UsageError
        If the folder is there and holds anything else, or the model has no classes or numbers that a page could show.
    MissingFileError, MissingExtraError, IntegrityError
        If onnxruntime-web is not to be had, or is damaged; `MissingFileError` also for the model.
    StorageError
        If something cannot be read or written.
    """
    _require_shown(preprocessing)
    if isinstance(model, Path):
        require_file(model, "an exported model (.onnx)")
    with storage_errors(folder, "write the page to", elsewhere=ANOTHER_FOLDER):
        target = resolved(folder)
        require_place(target)
        ready = web_runtime(runtime)
        with made_folder(target.parent, elsewhere=ANOTHER_FOLDER):
            remove_leftovers(target)
            with held_folder(target) as fresh:
                try:
                    _write(fresh, model, preprocessing, ready)
                    sync_folder(fresh)
                    put_in_place(fresh, target, INDEX, check=require_place)
                finally:
                    remove_folder(fresh, INDEX)
        return sorted(path for path in folder.iterdir())


def _require_shown(preprocessing: Mapping[str, Any]) -> None:
    """Raise `UsageError` for a description of which a page could show nothing."""
    if preprocessing.get("format") != FORMAT:
        raise UsageError("preprocessing is not what stands beside an exported model in preprocessing.json")
    known = [TASK_NAMES[task] for task in TASKS]
    if preprocessing.get("task") not in known or not preprocessing.get("classes"):
        raise UsageError(
            "the page shows classes, labels or numbers, and this model gives features only: export a classifier, or a "
            "backbone's own classes (--layer logits)"
        )


def require_place(target: Path) -> None:
    """Raise `UsageError` if something is there that is no such page: it must not be overwritten."""
    require_free(target, FOLDER, elsewhere=ANOTHER_FOLDER)
    if not target.exists() or not any(target.iterdir()):
        return
    index = target / INDEX
    with storage_errors(index, "read", elsewhere=ANOTHER_FOLDER):
        ours = index.is_file() and _GENERATOR.encode() in read_file(index, 4096)
    if not ours:
        raise UsageError(
            f"{target} exists and is no page that featcache has written; {ANOTHER_FOLDER}, or empty it"
        )
    # Such as .git or CNAME, where the page is published from: the folder is replaced as a whole.
    others = sorted(path.name for path in target.iterdir() if path.name not in _WRITTEN)
    if others:
        raise UsageError(
            f"{target} holds {others[0]!r} beside the page, which would be lost: the folder is replaced as a whole. "
            f"Move that elsewhere, or {ANOTHER_FOLDER} and copy the page over"
        )


def _write(folder: Path, model: Path | bytes, preprocessing: Mapping[str, Any], runtime: WebRuntime) -> None:
    if isinstance(model, Path):
        with model.open("rb") as source:
            write_durably(folder / _MODEL, lambda stream: shutil.copyfileobj(source, stream))
    else:
        write_durably(folder / _MODEL, model)
    # Lone surrogates, of class names that are not UTF-8, stand there as JSON's own escapes.
    told = to_text({**preprocessing, "model": _MODEL}, indent=1)
    write_durably(folder / PREPROCESSING, f"{told}\n".encode())
    write_durably(folder / LABELS, labels(preprocessing["classes"]))
    write_durably(folder / _RUNTIME, runtime.script)
    write_durably(folder / runtime.program_name, runtime.program)
    write_durably(folder / _STYLES, _styles().encode())
    for name in _SCRIPTS:
        write_durably(folder / name, _template(name).encode())
    # By an address that changes with the content, a browser need not ask for what is large again.
    addresses = {
        name: f"{name}?sha256={sha256_file(folder / name)[:16]}" for name in (_MODEL, runtime.program_name)
    }
    page = _filled(
        INDEX,
        escape,
        model=addresses[_MODEL],
        runtime=addresses[runtime.program_name],
        tall_first="true" if _tall_first(PIL.__version__) else "false",
        generator=f"featcache {__version__}",
    )
    write_durably(folder / INDEX, page.encode())
    names = sorted(path.name for path in folder.iterdir())
    digests = "".join(sha256_file(folder / name) for name in names)
    worker = _filled(
        _WORKER,
        str,
        version=hashlib.sha256(digests.encode()).hexdigest()[:16],
        files=json.dumps(["./", *(addresses.get(name, name) for name in names)], indent=2),
    )
    write_durably(folder / _WORKER, worker.encode())


def _tall_first(pillow: str) -> bool:
    """Return whether this version of Pillow resamples tall pictures down before across."""
    return int(pillow.partition(".")[0]) >= _TALL_FIRST_SINCE


def _template(name: str) -> str:
    return files("featcache.exporting").joinpath("templates", name).read_text("utf-8")


def _filled(name: str, written: Callable[[str], str], **values: str) -> str:
    """Return a template with its ``{{names}}`` replaced."""
    text = _template(name)
    for key, value in values.items():
        text = text.replace(f"{{{{{key}}}}}", written(value))
    return text


def _styles() -> str:
    """Return the styles of featcache's pages, and what this one has beside them."""
    shared = files("featcache.pages").joinpath("templates", "page.css").read_text("utf-8")
    dark = f"@media screen and (prefers-color-scheme: dark) {{ :root {{ --c0: {DARK[0]}; }} }}"
    return f":root {{ --c0: {LIGHT[0]}; }}\n{dark}\n{shared}\n{_template('web.css')}"
