"""What of a file's tensors fits a network: the stages up to some layer, with foreign tensors left out.

Features need only the stages up to the layer asked for. What lies behind may be missing or of another model (an own
classifier); what is missing or ill-shaped before stays an error, and so do more blocks than the network has.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from flax import nnx

from featcache.backbones.chain import Backbone, variables
from featcache.backbones.weights.key_mapping import KeyTable
from featcache.backbones.weights.levels import Tensors


@dataclass(frozen=True)
class Fit:
    """The stages of a network that a file's tensors fill.

    Parameters
    ----------
    given
        The tensors that are used, by the file's names without the prefix.
    end
        Number of the chain's stages that are kept.
    left_out
        The file's other tensors, by their whole names.
    missing
        Our names that are absent from the stage where the chain ends.
    """

    given: Tensors
    end: int
    left_out: tuple[str, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Match:
    """A file's tensors beside a network's: which name means which, and which mean nothing here.

    Parameters
    ----------
    theirs
        Our names to the file's.
    stages
        The stages that have tensors, in order, to our names of these.
    wrong
        Our names whose shapes differ.
    foreign
        Names of the file that mean no tensor of the network.
    contradicted
        Whether two tensors mean the same one, or a constant is another.
    """

    theirs: Mapping[str, str]
    stages: Mapping[str, list[str]]
    wrong: frozenset[str]
    foreign: tuple[str, ...]
    contradicted: bool

    def complete(self, stage: str) -> bool:
        """Whether all tensors of a stage are there with their shapes."""
        return all(name in self.theirs and name not in self.wrong for name in self.stages[stage])


def match(network: Backbone, table: KeyTable, given: Tensors) -> Match:
    """Compare the tensors of a file, by its names without any prefix, with those of an abstract network.

    The classifier may have any number of classes.
    """
    stages: dict[str, list[str]] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, (path, leaf) in variables(nnx.state(network)).items():
        stages.setdefault(str(path[1]), []).append(name)
        shapes[name] = tuple(leaf.shape)
    names, theirs, foreign, contradicted = table.renumber(given), {}, [], False
    wrong = set()
    for name, tensor in given.items():
        if table.ignores(name) or table.constant(name) is not None:
            contradicted = contradicted or not table.agrees(name, tensor)
            continue
        ours, value = table.translate(names[name], tensor) or ("", tensor)
        if ours not in shapes:
            foreign.append(name)
            continue
        contradicted = contradicted or ours in theirs
        theirs[ours] = name
        free = ours.startswith("logits.")
        if value.shape[: -1 if free else None] != shapes[ours][: -1 if free else None]:
            wrong.add(ours)
    ordered = {stage: stages[stage] for stage in network.order if stage in stages}
    return Match(theirs, ordered, frozenset(wrong), tuple(foreign), contradicted)


def fit(network: Backbone, table: KeyTable, given: Tensors, others: Iterable[str] = ()) -> Fit | None:
    """Return what fits of a file's tensors, or ``None`` if they are not of this network.

    Parameters
    ----------
    network
        Abstract; whole.
    table
        Of the file's layout.
    given
        The file's tensors, without the prefix of their names.
    others
        Names of the file's tensors that do not have the prefix.
    """
    found, others = match(network, table, given), tuple(others)
    if found.contradicted:
        return None
    end = _end(network, found, has_own=bool(found.foreign or others))
    kept = set(network.order[:end])
    if not kept or surplus(network, table, kept, found):
        return None
    lacking = {*required_stages(network)} - kept
    if any(_stage_named(table, name) in lacking for name in (*found.foreign, *others)):
        return None  # not cut there: its further stages are elsewhere in the file
    if "logits" in kept and _has_longer_head(found):
        end = _before(network, "logits", kept & {*found.stages} - {"logits"})
        kept = set(network.order[:end])
    used = {found.theirs[name] for stage in found.stages if stage in kept for name in found.stages[stage]}
    behind = [name for name in found.theirs.values() if name not in used]
    left = [name for name in given if name in {*found.foreign, *behind}]
    ends_at = next((stage for stage in found.stages if stage not in kept), None)
    missing = [name for name in found.stages.get(ends_at or "", ()) if name not in found.theirs]
    return Fit({name: given[name] for name in given if name in used}, end, (*left, *others), tuple(missing))


def required_stages(network: Backbone) -> tuple[str, ...]:
    """Return the stages up to the default layer ``pool``."""
    return network.order[: network.order.index(network.stage_of(network.resolve("pool"))) + 1]


def _end(network: Backbone, found: Match, *, has_own: bool) -> int:
    """Return how many stages are kept: all before the first that is incomplete; 0 if it should not be."""
    learnt = list(found.stages)
    bad = next((stage for stage in learnt if not found.complete(stage)), None)
    if bad is None:
        return len(network.order)
    required = set(required_stages(network))
    if bad in required:
        later = [stage for stage in learnt[learnt.index(bad) + 1 :] if stage in required]
        partly = [name for name in found.stages[bad] if name in found.theirs]
        if bad == learnt[0] or (partly and not has_own) or found.wrong & {*found.stages[bad]}:
            return 0
        if any(name in found.theirs for stage in later for name in found.stages[stage]):
            return 0
    return _before(network, bad, learnt[: learnt.index(bad)])


def _before(network: Backbone, stage: str, complete: Iterable[str]) -> int:
    """Return how many stages end before `stage`, without such as only prepare for it (flattening a map)."""
    after_pool = len(required_stages(network))
    first = network.order.index(stage)
    if first >= after_pool and all(network.order.index(each) < after_pool for each in complete):
        return after_pool
    return first


def surplus(network: Backbone, table: KeyTable, kept: set[str], found: Match) -> list[str]:
    """Return the foreign tensors that are of the network's kind: of a deeper variant, or a kept stage's surplus."""
    required = set(required_stages(network))
    used = [names for stage, names in found.stages.items() if stage in kept & required]
    theirs = [found.theirs[ours] for names in used for ours in names if ours in found.theirs]
    forms = {_form(name) for name in theirs}
    blocks = {".".join(name.split(".")[:2]) for name in theirs if name.count(".") > 2}
    layers = {name.rpartition(".")[0] for name in theirs}
    counted = "|".join(table.numbered) or "(?!)"  # an own classifier's layers are counted on

    def is_surplus(name: str) -> bool:
        if name.rpartition(".")[0] in layers:
            return True
        if re.fullmatch(rf"({counted})(_\d+)?\..*", name):
            return False
        if _form(name) in forms or ".".join(name.split(".")[:2]) in blocks:
            return True
        if not table.knows(name):
            return False
        stage = _stage_named(table, name)
        if stage is None:
            return True
        return stage in kept & required if stage in network.order else _form(stage) in map(_form, required)

    return [name for name in found.foreign if is_surplus(name)]


def _stage_named(table: KeyTable, name: str) -> str | None:
    """Return the stage that a name is of, whether the network has it or not; ``None`` where it is of none."""
    translated = table.translate(name, np.zeros(0, np.float32)) if table.knows(name) else None
    return translated[0].partition(".")[0] if translated else None


def _form(name: str) -> str:
    """Return a name without its numbers: equal for the same tensor of two blocks."""
    return re.sub(r"\d+[a-z]?(?=[._]|$)", "#", name)


def _has_longer_head(found: Match) -> bool:
    """Whether the file's classifier has layers that the network's has not, so that what fits by chance is not it."""
    heads = {found.theirs[ours].partition(".")[0] for ours in found.stages["logits"]}
    return any(name.partition(".")[0] in heads for name in found.foreign)
