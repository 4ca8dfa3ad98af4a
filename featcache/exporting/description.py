"""What is told of an exported model: in its file, in ``preprocessing.json`` and in ``labels.txt``."""

import math
from collections.abc import Sequence
from typing import Any

from featcache.core.documents.json_text import to_text
from featcache.core.version import __version__
from featcache.exporting.program import INPUT, Program
from featcache.images.rgb import RgbRule
from featcache.images.transforms import Transforms

FORMAT, VERSION = "featcache preprocessing", 1

PREPROCESSING, LABELS = "preprocessing.json", "labels.txt"
"""Names of the files beside a model."""


def preprocessing(program: Program, model: str) -> dict[str, Any]:
    """Return what a program has to do with a photo before the model, and with its outputs.

    Parameters
    ----------
    program
        The model.
    model
        Name of its file.
    """
    height, width = program.transforms.input_size
    return {
        "format": FORMAT,
        "version": VERSION,
        "model": model,
        "input": {
            "name": INPUT,
            "dtype": "uint8",
            "layout": "NHWC",
            "channels": "RGB",
            "height": height,
            "width": width,
        },
        "transforms": program.transforms.to_json(),
        "steps": steps(program.transforms),
        "task": program.task,
        "classes": list(program.classes),
        "outputs": dict(program.outputs),
        "unknown": {
            "below_probability": program.below_probability,
            "beyond_distance": program.beyond_distance,
        },
    }


def metadata(program: Program, document: dict[str, Any]) -> dict[str, str]:
    """Return what a model's file says of itself (``metadata_props``); `document` is of `preprocessing`."""
    unknown = document["unknown"]
    layers = [str(layer) for layer in program.layers]
    return {
        "classes": to_text(program.classes),
        "task": program.task,
        "preprocessing": to_text(document),
        "thresholds": to_text(
            {"probability": unknown["below_probability"], "distance": unknown["beyond_distance"]}
        ),
        "featcache_version": __version__,
        "backbone": program.network.name,
        "layer": ", ".join(layers),
        "fingerprint": program.fingerprint,
        "weights_sha256": program.network.weights_sha256,
    }


def labels(classes: Sequence[str]) -> bytes:
    """Return the names of classes, one a line; a name with line breaks in it stands in one line all the same."""
    lines = (" ".join(name.splitlines()) for name in classes)
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")


def steps(transforms: Transforms) -> list[str]:
    """Return the way from a photo's file to the model's input, one sentence a step."""
    rule = RgbRule.parse(transforms.rgb)
    upright = {
        "apply": "Turn it upright by its EXIF orientation.",
        "ignore": "Leave it as it is stored: its EXIF orientation is not applied.",
    }
    alpha = {
        "white": "Composite transparent pixels over white.",
        "drop": "Leave transparency out: take the colours as they are stored.",
    }
    found = [
        "Decode the photo; of several frames take the first.",
        upright[transforms.exif],
        alpha[rule.transparency],
        "Convert it to 8-bit RGB, red first: repeat grey in all three channels.",
    ]
    low, high = rule.bounds or (0, 65535)
    outside = ", and cut off what is outside" if rule.bounds else "; many libraries cut off what is above 255"
    found.append(f"Of 16-bit grey bring the values {low} to {high} to 0 to 255, rounded{outside}.")
    return [
        *found,
        *_geometry(transforms),
        "Give the pixels to the model as they are, uint8 [N, height, width, 3]: normalisation and the order of "
        "channels that the network was trained with are inside.",
    ]


def _geometry(transforms: Transforms) -> list[str]:
    height, width = transforms.input_size
    size = f"{height} × {width} pixels (height × width)"
    method = f"Pillow's {transforms.interpolation} filter" + (
        "" if transforms.interpolation == "nearest" else ", which antialiases"
    )
    if transforms.crop_mode == "crop_or_pad":
        return [
            f"Crop the centre to {size}, without resizing; pad a side that is shorter with black. Of an odd number of "
            "pixels the one more is cut off, or added, right and below."
        ]
    if transforms.crop_mode == "squash":
        share = transforms.crop_pct
        whole = f"Resize it to {size} whatever its proportions, with {method}."
        if share == 1:
            return [whole]
        return [
            f"Keep the central {100 * share:g} % of both sides: a side of s pixels loses ⌊s · {1 - share:g} / 2⌋ at "
            "both ends.",
            whole,
        ]
    to_height, to_width = (math.floor(side / transforms.crop_pct) for side in (height, width))
    if to_height == to_width:
        resized = (
            f"Resize the shorter side to {to_height} pixels with {method}, and the longer one in proportion, rounded "
            "down."
        )
    else:
        resized = (
            f"Resize it in proportion, with {method}, until it just covers {to_height} × {to_width} pixels "
            "(height × width), each side rounded to the nearest whole number, half to even."
        )
    return [
        resized,
        f"Crop the centre to {size}; half a pixel at the left or top margin is rounded to even.",
    ]
