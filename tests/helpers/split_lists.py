"""Datasets of split lists, written for a test."""

from pathlib import Path


def lay_out(root: Path, files: str, **lists: str) -> str:
    """Write images (empty but for their name) and lists, ``meta__train`` for ``meta/train.txt``; return the spec."""
    for name in files.split():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    for name, text in lists.items():
        path = root / f"{name.replace('__', '/')}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return f"lists:{root}"


def rows(dataset) -> list[tuple[str, str, str]]:
    """Return id, split and class of each record."""
    return [(record.id, record.split, dataset.classes[record.label]) for record in dataset.records]
