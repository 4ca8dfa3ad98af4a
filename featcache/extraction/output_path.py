"""Choose the path of the cache that an extraction writes, and check that it is writable."""

import os
from pathlib import Path

from featcache.datasets import Dataset
from featcache.datasets.subset import Subset
from featcache.errors import UsageError


def output_path(data: Dataset, backbone: str, output: str | os.PathLike[str] | None, part: Subset) -> Path:
    """Return the path of the cache: `output`, or ``NAME-BACKBONE.h5`` in the working directory."""
    if output is not None:
        return _require_h5(Path(output).expanduser())
    return _require_h5(Path(f"{data.name}-{backbone}{part.suffix}.h5"))


def _require_h5(target: Path) -> Path:
    if target.suffix != ".h5":
        raise UsageError(f"output {target} must end in .h5")
    if target.is_dir():
        raise UsageError(f"output {target} is a folder; give a file name that ends in .h5")
    return target


def make_writable(target: Path) -> Path:
    """Create the target's folder; raises `UsageError` if it is not writable."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot create the folder of output {target}: {error.strerror}") from error
    if not os.access(target.parent, os.W_OK):
        raise UsageError(f"cannot write in {target.parent.resolve()}; choose another place with --output")
    return target
