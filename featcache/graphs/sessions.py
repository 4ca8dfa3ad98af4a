"""onnxruntime's sessions: one model, ready to run on a CPU."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcache.errors import FeatcacheError, MissingExtraError, first_line

if TYPE_CHECKING:
    import onnx
    import onnxruntime


def require_onnxruntime() -> Any:
    """Return the package `onnxruntime`.

    Raises
    ------
    MissingExtraError
        If it is not installed.
    FeatcacheError
        If it is, and cannot be imported.
    """
    try:
        import onnxruntime
    except Exception as error:
        raise unusable("onnxruntime", "running ONNX models", error) from error
    return onnxruntime


def unusable(package: str, purpose: str, error: Exception) -> FeatcacheError:
    """Return why a package of the extra cannot be imported: it is missing, or its installation is damaged.

    The latter raises whatever comes: OSError where a library is missing, RuntimeError or AttributeError beside a numpy
    that it was not built for.
    """
    if isinstance(error, ModuleNotFoundError) and error.name == package:
        return MissingExtraError(f"{purpose} needs the package {package}: pip install 'featcache[onnx]'")
    return FeatcacheError(
        f"the package {package} is installed and cannot be imported ({first_line(error)}); "
        f"install it again: pip install --force-reinstall {package}"
    )


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
