"""onnxruntime's sessions: one model, ready to run on a CPU."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.errors import MissingExtraError

if TYPE_CHECKING:
    import onnx
    import onnxruntime


def require_onnxruntime() -> Any:
    """Return the package `onnxruntime`.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            "running ONNX models needs the package onnxruntime: pip install 'featcache[onnx]'"
        ) from error
    return onnxruntime


def open_session(
    model: "onnx.ModelProto | bytes | str | Path", *, threads: int = 1
) -> "onnxruntime.InferenceSession":
    """Return a session of a model on the CPU.

    Parameters
    ----------
    model
        The model, its bytes, or the path of its file.
    threads
        Threads that share the work of one call. With one, calls from several threads run side by side.

    Raises
    ------
    MissingExtraError
        If the package onnxruntime is not installed.
    """
    runtime = require_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3  # errors alone: what it warns of, a user cannot mend
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    given = model if isinstance(model, bytes | str) else str(model) if isinstance(model, Path) else None
    return runtime.InferenceSession(
        model.SerializeToString() if given is None else given,  # pyright: ignore[reportAttributeAccessIssue]
        options,
        providers=["CPUExecutionProvider"],
    )
