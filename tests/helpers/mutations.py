"""Documents that another program, or somebody who means harm, may write: a valid one with a few parts changed."""

import copy
import json
from typing import Any

from hypothesis import strategies as st

DEEP, LONG_NUMBER, TWICE = "@deep@", "@long number@", "@twice@"
"""What `text_of` writes: a list nested 20,000 deep, a number of 5,000 digits, and a key that is there already."""

NUMBERS = [
    *(0, -1, 1, 2, 3, 255, 2**15, 2**31 - 1, 2**31, 2**40, 2**63 - 1, 2**63, 2**64, -(2**63), 10**19),
    *(0.0, -0.5, 0.5, 1.0, 1e-300, 1e308, float("nan"), float("inf"), -float("inf"), LONG_NUMBER),
]
TEXTS = [
    *(
        "",
        "a",
        "1",
        "none",
        "random",
        "linear",
        "knn",
        "mlp",
        "numbers",
        "answers",
        "float32",
        "<f4",
        "|S5",
        "|O",
    ),
    *(
        "ab" * 32,
        "AB" * 32,
        "x" * 100_000,
        "é" * 300,
        "\0",
        "\ud800",
        "caf\udce9",
        "\x1b]0;title\x07",
        "a\nb",
    ),
    *("../..", "/dev/zero", "/etc/passwd", "train[:50%]", "train"),
]
CONTAINERS = [
    *(
        [],
        {},
        [[]],
        [{}],
        [None],
        [1],
        [-1],
        [2**40, 2**40],
        [0.5] * 50,
        ["a", "a"],
        [2**62] * 9,
        {"a": 1},
        {"": {}},
    ),
    *([[0] * 100] * 100, {str(number): number for number in range(200)}, DEEP),
]
STRANGE: list[Any] = [None, True, False, *NUMBERS, *TEXTS, *CONTAINERS]


def _nodes(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every part of a document, containers before what is in them."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value[:6]))
    return [path, *(found for key, part in inner for found in _nodes(part, (*path, key)))]


@st.composite
def mutated(draw: st.DrawFn, document: Any) -> Any:
    """Return a copy of a document with one to three parts changed."""
    document = copy.deepcopy(document)
    for _ in range(draw(st.integers(1, 3))):
        paths = _nodes(document)
        # By depth first: otherwise nearly all changes would be in the longest lists.
        depth = draw(st.integers(0, max(map(len, paths))))
        document = _changed(draw, document, draw(st.sampled_from([p for p in paths if len(p) == depth])))
    return document


def _changed(draw: st.DrawFn, document: Any, path: tuple[Any, ...]) -> Any:
    if not path:
        return document if draw(st.integers(0, 9)) else copy.deepcopy(draw(st.sampled_from(STRANGE)))
    holder = document
    for key in path[:-1]:
        holder = holder[key]
    key, how = (
        path[-1],
        draw(st.sampled_from(("value", "value", "value", "near", "drop", "repeat", "swap", "wrap"))),
    )
    here = holder[key]
    if how == "drop":
        del holder[key]
    elif how == "near" and type(here) in (int, float):
        holder[key] = here + draw(st.sampled_from((-1, 1, 0.5, 2**31, -here)))
    elif how == "near" and isinstance(here, str) and here:
        holder[key] = draw(st.sampled_from((here[:-1], here + "0", here.upper(), here * 2)))
    elif how == "repeat" and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(here))
    elif how == "repeat":
        holder[TWICE + key] = here
    elif how == "swap":
        others = list(holder) if isinstance(holder, dict) else range(len(holder))
        other = draw(st.sampled_from(list(others)))
        holder[key], holder[other] = holder[other], here
    elif how == "wrap":
        holder[key] = draw(st.sampled_from(([here], {"a": here}, [here, here])))
    else:
        holder[key] = copy.deepcopy(draw(st.sampled_from(STRANGE)))
    return document


def text_of(document: Any) -> bytes:
    """Return the JSON text of a mutated document, NaN and infinity as Python writes them."""
    text = json.dumps(document)
    text = text.replace(json.dumps(DEEP), "[" * 20_000 + "]" * 20_000).replace(
        json.dumps(LONG_NUMBER), "7" * 5000
    )
    return text.replace(TWICE, "").encode()


def change(document: Any, key: str, value: Any) -> None:
    """Change one value of a document; the key is its steps, a space between them, and `...` drops it."""
    *steps, last = [int(step) if step.isdigit() else step for step in key.split(" ")]
    for step in steps:
        document = document[step]
    if value is ...:
        del document[last]
    else:
        document[last] = value
