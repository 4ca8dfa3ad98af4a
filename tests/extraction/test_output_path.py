"""The default name of a cache says what differs from the default, so that no extraction meets another's file."""

import itertools
import re

import pytest

from featcache.extraction.output_path import suffix_of
from featcache.extraction.spec import ExtractionSpec
from featcache.images.transforms import Transforms
from featcache.images.views import DEFAULT, Views

SQUARE = Transforms(
    input_size=(64, 64), crop_mode="center", interpolation="bicubic", mean=(0.5,) * 3, std=(0.5,) * 3
)
SPECS = {
    "": {},
    "-block6a-map": {"layers": ("block6a:map",)},
    "-pool+block5c-avg": {"layers": ("pool", "block5c:avg")},
    "-150px": {"image_size": 150},
    "-150x200px": {"image_size": "150x200"},
    "-8views": {"views": Views.of(8, DEFAULT, 0)},
    "-8views-seed3": {"views": Views.of(8, DEFAULT, 3)},
    "-8views-flip": {"views": Views.of(8, "flip", 0)},
    "-float16": {"dtype": "float16"},
    "-computed-bfloat16": {"compute_dtype": "bfloat16"},
    "-block6a-map-8views-float16": {
        "layers": ("block6a:map",), "views": Views.of(8, DEFAULT, 0), "dtype": "float16"
    },
}  # fmt: skip


def suffix(**options) -> str:
    return suffix_of(ExtractionSpec(backbone="net", **{"layers": ("pool",), **options}))


@pytest.mark.parametrize("name", SPECS)
def test_names(name):
    assert suffix(**SPECS[name]) == name


def test_different_requests_have_different_names_that_any_disk_takes():
    layers = [
        ("pool",),
        ("a:avg",),
        ("a:max",),
        ("a:avg", "b:avg"),
        tuple(f"stage_{n}:avg" for n in range(40)),
    ]
    layers.append((*layers[-1][:-1], "other:avg"))
    views = [
        Views(),
        *(Views.of(n, a, s) for n in (2, 3) for a in (DEFAULT, "flip", "flip,colour") for s in (0, 1)),
    ]
    sizes = [None, 100, "100x120"]
    transforms = [None, SQUARE, SQUARE.with_size(64, 65)]
    names = [
        suffix(layers=each, views=own, image_size=size, dtype=dtype, transforms=given)
        for each, own, size, dtype, given in itertools.product(
            layers, views, sizes, ("float32", "float16"), transforms
        )
        if size is None or given is None
    ]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[\w.+-]*", name) and len(name) < 150 for name in names)
