"""Caches whose checksums hold and whose content does not fit: only our errors, and nothing wrong is read."""

import contextlib
import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.foreign_caches import cache_bytes, table_digest
from helpers.fuzz import FULL, drawn_cases, fuzz
from helpers.mutations import change, mutated
from hypothesis import strategies as st

from featcache import train_head
from featcache.cache import FeatureCache, RowTable, find_leftovers, list_caches, verify
from featcache.checks.rows import check_rows
from featcache.cli.app import run
from featcache.core.identity import PLAIN_VIEWS, sha256_json
from featcache.errors import FeatcacheError, IntegrityError, UsageError
from featcache.extraction.planning.plan import refuse_difference, serves
from featcache.extraction.planning.source_caches import dropped_images, sources_of
from featcache.extraction.result import quarantined_rows
from featcache.images.augmentation import Augmentation
from featcache.splits.selection import SplitSpec, select_rows

ROWS = 12
DRAWN = {"policy": Augmentation.parse("flip,crop").to_json(), "seed": 3, "count": 2}


def identity(*, views: dict | None = None, task: str = "classes", grouped: bool = False) -> dict[str, Any]:
    """A valid identity; the empty digest of rows is filled in by `cache_bytes`."""
    recipe = {
        "format_version": 1,
        "backbone": {"arch": "tiny", "revision": 1, "config": {"width": 1.0}, "weights_sha256": "ab" * 32},
        "transforms": {"input_size": [32, 32], "crop_pct": 0.875, "mean": [0.5, 0.5, 0.5], "exif": "apply"},
        "views": views or dict(PLAIN_VIEWS),
        "compute_dtype": "float32",
        "matmul_precision": "highest",
        "stored_dtype": "float32",
    }
    count = recipe["views"]["count"]
    columns = {"group": {"shape": [], "dtype": "|S4"}} if grouped else {}
    columns |= {} if task == "classes" else {"target": {"shape": [3], "dtype": "<f4"}}
    return {
        "recipe": recipe,
        "layers": [
            {
                "name": "pool",
                "shape": [4],
                "dtype": "float32",
                "fingerprint": sha256_json({**recipe, "layer": "pool"}),
            }
            | ({"views": count} if count > 1 else {}),
            {"name": "mixed", "shape": [2, 3], "dtype": "float16", "fingerprint": "cd" * 32},
        ],
        "dataset": {
            "spec": "photos",
            "classes": ["ant", "bee", "cat"],
            "splits": ["train", "val", "test"],
            "rule": {"rule": "stratified by content", "test_fraction": 0.2, "seed": 0},
        }
        | ({} if task == "classes" else {"task": task}),
        "rows": {"count": ROWS, "sha256": ""} | ({"columns": columns} if columns else {}),
        "provenance": {
            "backbone": "tiny.custom",
            "base": "tiny.in1k",
            "weights": "tiny.safetensors",
            "created": "2026-11-08T12:00:00+0000",
            "versions": {"featcache": "0.1.0"},
            "probes": {"pool": [[0.5, 1.0], [2.0, 0.0]]},
        },
    }


def columns(*, task: str = "classes", grouped: bool = False) -> dict[str, np.ndarray]:
    number = np.arange(ROWS)
    found = {
        "id": np.array([f"{row}.jpg".encode() for row in range(ROWS)], "S6"),
        "sha256": np.random.default_rng(0).integers(0, 256, (ROWS, 32), np.uint8),
        "label": (number % 3 if task == "classes" else -np.ones(ROWS)).astype("<i4"),
        "split": (number // 6 + (number > 9)).astype("<i2"),
        "size": number.astype("<i8"),
        "mtime_ns": number.astype("<i8"),
        "status": (number == 7).astype(np.uint8),
    }
    if grouped:
        found["group"] = np.array([b"a", b"", b"c"] * 4, "S4")
    return found | ({} if task == "classes" else {"target": (number[:, None] % 2 * np.ones(3)).astype("<f4")})


def features(*, views: int = 1) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(1)
    shape = (ROWS, 4) if views == 1 else (ROWS, views, 4)
    return {"pool": draw.random(shape).astype("<f4"), "mixed": draw.random((ROWS, 2, 3)).astype("<f2")}


VALID = {
    "plain": (identity(), columns(), features()),
    "views": (identity(views=DRAWN), columns(), features(views=2)),
    "answers": (identity(task="answers"), columns(task="answers"), features()),
    "groups": (identity(grouped=True), columns(grouped=True), features()),
}


@drawn_cases
def foreign(draw: st.DrawFn) -> bytes:
    """Return a file that is a cache but for a few parts of its identity, its row table or its header."""
    about, table, values = copy.deepcopy(VALID[draw(st.sampled_from(sorted(VALID)))])
    part = draw(st.sampled_from(("identity", "identity", "columns", "header")))
    header = None
    if part == "identity":
        about = draw(mutated(about))
    elif part == "columns":
        for _ in range(draw(st.integers(1, 3))):
            _change_column(draw, table)
    else:
        whole = cache_bytes(about, table, values).split(b"\n", 3)[2]
        header = draw(mutated(json.loads(whole) | {"sha256": ""}))
        header = header if isinstance(header, dict) else {"datasets": header}
    return cache_bytes(about, table, values, header)


def _change_column(draw: st.DrawFn, table: dict[str, np.ndarray]) -> None:
    name = draw(st.sampled_from(sorted(table)))
    column = table[name].copy()
    how = draw(st.sampled_from(("value", "value", "swap", "shorter", "longer", "bytes")))
    if not len(column):
        table[name] = columns()["id"]
    elif how == "value" and column.dtype.kind in "iuf":
        limits = np.iinfo(column.dtype) if column.dtype.kind in "iu" else np.finfo(column.dtype)
        strange = [limits.min, limits.max, 0, 1, limits.max // 2 if column.dtype.kind != "f" else np.nan]
        column[draw(st.integers(0, len(column) - 1))] = draw(st.sampled_from(strange))
        table[name] = column
    elif how == "swap":
        other = draw(st.sampled_from(sorted(table)))
        table[name], table[other] = table[other], column
    elif how == "shorter":
        table[name] = column[: draw(st.integers(0, ROWS - 1))]
    elif how == "longer":
        table[name] = np.concatenate([column, column])
    else:
        raw = bytearray(column.tobytes())
        raw[draw(st.integers(0, len(raw) - 1))] = draw(st.integers(0, 255))
        table[name] = np.frombuffer(bytes(raw), column.dtype).reshape(column.shape)


def command(*arguments: str) -> dict[str, Any]:
    """Run a command; its answer is JSON without NaN, its errors are ours."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run([*arguments, "--json"])
    assert code in (0, 2, 3, 4), err.getvalue()
    return json.loads(out.getvalue(), parse_constant=pytest.fail)


def use(path: Path, *, commands: bool = True) -> str:
    """Do with a cache what may be done with one; every part raises only errors of ours. Returns how far that went."""
    (listed,) = list_caches(path.parent)
    find_leftovers(path.parent)
    found = verify(path)
    for name in ("ls", "info", "verify") if commands else ():
        command("cache", name, str(path.parent if name == "ls" else path))
    try:
        cache = FeatureCache(path)
    except IntegrityError as error:
        problem = str(error)
    else:
        problem = None
    assert found.error == problem
    assert (listed.state == "unreadable") == (problem is not None)
    if problem is not None:
        return "refused"
    with cache:
        for work in (_read, _plan, _select, _train):
            with contextlib.suppress(FeatcacheError):
                work(cache)
    return "used"


def _read(cache: FeatureCache) -> None:
    assert len(cache.ids) == len(cache.split_names()) == len(cache)
    assert cache.groups is None or len(cache.groups) == len(cache)
    assert all(0 <= split < len(cache.splits) for split in cache._splits)
    assert cache.targets is not None or all(0 <= label < len(cache.classes) for label in cache.labels)
    quarantined_rows(cache)
    for layer in cache.layers:
        for view in (0, "all"):
            values, known = cache.arrays(None, layer, view=view)
            assert len(values) == len(known)
        cache.mapped(layer)
    for split in cache.splits:
        cache.rows_of(split)


def _plan(cache: FeatureCache) -> None:
    sources_of([cache])
    assert serves(cache.identity, cache.identity["recipe"], {})
    empty = np.zeros(0, np.int64)
    none = RowTable((), np.zeros((0, 32), np.uint8), empty, empty, empty, empty)
    dropped_images([cache], cache.path, none, {"spec": "other"}, overwrite=True)
    refuse_difference(cache.path, cache.identity, identity()["recipe"], cache.layers)


def _select(cache: FeatureCache) -> None:
    rows = select_rows(cache, SplitSpec())
    check_rows(cache, {"train": rows.train, "val": rows.val, "test": rows.test}, class_weights="none")


def _train(cache: FeatureCache) -> None:
    classifier = train_head(cache, head="prototype")
    classifier.save(cache.path.with_name("classifier"))


def test_the_valid_ones_are_read(tmp_path):
    for name, (about, table, values) in copy.deepcopy(VALID).items():
        path = tmp_path / name / "a.h5"
        path.parent.mkdir()
        path.write_bytes(cache_bytes(about, table, values))
        assert verify(path).ok
        assert use(path) == "used"
        cache = FeatureCache(path)
        kept = np.flatnonzero(table["status"] == 0)
        for layer, expected in ((layer, each[kept]) for layer, each in values.items()):
            found = cache.features(kept, layer, view="all")
            np.testing.assert_array_equal(found.reshape(expected.shape), expected)


@pytest.mark.parametrize("cases", [40, pytest.param(FULL, marks=[pytest.mark.slow, pytest.mark.timeout(0)])])
def test_caches_of_strange_content(cases, tmp_path):
    path = tmp_path / "a.h5"

    def case(content: bytes) -> str:
        path.write_bytes(content)
        return use(path, commands=len(content) % 8 == 0)  # which take longer than all the rest

    fuzz("caches", foreign(), case, cases)


# Each kind, with its message --------------------------------------------------------------------------------


def changed(part: str, key: str, value: Any) -> bytes:
    """The plain cache with one value changed; keys as in messages, `...` drops one."""
    about, table, values = copy.deepcopy(VALID["plain"])
    if part == "column":
        table[key][3] = value
        return cache_bytes(about, table, values)
    header = json.loads(cache_bytes(about, table, values).split(b"\n", 3)[2])
    whole = header | {"sha256": ""} if part == "header" else about
    change(whole, key, value)
    return cache_bytes(about, table, values, whole if part == "header" else None)


@pytest.mark.parametrize(
    ("part", "key", "value", "text"),
    [
        (
            "identity",
            "layers 0 shape 0",
            "4",
            r"the identity is damaged: layers\[0\]\.shape\[0\] is '4', expected a whole",
        ),
        (
            "identity",
            "layers 1 dtype",
            "|O",
            r"layers\[1\]\.dtype is '\|O', expected one of float32, float16",
        ),
        ("identity", "layers 1 name", "pool", "it holds 'pool' twice, expected each name once"),
        ("identity", "layers 0 views", 7, r"layers\[0\]\.views is 7, expected 1 or the recipe's 1"),
        ("identity", "recipe views", ..., r"recipe\.views is missing, expected an object"),
        (
            "identity",
            "recipe views count",
            2,
            r"recipe\.views\.policy is 'none', expected an object of 2 views",
        ),
        (
            "identity",
            "recipe transforms mean 1",
            None,
            r"recipe\.transforms\.mean\[1\] is null, expected a number",
        ),
        (
            "identity",
            "dataset classes",
            ["a", "b", "a"],
            r"dataset\.classes holds 'a' twice, expected each name once",
        ),
        ("identity", "rows count", -1, r"rows\.count is -1, expected a whole number of at least 0"),
        (
            "identity",
            "rows columns",
            {"target": {"shape": [3], "dtype": "<f4"}},
            r"rows\.columns\.target\.shape is \[3\]",
        ),
        (
            "identity",
            "provenance weights",
            "a\0b",
            r"provenance\.weights is 'a\\x00b', expected the path of a file",
        ),
        ("identity", "provenance probes pool", [[1], [1, 2]], r"probes\.pool holds rows of several lengths"),
        ("identity", "provenance", float("nan"), "the identity is no JSON"),
        ("identity", "provenance", "@deep@", "the identity is no JSON"),
        ("identity", "rows count", 13, "rows/id is not what the identity says|features/pool is not what"),
        ("header", "size", 0, r"the header is damaged: size is 0, expected \d+ to \d+"),
        (
            "header",
            "start",
            "4096",
            r"the header is damaged: start is '4096', expected a whole number of 512 to",
        ),
        ("header", "datasets identity", [0, 100], r"'identity' starts at byte 0, within another part"),
        (
            "header",
            "datasets rows/id",
            [4096],
            r"datasets\.rows/id is a list of 1, expected a list of 2 values",
        ),
        ("header", "datasets features/pool", ..., "features/pool is not what the identity says"),
        ("header", "sha256", 5, "sha256 is 5, expected 64 hexadecimal digits"),
        ("header", "datasets", [], "datasets is a list of 0, expected an object"),
        (
            "column",
            "label",
            2**31 - 1,
            "the row table is damaged: label of row 3 is 2147483647, expected 0 to 2",
        ),
        ("column", "label", -1, "label of row 3 is -1, expected 0 to 2"),
        ("column", "split", -1, "split of row 3 is -1, expected 0 to 2"),
        ("column", "size", -5, "size of row 3 is -5, expected 0 to"),
    ],
)
def test_what_does_not_fit_is_named(part, key, value, text, tmp_path):
    path = tmp_path / "a.h5"
    path.write_bytes(changed(part, key, value))
    with pytest.raises(IntegrityError, match=rf"a\.h5.*{text}.*; restore it from a copy, or delete it"):
        FeatureCache(path)
    assert not verify(path).ok


def test_what_could_not_be_read_is_not_written(tmp_path):
    from featcache.cache.documents import require_writable

    about = copy.deepcopy(VALID["plain"][0])
    about["rows"]["sha256"] = table_digest(VALID["plain"][1])
    require_writable(about)
    about["dataset"]["classes"][1] = "x" * 10_001
    with pytest.raises(
        UsageError, match=r"a cache cannot hold this: dataset\.classes\[1\] is 'x+…', expected a text of"
    ):
        require_writable(about)
