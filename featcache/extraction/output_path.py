"""Choose the path of the cache that an extraction writes, and create its folder."""

import os
import re
from pathlib import Path

from featcache.backbones.input_size import read_size
from featcache.cache.set_aside import require_unreserved
from featcache.core.disk.files import make_folder
from featcache.core.disk.names import FILE, require_free
from featcache.core.disk.storage import ELSEWHERE, storage_errors
from featcache.core.identity import sha256_json
from featcache.core.tasks import UNLABELLED
from featcache.datasets import Dataset
from featcache.datasets.subset import Subset
from featcache.errors import UsageError
from featcache.extraction.spec import ExtractionSpec
from featcache.extraction.uploading import written_to
from featcache.images.augmentation import Augmentation
from featcache.images.transforms import Transforms
from featcache.images.views import DEFAULT


def output_path(
    data: Dataset, backbone: str, output: str | os.PathLike[str] | None, part: Subset, spec: ExtractionSpec
) -> Path:
    """Return the path of the cache: `output`, or ``NAME-BACKBONE.h5`` in the working directory.

    What `spec` asks for beyond the default stands in the name, so that one extraction never meets another's file.
    """
    if output is not None:
        return _require_h5(written_to(output))
    name = f"{data.name}-unlabelled" if data.task == UNLABELLED else data.name
    return _require_h5(Path(f"{name}-{backbone}{suffix_of(spec)}{part.suffix}.h5"))


def suffix_of(spec: ExtractionSpec) -> str:
    """Return the part of a cache's name that says how its features differ from the default.

    Examples
    --------
    >>> suffix_of(ExtractionSpec(backbone="resnet50", layers=("conv4_block6_out:avg",), dtype="float16"))
    '-conv4_block6_out-avg-float16'
    """
    views, standard = spec.views, Augmentation.parse(DEFAULT)
    parts = [
        "" if spec.layers == ("pool",) else _short("+".join(spec.layers)),
        ""
        if spec.image_size is None
        else "x".join(map(str, dict.fromkeys(read_size(spec.image_size)))) + "px",
        "" if spec.rgb is None else _short(f"rgb-{spec.rgb}"),
        "" if spec.transforms is None else f"transforms-{_transforms_of(spec.transforms)}",
        "" if views.count == 1 else f"{views.count}views",
        "" if views.count == 1 or views.augmentation == standard else _short(str(views.augmentation)),
        f"seed{views.seed}" if views.count > 1 and views.seed else "",
        "" if spec.dtype == "float32" else spec.dtype,
        "" if spec.compute_dtype == "float32" else f"computed-{spec.compute_dtype}",
    ]
    return "".join(f"-{part}" for part in parts if part)


def _transforms_of(transforms: Transforms | str) -> str:
    if isinstance(transforms, str):
        return _short(transforms)
    return sha256_json(transforms.to_json())[:8]


def _short(text: str) -> str:
    """Return a text as it may stand in a file's name; a hash makes up for what is cut off."""
    plain = re.sub(r"[^\w.+-]+", "-", text.replace(",", "+")).strip("-")
    return plain if len(plain) <= 60 else f"{plain[:48]}-{sha256_json(text)[:8]}"


def _require_h5(target: Path) -> Path:
    if target.suffix != ".h5":
        raise UsageError(f"output {target} must end in .h5: name it {target.with_suffix('.h5')}")
    require_unreserved(target)
    require_free(target, FILE, elsewhere=ELSEWHERE)
    return target


def with_folder(target: Path) -> Path:
    """Create the target's folder; raises `StorageError` if that cannot be done."""
    with storage_errors(target, elsewhere=ELSEWHERE):
        make_folder(target.parent)
    return target
