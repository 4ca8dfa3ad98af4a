"""Changes of bytes, of JSON texts and of what is packed into one input; all drawn from a `random.Random`."""

import copy
import json
import random
import struct
from collections.abc import Sequence
from typing import Any

from helpers.mutations import STRANGE, TWICE, text_of

_EDGES = (
    0,
    1,
    2,
    3,
    7,
    8,
    15,
    16,
    127,
    128,
    255,
    256,
    2**15,
    2**16 - 1,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**63 - 1,
)
_TEXTS = (b"\0", b"\xff", b"-1", b"1e999", b"\xff\xfe", b"%s", b"../", b"[" * 3000, b'"', b"\r", b"9" * 5000)


def changed_bytes(
    data: bytes, chance: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]
) -> bytes:
    """Return a copy with one to eight places changed, mostly few."""
    content = bytearray(data)
    for _ in range(min(chance.randint(1, 8), chance.randint(1, 8))):
        _change(content, chance, seeds, words)
    return bytes(content)


def _change(
    content: bytearray, chance: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]
) -> None:
    size = len(content)
    # Half of the changes are near the beginning, where the headers of most formats are.
    at = chance.randrange(min(size, 64) if chance.random() < 0.5 else size) if size else 0
    length = min(chance.choice((1, 1, 2, 4, 8, 16, 100, 1000)), max(size - at, 0))
    how = chance.randrange(10)
    if how < 2 and size:
        content[at] ^= 1 << chance.randrange(8)
    elif how == 2 and size:
        content[at] = chance.randrange(256)
    elif how == 3:
        form = chance.choice(("<H", ">H", "<I", ">I", "<Q", ">Q"))
        number = chance.choice(_EDGES) % (1 << 8 * struct.calcsize(form))
        content[at : at + struct.calcsize(form)] = struct.pack(form, number)
    elif how == 4:
        del content[at : at + length]
    elif how == 5:
        content[at:at] = content[at : at + length] * chance.choice((1, 1, 2, 30))
    elif how == 6:
        content[at : at + length] = chance.randbytes(length)
    elif how == 7:
        other = chance.choice(seeds) if seeds else b""
        start = chance.randrange(len(other)) if other else 0
        content[at : at + length] = other[start : start + length]
    elif how == 8:
        content[at:at] = chance.choice((*words, *_TEXTS))
    else:
        del content[at if chance.random() < 0.5 else max(size - length, 0) :]


def changed_document(document: Any, chance: random.Random) -> Any:
    """Return a copy of a JSON document with one to three parts changed, as `helpers.mutations.mutated` draws them."""
    document = copy.deepcopy(document)
    for _ in range(chance.randint(1, 3)):
        document = _changed_part(document, chance)
    return document


def _changed_part(document: Any, chance: random.Random) -> Any:
    holders = [holder for holder in _holders(document) if holder]
    if not holders or chance.random() < 0.02:
        return copy.deepcopy(chance.choice(STRANGE))
    holder = chance.choice(holders)
    key: Any = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    other: Any = chance.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
    here, how = holder[key], chance.randrange(9)
    if how == 0:
        del holder[key]
    elif how == 1:
        holder[key], holder[other] = holder[other], here
    elif how == 2:
        holder[key] = chance.choice(([here], {"a": here}, [here, here]))
    elif how == 3 and isinstance(holder, list):
        holder.insert(key, copy.deepcopy(here))
    elif how == 3:
        holder[f"{TWICE}{key}"] = here
    elif how in (4, 5) and type(here) in (int, float):
        holder[key] = here + chance.choice((-1, 1, 0.5, 2**31, -here))
    elif how in (4, 5) and isinstance(here, str) and here:
        holder[key] = chance.choice((here[:-1], f"{here}0", here.upper(), here * 2, f"{here}\x1b[2J"))
    else:
        holder[key] = copy.deepcopy(chance.choice(STRANGE))
    return document


def _holders(value: Any) -> list[Any]:
    """Return all lists and objects in a document; of long lists the first parts."""
    if not isinstance(value, dict | list):
        return []
    inner = list(value.values()) if isinstance(value, dict) else value[:6]
    return [value, *(found for part in inner for found in _holders(part))]


def changed_json(data: bytes, chance: random.Random) -> bytes:
    """Change a JSON text as a document; one that is none stays as it is."""
    try:
        return text_of(changed_document(json.loads(data), chance))
    except (ValueError, RecursionError, TypeError):
        return data


def changed_lines(data: bytes, chance: random.Random) -> bytes:
    """Change one of several JSON texts, a line each."""
    lines = data.split(b"\n")
    at = chance.randrange(len(lines))
    lines[at] = changed_json(lines[at], chance)
    return b"\n".join(lines)


def packed(*parts: bytes) -> bytes:
    """Return several files as one input."""
    return b"".join(struct.pack("<I", len(part)) + part for part in parts)


def unpacked(data: bytes, count: int) -> list[bytes]:
    """Return the files of an input; whatever the lengths say, there are `count`."""
    parts: list[bytes] = []
    for _ in range(count - 1):
        size = int.from_bytes(data[:4], "little")
        parts.append(data[4 : 4 + size])
        data = data[4 + size :]
    return [*parts, data[4:]]
