"""Documents of ours that somebody else may have written: sweeps, runs, checkpoints, locks, hashes, audits, settings."""

import hashlib
import io
import json
import random
import shutil
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from featcache import open_dataset
from featcache.auditing.written import read_audit
from featcache.backbones.weights.lock_file import LockRecord, lock_file, read_record, remember
from featcache.classifier.loading import renamed
from featcache.cli.commands.sweep import _from_file
from featcache.core.disk.lock import WriteLock, is_held, owner_of
from featcache.core.environment import home
from featcache.datasets import file_state
from featcache.errors import IntegrityError
from featcache.exporting.description import FORMAT
from featcache.exporting.files import require_output
from featcache.extraction.planning.remembered_hashes import recall
from featcache.finetuning.position import POSITION, Position
from featcache.finetuning.runs.checkpoints import Checkpoints
from featcache.finetuning.runs.run_folder import RunFolder, read_history
from featcache.sweeps.finished import read_sweep
from featcache.sweeps.leaderboard import leaderboard_entries
from featcache.sweeps.results import RESULTS, Results

from ..mutators import changed_bytes, changed_json, changed_lines, packed, unpacked
from ..reader import Mutator, Reader, Subject

_ARCHIVE = Path(__file__).parents[3] / "data" / "archives" / "before_packages"


def each_of(*mutators: Mutator) -> Mutator:
    """Change one of several files."""

    def mutate(data: bytes, chance: random.Random) -> bytes:
        parts = unpacked(data, len(mutators))
        at = chance.randrange(len(parts))
        parts[at] = mutators[at](parts[at], chance)
        return packed(*parts)

    return mutate


def _sweep(folder: Path) -> Subject:
    source = _ARCHIVE / "sweeps" / "finished"
    seed = packed((source / "summary.json").read_bytes(), (source / RESULTS).read_bytes())

    def use(data: bytes) -> None:
        summary, lines = unpacked(data, 2)
        (folder / "summary.json").write_bytes(summary)
        (folder / RESULTS).write_bytes(lines)
        results = Results(folder)
        leaderboard_entries([(name[:3], row) for name, row in results.rows.items()])
        results.close()
        read_sweep(folder)

    return Subject([seed], use, each_of(changed_json, changed_lines), longest=1 << 17)


def _run(folder: Path) -> Subject:
    place = folder / "tuned.run"
    shutil.copytree(
        _ARCHIVE / "classifiers" / "tuned.run", place, ignore=shutil.ignore_patterns("checkpoints")
    )
    seed = packed((place / "run.json").read_bytes(), (place / "history.jsonl").read_bytes())
    identity = json.loads((place / "run.json").read_text())["identity"]
    identity = {**identity, "settings": renamed(identity["settings"])}

    def use(data: bytes) -> None:
        document, history = unpacked(data, 2)
        (place / "run.json").write_bytes(document)
        (place / "history.jsonl").write_bytes(history)
        read_history(place)
        with RunFolder.open(place, identity) as run:
            run.rewind(3)

    return Subject([seed], use, each_of(changed_json, changed_lines))


def _checkpoint(folder: Path) -> Subject:
    arrays = {"kernel": np.arange(12, dtype=np.float32).reshape(3, 4), "steps": np.int32(3)}
    checkpoints = Checkpoints(folder / "checkpoints").folder
    Checkpoints(checkpoints).save("last", arrays, Position(epoch=1, steps=3).to_json())
    record = checkpoints / "last.json"
    seed = record.read_bytes()
    own = json.loads(seed)["folder"]
    shutil.copytree(checkpoints / own, folder / own)

    def use(data: bytes) -> None:
        if not (checkpoints / own).exists():
            shutil.copytree(folder / own, checkpoints / own)
        record.write_bytes(data)
        found, told = Checkpoints(checkpoints).restore("last")
        assert all(value.nbytes < 1e6 for value in found.values())
        POSITION.check(told, record)
        Position.from_json(told)

    def mutate(data: bytes, chance: random.Random) -> bytes:
        """Change the record, and make its checksum right again."""
        text = changed_json(data, chance)
        try:
            document = json.loads(text)
            document.pop("document_sha256", None)
            document["document_sha256"] = hashlib.sha256(json.dumps(document).encode()).hexdigest()
        except (ValueError, AttributeError, TypeError, RecursionError):
            return text
        return json.dumps(document).encode()

    return Subject([seed], use, mutate)


def _owner(folder: Path) -> Subject:
    lock = WriteLock(folder / "a.h5")
    seed = {"host": socket.gethostname(), "pid": 1, "pid_started": "1", "since": "2026-11-28 12:00:00"}

    def use(data: bytes) -> None:
        lock.record.write_bytes(data)
        assert owner_of(lock.record)
        is_held(lock.target)
        with lock:
            assert json.loads(lock.record.read_text())["pid"]

    return Subject([json.dumps(seed).encode()], use, changed_json)


def _lock_file(folder: Path) -> Subject:
    entry = {
        "url": "https://here/a.h5",
        "sha256": "ab" * 32,
        "size": 5,
        "date": "2026-03-01",
        "verified": "md5",
    }
    lock_file().parent.mkdir(parents=True, exist_ok=True)

    def use(data: bytes) -> None:
        lock_file().write_bytes(data)
        for name in ("a.h5", "new.h5"):
            read_record(name)
        assert remember("a.h5", LockRecord(**entry)).size >= 0  # type: ignore[arg-type]

    return Subject([json.dumps({"a.h5": entry}).encode()], use, changed_json)


def _hashes(folder: Path) -> Subject:
    """The file of hashes that are remembered: NumPy's columns behind a checksum, which is made right."""
    file_state._TICK_NS = 0  # type: ignore[attr-defined] # files that were just written have a state, too
    for number in range(3):
        (folder / "photos" / "ab"[number % 2]).mkdir(parents=True, exist_ok=True)
        (folder / "photos" / "ab"[number % 2] / f"{number}.jpg").write_bytes(b"%d" % number)
    data = open_dataset(folder / "photos")
    place = home() / "hashes" / hashlib.sha256(data.location.encode()).hexdigest()
    place.parent.mkdir(parents=True)
    stream = io.BytesIO()
    columns: list[Any] = [
        np.array([record.id.encode() for record in data.records]),
        np.array([record.size for record in data.records], "<i8"),
        np.frombuffer(b"".join(record.state for record in data.records), np.uint8),
        np.arange(3 * 32, dtype=np.uint8),
    ]
    for column in columns:
        np.save(stream, column, allow_pickle=False)

    def use(content: bytes) -> None:
        place.write_bytes(b"featcache hashes 1\n" + hashlib.sha256(content).digest() + content)
        known, found = recall(data)
        assert (known.shape, found.shape) == ((3,), (3, 32))
        if not known.any():
            raise IntegrityError("forgotten")

    words = (b"\x93NUMPY\x01\0", b"'shape': (", b"'descr': '|O'", b"'fortran_order': True", b"|S9", b"<i8")
    return Subject([stream.getvalue()], use, words=words)


def _audit(folder: Path) -> Subject:
    place = folder / "audit.json"
    suspect = {
        "row": 0,
        "id": "cat/0.png",
        "label": "cat",
        "split": "train",
        "score": 0.5,
        "why": "it is near dogs",
    }
    suspect |= {"certain": True, "suggested": "dog", "resembles": [], "leave_out": [0]}
    found = {
        "kind": "wrong-labels",
        "title": "Labels",
        "finding": "1 of 9",
        "meaning": "look at them",
        "figures": {},
    }
    value = {
        "cache": "a.h5",
        "lists": [found | {"entries": [suspect]}],
        "rows": 9,
        "skipped": {"copies": "no photos"},
    }

    def use(data: bytes) -> None:
        place.write_bytes(data)
        read_audit(place)

    return Subject([json.dumps(value).encode()], use, changed_json)


def _settings(folder: Path) -> Subject:
    """The TOML file of a sweep's options."""
    place = folder / "sweep.toml"
    options = {"head": None, "learning_rate": None, "epochs": None, "seeds": None}
    context: Any = SimpleNamespace(get_parameter_source=lambda name: "DEFAULT")

    def use(data: bytes) -> None:
        place.write_bytes(data)
        _from_file(place, options, context)

    seed = b'head = ["linear", "mlp"]\nlearning-rate = [0.1, 1e-2]\nepochs = 30\n# about\nseeds = """3"""\n'
    return Subject(
        [seed], use, words=(b"[[a]]", b"a.b.c = 1", b"1979-05-27T07:32:00Z", b"{a = 1}", b"[" * 2000, b"'''")
    )


def _description(folder: Path) -> Subject:
    """What lies beside an exported model, which an export may replace where it is its own."""
    described, listed = folder / "preprocessing.json", folder / "labels.txt"

    def use(data: bytes) -> None:
        described_text, labels = unpacked(data, 2)
        described.write_bytes(described_text)
        listed.write_bytes(labels)
        require_output(folder / "model.onnx")

    value = {"format": FORMAT, "format_version": 1, "model": "model.onnx", "classes": ["cat", "dog"]}
    return Subject(
        [packed(json.dumps(value).encode(), b"cat\ndog\n")],
        use,
        each_of(changed_json, lambda d, c: changed_bytes(d, c, [], [])),
    )


READERS = (
    Reader("sweep", _sweep),
    Reader("run", _run),
    Reader("checkpoint", _checkpoint),
    Reader("owner", _owner),
    Reader("lock-file", _lock_file),
    Reader("hashes", _hashes),
    Reader("audit", _audit),
    Reader("settings", _settings),
    Reader("description", _description),
)
