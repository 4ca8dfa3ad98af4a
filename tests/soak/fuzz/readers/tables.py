"""Texts that say which photos are which class: tables, lists, COCO's JSON, lists to exclude, tables of labels."""

import json
from contextlib import suppress
from functools import partial
from pathlib import Path

from helpers.photo_folders import photo_folder

from featcache import open_dataset
from featcache.core.tasks import MULTICLASS
from featcache.datasets.dataset import Dataset
from featcache.datasets.exclude_list import read_exclude
from featcache.datasets.labels.tar_labels import class_names
from featcache.errors import FeatcacheError
from featcache.labelling.label_table import AskedPhoto, add_to_table, labelled_in

from ..mutators import changed_json, changed_lines, packed, unpacked
from ..reader import Mutator, Reader, Subject

_TREE = {f"{part}/{name}": 2 for part in ("train", "test") for name in ("cat", "dog")}
_PATHS = [f"{place}/{number}.png" for place in _TREE for number in range(2)]
_OPTIONS = (
    "",
    "?task=multilabel",
    "?label=label&path=path",
    "?split=split",
    "?label=score&task=regression",
    "?group=owner",
)
_HEAD = ("path", "label", "split", "score", "owner")


def walk(data: Dataset) -> None:
    """Look at all that a dataset says, and read its first photos."""
    assert len(data.classes) == len(set(data.classes))
    for record in data.records:
        assert record.split in data.splits
        assert data.task != MULTICLASS or 0 <= record.label < len(data.classes)
    for record in data.records[:3]:
        with suppress(OSError):  # which an extraction quarantines
            record.read()


def _rows(separator: str, end: str = "\n", head: bool = True) -> bytes:
    rows = [_HEAD] if head else []
    rows += [
        (path, path.split("/")[1], path.split("/")[0], f"{n}.5", f"o{n // 2}")
        for n, path in enumerate(_PATHS)
    ]
    return (end.join(separator.join(row) for row in rows) + end).encode()


def _objects() -> bytes:
    lines = [
        json.dumps({"path": path, "label": path.split("/")[1], "split": path.split("/")[0], "score": n / 2})
        for n, path in enumerate(_PATHS)
    ]
    return "\n".join(lines).encode()


_TABLES: dict[str, tuple[list[bytes], Mutator | None]] = {
    "csv": (
        [
            _rows(","),
            _rows(",", "\r\n"),
            b'\xef\xbb\xbfpath,label\n"train/cat/0.png","a ""b"""\ntrain/dog/0.png,c\n',
            b"path,label\ntrain/cat/0.png,\"['a', 'b']\"\ntrain/dog/0.png,\"['b']\"\n",
            b"path,label\ntrain/cat/0.png,a|b\ntrain/dog/0.png,b\ntrain/cat/1.png,a\n",
        ],
        None,
    ),
    "tsv": ([_rows("\t")], None),
    "jsonl": (
        [
            _objects(),
            b'{"path": "train/cat/0.png", "label": ["a", "b"]}\n{"path": "train/dog/0.png", "label": ["b"]}',
        ],
        changed_lines,
    ),
}


def _table(kind: str, folder: Path) -> Subject:
    photo_folder(folder, _TREE)
    place = folder / f"table.{kind}"
    seeds, mutate = _TABLES[kind]

    def use(data: bytes) -> None:
        place.write_bytes(data)
        failed: FeatcacheError | None = None
        for option in ("", _OPTIONS[len(data) % len(_OPTIONS)]):
            for unlabelled in (False, True):
                try:
                    walk(open_dataset(f"csv:{place}{option}", unlabelled=unlabelled))
                except FeatcacheError as error:
                    failed = failed or (error if not option else None)
        if failed:
            raise failed

    return Subject(
        seeds,
        use,
        mutate,
        words=(b"train/cat/0.png", b"path", b"label", b"split", b"['a']", b"\xef\xbb\xbf", b"|"),
    )


def _beside(folder: Path) -> Subject:
    """A ``metadata.csv`` or ``.jsonl`` in a folder of photos."""
    photo_folder(folder / "photos", {"train/cat": 2, "train/dog": 2})
    rows = b"file_name,label\ncat/0.png,a\ndog/0.png,b\ncat/1.png,a\n"
    lines = b'{"file_name": "cat/0.png", "label": "a"}\n{"file_name": "dog/0.png", "label": "b"}'

    def use(data: bytes) -> None:
        csv, jsonl = folder / "photos/train/metadata.csv", folder / "photos/train/metadata.jsonl"
        for place in (csv, jsonl):
            place.unlink(missing_ok=True)
        (jsonl if data[:1] in b"{[" else csv).write_bytes(data)
        walk(open_dataset(folder / "photos"))

    return Subject([rows, lines], use, words=(b"file_name", b"cat/0.png"))


_LISTS = {
    "train.txt": (b"cat/0.png 0\ndog/0.png 1\n", "test.txt", b"cat/1.png 0\ndog/1.png 1\n"),
    "meta/train.txt": (b"cat/0\ndog/0\n", "meta/test.txt", b"cat/1\ndog/1\n"),
    "images.txt": (b"1 cat/0.png\n2 dog/0.png\n3 cat/1.png\n", "image_class_labels.txt", b"1 1\n2 2\n3 1\n"),
    "annotations/trainval.txt": (
        b"cat_0 1 1 1\ndog_0 2 1 2\n",
        "annotations/test.txt",
        b"cat_1 1 1 1\ndog_1 2 1 2\n",
    ),
}


def _lists(folder: Path) -> Subject:
    """The lists of several publishers, in their places: number of the layout, then two files."""
    roots = []
    for number, (first, (_, second, _)) in enumerate(_LISTS.items()):
        root = folder / str(number)
        photo_folder(root / "images", {"cat": 2, "dog": 2})
        for path in (root / "images").rglob("*.png"):
            path.rename(path.with_suffix(".jpg")) if "meta" in first else None
            if "annotations" in first:
                path.rename(root / "images" / f"{path.parent.name}_{path.stem}.jpg")
        if number in (0,):
            for name in ("cat", "dog"):
                (root / "images" / name).rename(root / name)
        (root / first).parent.mkdir(exist_ok=True)
        (root / "classes.txt").write_bytes(b"1 cat\n2 dog\n")
        (root / "train_test_split.txt").write_bytes(b"1 1\n2 1\n3 0\n")
        if "images.txt" not in first:
            (root / "classes.txt").unlink()
            (root / "train_test_split.txt").unlink()
        if "meta" in first:
            (root / "meta/classes.txt").write_bytes(b"cat\ndog\n")
        roots.append((root, root / first, root / second))

    def use(data: bytes) -> None:
        number, one, two = unpacked(data, 3)
        root, first, second = roots[(number or b"\0")[0] % len(roots)]
        first.write_bytes(one)
        second.write_bytes(two)
        walk(open_dataset(f"lists:{root}"))

    seeds = [packed(bytes([n]), one, two) for n, (one, _, two) in enumerate(_LISTS.values())]
    return Subject(seeds, use, words=(b"cat/0", b" 1", b"\xef\xbb\xbf", b"\x85"))


def _one_list(folder: Path) -> Subject:
    """A file of paths alone."""
    photo_folder(folder, {"cat": 2, "dog": 2})
    place = folder / "list.txt"

    def use(data: bytes) -> None:
        place.write_bytes(data)
        walk(open_dataset(f"lists:{place}", unlabelled=True))

    return Subject([b"cat/0.png\ndog/0.png\n"], use, words=(b"cat/1.png", b" 1"))


def _coco(folder: Path) -> Subject:
    photo_folder(folder / "images", {"all": 3})
    place = folder / "instances.json"
    document = {
        "images": [{"id": 100 + n, "file_name": f"all/{n}.png", "height": 4, "width": 4} for n in range(3)],
        "annotations": [
            {"id": n, "image_id": 100 + n, "category_id": 17 + n % 2, "bbox": [0.5, 1, 2, 3]}
            for n in range(3)
        ],
        "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
    }

    def use(data: bytes) -> None:
        place.write_bytes(data)
        walk(open_dataset(f"coco:{place}?root=images"))

    return Subject(
        [json.dumps(document).encode()], use, changed_json, words=(b'"image_id"', b"100", b"[]", b"{}")
    )


def _exclude(folder: Path) -> Subject:
    place, ids = folder / "exclude.csv", ["cat/0.png", "dog/ü.png", "a,b.png", 'q"q.png', "id"]

    def use(data: bytes) -> None:
        place.write_bytes(data)
        assert set(read_exclude(place, ids, origin="a.h5")) <= set(ids)

    seeds = [
        b"# about\nid,reason\ncat/0.png,copy\n",
        b"cat/0.png\ndog/\xc3\xbc.png\n",
        b'"a,b.png"\n"q""q.png"\n',
    ]
    return Subject(seeds, use, words=(b"cat/0.png", b"id,reason", b"dog/\\xfc.png"))


def _labels(folder: Path) -> Subject:
    place = folder / "labels.csv"

    def use(data: bytes) -> None:
        place.write_bytes(data)
        labelled_in(place)
        add_to_table(place, [AskedPhoto(path=str(folder / "new.png"), guess="cat", why="unsure")])
        assert str(folder / "new.png") not in labelled_in(place)

    return Subject(
        [b"path,label,guess,why\na.png,cat,dog,unsure\nb.png,,,\n"],
        use,
        words=(b"path", b"label", b"new.png"),
    )


def _classes(folder: Path) -> Subject:
    place = folder / "classes.txt"

    def use(data: bytes) -> None:
        place.write_bytes(data)
        class_names(place)

    return Subject([b"cat\ndog\n"], use)


READERS = (
    *(Reader(kind, partial(_table, kind)) for kind in _TABLES),
    Reader("metadata", _beside),
    Reader("coco", _coco),
    Reader("lists", _lists),
    Reader("list", _one_list),
    Reader("exclude", _exclude),
    Reader("labels", _labels),
    Reader("classes", _classes),
)
