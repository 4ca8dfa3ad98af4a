"""Choose the path of the cache that an extraction writes, and create its folder."""

import os
from pathlib import Path

from featcache.core.disk.files import make_folder
from featcache.core.disk.names import FILE, require_free
from featcache.core.disk.storage import ELSEWHERE, storage_errors
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
    require_free(target, FILE, elsewhere=ELSEWHERE)
    return target


def with_folder(target: Path) -> Path:
    """Create the target's folder; raises `StorageError` if that cannot be done."""
    with storage_errors(target, elsewhere=ELSEWHERE):
        make_folder(target.parent)
    return target
