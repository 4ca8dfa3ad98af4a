"""Amounts as people write them."""

import re

from featcache.errors import UsageError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def read_bytes(given: int | str) -> int:
    """Read an amount of memory: ``2GiB``, ``500MB``, or bytes.

    Raises
    ------
    UsageError
        It is none, or not above 0.

    Examples
    --------
    >>> read_bytes("1.5GiB")
    1610612736
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)(b?)", str(given).strip().lower())
    if match and not (match[3] and not match[2]):
        amount = int(float(match[1]) * (_BINARY if match[3] else _UNITS)[match[2]])
        if amount > 0:
            return amount
    raise UsageError(f"memory {given!r}: expected an amount such as 2GiB or 500MB")
