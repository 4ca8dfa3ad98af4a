"""Which files a pattern of shards means: brace ranges, wildcards, folders."""

import glob
import itertools
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from featcache.core.disk.names import DANGLING, NOTHING, described, kind_of, meant_folders, near_names
from featcache.datasets.dataset import access_errors
from featcache.datasets.names import natural_key
from featcache.errors import MissingFileError, UsageError

MAX_SHARDS = 100_000

EXPECTED = "expected tar:SHARDS such as tar:flowers/train-{000..009}.tar, a glob, or a folder of .tar files"


def find_shards(pattern: str) -> list[Path]:
    """Return the files a pattern stands for: braces in the order they are written, wildcards in natural order."""
    expanded = list(itertools.islice(expand_braces(os.path.expanduser(pattern)), MAX_SHARDS + 1))
    if len(expanded) > MAX_SHARDS:
        raise UsageError(f"tar:{pattern} stands for more than {MAX_SHARDS} shards; {EXPECTED}")
    shards = [Path(found).absolute() for name in expanded for found in _matches(name)]
    if not shards:
        near = meant_folders("tar", pattern, lambda place: any(map(os.path.isfile, _matches(str(place)))))
        raise MissingFileError(f"no shard matches tar:{pattern}; {near or EXPECTED}")
    with access_errors(Path(pattern), "find"):
        missing = [shard for shard in shards if kind_of(shard) in (NOTHING, DANGLING)]
    if missing:
        near = near_names(missing[0]) if len(shards) == 1 else ""
        rest = f" ({len(missing)} of {len(shards)} missing); {near or EXPECTED}"
        raise MissingFileError(
            f"{missing[0]} is {described(missing[0], DANGLING)}{rest}"
            if missing[0].is_symlink()
            else f"no shard {missing[0]}{rest}"
        )
    return list(dict.fromkeys(shards))


def expand_braces(pattern: str) -> Iterator[str]:
    """Yield the names that ``{000..009}`` (a zero-padded range) and ``{a,b}`` (a list) stand for.

    Raises
    ------
    UsageError
        If braces are nested, unbalanced, or hold neither a range nor a list.
    """
    parts = re.split(r"\{([^{}]*)\}", pattern)
    if any(brace in part for part in parts[::2] for brace in "{}"):
        raise UsageError(f"tar:{pattern}: braces that are nested or not closed; {EXPECTED}")
    choices = [_choices(part, pattern) if index % 2 else (part,) for index, part in enumerate(parts)]
    yield from ("".join(chosen) for chosen in itertools.product(*choices))


def _choices(inside: str, pattern: str) -> Sequence[str]:
    if "," in inside:
        return inside.split(",")
    bounds = re.fullmatch(r"(\d{1,18})\.\.(\d{1,18})", inside)
    if not bounds or int(bounds[2]) < int(bounds[1]):
        raise UsageError(f"tar:{pattern}: {{{inside}}} is neither a rising range nor a list; {EXPECTED}")
    first, last = int(bounds[1]), int(bounds[2])
    if last - first >= MAX_SHARDS:
        raise UsageError(f"tar:{pattern} stands for more than {MAX_SHARDS} shards; {EXPECTED}")
    return [str(number).zfill(len(bounds[1])) for number in range(first, last + 1)]


def _matches(name: str) -> list[str]:
    if os.path.isdir(name):
        name = os.path.join(glob.escape(name), "*.tar")
    elif not glob.has_magic(name) or os.path.exists(name):
        return [name]
    return sorted(glob.glob(name), key=natural_key)
