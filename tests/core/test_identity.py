"""Canonical JSON, hashes, fingerprints, and the differences that explain a refusal."""

import dataclasses
import hashlib
import json

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcache.core.identity import (
    LayerIdentity,
    Recipe,
    canonical_json,
    differences,
    fingerprint,
    first_of,
    sha256_file,
    sha256_json,
    sha256_tensors,
)

SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
)
SURROGATES = st.text(st.characters(codec=None))
VALUES = st.recursive(
    SCALARS | SURROGATES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(SURROGATES, inner, max_size=3),
    max_leaves=8,
)
DOCUMENTS = st.dictionaries(SURROGATES, VALUES, max_size=4)

RECIPE = Recipe(
    arch="mobilenet_v2",
    revision=1,
    config={"width": 1.0, "stem": {"stride": 2}},
    weights_sha256="ab" * 32,
    transforms={"input_size": [224, 224], "crop_pct": 0.875, "interpolation": "bicubic"},
)


# Canonical JSON ---------------------------------------------------------------------------------------------


@given(VALUES)
def test_canonical_json_can_be_read_back(value):
    assert json.loads(canonical_json(value)) == value


@given(DOCUMENTS)
def test_canonical_json_does_not_depend_on_the_order_of_keys(document):
    assert canonical_json(dict(reversed(document.items()))) == canonical_json(document)


@given(VALUES, VALUES)
def test_different_values_have_different_json(one, other):
    # repr() tells 1 from 1.0 and True, as canonical JSON does and == does not.
    if repr(one) != repr(other) and one != other:
        assert canonical_json(one) != canonical_json(other)


def test_canonical_json_is_this_and_no_other():
    """A change here would orphan every cache that exists."""
    assert canonical_json({"b": [1, 2.5, None, True], "a": "é\udce9 /", "c": {}}) == (
        b'{"a":"\\u00e9\\udce9 /","b":[1,2.5,null,true],"c":{}}'
    )
    assert sha256_json({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"bytes", np.float32(1)])
def test_what_has_no_canonical_json_is_refused(value):
    with pytest.raises((ValueError, TypeError)):
        canonical_json({"a": value})


# Tensors ----------------------------------------------------------------------------------------------------


def tensors():
    random = np.random.default_rng(0)
    return {
        "stem.kernel": random.normal(size=(3, 3, 3, 8)).astype(np.float32),
        "stem.bias": random.normal(size=8).astype(np.float32),
        "norm.count": np.int64(7),
        "half": random.normal(size=(2, 2)).astype(np.float16),
        "brain": random.normal(size=(2, 2)).astype(ml_dtypes.bfloat16),
        "none": np.zeros((0, 4), np.float32),
    }


def test_the_hash_of_tensors_is_as_documented():
    kernel = np.arange(6, dtype=np.float32).reshape(2, 3)
    digest = hashlib.sha256(b'["a","float32",[2,3]]' + kernel.tobytes() + b'["b","int64",[]]' + bytes(8))
    assert sha256_tensors([("a", kernel), ("b", np.zeros((), np.int64))]) == digest.hexdigest()


@given(st.permutations(sorted(tensors())))
def test_the_hash_of_tensors_does_not_depend_on_their_order(names):
    everything = {name: np.asarray(value) for name, value in tensors().items()}
    assert sha256_tensors((n, everything[n]) for n in names) == sha256_tensors(everything.items())


def test_the_hash_of_tensors_does_not_depend_on_how_they_lie_in_memory():
    kernel = tensors()["stem.kernel"]
    for same in (np.asfortranarray(kernel), kernel[::-1][::-1], kernel.astype(">f4")):
        assert sha256_tensors([("k", same)]) == sha256_tensors([("k", kernel)])


@pytest.mark.parametrize(
    "changed",
    [
        [("k", np.zeros(4, np.float32))],
        [("k", np.zeros((4, 1), np.float32))],
        [("k", np.zeros((2, 2), np.float16))],
        [("k", np.zeros((2, 2), np.int32))],
        [("l", np.zeros((2, 2), np.float32))],
        [("k", np.array([[0, 0], [0, -0.0]], np.float32))],
        [("k", np.zeros((2, 2), np.float32)), ("l", np.zeros(0, np.float32))],
        [],
    ],
)
def test_the_hash_of_tensors_depends_on_name_dtype_shape_and_every_bit(changed):
    assert sha256_tensors(changed) != sha256_tensors([("k", np.zeros((2, 2), np.float32))])


def test_a_number_is_not_a_vector_of_one():
    assert sha256_tensors([("k", np.zeros((), np.float32))]) != sha256_tensors(
        [("k", np.zeros(1, np.float32))]
    )


def test_the_hash_of_a_file(tmp_path):
    (tmp_path / "w").write_bytes(b"weights")
    assert sha256_file(tmp_path / "w") == hashlib.sha256(b"weights").hexdigest()


# Recipe -----------------------------------------------------------------------------------------------------

CHANGES = {
    "arch": "mobilenet_v3",
    "revision": 2,
    "config": {"width": 1.0, "stem": {"stride": 1}},
    "weights_sha256": "cd" * 32,
    "transforms": {"input_size": [224, 224], "crop_pct": 1.0, "interpolation": "bicubic"},
    "views": {"policy": "flip", "seed": 0, "count": 2},
    "compute_dtype": "bfloat16",
    "matmul_precision": "default",
    "stored_dtype": "float16",
}


def test_every_field_changes_the_fingerprint_and_is_named_as_different():
    assert set(CHANGES) == {field.name for field in dataclasses.fields(Recipe)}
    seen = {RECIPE.fingerprint("pool")}
    for name, value in CHANGES.items():
        other = dataclasses.replace(RECIPE, **{name: value})
        seen.add(other.fingerprint("pool"))
        lines = differences(RECIPE.to_json(), other.to_json())
        assert lines
        assert all(name in line for line in lines)
    assert len(seen) == 1 + len(CHANGES)


def test_the_layer_changes_the_fingerprint():
    assert RECIPE.fingerprint("pool") != RECIPE.fingerprint("pool:flatten")
    assert RECIPE.fingerprint("pool") == fingerprint(RECIPE.to_json(), "pool")


def test_features_are_the_same_by_fingerprint_or_as_far_as_the_layer():
    recipe = Recipe("vgg16", 1, {"classes": 1000}, "ab" * 32, {"crop_pct": 0.875}).to_json()
    headless = {
        **recipe,
        "backbone": {**recipe["backbone"], "config": {"classes": 0}, "weights_sha256": "cd" * 32},
    }
    other = {**recipe, "stored_dtype": "float16"}
    one = LayerIdentity(recipe, "pool", "01" * 32, "aa")
    same = (
        LayerIdentity(other, "image:statistics", None, "aa"),  # one fingerprint says it all
        LayerIdentity(headless, "pool", "01" * 32, "bb"),
        LayerIdentity(headless, "pool", "01" * 32),
    )
    differs = (
        LayerIdentity(headless, "pool", "02" * 32, "bb"),
        LayerIdentity(headless, "pool", None, "bb"),
        LayerIdentity(headless, "logits", "01" * 32, "bb"),
        LayerIdentity(other, "pool", "01" * 32, "bb"),
    )
    assert all(one.same_as(each) and each.same_as(one) for each in same)
    assert not any(one.same_as(each) or each.same_as(one) for each in differs)
    unknown = LayerIdentity(recipe, "pool", None)  # nothing is recorded of either
    assert not unknown.same_as(unknown)


def test_a_recipe_survives_json():
    again = Recipe.from_json(json.loads(json.dumps(RECIPE.to_json())))
    assert again == RECIPE
    assert again.fingerprint("pool") == RECIPE.fingerprint("pool")


# Differences ------------------------------------------------------------------------------------------------


def test_differences_are_lines_a_person_can_read():
    other = dataclasses.replace(
        RECIPE,
        weights_sha256="cd" * 32,
        transforms={"input_size": [192, 192], "interpolation": "bicubic", "exif": "apply"},
    )
    assert differences(RECIPE.to_json(), other.to_json()) == [
        "backbone.weights_sha256: abababababab… in the cache, cdcdcdcdcdcd… asked for",
        "transforms.input_size: [224, 224] in the cache, [192, 192] asked for",
        "transforms.crop_pct: 0.875 in the cache, nothing asked for",
        "transforms.exif: nothing in the cache, apply asked for",
    ]


@given(DOCUMENTS, DOCUMENTS)
def test_there_are_differences_exactly_where_the_hash_differs(one, other):
    assert differences(one, one) == []
    assert (differences(one, other) == []) == (canonical_json(one) == canonical_json(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": 1.0}),
        ({"a": 1}, {"a": True}),
        ({"a": {}}, {}),
        ({"a": "nothing"}, {}),
        ({"a.b": 1}, {"a": {"b": 1}}),
        ({"a": None}, {}),
    ],
)
def test_near_misses_are_differences(one, other):
    assert len(differences(one, other)) >= 1


def test_tuples_and_lists_are_the_same():
    assert differences({"mean": (0.5, (1,))}, {"mean": [0.5, [1]]}) == []


def test_what_differs_first_is_told_or_that_a_record_is_damaged():
    assert first_of(["a: 1 here, 2 there"]) == "a: 1 here, 2 there"
    assert first_of(["a", "b", "c"]) == "a; and 2 other differences"
    assert (
        first_of([]) == "the recipes agree and their fingerprints do not: one of the two records is damaged"
    )
