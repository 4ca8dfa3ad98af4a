"""Writes scalars for TensorBoard to event files.

Only the event writer of tensorboardX is used. Its `SummaryWriter` passes events to a thread, which ends at the first
error (such as a full disk); ten events later the caller waits for it for ever.
"""

import os
import time
from pathlib import Path
from typing import Any

from featcache.core.disk.storage import storage_errors
from featcache.errors import UsageError


class Scalars:
    """Writes scalars into event files of a folder; each is on disk when `add` returns.

    A resumed run writes a new file. Its first event discards what earlier files hold from that step on, so that
    TensorBoard shows no step twice.

    Parameters
    ----------
    folder
        Created with the first scalar; ``None`` to write nothing.

    Raises
    ------
    UsageError
        If the extra ``tb`` is not installed.

    Examples
    --------
    >>> with Scalars(None) as scalars:
    ...     scalars.add("loss", 0.5, step=100)
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder
        self._writer: Any = None
        if folder is not None:
            require_package()

    def add(self, tag: str, value: float, step: int) -> None:
        """Add a scalar.

        Parameters
        ----------
        tag
            Name of the scalar; TensorBoard groups names by the part before a slash.
        value
            The value, stored as float32.
        step
            Position on the axis; must not decrease within one object.

        Raises
        ------
        StorageError
            If it cannot be written.
        """
        if self.folder is None:
            return
        # Any: protobuf creates their fields at import, where type checkers do not see them.
        from tensorboardX.proto import summary_pb2

        messages: Any = summary_pb2
        with storage_errors(self.folder, "write scalars to"):
            if self._writer is None:
                self._writer = _open_writer(self.folder, step)
            point = messages.Summary.Value(tag=tag, simple_value=float(value))
            _write(self._writer, step, summary=messages.Summary(value=[point]))
            self._writer.flush()

    def close(self) -> None:
        """Close the file; may be called twice."""
        writer, self._writer = self._writer, None
        if writer is not None and self.folder is not None:
            with storage_errors(self.folder, "write scalars to"):
                writer.close()

    def __enter__(self) -> "Scalars":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def require_package() -> None:
    """Raise `UsageError` if the extra ``tb`` is not installed."""
    try:
        import tensorboardX  # noqa: F401
    except ImportError as error:
        raise UsageError(
            "scalars for TensorBoard need tensorboardX, which is not installed: pip install 'featcache[tb]', "
            "or leave out --tensorboard"
        ) from error


def _open_writer(folder: Path, step: int) -> Any:
    """Open a new event file; where there are others, it discards their events from `step` on."""
    from tensorboardX.event_file_writer import EventsWriter
    from tensorboardX.proto import event_pb2

    messages: Any = event_pb2
    folder.mkdir(parents=True, exist_ok=True)
    before = len(list(folder.glob("events.out.tfevents.*")))
    # The name holds seconds, in which two may start; TensorBoard reads files in the order of their names.
    writer = EventsWriter(str(folder.absolute() / "events"), f".{before:04}.{os.getpid()}")
    if before:
        _write(writer, step, session_log=messages.SessionLog(status=messages.SessionLog.START))
    return writer


def _write(writer: Any, step: int, **content: Any) -> None:
    from tensorboardX.proto import event_pb2

    messages: Any = event_pb2
    writer.write_event(messages.Event(step=step, wall_time=time.time(), **content))
