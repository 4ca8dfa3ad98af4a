"""Build a network abstractly and fill it with tensors; every name and shape is checked."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from featcache.backbones.chain import Backbone, variables
from featcache.backbones.family import Family, Pretrained
from featcache.backbones.loaded import LoadedBackbone
from featcache.backbones.registry import family_of
from featcache.backbones.weights.key_mapping import KeyTable, convert
from featcache.backbones.weights.levels import WRAPPERS, Levels, Tensors
from featcache.backbones.weights.own_constants import take_constants
from featcache.backbones.weights.partial_fit import Fit, fit, required_stages
from featcache.backbones.weights.readers import check_finite, read_levels
from featcache.backbones.weights.readings import (
    Reading,
    ambiguous,
    best,
    choose,
    find_readings,
    has_precedence,
    listed,
    other_readings,
    remarks,
    unknown_part,
)
from featcache.errors import WeightsError


def load_file(
    pretrained: Pretrained, path: Path, *, tag: str, part: str | None = None, first: bool = False
) -> LoadedBackbone:
    """Load weights from a file in the layout of `pretrained`; see `featcache.backbones.load`.

    A user's file may have another number of classes than the original, or no classifier at all
    (``notop``, ``num_classes=0``): the chain then ends before the first stage that the file lacks. So it does before
    a classifier of another model; what is left out is in `LoadedBackbone.remarks`.

    Parameters
    ----------
    pretrained
        The weights whose layout and transforms the file has.
    path
        The file.
    tag
        Of the new network; ``"custom"`` for a user's file.
    part
        Which of several sets of weights in the file is meant; see `featcache.backbones.weights.levels`.
    first
        Whether the first level of a checkpoint is meant if it fits as it is, though others fit too.

    Raises
    ------
    WeightsError
        If the file cannot be read, does not fit, or fits in several ways; if it fits other weights of this
        architecture, it names them.
    """
    levels = read_levels(path)
    family = family_of(pretrained)
    chosen, told = part, []
    if tag == "custom":
        table = _table(family, pretrained)
        pretrained, levels, part, told = take_constants(pretrained, table, levels, path, part)
    network = _load_own(pretrained, levels, path, tag, part, first=first)
    return replace(
        network,
        remarks=tuple(f"{path}: {clause}" for clause in (*told, *network.remarks)),
        weights_path=f"{path}#{chosen}" if chosen else str(path),
    )


def _load_own(
    pretrained: Pretrained, levels: Levels, path: Path, tag: str, part: str | None, *, first: bool
) -> LoadedBackbone:
    """Load a file as it is, or else, of a user's, what fits of it."""
    family = family_of(pretrained)
    if part is None and not levels.doubled:
        given = next(iter(levels.sets.values()))
        check_finite(given, path)
        try:
            whole = _load_whole(pretrained, given, path, tag)
        except WeightsError:
            if tag != "custom":
                raise
        else:
            return whole if first else replace(whole, remarks=_of_levels(levels, family, pretrained, path))
    return _load_fitting(pretrained, levels, path, part)


def _load_whole(pretrained: Pretrained, given: Tensors, path: Path, tag: str) -> LoadedBackbone:
    """Load a file whose every tensor is one of the network's."""
    family = family_of(pretrained)
    own = tag == "custom"
    if own:
        pretrained = _with_classes(family, pretrained, given)
    graphdef, state, shapes = _abstract(family, pretrained, given if own else None)
    tensors = convert(given, _table(family, pretrained), shapes, origin=str(path))
    return LoadedBackbone(family, pretrained, tag, graphdef, fill_state(state, tensors), tensors, str(path))


def _of_levels(levels: Levels, family: Family, pretrained: Pretrained, path: Path) -> tuple[str, ...]:
    """Return what to say of the level that fits as it is; refuse if others fit too and it has no precedence."""
    level = next(iter(levels.sets))
    if not level:
        return ()
    table, network = _table(family, pretrained), family.abstract(pretrained.config)
    chosen, rivals = other_readings(find_readings(levels, table), network, table)
    if rivals and not has_precedence(chosen, rivals):
        raise ambiguous(path, [chosen, *rivals])
    if rivals:
        last = f"--weights {path}#{rivals[0].part}"
        return (f"the weights under {level!r} are taken; those of the last step are {last}",)
    return () if level in WRAPPERS else (f"the weights under {level!r} are taken",)


def _load_fitting(pretrained: Pretrained, levels: Levels, path: Path, part: str | None) -> LoadedBackbone:
    """Load what fits of a user's file: under a level, without a prefix, up to a stage."""
    family = family_of(pretrained)
    table, network = _table(family, pretrained), family.abstract(pretrained.config)
    readings = find_readings(levels, table, part)
    if not readings:
        raise unknown_part(path, part or "", levels, table)
    if (chosen := choose(path, readings, network, table)) is None:
        raise _refusal(pretrained, levels, path, readings, part, network)
    reading, fits = chosen
    check_finite(reading.tensors, path)
    kept = network.order[: fits.end]
    if "logits" in kept:
        pretrained = _with_classes(family, pretrained, fits.given)
        network = family.abstract(pretrained.config)
    ended = network.without(network.order[fits.end :]) if len(kept) < len(network.order) else network
    graphdef, state = nnx.split(ended)
    tensors = convert(fits.given, table, shapes_of(state), origin=str(path))
    told = remarks(reading, fits, pretrained.arch, network)
    return LoadedBackbone(
        family,
        pretrained,
        "custom",
        graphdef,
        fill_state(state, tensors),
        tensors,
        str(path),
        remarks=("; ".join(told),) if told else (),
        ends_because=_why_it_ends(path, fits, network),
    )


def _why_it_ends(path: Path, fits: Fit, network: Backbone) -> str:
    last = network.order[fits.end - 1]
    if fits.end < len(required_stages(network)):
        return f"{path} lacks {listed(fits.missing)}, so that the network ends after {last!r}"
    if fits.left_out:
        return (
            f"the classifier in {path} is its own ({listed(fits.left_out)}), not that of this network, which ends "
            f"after {last!r}"
        )
    return ""


def _refusal(
    pretrained: Pretrained,
    levels: Levels,
    path: Path,
    readings: list[Reading],
    part: str | None,
    network: Backbone,
) -> WeightsError:
    """Return the error that says why a file does not fit, or what it fits."""
    family = family_of(pretrained)
    for other in _siblings(family, pretrained):
        table, whole = _table(family, other), family.abstract(other.config)
        if any(fit(whole, table, each.tensors, each.others) for each in find_readings(levels, table, part)):
            return WeightsError(
                f"{path} has the layout of {other.name}, not of {pretrained.name}; name it as the backbone: "
                f"{other.name}"
            )
    table = _table(family, pretrained)
    reading, near = best(readings, network, table)
    origin = f"{path} (its names without '{reading.prefix}.')" if reading.prefix else str(path)
    try:
        if near:
            end = len(required_stages(network))
            features = network.without(network.order[end:]) if end < len(network.order) else network
            convert(near, table, shapes_of(nnx.state(features)), origin=origin)
        _load_whole(pretrained, reading.tensors, path, "custom")
    except WeightsError as error:
        return error
    return WeightsError(f"{origin} does not fit this network; give the weights of {pretrained.arch}")


def _table(family: Family, pretrained: Pretrained) -> KeyTable:
    return family.key_tables[pretrained.layout](pretrained.config)


def _with_classes(family: Family, pretrained: Pretrained, given: Tensors) -> Pretrained:
    """Return the record with the number of classes of the file's classifier."""
    kernel = _translated(family, pretrained, given).get("logits.kernel")
    if kernel is None or kernel.shape[-1] == pretrained.config.classes:
        return pretrained
    return replace(pretrained, config=replace(pretrained.config, classes=kernel.shape[-1]))


def _translated(family: Family, pretrained: Pretrained, given: Tensors) -> dict[str, np.ndarray]:
    """Return a file's tensors by our names; those that the table does not know are left out."""
    table = _table(family, pretrained)
    names = table.renumber(given)
    pairs = (table.translate(names[name], tensor) for name, tensor in given.items())
    return dict(pair for pair in pairs if pair)


def _siblings(family: Family, pretrained: Pretrained) -> list[Pretrained]:
    """Return the first weights of each other layout of the architecture."""
    others = [w for w in family.pretrained if w.arch == pretrained.arch and w.layout != pretrained.layout]
    return list({w.layout: w for w in reversed(others)}.values())[::-1]


def load_random(pretrained: Pretrained) -> LoadedBackbone:
    """Draw weights instead of loading them, the same ones each time; the tag is ``"random"``."""
    family = family_of(pretrained)
    graphdef, state, shapes = _abstract(family, pretrained)
    rng = np.random.default_rng(0)
    tensors = {name: _drawn(name, shape, rng) for name, shape in shapes.items()}
    return LoadedBackbone(family, pretrained, "random", graphdef, fill_state(state, tensors), tensors, None)


def _abstract(
    family: Family, pretrained: Pretrained, given: Tensors | None = None
) -> tuple[Any, Any, dict[str, tuple[int, ...]]]:
    """Return the network without parameters: its graph, its abstract state, and the shapes by our names.

    With `given`, the tensors of a file, the chain ends before the top that the file lacks.
    """
    network = family.abstract(pretrained.config)
    if given is not None and (lacking := _lacking_top(network, _translated(family, pretrained, given))):
        network = network.without(lacking)
    graphdef, state = nnx.split(network)
    return graphdef, state, shapes_of(state)


def _lacking_top(network: Backbone, ours: Tensors) -> list[str]:
    """Return the last stages if a file has no tensor of them, but some of all stages before."""
    of_stage: dict[str, list[str]] = {}
    for name, (path, _) in variables(nnx.state(network)).items():
        of_stage.setdefault(str(path[1]), []).append(name)
    learnt = [stage for stage in network.order if stage in of_stage]
    present = [any(name in ours for name in of_stage[stage]) for stage in learnt]
    end = sum(present)
    if end == len(learnt) or not all(present[:end]):
        return []
    # What is left behind the default layer without anything to learn (flattening for dense layers) goes too.
    after = len(required_stages(network))
    first = network.order.index(learnt[end])
    return [*network.order[after if end and network.order.index(learnt[end - 1]) < after else first :]]


def _drawn(name: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return a random tensor: kernels by He et al., scales and variances 1, the rest 0."""
    leaf = name.rpartition(".")[2]
    if leaf != "kernel":
        return np.full(shape, leaf in ("scale", "var"), np.float32)
    # By numpy: JAX compiles a generator for each of the many shapes, 8 s and more in all.
    return rng.standard_normal(shape, np.float32) * np.float32(np.sqrt(2 / np.prod(shape[:-1])))


def fill_state(state: Any, tensors: Tensors) -> Any:
    """Return a chain's state with some tensors, by our names, replaced by these."""
    # One device_put: jnp.asarray would compile a copy for each of the many shapes.
    arrays = jax.device_put(dict(tensors))
    return nnx.from_flat_state(
        [
            (path, leaf.replace(arrays[name]) if name in arrays else leaf)
            for name, (path, leaf) in variables(state).items()
        ]
    )


def shapes_of(state: Any) -> dict[str, tuple[int, ...]]:
    """Return our names of a chain's parameters and statistics to their shapes."""
    return {name: tuple(leaf.shape) for name, (_, leaf) in variables(state).items()}
