"""What a reader of foreign bytes is to the fuzzer: its valid files, how they are changed, what is done with one."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

Mutator = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Subject:
    """A reader that is ready to be given files.

    Parameters
    ----------
    seeds
        Valid files; each must be used, not refused, before anything is changed.
    use
        Gives bytes to the reader and does with them what may be done: returns, or raises a `FeatcacheError`.
    mutate
        Changes that know the format and make checksums right again; ``None`` for changes of bytes alone.
    seconds
        Processor time that one input may take, children included.
    memory, fold
        Bytes that it may take: a constant, and a multiple of the input's size.
    longest
        Bytes of the longest input that is tried.
    words
        Parts of the format that are worth inserting anywhere.
    """

    seeds: Sequence[bytes]
    use: Callable[[bytes], object]
    mutate: Mutator | None = None
    seconds: float = 5.0
    memory: int = 100 << 20
    fold: int = 64
    longest: int = 1 << 16
    words: Sequence[bytes] = ()


@dataclass(frozen=True)
class Reader:
    """A reader's name, and the function that makes it ready in an empty folder.

    Parameters
    ----------
    name
        Such as ``png``.
    prepare
        Called once in each process of the fuzzer, with a folder of its own.
    slow
        Whether one input takes a tenth of a second or more, because a child process reads it.
    """

    name: str
    prepare: Callable[[Path], Subject]
    slow: bool = False
