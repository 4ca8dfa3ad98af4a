"""JSON text within limits, and none with NaN."""

import json
import math
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featcache.core.documents import json_text
from featcache.core.documents.json_text import parse, plain, to_text

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**18), 10**18)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


# Drawing text loads its tables the first time, which takes seconds on a busy machine.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(VALUES)
def test_any_document_is_read_as_json_reads_it(value):
    text = json.dumps(value).encode()
    assert parse(text) == json.loads(text)
    assert json.loads(to_text(value)) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "Expecting value: line 1 column 1"),
        (b"\xff{}", "can't decode byte 0xff"),
        (b'{"a": 1} x', "Extra data"),
        (b'{"a": NaN}', "NaN is no number in JSON"),
        (b"[-Infinity]", "-Infinity is no number in JSON"),
        (b"[1e999]", "1e999 is too large a number"),
        (b"[" + b"7" * 5000 + b"]", "a whole number has 5,000 digits, expected at most 20"),
        (b"[" * 33 + b"]" * 33, "it is nested more than 32 levels deep"),
        (b"[" * 100_000 + b"]" * 100_000, "it is nested more than 32 levels deep"),
        (b'{"a":' * 50_000 + b"1" + b"}" * 50_000, "it is nested more than 32 levels deep"),
        (b'{"a": 1, "b": 2, "a": 3}', "the key 'a' stands twice"),
        (b'[{"a\\u0000": {}, "a\\u0000": {}}]', r"the key 'a\\x00' stands twice"),
        (b"[" + b"0," * (1 << 20) + b"0]", "it has more than 1,048,576 values"),
        (b'"' + b"x" * (1 << 24) + b'"', "it has 16,777,218 bytes, expected at most 16,777,216"),
    ],
)
def test_what_is_no_document(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse(text)


def test_the_deepest_that_is_read():
    deepest = json_text.MOST_DEPTH
    assert parse(b"[" * deepest + b"]" * deepest)
    assert parse(b'{"a": [1.5, null, true, "\\ud800"]}') == {"a": [1.5, None, True, "\ud800"]}


def test_what_is_not_json_becomes_what_is():
    value = {
        1: math.nan,
        "numpy": np.array([[1.5, np.inf]], np.float32),
        "jax": jnp.float32(-jnp.inf),
        "number": np.int64(3),
        "path": Path("a/b"),
        "inner": ({"x": (1, np.float64("nan"))},),
    }
    assert plain(value) == {
        "1": None,
        "numpy": [[1.5, None]],
        "jax": None,
        "number": 3,
        "path": "a/b",
        "inner": [{"x": [1, None]}],
    }
    assert json.loads(to_text(value, indent=1), parse_constant=pytest.fail) == plain(value)
