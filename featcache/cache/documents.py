"""What stands in a cache's header, identity and row table: checked when a cache is opened, relied on behind that.

``docs/reference/cache-format.md`` says what it means.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from featcache.core.documents.document_format import DocumentFormat
from featcache.core.documents.kinds import (
    PATH,
    SHA256,
    Items,
    Kind,
    Maybe,
    Misfit,
    Number,
    Record,
    Table,
    Text,
    Whole,
    printable,
    shown,
)
from featcache.core.documents.recipe import MOST_VIEWS, RECIPE
from featcache.core.tasks import MULTICLASS, MULTILABEL, TASKS, UNLABELLED
from featcache.errors import IntegrityError, UsageError

START_AGAIN = "restore it from a copy, or delete it and run the same featcache extract command again"

_NAME = Text(1, 200)
_SIDE = Whole(1, 2**31 - 1)
_BYTES = Whole(0, 2**60)

# Formats -----------------------------------------------------------------------------------------------------

LAYER = Record(
    {
        "name": _NAME,
        "shape": Items(_SIDE, most=8),
        "dtype": Text(choices=("float32", "float16")),
        "fingerprint": SHA256,
    },
    {"views": Whole(1, MOST_VIEWS), "weights_sha256": SHA256},
)

DATASET = Record(
    {
        "spec": Text(),
        "classes": Items(Text(), distinct=True),
        "splits": Items(Text(), most=2**15, distinct=True),
        "rule": Maybe(Record({}, {"rule": Text(), "test_fraction": Number(0, 1), "seed": Whole()})),
    },
    {"task": Text(choices=(*TASKS, UNLABELLED)), "slice": Text()},
)

_GROUP_NAMES = Text(pattern=r"\|S[1-9][0-9]{0,5}", means="|S and a number of bytes")

COLUMNS = Record(
    {},
    {
        "group": Record({"dtype": _GROUP_NAMES, "shape": Items(_SIDE, most=0)}),
        "target": Record({"dtype": Text(choices=("<f4",)), "shape": Items(_SIDE, 1, 1)}),
    },
)

PROVENANCE = Record(
    {"backbone": _NAME},
    {
        "base": Maybe(_NAME),
        "weights": Maybe(PATH),
        "request": Maybe(Text()),
        "created": Text(),
        "host": Text(),
        "device": Text(),
        "engine": Text(),
        "versions": Table(Text()),
        "probes": Maybe(Table(Items(Items(Number(-1e39, 1e39))))),
    },
)

IDENTITY = DocumentFormat(
    Record(
        {
            "recipe": RECIPE,
            "layers": Items(LAYER, least=1, most=10_000),
            "dataset": DATASET,
            "rows": Record({"count": Whole(0, 2**40), "sha256": SHA256}, {"columns": COLUMNS}),
            "provenance": PROVENANCE,
        }
    ),
    what="the identity of a cache",
    remedy=START_AGAIN,
)

HEADER = DocumentFormat(
    Record(
        {
            "start": Whole(512, 2**30),
            "size": _BYTES,
            "datasets": Table(Items(_BYTES, 2, 2)),  # offset and length
            "sha256": SHA256,
        }
    ),
    what="the header of a cache",
    remedy=START_AGAIN,
)

OVERHEAD, OVERHEAD_OF_DATASET = 1 << 20, 1 << 16
"""The most that HDF5's own structures take of a file, and gaps before the datasets: only these bytes are hashed."""


# Checks ------------------------------------------------------------------------------------------------------


def check_header(header: Mapping[str, Any], path: Any) -> None:
    """Refuse a header that does not fit its format, or whose datasets overlap or do not lie within the file.

    Raises
    ------
    IntegrityError
        Naming the key.
    """
    HEADER.check(header, f"{path}: the header")
    position, held = header["start"], 0
    for name, (offset, length) in sorted(header["datasets"].items(), key=lambda pair: pair[1]):
        held += length
        if length and offset < position:
            raise _damaged(path, "header", f"{shown(name)} starts at byte {offset}, within another part")
        position = max(position, offset + length)
    spare = header["size"] - header["start"] - held
    most = OVERHEAD + OVERHEAD_OF_DATASET * len(header["datasets"])
    if position > header["size"] or spare > most:
        raise _damaged(path, "header", f"size is {header['size']}, expected {position} to {position + most}")


def check_identity(identity: Any, path: Any) -> None:
    """Refuse an identity that does not fit its format, or contradicts itself.

    Raises
    ------
    IntegrityError
        Naming the key.
    """
    IDENTITY.check(identity, f"{path}: the identity")
    try:
        _check_agreement(identity)
    except Misfit as misfit:
        raise _damaged(path, "identity", str(misfit)) from None


def require_writable(identity: Mapping[str, Any]) -> None:
    """Refuse to write what no reader would open.

    Raises
    ------
    UsageError
        Naming the key: such as a class whose name is too long.
    """
    try:
        IDENTITY.content.check(identity)
        _check_agreement(identity)
    except Misfit as misfit:
        raise UsageError(f"a cache cannot hold this: {misfit}") from None


def _check_agreement(identity: Mapping[str, Any]) -> None:
    names = [layer["name"] for layer in identity["layers"]]
    Items(Kind(), distinct=True).check(names)
    views = identity["recipe"]["views"]["count"]
    for number, layer in enumerate(identity["layers"]):
        if layer.get("views", 1) not in (1, views):
            raise Misfit(
                f"is {layer['views']}, expected 1 or the recipe's {views}", f"layers[{number}].views"
            )
    for name, rows in (identity["provenance"].get("probes") or {}).items():
        if len(set(map(len, rows))) > 1:
            raise Misfit(
                "holds rows of several lengths, expected one", f"provenance.probes.{printable(name)}"
            )
    dataset, columns = identity["dataset"], identity["rows"].get("columns", {})
    task = dataset.get("task", MULTICLASS)
    if task == UNLABELLED and dataset["classes"]:
        raise Misfit("holds names, expected none of an unlabelled dataset", "dataset.classes")
    targets = [len(dataset["classes"])] if task not in (MULTICLASS, UNLABELLED) else None
    found = columns["target"]["shape"] if "target" in columns else None
    if found != targets:
        expected = "no such column" if targets is None else f"{targets}, a target for each name"
        raise Misfit(f"is {found or 'missing'}, expected {expected}", "rows.columns.target.shape")


def check_columns(identity: Mapping[str, Any], columns: Mapping[str, np.ndarray], path: Any) -> None:
    """Refuse a row table whose values mean nothing.

    Parameters
    ----------
    identity
        The identity, checked.
    columns
        The row table: column names to values of each row.
    path
        The cache, for messages.

    Raises
    ------
    IntegrityError
        Naming column and row.
    """
    dataset = identity["dataset"]
    task = dataset.get("task", MULTICLASS)
    classes = len(dataset["classes"]) if task == MULTICLASS else 0
    least = 0 if task == MULTICLASS else -1
    _check_range(columns, "label", least, classes - 1, path)
    _check_range(columns, "split", 0, len(dataset["splits"]) - 1, path)
    _check_range(columns, "size", 0, 2**63 - 1, path)
    if "target" in columns:
        values = columns["target"]
        good = np.isfinite(values) if task != MULTILABEL else (values == 0) | (values == 1)
        expected = "0 or 1" if task == MULTILABEL else "a finite number"
        _require(np.asarray(good.all(axis=1)), "target", values, expected, path)


def _check_range(columns: Mapping[str, np.ndarray], name: str, least: int, most: int, path: Any) -> None:
    values = columns[name]
    expected = f"{least}" if least == most else f"{least} to {most}" if most >= least else "no row"
    _require(np.asarray((values >= least) & (values <= most)), name, values, expected, path)


def _require(good: np.ndarray, name: str, values: np.ndarray, expected: str, path: Any) -> None:
    bad = np.flatnonzero(~good)
    if len(bad):
        found = values[bad[0]].tolist()
        raise _damaged(path, "row table", f"{name} of row {bad[0]} is {found}, expected {expected}")


def _damaged(path: Any, part: str, why: str) -> IntegrityError:
    return IntegrityError(f"{path}: the {part} is damaged: {why}; {START_AGAIN}")
