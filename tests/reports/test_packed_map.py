"""Names and mistakes of a map in fewer characters, unpacked again as the page's script does it."""

import json

import numpy as np
import pytest

from featcache.reports.packed_map import packed


def unpacked(found):
    """As ``feature_map.js``, of which characters are 16 bits."""
    names, wrong, number = [], {}, 0
    for own in found["name"]:
        before = names[-1].encode("utf-16-le") if names else b""
        names.append((before[: 2 * int(own[0], 36)] + own[1:].encode("utf-16-le")).decode("utf-16-le"))
    for step, taken in zip(found["wrong"]["steps"], found["wrong"]["classes"], strict=True):
        number += step
        wrong[str(number)] = taken
    return {"name": names, "wrong": wrong}


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["a"],
        ["", "", "a", ""],
        ["test/cat/1.jpg", "test/cat/10.jpg", "test/dog/1.jpg"],
        ["x" * 60, "x" * 60 + "y", "x" * 59],
        ["é/1.jpg", "é/2.jpg", "😀a.jpg", "😀b.jpg", "a😀b.jpg", "a😀c.jpg"],
        ["</script>", "</script>2", '"', '"\\'],
    ],
)
def test_names_are_as_they_were(names):
    wrong = {str(n): n % 3 for n in range(0, len(names), 2)}
    assert unpacked(json.loads(json.dumps(packed({"name": names, "wrong": wrong})))) == {
        "name": names,
        "wrong": wrong,
    }


def test_of_ten_thousand_wrong_answers_less_than_half_is_left():
    draw = np.random.default_rng(0)
    names = [f"test/class number {number // 100}/{number}.jpg" for number in range(10_000)]
    plain = {"name": names, "wrong": {str(n): int(draw.integers(100)) for n in range(10_000)}}
    found = packed(plain)
    assert unpacked(found) == plain
    assert 2 * len(json.dumps(found)) < len(json.dumps(plain))
