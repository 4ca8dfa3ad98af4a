"""Names of the ImageNet-1k classes, in the order of every published classifier's outputs.

The list is torchvision's (``torchvision/models/_meta.py``, BSD-3-Clause). Two names stand for two classes each
there ("crane", "maillot"), as they do in the original.
"""

from functools import cache
from importlib.resources import files


@cache
def class_names(classes: int = 1000) -> tuple[str, ...]:
    """Return the class names; with 1001 classes the first is ``"background"``, as TensorFlow counts them."""
    names = tuple(files("featcache.backbones").joinpath("imagenet1k.txt").read_text("utf-8").splitlines())
    return ("background", *names) if classes == 1001 else names
