"""The ways to read a weights file as a network: under which level, without which prefix, up to which stage.

One way is taken, several are refused with all of them and the text that chooses each.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featcache.backbones.chain import Backbone
from featcache.backbones.weights.key_mapping import KeyTable
from featcache.backbones.weights.levels import AVERAGED, NO_PREFIX, WRAPPERS, Levels, Tensors
from featcache.backbones.weights.partial_fit import Fit, fit, match, required_stages, surplus
from featcache.errors import WeightsError, did_you_mean

MOST_NAMED = 5
"""Names of tensors that one message lists."""


@dataclass(frozen=True)
class Reading:
    """One set of a file's tensors, without a prefix of its names.

    Parameters
    ----------
    level
        The set's name, ``""`` for the whole file.
    prefix
        Without its last dot, ``""`` for none.
    tensors
        By names without the prefix.
    others
        Names of the file's tensors that are elsewhere.
    """

    level: str
    prefix: str
    tensors: Tensors
    others: tuple[str, ...]

    @property
    def part(self) -> str:
        """What chooses this reading, behind the file's ``#``."""
        return ".".join(filter(None, (self.level, self.prefix))) or NO_PREFIX


def find_readings(levels: Levels, table: KeyTable, part: str | None = None) -> list[Reading]:
    """Return the ways in which names of a file are names of the table's layout; with `part` only those in it."""
    found = [
        reading
        for level, tensors in levels.sets.items()
        for reading in _without_prefixes(level, tensors, table, _elsewhere(levels, level))
    ]
    return [each for each in found if part is None or each.part == part or each.part.startswith(f"{part}.")]


def _elsewhere(levels: Levels, level: str) -> tuple[str, ...]:
    """Return the names in other models of a Keras file; other levels of a checkpoint are other weights."""
    if levels.doubled:
        others = {model: tensors for model, tensors in levels.sets.items() if model != level}
        return tuple(f"{model}.{name}" if model else name for model, each in others.items() for name in each)
    return tuple(name for name in levels.sets.get("", ()) if name not in levels.sets[level])


def _without_prefixes(
    level: str, tensors: Tensors, table: KeyTable, others: tuple[str, ...]
) -> Iterator[Reading]:
    for prefix in _prefixes(tensors, table):
        start = f"{prefix}." if prefix else ""
        inside = {
            name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)
        }
        outside = (name for name in tensors if not name.startswith(start))
        yield Reading(level, prefix, inside, (*outside, *others))


def _prefixes(names: Iterable[str], table: KeyTable) -> list[str]:
    """Return what stands before the names that the table knows: the most frequent, and those half as frequent."""
    counts: Counter[str] = Counter()
    for name in table.renumber(names):
        parts = name.split(".")
        ends = (cut for cut in range(len(parts) - 1) if table.knows(".".join(parts[cut:])))
        counts.update(".".join(parts[:cut]) for cut in ends)
    most = max(counts.values(), default=0)
    return [prefix for prefix, count in counts.most_common() if 2 * count >= most] or [""]


def choose(
    origin: Path, readings: list[Reading], network: Backbone, table: KeyTable
) -> tuple[Reading, Fit] | None:
    """Return the one way in which a file fits a network up to some stage, ``None`` if there is none.

    Raises
    ------
    WeightsError
        If there are several; it names each, and the text that chooses it.
    """
    fitting: list[tuple[Reading, Fit]] = []
    for reading in readings:
        if reading.level and any(not known.level for known, _ in fitting):
            continue  # a model inside of a Keras file that is read as a whole
        fits = fit(network, table, reading.tensors, reading.others)
        if fits and not any(_same(fits, known) for _, known in fitting):
            fitting.append((reading, fits))
    if len(fitting) > 1 and not has_precedence(fitting[0][0], [reading for reading, _ in fitting[1:]]):
        raise ambiguous(origin, [reading for reading, _ in fitting])
    return fitting[0] if fitting else None


def other_readings(
    readings: list[Reading], network: Backbone, table: KeyTable
) -> tuple[Reading, list[Reading]]:
    """Return the first reading and those of other levels that fit too and hold other values."""
    first, *rest = readings
    known = fit(network, table, first.tensors, first.others)
    others = []
    for reading in rest:
        fits = fit(network, table, reading.tensors, reading.others) if reading.level != first.level else None
        if fits and not (known and _same(fits, known)):
            others.append(reading)
    return first, others


def _same(first: Fit, second: Fit) -> bool:
    """Whether two readings give the same stages the same values."""
    if first.end != second.end or first.given.keys() != second.given.keys():
        return False
    return all(np.array_equal(tensor, second.given[name]) for name, tensor in first.given.items())


def has_precedence(first: Reading, rest: Iterable[Reading]) -> bool:
    """Whether one reading comes before the others by the rule of timm's loader."""
    return first.level in AVERAGED and all(each.level in WRAPPERS[len(AVERAGED) :] for each in rest)


def ambiguous(origin: Path, readings: list[Reading]) -> WeightsError:
    """Return the error that a file can be read in several ways."""
    ways = " or ".join(_where(reading) for reading in readings)
    options = " or ".join(f"--weights {origin}#{reading.part}" for reading in readings)
    return WeightsError(f"{origin} holds several sets of weights that fit: {ways}; choose one: {options}")


def _where(reading: Reading) -> str:
    return "the names without a prefix" if reading.part == NO_PREFIX else f"those under {reading.part!r}"


def unknown_part(origin: Path, part: str, levels: Levels, table: KeyTable) -> WeightsError:
    """Return the error that a file has no such part."""
    known = dict.fromkeys(reading.part for reading in find_readings(levels, table))
    return WeightsError(f"{origin} has no weights under {part!r}; {did_you_mean(part, known)}")


def best(readings: list[Reading], network: Backbone, table: KeyTable) -> tuple[Reading, Tensors]:
    """Return the reading that fits best although it does not fit, and its tensors up to ``pool``.

    There are no tensors if it is another network altogether: not half of those that are needed are there.
    """
    matched = [(reading, match(network, table, reading.tensors)) for reading in readings]
    reading, found = max(matched, key=lambda each: len(each[1].theirs))
    required = set(required_stages(network))
    needed = [name for stage in found.stages if stage in required for name in found.stages[stage]]
    if 2 * sum(name in found.theirs for name in needed) < len(needed):
        return reading, {}
    behind = {theirs for ours, theirs in found.theirs.items() if ours not in needed}
    own = behind.union(found.foreign).difference(surplus(network, table, required, found))
    return reading, {name: tensor for name, tensor in reading.tensors.items() if name not in own}


def remarks(reading: Reading, fits: Fit, arch: str, network: Backbone) -> list[str]:
    """Return what a user is told of a file that is not read as it is, clause by clause."""
    told = []
    if reading.level and reading.level not in WRAPPERS:
        told.append(f"the weights under {reading.level!r} are taken")
    if reading.prefix:
        count = len(reading.tensors)
        of = f" of {count + len(reading.others)}" if reading.others else ""
        told.append(f"the prefix '{reading.prefix}.' is taken off {'' if of else 'all '}{count}{of} names")
    last = network.order[fits.end - 1]
    if fits.end < len(required_stages(network)):
        told.append(f"the network ends after {last!r}, as {listed(fits.missing)} are missing")
    if fits.left_out:
        told.append(f"left out: {listed(fits.left_out)} (no part of {arch} up to {last!r})")
    return told + _of_images(reading, fits)


def _of_images(reading: Reading, fits: Fit) -> list[str]:
    """Return a clause on left-out layers that may stand before the network, where they change its features."""
    names = [name for name in fits.left_out if _takes_images(name, reading.tensors.get(name))]
    if not names:
        return []
    return [
        f"{listed(names)}: a layer that takes images; if it stands before the network, its features are not those "
        "of that model"
    ]


def _takes_images(name: str, tensor: np.ndarray | None) -> bool:
    leaf = name.rpartition(".")[2]
    if leaf in ("mean", "variance", "std"):
        return True
    return tensor is not None and tensor.ndim == 4 and min(tensor.shape[1 if leaf == "weight" else 2], 5) < 5


def listed(names: Iterable[str]) -> str:
    """Return the first names of several, and how many there are."""
    names = list(names)
    rest = f", … ({len(names)} in all)" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + rest
