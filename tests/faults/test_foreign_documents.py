"""Results, runs, checkpoints, locks, records whose checksums hold and whose content does not fit: only our errors."""

import copy
import hashlib
import io
import json
import os
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.fuzz import FULL, drawn_cases, fuzz
from helpers.mutations import mutated, text_of
from hypothesis import strategies as st

from featcache import open_dataset
from featcache.backbones.weights.lock_file import LockRecord, lock_file, read_record, remember
from featcache.classifier.loading import renamed
from featcache.core.disk.lock import WriteLock, is_held, owner_of
from featcache.core.environment import home
from featcache.datasets import file_state
from featcache.errors import FeatcacheError, IntegrityError, WeightsError
from featcache.extraction.planning.remembered_hashes import recall
from featcache.finetuning.position import POSITION, Position
from featcache.finetuning.runs.checkpoints import Checkpoints
from featcache.finetuning.runs.run_folder import RunFolder, read_history
from featcache.sweeps.leaderboard import leaderboard_entries
from featcache.sweeps.results import RESULTS, TABLE, Results

ARCHIVE = Path(__file__).parents[1] / "data" / "archives" / "before_packages"


def cases(few: int) -> Any:
    slow = pytest.param(FULL, marks=[pytest.mark.slow, pytest.mark.timeout(0)])
    return pytest.mark.parametrize("cases", [few, slow])


def outcome(work: Any, error: type[Exception] = FeatcacheError) -> str:
    try:
        work()
    except error:
        return "refused"
    return "used"


def lines_of(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


# Sweeps ------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings(
    "ignore::featcache.errors.FeatcacheWarning"
)  # what is damaged is told and taken out
@cases(50)
def test_results_of_a_sweep(cases, tmp_path):
    valid = lines_of(ARCHIVE / "sweeps" / "finished" / RESULTS)[:4]

    def use() -> None:
        results = Results(tmp_path)
        for entry in leaderboard_entries([(name[:3], row) for name, row in results.rows.items()]):
            assert entry.trials
        if (number := len(list(results.rows))) % 2:  # the table takes longer than all the rest
            assert results.write_table() == tmp_path / TABLE, number

    def case(lines: Any) -> str:
        texts = [text_of(line) for line in (lines if isinstance(lines, list) else [lines])]
        (tmp_path / RESULTS).write_bytes(b"\n".join([*texts, text_of(valid[0]), b""]))
        return outcome(use, IntegrityError)

    assert case(copy.deepcopy(valid)) == "used"
    fuzz("results of sweeps", mutated(valid), case, cases)


# Fine-tuning -------------------------------------------------------------------------------------------------


@cases(40)
def test_runs(cases, tmp_path):
    place = tmp_path / "tuned.run"
    shutil.copytree(
        ARCHIVE / "classifiers" / "tuned.run", place, ignore=shutil.ignore_patterns("checkpoints")
    )
    valid = {
        "run": json.loads((place / "run.json").read_text()),
        "history": lines_of(place / "history.jsonl"),
    }
    identity = valid["run"]["identity"]
    identity = {**identity, "settings": renamed(identity["settings"])}  # as it is asked for today

    def use() -> None:
        for record in read_history(place):
            assert all(
                value is None or np.isfinite(value) for value in record.values() if isinstance(value, float)
            )
        with RunFolder.open(place, identity) as run:
            run.rewind(3)
            assert run.finished == (run.summary is not None)

    def case(parts: Any) -> str:
        if not isinstance(parts, dict):
            parts = {"run": parts}
        history = parts.get("history", [])
        (place / "run.json").write_bytes(text_of(parts.get("run")))
        texts = [text_of(line) for line in (history if isinstance(history, list) else [history])]
        (place / "history.jsonl").write_bytes(b"".join(text + b"\n" for text in texts))
        return outcome(use)

    assert case(copy.deepcopy(valid)) == "used"
    fuzz("runs", mutated(valid), case, cases)


def with_checksum(document: Any) -> Any:
    """As `featcache.finetuning.runs.checkpoints` writes it."""
    if isinstance(document, dict):
        document["document_sha256"] = hashlib.sha256(json.dumps(document).encode()).hexdigest()
    return document


@cases(20)
def test_checkpoints(cases, tmp_path):
    arrays = {
        "kernel": np.arange(12, dtype=np.float32).reshape(3, 4),
        "steps": np.int32(3),
        "none": np.zeros((2, 0)),
    }
    folder = Checkpoints(tmp_path / "checkpoints").folder
    position = Position(epoch=1, steps=3).to_json()
    Checkpoints(folder).save("last", arrays, position)
    record = folder / "last.json"
    valid = json.loads(record.read_text())
    del valid["document_sha256"]
    kept = tmp_path / valid["folder"]
    shutil.copytree(folder / valid["folder"], kept)

    def use() -> None:
        found, told = Checkpoints(folder).restore("last")
        for value in found.values():
            assert value.nbytes < 1e6
        POSITION.check(told, record)
        assert np.isfinite(Position.from_json(told).mean_loss)

    def case(document: Any) -> str:
        record.write_bytes(text_of(with_checksum(document)))
        if not (folder / kept.name).exists():  # the record named another, so this one was a leftover
            shutil.copytree(kept, folder / kept.name)
        return outcome(use, IntegrityError)

    assert case(copy.deepcopy(valid)) == "used"
    fuzz("checkpoints", mutated(valid), case, cases)


@pytest.mark.parametrize(
    ("key", "value", "text"),
    [
        ("folder", "../../etc", r"folder is '\.\./\.\./etc', expected the name of a checkpoint's folder"),
        (
            "files",
            {"../x": "ab" * 32},
            r"files has the key '\.\./x', expected the path of a file in the folder",
        ),
        ("files", {"/dev/zero": "ab" * 32}, r"files has the key '/dev/zero', expected"),
        ("arrays", {"w": {"vector": "v", "start": -1, "dtype": "f", "shape": []}}, r"arrays\.w\.start is -1"),
        (
            "arrays",
            {"w": {"vector": "no", "start": 0, "dtype": "int8", "shape": [2]}},
            "an array of 2 int8 from number 0",
        ),
        (
            "arrays",
            {"w": {"vector": "no", "start": 0, "dtype": "float9", "shape": [0]}},
            "no array has the type float9",
        ),
        ("position", [], "position is a list of 0, expected an object"),
        ("more", "@deep@", "nested more than 32 levels deep"),
    ],
)
def test_what_does_not_fit_a_checkpoint_is_named(key, value, text, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save("last", {"w": np.zeros(2, np.int8)}, {})
    document = json.loads((checkpoints.folder / "last.json").read_text())
    del document["document_sha256"]
    (checkpoints.folder / "last.json").write_bytes(text_of(with_checksum(document | {key: value})))
    with pytest.raises(
        IntegrityError, match=rf"the checkpoint 'last' is damaged: .*{text}.*; start the run anew"
    ):
        checkpoints.restore("last")


# Locks -------------------------------------------------------------------------------------------------------


@cases(50)
def test_owners_of_locks(cases, tmp_path):
    lock = WriteLock(tmp_path / "a.h5")
    valid = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "pid_started": "1",
        "since": "2026-11-28 12:00:00",
    }

    def use() -> None:
        assert lock.record.name == "a.h5.owner.json"
        assert owner_of(lock.record)
        is_held(lock.target)
        with lock:
            assert json.loads(lock.record.read_text())["pid"] == os.getpid()

    def case(document: Any) -> str:
        lock.record.write_bytes(text_of(document))
        return outcome(use)

    fuzz("owners of locks", mutated(valid), case, cases)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b'{"host": "h", "pid": 1e99}', b"\xff", b"NaN", b"9" * 5000]
)
def test_a_record_that_cannot_be_read_is_no_owner(content, tmp_path):
    lock = WriteLock(tmp_path / "a.h5")
    lock.record.write_bytes(content)
    assert owner_of(lock.record) == "unreadable record; delete it if nobody is writing"
    with lock:
        assert json.loads(lock.record.read_text())["pid"] == os.getpid()


@cases(50)
def test_recorded_weights(cases, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path))
    entry = {
        "url": "https://here/a.h5",
        "sha256": "ab" * 32,
        "size": 5,
        "date": "2026-03-01",
        "verified": "md5",
    }
    lock_file().parent.mkdir(parents=True)

    def use() -> None:
        for name in ("a.h5", "b.h5", "new.h5"):
            found = read_record(name)
            assert found is None or (len(found.sha256) == 64 and found.size >= 0)
        assert remember("a.h5", LockRecord(**entry)).size >= 0

    def case(document: Any) -> str:
        lock_file().write_bytes(text_of(document))
        return outcome(use, WeightsError)

    valid = {"a.h5": entry, "b.h5": entry | {"more": 1}}
    assert case(valid) == "used"
    fuzz("recorded weights", mutated(valid), case, cases)


# Remembered hashes -------------------------------------------------------------------------------------------


@drawn_cases
def remembered(draw: st.DrawFn, valid: list[np.ndarray]) -> bytes:
    """Return the columns of a file of hashes, one or two of them others."""
    columns = copy.copy(valid)
    for _ in range(draw(st.integers(1, 2))):
        number = draw(st.integers(0, len(columns) - 1))
        column = columns[number]
        changes = {
            "shorter": column[:-1],
            "longer": np.concatenate([column, column]),
            "folded": column.reshape(1, -1),
            "type": column.astype("S3") if column.dtype.kind != "S" else np.zeros(len(column), "<f8"),
            "big end": column.astype(column.dtype.newbyteorder(">")),
            "empty": column[:0],
            "bytes": np.frombuffer(column.tobytes()[::-1], column.dtype),
        }
        columns[number] = changes[draw(st.sampled_from(sorted(changes)))]
    stream = io.BytesIO()
    for column in columns:
        np.save(stream, column, allow_pickle=False)
    content = bytearray(stream.getvalue())
    if draw(st.booleans()):  # the text that numpy puts before an array
        old = draw(
            st.sampled_from((b"'shape': (", b"'descr': '", b"'fortran_order': False", b"\x93NUMPY\x01"))
        )
        new = draw(
            st.sampled_from(
                (b"'shape': (99999999999,", b"'descr': '|O', 'x':'", b"'a': " + b"(" * 500, b"\x93NUMPY\x03")
            )
        )
        place = content.find(old)
        content[max(place, 0) : max(place, 0) + len(new)] = new
    for _ in range(draw(st.integers(0, 2)) if content else 0):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return bytes(content)


@cases(50)
def test_remembered_hashes(cases, tmp_path, monkeypatch):
    monkeypatch.setenv("FEATCACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(file_state, "_TICK_NS", 0)  # files that were just written have a state, too
    for number in range(3):
        (tmp_path / "photos" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        (tmp_path / "photos" / "ab"[number % 2] / f"{number}.jpg").write_bytes(b"%d" % number)
    data = open_dataset(tmp_path / "photos")
    file = home() / "hashes" / hashlib.sha256(os.fsencode(data.location)).hexdigest()
    file.parent.mkdir(parents=True)
    hashes = np.arange(3 * 32, dtype=np.uint8)
    valid = [
        np.array([record.id.encode() for record in data.records]),
        np.array([record.size for record in data.records], "<i8"),
        np.frombuffer(b"".join(record.state for record in data.records), np.uint8),
        hashes,
    ]

    def case(content: bytes) -> str:
        file.write_bytes(b"featcache hashes 1\n" + hashlib.sha256(content).digest() + content)
        known, found = recall(data)
        assert (known.shape, found.shape) == ((3,), (3, 32))
        assert (found.any(axis=1) <= known).all()
        return "used" if known.any() else "forgotten"

    stream = io.BytesIO()
    for column in valid:
        np.save(stream, column, allow_pickle=False)
    assert case(stream.getvalue()) == "used"
    fuzz("remembered hashes", remembered(valid), case, cases)
