"""Run the notebooks of the guide, each in an empty folder, and write what they show into them.

Command: ``python tools/make_notebooks.py [--check]``; with ``--check``, nothing is written, and what a notebook shows
now is compared with what is written there: kinds of output and texts, but for numbers, which other processors round
otherwise, and pixels. It needs nbclient and ipykernel, the extra ``test``, and the demo's weights.
"""

import base64
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).parents[1]
SECONDS = 300
"""What a cell may take, at most."""
COLOURS = 255
"""Of a committed picture: a palette takes a third of the bytes, and fewer colours draw steps into heat maps."""

_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?")
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def notebooks() -> list[Path]:
    """Return the files of the notebooks."""
    return sorted((ROOT / "docs").rglob("*.ipynb"))


def executed(path: Path, folder: Path) -> Any:
    """Return a notebook as it looks after all of its cells ran in a folder; what varies by itself is stripped.

    Parameters
    ----------
    path
        The notebook.
    folder
        An empty folder.
    """
    book = nbformat.read(path, as_version=4)
    # A featcache that is on sys.path here, as in a checkout, is the one that the notebook runs.
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *([before] if before else [])])
    try:
        NotebookClient(
            book, timeout=SECONDS, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
        ).execute()
    finally:
        os.environ.pop("PYTHONPATH") if before is None else os.environ.update(PYTHONPATH=before)
    for cell in book.cells:
        cell.metadata.pop("execution", None)  # when it ran
        for output in cell.get("outputs", ()):
            _settle(output, folder)
    book.metadata.pop("widgets", None)
    book.metadata.language_info = {"name": "python"}  # not the version of this machine
    return book


def _settle(output: Any, folder: Path) -> None:
    """Strip from an output what differs with every run: addresses, the folder; and make its picture small."""
    data = output.get("data", {})
    if "image/png" in data:
        data["text/plain"] = _ADDRESS.sub("", data["text/plain"])
        data["image/png"] = _small(data["image/png"])
    for name in ("text/plain", "text/html"):
        if name in data:
            data[name] = data[name].replace(f"{folder}/", "")
    if "text" in output:
        output["text"] = output["text"].replace(f"{folder}/", "")


def _small(picture: str) -> str:
    written = io.BytesIO()
    with Image.open(io.BytesIO(base64.b64decode(picture))) as image:
        image.convert("RGB").quantize(COLOURS).save(written, "PNG", optimize=True)
    return base64.b64encode(written.getvalue()).decode()


def shape(book: Any) -> Iterator[str]:
    """Yield a line for each thing that a notebook shows: its kind, and its text without numbers."""
    for number, cell in enumerate(book.cells):
        for output in cell.get("outputs", ()):
            kinds = ", ".join(sorted(output.get("data", {}))) or output.get("name", "")
            text = output.get("text") or output.get("data", {}).get("text/plain", "")
            plain = " ".join(_NUMBER.sub("N", text).split())
            yield f"cell {number}: {output.output_type} ({kinds}) {plain}"


def differences(path: Path) -> list[str]:
    """Run a notebook and return what it shows now and what is written there, where that differs in shape."""
    written = list(shape(nbformat.read(path, as_version=4)))
    with tempfile.TemporaryDirectory() as folder:
        now = list(shape(executed(path, Path(folder))))
    return [f"- {line}" for line in written if line not in now] + [
        f"+ {line}" for line in now if line not in written
    ]


def main() -> int:
    """Write the notebooks, or with ``--check`` compare them; returns the exit code."""
    code = 0
    for path in notebooks():
        if "--check" in sys.argv[1:]:
            if lines := differences(path):
                print(
                    f"{path.relative_to(ROOT)} shows something else now: python tools/make_notebooks.py",
                    *lines,
                    sep="\n",
                )
                code = 1
            continue
        with tempfile.TemporaryDirectory() as folder:
            book = executed(path, Path(folder))
        nbformat.write(book, path)
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")
    return code


if __name__ == "__main__":
    sys.exit(main())
