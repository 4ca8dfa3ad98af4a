"""What an export wrote, and how exact it is."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featcache.core.disk.storage import amount
from featcache.core.display import html_table
from featcache.exporting.parity import Parity
from featcache.exporting.quantisation_cost import QuantisationCost


@dataclass(frozen=True, repr=False)
class ExportedModel:
    """A model that was exported.

    Parameters
    ----------
    path
        Its file.
    words
        What it is, such as ``"linear head of 3 classes on pool of efficientnet_lite0.tf_in1k"``.
    kind
        ``"ONNX, opset 17"`` or ``"StableHLO for cpu, cuda, tpu"``.
    size
        Bytes of the file.
    input_size
        Height and width of the pictures that it takes.
    outputs
        Name to the shape for one photo.
    written
        All files: the model first, then those beside it.
    parity
        How far its outputs are from JAX's.
    notes
        What else a user has to know, in sentences.
    web
        The folder of the page, if one was written.
    cost
        What eight bits cost and gain; ``None`` of other models. Then `parity` is that of the model before.
    """

    path: Path
    words: str
    kind: str
    size: int
    input_size: tuple[int, int]
    outputs: Mapping[str, tuple[int, ...]]
    written: tuple[Path, ...]
    parity: Parity
    notes: tuple[str, ...] = field(default=())
    web: Path | None = None
    cost: QuantisationCost | None = None

    def __fspath__(self) -> str:
        return os.fspath(self.path)

    def __repr__(self) -> str:
        return f"ExportedModel({str(self.path)!r}, {self.words}, {amount(self.size)})"

    def _repr_html_(self) -> str:
        return html_table(str(self.path), [tuple(line) for line in self.rows()])

    def rows(self) -> list[tuple[str, str]]:
        """Return what there is to say of it, line by line: a word, and its text."""
        height, width = self.input_size
        shapes = ", ".join(
            f"{name} {'×'.join(['N', *map(str, shape)])}" for name, shape in self.outputs.items()
        )
        beside = ", ".join(str(path) for path in self.written[1:] if path.parent != self.web)
        rows = [
            ("model", self.words),
            ("takes", f"images uint8 N×{height}×{width}×3, resized and cropped, not normalised"),
            ("gives", shapes),
            ("checked" if self.cost is None else "in float32", str(self.parity)),
            *(() if self.cost is None else self.cost.rows()),
        ]
        if beside:
            rows.append(("beside it", beside))
        if self.web is not None:
            size = sum(path.stat().st_size for path in self.web.iterdir())
            rows.append(("page", f"{self.web}, {amount(size)}, for any static server"))
        if self.parity.undecided:
            rows.append(
                (
                    "votes",
                    f"of {self.parity.undecided} of {self.parity.photos} photos hang on rounding, and were not compared"
                    + ("" if self.parity.undecided < self.parity.photos else "; give others with --photos"),
                )
            )
        return rows + [("note", note) for note in self.notes]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {
            "path": str(self.path),
            "model": self.words,
            "kind": self.kind,
            "bytes": self.size,
            "input": {"name": "images", "dtype": "uint8", "shape": [None, *self.input_size, 3]},
            "outputs": {name: [None, *shape] for name, shape in self.outputs.items()},
            "web": None if self.web is None else str(self.web),
            "written": [str(path) for path in self.written],
            "parity": {
                "photos": self.parity.photos,
                "of": self.parity.origin,
                "differences": dict(self.parity.differences),
                "undecided": self.parity.undecided,
            },
            "cost": None if self.cost is None else self.cost.to_json(),
            "notes": list(self.notes),
        }
