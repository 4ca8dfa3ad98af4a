"""What happens to a world, one thing after another: photos change, extractions run, are killed, lose power or room."""

import contextlib
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from featcache import FeatureCache
from featcache.cache import gc, remove, repair, verify
from featcache.cache.maintenance import list_caches
from featcache.errors import FeatcacheError, UsageError
from soak.at_once import race, read_meanwhile, two_writers
from soak.damage import (
    classifier_flips,
    damage_finished,
    damage_hashes,
    damage_unfinished,
    flip,
    flips,
    place_of_a_row,
)
from soak.interruptions import cut_power, fill_disk, kill, kill_others
from soak.world import TARGETS, Fault, World

Operation = Callable[[World], str]
"""Does something to a world, checks what must be true of it, and says in a few words what it did."""


def change_photos(world: World) -> str:
    world.counts["changes of photos"] += 1
    return "; ".join(world.photos.change() for _ in range(world.chance.integers(1, 6)))


def finish(world: World) -> str:
    """An extraction to its end; at once again, it computes nothing."""
    name, years = world.some_target(), world.years()
    options = world.options(name)
    done = world.finish(name, years, **options)
    if not world.photos.unreadable and not done.quarantined:
        again = world.finish(name, **{**options, "overwrite": False, "verify": False})
        if again.computed:
            raise Fault(f"{name}.h5 was finished, and {again.computed} images were computed again")
    return f"{name} {options}, clock {years:+} years: {done!r}"


def change_meanwhile(world: World) -> str:
    """A photo gets other bytes while an extraction runs: whatever the cache says of it, it is of one of both."""
    name, photo = world.some_target(), world.photos.chosen()
    if photo is None:
        return "no photo may change"
    before, at = world.photos.files[photo], int(world.chance.integers(1, 2 * len(world.photos.files) + 4))
    left = [at]

    def report(progress: object) -> None:
        left[0] -= 1
        if not left[0]:
            world.photos.write(photo, world.photos.another(), replace=bool(at % 2))

    try:
        world.extract(name, on_progress=report)
    except FeatcacheError as error:
        raise Fault(f"{type(error).__name__}: {error}") from error
    world.require_finished(name, world.photos.expected({photo: before}))
    world.finish(name)
    return f"{name} while {photo} changes at event {at}"


# Other ways to the same cache ---------------------------------------------------------------------------------


def shards(world: World) -> str:
    """Parts, in any order and some of them killed, make the whole, at no cost."""
    parts = [world.folder / "parts" / f"{number}.h5" for number in (1, 2, 3)]
    for number in world.chance.permutation(3).tolist():
        shard = {"shard": f"{number + 1}/3", "output": str(parts[number])}
        if world.chance.random() < 0.4:
            order = world.order("a", target=shard["output"], options={"shard": shard["shard"]})
            ending = world.run({**order, "fault": "killed before", "at": int(world.chance.integers(1, 60))})
            world.require_error(ending)
            world.counts["kills"] += ending.killed
        _extract_to(world, parts[number], shard=shard["shard"])
    whole = world.folder / "whole" / "whole.h5"
    computed = _extract_to(world, whole, reuse=parts)
    world.require_whole(whole, world.photos.expected())
    if computed and not world.photos.unreadable:
        known = sum(row.features is True for row in world.photos.expected().values())
        with FeatureCache(whole) as cache:
            if len(cache.rows_of()) == known and computed > 0:
                raise Fault(f"of a whole whose parts are there {computed} images were computed again")
    for folder in (parts[0].parent, whole.parent):
        shutil.rmtree(folder)
    world.counts["sets of shards"] += 1
    return "three parts and the whole"


def _extract_to(world: World, path: Path, **options: object) -> int:
    try:
        return world.extract("a", output=path, **options).computed
    except FeatcacheError as error:
        raise Fault(f"into {path.name} {options}: {type(error).__name__}: {error}") from error


def reuse(world: World) -> str:
    """A cache is moved away, and its rows are taken from there."""
    name = world.some_target(finished=True)
    world.finish(name)
    apart = world.machine.scratch / "apart"
    shutil.rmtree(apart, ignore_errors=True)
    apart.mkdir()
    os.rename(world.path(name), apart / "moved.h5")
    del world.held[name]
    done = world.finish(name, reuse=[apart / "moved.h5"])
    if done.computed and not world.photos.unreadable:
        raise Fault(f"all rows of {name}.h5 were to be reused, and {done.computed} images were computed")
    return f"{name}: {done!r}"


def delete(world: World) -> str:
    name = world.one_of(*TARGETS)
    try:
        remove(world.path(name))
    except FeatcacheError:
        if name in world.held or world.has_leftovers(name):
            raise
        return f"no {name} to remove"
    world.held.pop(name, None)
    left = [path.name for path in world.folder.iterdir() if path.name.startswith(f"{name}.")]
    if [each for each in left if not each.endswith(".previous.h5")]:
        raise Fault(f"{name}.h5 was removed, and {left} are left")
    return f"remove {name}"


def maintain(world: World) -> str:
    """Listing, verifying, repairing what is whole, and clearing up take nothing away."""
    unfinished = world.chance.random() < 0.2
    for name in sorted(world.held):
        if not verify(world.path(name)).ok:
            raise Fault(f"{name}.h5 does not verify")
        with contextlib.suppress(UsageError):
            repair(world.path(name))
    states = {info.path.name: info.state for info in list_caches(world.folder)}
    lost = [name for name in world.held if states.get(f"{name}.h5") != "finished"]
    if lost:
        raise Fault(f"not listed as finished: {lost}")
    partials = {path for path in world.folder.glob("*.partial.h5") if verify(path).error is None}
    removed = [left.path.name for left in gc(world.folder, unfinished=unfinished)]
    if not unfinished and (gone := [path.name for path in partials if not path.exists()]):
        raise Fault(f"what was unfinished is gone: {gone}")
    for name, expected in world.held.items():
        world.require_whole(world.path(name), expected)
    world.counts["verified, repaired, cleared"] += 1
    return f"removed {removed}, states {states}"


def command_line(world: World) -> str:
    """The commands' exit codes: of what is whole, and of what has a damaged row."""
    name = world.some_target(finished=True)
    codes = {}
    for what in ("whole", "damaged"):
        if what == "damaged":
            place = place_of_a_row(world.path(name))
            flip(world.path(name), place)
        arguments = ["cache", "verify", str(world.path(name))]
        with contextlib.suppress(KeyError):
            ending = world.run(world.order(name, command="command line", options={"arguments": arguments}))
            codes[what] = ending.end["code"]
        if what == "damaged":
            flip(world.path(name), place)
    if codes != {"whole": 0, "damaged": 4}:
        raise Fault(f"exit codes of featcache cache verify: {codes}")
    world.counts["commands"] += 2
    return f"{name}: exit codes {codes}"


def train(world: World) -> str:
    """A head is trained on a cache, saved, loaded, and says the same; then bits of its folder are flipped."""
    from featcache import Classifier, train_head

    world.finish("a")
    folder = world.machine.disk / "classifier"
    trained = train_head(world.path("a"), head="prototype", output=folder)
    with FeatureCache(world.path("a")) as cache:
        features = cache.features(cache.rows_of(), "pool")
    said = trained.probabilities(features)
    if (
        not np.array_equal(Classifier.load(folder).probabilities(features), said)
        or not np.isfinite(said).all()
    ):
        raise Fault("a classifier that was loaded says something else than the one that was saved")
    world.counts["heads trained"] += 1
    return f"trained; {classifier_flips(world, folder, features, said)}"


OPERATIONS: tuple[tuple[float, Operation], ...] = (
    (6, change_photos),
    (5, finish),
    (1, change_meanwhile),
    (5, kill),
    (1, kill_others),
    (4, cut_power),
    (5, fill_disk),
    (1, two_writers),
    (0.5, race),
    (1, read_meanwhile),
    (1, shards),
    (1, reuse),
    (0.5, delete),
    (1, maintain),
    (0.3, command_line),
    (0.3, train),
    (4, flips),
    (2, damage_finished),
    (1, damage_unfinished),
    (1, damage_hashes),
)
"""How often, in relation to the others, each happens."""


def draw(world: World, only: Sequence[str] = ()) -> Operation:
    """Return what happens next, of all operations or those of some names."""
    chosen = [(weight, one) for weight, one in OPERATIONS if not only or name_of(one) in only]
    weights = np.array([weight for weight, _ in chosen])
    return chosen[world.chance.choice(len(chosen), p=weights / weights.sum())][1]


def name_of(operation: Operation) -> str:
    """Return an operation's name in words."""
    return operation.__name__.replace("_", " ")
