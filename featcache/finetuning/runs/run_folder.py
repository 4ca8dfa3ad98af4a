"""The folder of a fine-tuning run, ``OUTPUT.run``: its identity, its history, its checkpoints.

::

    run.json            format, the identity of the run, and a summary once it is finished
    history.jsonl       a line of JSON for each epoch
    checkpoints/        see `featcache.finetuning.runs.checkpoints`

One process writes a run at a time: the folder has a lock file beside it, as a cache has.
"""

import json
import os
import weakref
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from featcache.classifier.loading import renamed
from featcache.core.disk.files import made_folder, replace_file
from featcache.core.disk.folder_swap import is_there, put_in_place, remove_folder
from featcache.core.disk.jsonl import append_records, mend_end, read_records, rewrite_records
from featcache.core.disk.lock import WriteLock
from featcache.core.disk.names import FOLDER, require_file, require_folder, require_free, resolved
from featcache.core.disk.storage import ELSEWHERE, storage_error, storage_errors
from featcache.core.disk.temporaries import held_folder, remove_leftovers
from featcache.core.documents.document_format import DocumentFormat, read_limited
from featcache.core.documents.json_text import to_text
from featcache.core.documents.kinds import Maybe, Number, Record, Table, Text, Whole
from featcache.core.identity import canonical_json, differences
from featcache.core.warning import warn
from featcache.errors import IdentityError, UsageError
from featcache.finetuning.runs.checkpoints import Checkpoints

RUN = "run.json"
HISTORY = "history.jsonl"

_SUMMARY = Record({}, {"verdict": Maybe(Text()), "best_epoch": Maybe(Whole(0)), "stopped": Text()})

RUN_DOCUMENT = DocumentFormat(
    Record(
        {"identity": Table(), "finished": Maybe(_SUMMARY)}
    ),  # the identity is compared and shown, not used
    what="the record of a run",
    remedy="start anew with another --output",
    name="featcache-run",
    version=1,
)

_COUNTED = ("phase", "epoch", "step")
_MEASURED = ("loss", "accuracy", "val_loss", "val_accuracy", "learning_rate", "images_per_second", "seconds")
HISTORY_RECORD = Record(
    {},  # null where a number was infinite or NaN
    {**dict.fromkeys(_COUNTED, Whole(0)), **dict.fromkeys(_MEASURED, Maybe(Number()))},
)
EARLIER_RECORD = Record(
    {},
    {
        **HISTORY_RECORD.optional,
        **dict.fromkeys(_MEASURED, Maybe(Number(-1e-3))),  # losses and means of float32 numbers
        **dict.fromkeys(("accuracy", "val_accuracy"), Maybe(Number(-1e-3, 1.001))),
    },
    closed=True,
)
"""A line of an earlier featcache, without a checksum: every key is known."""


class RunFolder:
    """The folder of one run, held by this process until it is closed; see `create` and `open`.

    Parameters
    ----------
    path
        The folder.
    held
        The lock, released when the folder is closed.
    """

    def __init__(self, path: Path, held: ExitStack) -> None:
        self.path = path
        self.checkpoints = Checkpoints(path / "checkpoints")
        for name in (RUN, HISTORY):
            remove_leftovers(path / name)
        with storage_errors(path / HISTORY, "save", elsewhere=ELSEWHERE):
            mend_end(path / HISTORY)
        self._close = weakref.finalize(self, held.pop_all().close)

    @classmethod
    def create(
        cls, path: str | os.PathLike[str], identity: Mapping[str, Any], *, overwrite: bool = False
    ) -> "RunFolder":
        """Create a run.

        Parameters
        ----------
        path
            The folder; missing parents are created.
        identity
            Everything that decides the result of the run, as plain JSON values.
        overwrite
            Replace an existing run; a folder that holds anything else is never removed.

        Raises
        ------
        UsageError
            If there is a run already, or a folder of something else.
        LockedError
            If another process is training into it.
        StorageError
            If it cannot be written.
        """
        target = resolved(path)  # a link stays, and what it leads to is used
        _require_text(target)
        with (
            storage_errors(target, "create", elsewhere=ELSEWHERE),
            made_folder(target.parent),
            ExitStack() as held,
        ):
            held.enter_context(WriteLock(target))
            require_free(target, FOLDER, elsewhere=ELSEWHERE)
            _require_room(target, overwrite=overwrite)
            _create_run(target, identity)
            return cls(target, held)

    @classmethod
    def open(cls, path: str | os.PathLike[str], identity: Mapping[str, Any]) -> "RunFolder":
        """Open a run to continue it.

        Raises
        ------
        MissingFileError
            If there is no run.
        IdentityError
            If the run has another identity; the message lists the differences.
        IntegrityError
            If it is damaged, or of a newer version.
        LockedError
            If another process is training into it.
        """
        target = resolved(path)
        is_there(target, RUN)
        read_run(target)  # raises before a lock file is created for a missing run
        with storage_errors(target, "open"), ExitStack() as held:
            held.enter_context(WriteLock(target))
            for what in ("new", "old"):
                remove_leftovers(target, what)
            _require_same(target, read_run(target)["identity"], identity)
            return cls(target, held)

    @property
    def finished(self) -> bool:
        """Whether the run is finished."""
        return self.summary is not None

    @property
    def summary(self) -> dict[str, Any] | None:
        """The summary given to `finish`; ``None`` before."""
        return read_run(self.path)["finished"]

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Mark the run as finished, with a summary of plain JSON values."""
        with storage_errors(self.path / RUN, "save", elsewhere=ELSEWHERE):
            replace_file(self.path / RUN, _run_text({**read_run(self.path), "finished": summary}))

    def log(self, record: Mapping[str, Any]) -> None:
        """Append a record to the history; it is on disk when this returns.

        Infinite and NaN values become ``null``, because JSON has neither.
        """
        with storage_errors(self.path / HISTORY, "save", elsewhere=ELSEWHERE):
            append_records(self.path / HISTORY, [record])

    def history(self) -> list[dict[str, Any]]:
        """Return the records so far; see `read_history`."""
        return read_history(self.path)

    def rewind(self, step: int) -> None:
        """Drop records whose ``step`` is beyond `step`: the resumed run writes them again."""
        records = self.history()
        kept = [record for record in records if record.get("step", step) <= step]
        if len(kept) < len(records):
            with storage_errors(self.path / HISTORY, "save", elsewhere=ELSEWHERE):
                rewrite_records(self.path / HISTORY, kept)

    def require_epochs(self, count: int) -> None:
        """Warn if the history lacks one of the epochs 1 to `count`, which a checkpoint says were trained."""
        told = {record.get("epoch") for record in self.history()}
        if lacking := [str(epoch) for epoch in range(1, count + 1) if epoch not in told]:
            warn(
                f"{self.path / HISTORY} lacks epoch {', '.join(lacking[:10])}: it was damaged or edited; the run goes "
                "on from its checkpoint, and curves and report lack that epoch"
            )

    def close(self) -> None:
        """Release the lock; may be called twice."""
        self._close()

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read_history(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Return the history of a run, which may still be running; an incomplete last line is left out.

    Parameters
    ----------
    path
        The run's folder.

    Raises
    ------
    IntegrityError
        If another line is damaged.
    StorageError
        If it cannot be read.
    """
    file = Path(path) / HISTORY
    with storage_errors(file, "read"):
        return read_records(
            file,
            damaged="{path} is damaged in line {line}; delete that line to continue without it ({why})",
            content=HISTORY_RECORD,
            earlier=EARLIER_RECORD,
        )


def _require_room(target: Path, *, overwrite: bool) -> None:
    """Raise `UsageError` if there is anything but an empty folder, or a run that is to be replaced."""
    if not is_there(target, RUN) or (target.is_dir() and not any(target.iterdir())):
        return
    if not _is_run(target):
        raise UsageError(f"{target} exists and is no run of featcache; choose another place with --output")
    if not overwrite:
        state = "a finished" if read_run(target)["finished"] is not None else "an unfinished"
        raise UsageError(
            f"{target} holds {state} run; continue it with --resume, or start anew with --overwrite"
        )


def _require_text(target: Path) -> None:
    """Refuse a path that the library of checkpoints cannot take, before anything is trained."""
    try:
        str(target).encode()
    except UnicodeEncodeError as error:
        raise UsageError(
            f"output {target}: a part of its path is no UTF-8 text, which checkpoints need; {ELSEWHERE}"
        ) from error


def _create_run(target: Path, identity: Mapping[str, Any]) -> None:
    """Create a new run in its place; until then the one that was there stays."""
    document = {"format": RUN_DOCUMENT.name, "format_version": RUN_DOCUMENT.version}
    document |= {"identity": identity, "finished": None}
    remove_leftovers(target)
    with held_folder(target) as fresh:
        try:
            replace_file(fresh / RUN, _run_text(document))
            put_in_place(fresh, target, RUN)
        finally:
            remove_folder(fresh, RUN)


def _is_run(folder: Path) -> bool:
    try:
        return RUN_DOCUMENT.is_of(read_limited(folder / RUN))
    except OSError:
        return False


def read_run(folder: Path) -> dict[str, Any]:
    """Return the document of a run: its ``identity``, and its summary as ``finished``, ``None`` before.

    Raises
    ------
    MissingFileError
        If there is no run.
    IntegrityError
        If it is damaged, or of a newer version.
    StorageError
        If it cannot be read.
    """
    path = folder / RUN
    missing = f"nothing to resume: no run in {folder}; start one without --resume"
    require_folder(folder, "a run, the folder that featcache finetune writes", missing=missing)
    require_file(path, "the record of a run", missing=missing)
    try:
        text = read_limited(path)
    except OSError as error:
        raise storage_error(error, path, "read") from error
    return RUN_DOCUMENT.read(text, path)


def _run_text(document: Mapping[str, Any]) -> bytes:
    identity = json.loads(canonical_json(document["identity"]))
    return (to_text({**document, "identity": identity}, indent=1) + "\n").encode()


def _require_same(target: Path, have: Mapping[str, Any], want: Mapping[str, Any]) -> None:
    if isinstance(have.get("settings"), Mapping) and "standardize" in have["settings"]:
        have = {**have, "settings": renamed(have["settings"])}
    lines = [line.replace(" in the cache, ", " in the run, ") for line in differences(have, want)]
    if lines:
        raise IdentityError(
            f"the run in {target} differs from the one asked for:\n  "
            + "\n  ".join(lines)
            + "\ngive the same settings to continue it, or start anew with --overwrite"
        )
