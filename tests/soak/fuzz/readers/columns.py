"""Formats of columns and records that libraries read: Parquet, Arrow, ArrayRecord, and what TFDS keeps beside them."""

import io
import json
import shutil
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from helpers.photo_folders import photo_folder

from featcache import open_dataset
from featcache.datasets.tfds.array_record import require_small_chunks

from ..mutators import changed_bytes, changed_json, packed, unpacked
from ..reader import Reader, Subject
from .documents import each_of
from .tables import walk

_NAMES = ["cat", "dog"]
_MAKER = Path(__file__).parents[3] / "helpers" / "tfds_shapes.py"


def _images() -> Any:
    """Six photos in a table as the Hugging Face library writes one."""
    import pyarrow as pa

    images = [{"bytes": b"\xff\xd8\xff%d" % number, "path": f"{number}.jpg"} for number in range(6)]
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    features = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": _NAMES},
    }
    table = pa.table({"image": pa.array(images, kind), "label": pa.array([0, 1] * 3, pa.int64())})
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def _parquet(table: Any, **options: Any) -> bytes:
    import pyarrow.parquet as pq

    stream = io.BytesIO()
    pq.write_table(table, stream, **options)
    return stream.getvalue()


def _arrow(table: Any) -> bytes:
    import pyarrow as pa

    stream = io.BytesIO()
    with pa.ipc.new_stream(stream, table.schema) as writer:
        writer.write_table(table)
    return stream.getvalue()


def _hugging_face(suffix: str, folder: Path) -> Subject:
    table = _images()
    seeds = (
        [_arrow(table)]
        if suffix == "arrow"
        else [_parquet(table), _parquet(table, compression="gzip", use_dictionary=False)]
    )
    place = folder / f"train.{suffix}"

    def use(data: bytes) -> None:
        place.write_bytes(data)
        walk(open_dataset(f"hf:{place}"))

    return Subject(seeds, use, words=(b"huggingface", b"ClassLabel", b"PAR1"), seconds=15.0, memory=1 << 29)


def _table(folder: Path) -> Subject:
    import pyarrow as pa

    photo_folder(folder, {"cat": 2, "dog": 2})
    place = folder / "table.parquet"
    paths = [f"{name}/{number}.png" for name in _NAMES for number in range(2)]
    table = pa.table({"path": paths, "label": [path[:3] for path in paths], "score": [0.5, 1.0, 2.0, 3.0]})

    def use(data: bytes) -> None:
        place.write_bytes(data)
        walk(open_dataset(f"csv:{place}"))

    return Subject([_parquet(table)], use, words=(b"PAR1",), seconds=15.0, memory=1 << 29)


def _prepared(folder: Path) -> Path:
    """A dataset that TFDS itself prepared."""
    command = [sys.executable, str(_MAKER), str(folder), "array_record"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return folder / "tiny_shapes/1.2.0"


def _array_record(folder: Path) -> Subject:
    place = next(_prepared(folder).glob("*-train.array_record-*"))

    def use(data: bytes) -> None:
        place.write_bytes(data)
        require_small_chunks(place)
        walk(open_dataset(f"tfds:tiny_shapes:1.2.0?data_dir={folder}"))

    return Subject([place.read_bytes()], use, seconds=15.0, memory=1 << 29, longest=1 << 18)


def _metadata(folder: Path) -> Subject:
    root = _prepared(folder)
    names = ("dataset_info.json", "features.json", "label.labels.txt")
    kept = folder / "kept"
    shutil.copytree(root, kept)

    def use(data: bytes) -> None:
        for name, content in zip(names, unpacked(data, 3), strict=True):
            (root / name).write_bytes(content)
        walk(open_dataset(f"tfds:tiny_shapes:1.2.0?data_dir={folder}"))

    seed = packed(*((root / name).read_bytes() for name in names))
    mutate = each_of(changed_json, changed_json, lambda data, chance: changed_bytes(data, chance, [], []))
    return Subject([seed], use, mutate, seconds=15.0, memory=1 << 29, words=(b"pythonClassName",))


def _there(*modules: str) -> bool:
    return all(find_spec(module) is not None for module in modules)


READERS = (
    *([Reader("parquet", _table, slow=True)] if _there("pyarrow") else []),
    *(
        Reader(f"hf-{suffix}", partial(_hugging_face, suffix), slow=True)
        for suffix in ("parquet", "arrow")
        if _there("pyarrow", "datasets")
    ),
    *([Reader("array-record", _array_record, slow=True)] if _there("array_record") else []),
    *([Reader("tfds", _metadata, slow=True)] if _there("array_record") else []),
)
